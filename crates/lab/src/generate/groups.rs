//! Control groups: a few, some below another, made and removed again and again.

use super::view::PAGE;
use super::{Generator, Profile};
use crate::op::{
    CgAttach, CgCreate, CgMax, CgMemoryMax, CgRmdir, CgRsvdMax, CgroupName, Op, SizeName, Switch, Written,
};

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
        let value = Written::Number(pages * PAGE);
        self.opening.push_back(if self.profile == Profile::Memcg {
            // On a running kernel the limit also holds what else a process has.
            CgMemoryMax { cg, value: Written::Number(pages * PAGE + PAGE / 2) }.into()
        } else {
            CgMax { cg, value, size: SizeName::M2 }.into()
        });
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
        let cg = CgroupName::new(name).ok()?;
        if self.profile == Profile::Memcg && !self.view.groups.contains(&cg) && self.random.percent(50) {
            let value = Written::Number(i64::from(self.random.between(1, 5)) * PAGE + PAGE / 2);
            self.opening.push_back(CgMemoryMax { cg: cg.clone(), value }.into());
        }
        Some(CgCreate { cg, sub }.into())
    }

    pub(super) fn limit(&mut self) -> Option<Op> {
        let cg = self.group()?;
        let value = if self.random.percent(25) {
            Written::Text((*self.random.of(&TEXTS)).to_owned())
        } else {
            let odd = i64::from(self.random.percent(10)) * 4096;
            Written::Number(i64::from(self.random.below(7)) * PAGE + odd)
        };
        // A running kernel kills who has more than a new limit allows: there limits are for groups that are new.
        if self.profile == Profile::Memcg && self.random.percent(60) {
            let value = if self.on_kernel { Written::Text("max".to_owned()) } else { value };
            return Some(CgMemoryMax { cg, value }.into());
        }
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
