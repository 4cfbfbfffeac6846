//! Control groups: a few, some below another, made and removed again and again.

use super::Generator;
use super::view::PAGE;
use crate::op::{CgAttach, CgCreate, CgMax, CgRmdir, CgRsvdMax, CgroupName, Op, SizeName, Switch, Written};

/// The names that groups are given.
const NAMES: [&str; 5] = ["g0", "g1", "g0/c0", "g0/c1", "g0/c0/d0"];
/// What is written to a limit besides numbers.
const TEXTS: [&str; 9] = ["max", "max", "max", "-1", "abc", "4M", "6143k", "99999999999999999999", "1g"];

impl Generator {
    /// A group with a limit on pages in use, for the first processes.
    pub(super) fn open_groups(&mut self) {
        let Ok(cg) = CgroupName::new("g1") else { return };
        let pages = i64::from(self.random.between(1, 4));
        self.view.groups.insert(cg.clone());
        self.opening.push_back(CgCreate { cg: cg.clone(), sub: None }.into());
        self.opening.push_back(CgMax { cg, value: Written::Number(pages * PAGE), size: SizeName::M2 }.into());
    }

    /// A group that there is, or sometimes one that there is not.
    pub(super) fn group(&mut self) -> Option<CgroupName> {
        if self.random.percent(5) {
            let name: &str = self.random.any(NAMES)?;
            return CgroupName::new(name).ok();
        }
        let groups: Vec<CgroupName> = self.view.groups.iter().cloned().collect();
        self.random.any(groups)
    }

    pub(super) fn make_group(&mut self) -> Option<Op> {
        let name = *self.random.of(&NAMES);
        let parent = name.rsplit_once('/').map(|(parent, _)| parent);
        let known = parent.is_none_or(|parent| self.view.groups.iter().any(|group| group.as_str() == parent));
        if !known && self.random.percent(90) {
            return None;
        }
        let sub = self.random.percent(40).then_some(Switch::ON);
        Some(CgCreate { cg: CgroupName::new(name).ok()?, sub }.into())
    }

    pub(super) fn limit(&mut self) -> Option<Op> {
        let cg = self.group()?;
        let value = if self.random.percent(25) {
            Written::Text((*self.random.of(&TEXTS)).to_owned())
        } else {
            let odd = i64::from(self.random.percent(10)) * 4096;
            Written::Number(i64::from(self.random.below(7)) * PAGE + odd)
        };
        let size = if self.random.percent(3) { SizeName::G1 } else { SizeName::M2 };
        Some(if self.random.percent(55) {
            CgMax { cg, value, size }.into()
        } else {
            CgRsvdMax { cg, value, size }.into()
        })
    }

    pub(super) fn attach(&mut self) -> Option<Op> {
        let root = CgroupName::new("/").ok();
        let cg = if self.random.percent(20) { root } else { self.group() }?;
        Some(CgAttach { actor: self.process()?, cg }.into())
    }

    pub(super) fn remove_group(&mut self) -> Option<Op> {
        Some(CgRmdir { cg: self.group()? }.into())
    }
}
