//! Where pages lie: policies, cpusets and moves.

use std::collections::BTreeSet;

use super::nodes::{Bits, Policy, bits_of, counted, nodes_of};
use super::pool::FreeRule;
use super::world::{PAGE, Page, PageId, SMALL, ceil_small};
use super::{Fail, NaiveMachine, Outcome, Quirk};
use crate::op::{
    CgMems, Flags, HomeNode, MapName, Mbind, MigratePages, MoveFlag, MovePage, NodeList, NodesAre, NumaMaps, PageIndex,
    PolicyMode, RunOn, SetMempolicy, WhereIs,
};
use crate::target::{Answer, Extras};

const INVALID: Fail = Fail::Errno("EINVAL");

impl NaiveMachine {
    pub(super) fn run_on(&mut self, p: u16, op: &RunOn) -> Outcome {
        let node = op.node.get() as usize;
        if !self.layout.processors.contains(&node) {
            return Err(INVALID);
        }
        self.process_mut(p).local = node;
        Ok(Answer::ok())
    }

    /// The policy that a process asks for; nothing where it contradicts itself or no node is left.
    fn wish(&self, p: u16, mode: PolicyMode, nodes: Option<NodeList>, are: Option<NodesAre>) -> Result<Policy, Fail> {
        let allowed = self.process(p).allowed;
        let usable = allowed & self.layout.all();
        let asked = nodes.map_or(0, NodeList::bits);
        let none = Policy { since: allowed, ..Policy::default() };
        match (mode, asked) {
            (PolicyMode::Default, 0) if are.is_none() => return Ok(none),
            (PolicyMode::Local | PolicyMode::Preferred, 0) if are.is_none() => {
                return Ok(Policy { mode: PolicyMode::Local, ..none });
            }
            (PolicyMode::Default | PolicyMode::Local, _) | (_, 0) => return Err(INVALID),
            _ => {}
        }
        let left = if are == Some(NodesAre::Relative) { counted(asked, usable) } else { asked & usable };
        let first = nodes_of(left).first().copied().ok_or(INVALID)?;
        let nodes = if mode == PolicyMode::Preferred { bits_of(&[first]) } else { left };
        Ok(Policy { mode, nodes, home: None, asked: are.map(|are| (are, asked)), since: allowed })
    }

    pub(super) fn set_mempolicy(&mut self, p: u16, op: &SetMempolicy) -> Outcome {
        self.process_mut(p).policy = self.wish(p, op.mode, op.nodes, op.are)?;
        Ok(Answer::ok())
    }

    /// A range whose start is aligned to base pages and whose length is filled up to one.
    fn placed_range(&mut self, p: u16, map: &MapName, range: crate::op::Span) -> Result<(u64, u64), Fail> {
        let start = self.address(p, map, range)?;
        let end = ceil_small(range.len.unsigned()).and_then(|len| start.checked_add(len));
        match end {
            Some(end) if start % SMALL == 0 => Ok((start, end)),
            _ => Err(INVALID),
        }
    }

    /// Pages that lie elsewhere are found before the policy changes, and go where the new one wants them after.
    pub(super) fn mbind(&mut self, p: u16, op: &Mbind) -> Outcome {
        self.named(p, &op.map)?;
        let has = |flag| op.flags.as_ref().is_some_and(|flags: &Flags<MoveFlag>| flags.has(flag));
        let range = self.placed_range(p, &op.map, op.range);
        let plain = self.wish(p, op.mode, op.nodes, op.are);
        let (start, end) = range?;
        if start == end && op.mode_is_sound() {
            return Ok(Answer::ok());
        }
        let policy = plain?;
        let is_default = policy.mode == PolicyMode::Default;
        let empty = self.process(p).vmas_in(start, end).is_empty();
        if (empty || !is_default) && !self.process(p).covers(start, end) {
            return Err(Fail::Errno("EFAULT"));
        }
        let wanted = op.nodes.map_or(0, NodeList::bits);
        let entries = self.process(p).entries.range(start..end);
        let elsewhere = entries.filter(|(_, page)| wanted >> self.page(**page).node & 1 == 0);
        let elsewhere: Vec<(u64, PageId)> = elsewhere.map(|(addr, page)| (*addr, *page)).collect();
        let moves = has(MoveFlag::Move) || has(MoveFlag::All);
        if has(MoveFlag::Strict) && !moves && !is_default && !elsewhere.is_empty() {
            return Err(Fail::Errno("EIO"));
        }
        let given = (!is_default).then_some(policy);
        for vma in self.process(p).vmas_in(start, end) {
            if same(vma.policy, given) {
                continue;
            }
            let (from, to) = (vma.start.max(start), vma.end.min(end));
            self.cut_out(p, &vma, from, to)?;
            self.process_mut(p).change(from, to, |vma| vma.policy = given);
        }
        let (mut stays, mut taken) = (false, BTreeSet::new());
        for (addr, page) in elsewhere.into_iter().filter(|_| moves) {
            if !has(MoveFlag::All) && self.page(page).maps > 1 {
                continue;
            }
            let vma = self.process(p).vma_at(addr).expect("an entry lies in a VMA");
            // What moves is made on other nodes only where the policy's own are none that may be used.
            let rounds = self.rounds(p, Some(&vma), vma.index(addr));
            // A page that is mapped twice is found twice, and moves once.
            stays |= !taken.insert(page) || !self.move_page_to(page, &rounds);
        }
        if stays && has(MoveFlag::Strict) && !is_default { Err(Fail::Errno("EIO")) } else { Ok(Answer::ok()) }
    }

    /// Every VMA of the range with a policy must have one that begins somewhere.
    pub(super) fn home_node(&mut self, p: u16, op: &HomeNode) -> Outcome {
        let (start, end) = self.placed_range(p, &op.map, op.range)?;
        let node = op.node.get() as usize;
        if node >= 64 || self.layout.there() >> node & 1 == 0 {
            return Err(INVALID);
        }
        if start == end {
            return Ok(Answer::ok());
        }
        let mut done = Err(Fail::Errno("ENOENT"));
        for vma in self.process(p).vmas_in(start, end) {
            let Some(policy) = vma.policy else { continue };
            if !matches!(policy.mode, PolicyMode::Bind | PolicyMode::PreferredMany) {
                return Err(Fail::Errno("EOPNOTSUPP"));
            }
            done = Ok(Answer::ok());
            let policy = Policy { home: Some(node), ..policy };
            if same(vma.policy, Some(policy)) {
                continue;
            }
            let (from, to) = (vma.start.max(start), vma.end.min(end));
            self.cut_out(p, &vma, from, to)?;
            self.process_mut(p).change(from, to, |vma| vma.policy = Some(policy));
        }
        done
    }

    fn page_at(&mut self, p: u16, map: &MapName, page: PageIndex) -> Result<PageId, Fail> {
        let addr = self.named(p, map)?.addr.wrapping_add(u64::from(page.get()).wrapping_mul(PAGE));
        self.process(p).vma_at(addr).ok_or(Fail::Errno("EFAULT"))?;
        self.process(p).entries.get(&(addr - addr % PAGE)).copied().ok_or(Fail::Errno("ENOENT"))
    }

    fn lies_on(&self, page: PageId) -> Outcome {
        let on = u32::try_from(self.page(page).node).ok();
        Ok(Answer { extras: Extras { on, ..Extras::default() }, ..Answer::ok() })
    }

    pub(super) fn where_is(&mut self, p: u16, op: &WhereIs) -> Outcome {
        let page = self.page_at(p, &op.map, op.page)?;
        self.lies_on(page)
    }

    pub(super) fn move_page(&mut self, p: u16, op: &MovePage) -> Outcome {
        self.named(p, &op.map)?;
        let node = op.node.get() as usize;
        if !self.layout.memory.contains(&node) {
            return Err(Fail::Errno("ENODEV"));
        }
        if self.process(p).allowed >> node & 1 == 0 {
            return Err(Fail::Errno("EACCES"));
        }
        let page = self.page_at(p, &op.map, op.page)?;
        let all = op.flags.as_ref().is_some_and(|flags| flags.has(MoveFlag::All));
        if self.page(page).node != node {
            if !all && self.page(page).maps > 1 {
                return Err(Fail::Errno("EACCES"));
            }
            if self.page(page).stuck {
                return Err(Fail::Errno("EBUSY"));
            }
            let kept = self.kept_back(page);
            if let Some(errno) = kept.filter(|_| self.is_held_back(&[vec![node]])) {
                return Err(Fail::Errno(errno));
            }
            if kept.is_some() || !self.move_page_to(page, &[vec![node]]) {
                return Err(Fail::Errno("ENOMEM"));
            }
        }
        self.lies_on(page)
    }

    /// A line for each VMA of a mapping: its policy, and what its pages are.
    pub(super) fn numa_maps(&mut self, p: u16, op: &NumaMaps) -> Outcome {
        let named = self.named(p, &op.map)?;
        let process = self.process(p);
        let vmas = process.vmas_in(named.addr, named.addr.saturating_add(named.len.max(1)));
        let mut lines = Vec::new();
        for vma in vmas.iter().filter(|vma| vma.start >= named.addr) {
            let pages: Vec<&Page> = process.entries.range(vma.start..vma.end).map(|(_, id)| self.page(*id)).collect();
            let mut line = format!("{} huge", policy_text(&vma.policy.unwrap_or(process.policy)));
            let anonymous = pages.iter().filter(|page| page.anon).count();
            let dirty = pages.iter().filter(|page| page.dirty || !page.anon).count();
            let most = pages.iter().map(|page| page.maps).max().unwrap_or(0) as usize;
            let mapped = if pages.len() != anonymous && pages.len() != dirty { pages.len() } else { 0 };
            let most = if most > 1 { most } else { 0 };
            for (name, count) in [("anon", anonymous), ("dirty", dirty), ("mapped", mapped), ("mapmax", most)] {
                if count > 0 {
                    line += &format!(" {name}={count}");
                }
            }
            for node in &self.layout.memory {
                match pages.iter().filter(|page| page.node == *node).count() {
                    0 => {}
                    here => line += &format!(" N{node}={here}"),
                }
            }
            if !pages.is_empty() {
                line += " kernelpagesize_kB=2048";
            }
            lines.push(line);
        }
        Ok(Answer { extras: Extras { numa: Some(lines.join("; ")), ..Extras::default() }, ..Answer::ok() })
    }

    /// Private pages of mounts with limits stay, and so does what somebody keeps: why.
    fn kept_back(&self, page: PageId) -> Option<&'static str> {
        let page = self.page(page);
        let limits = self.mounts.iter().find(|mount| Some(mount.id) == page.mount).and_then(|mount| mount.limits);
        if page.anon && limits.is_some_and(|limits| limits.given) {
            return Some("EBUSY");
        }
        (page.held > 0).then_some("EAGAIN")
    }

    /// Such a page stays once there is one to move it to; whether there is.
    fn is_held_back(&mut self, rounds: &[Vec<usize>]) -> bool {
        let rule = self.free_rule();
        self.pool.move_in_vain(rounds, rule)
    }

    fn free_rule(&self) -> FreeRule {
        if self.quirks.has(Quirk::SurplusFreeIgnoresReservations) {
            FreeRule::SurplusFirst
        } else {
            FreeRule::KeepsPromises
        }
    }

    /// Moves a page, if there is anywhere to go.
    fn move_page_to(&mut self, page: PageId, rounds: &[Vec<usize>]) -> bool {
        let rule = self.free_rule();
        if self.page(page).stuck {
            return false;
        }
        if self.kept_back(page).is_some() {
            self.is_held_back(rounds);
            return false;
        }
        let from = self.page(page).node;
        let Some((to, made)) = self.pool.move_page(from, rounds, rule) else { return false };
        let page = self.page_mut(page);
        (page.node, page.stuck) = (to, made && from == to);
        true
    }

    pub(super) fn migrate_pages(&mut self, p: u16, op: &MigratePages) -> Outcome {
        let to = op.to.bits() & self.process(p).allowed & self.layout.all();
        if to == 0 {
            return Err(INVALID);
        }
        let stay = self.move_over(p, op.from.bits(), to);
        Ok(Answer { extras: Extras { n: Some(stay), ..Extras::default() }, ..Answer::ok() })
    }

    /// What lies on the nodes of one set goes to those that have the same places in the other. A node moves once nobody is still to leave
    /// the one where its pages go; where all wait for each other, the last one begins. How many pages stay.
    fn move_over(&mut self, p: u16, from: Bits, to: Bits) -> i64 {
        let mut stay = 0;
        let (places, targets) = (nodes_of(from), nodes_of(to));
        let target = |node: usize| {
            let place = places.iter().position(|other| *other == node).unwrap_or(0);
            targets[place % targets.len()]
        };
        let stays = |node: usize| target(node) == node || (places.len() != targets.len() && targets.contains(&node));
        let mut left: Vec<usize> = places.iter().copied().filter(|node| !stays(*node)).collect();
        let mut waiting: Vec<usize> = places.clone();
        while !left.is_empty() {
            let free = left.iter().position(|node| !waiting.contains(&target(*node)));
            let node = left.remove(free.unwrap_or(left.len() - 1));
            waiting.retain(|other| *other != node);
            let entries = self.process(p).entries.values().copied();
            let leaving: Vec<PageId> = entries.filter(|page| self.page(*page).node == node).collect();
            let mut taken = BTreeSet::new();
            for page in leaving {
                if !taken.insert(page) || !self.move_page_to(page, &[vec![target(node)]]) {
                    stay += 1;
                }
            }
        }
        stay
    }

    /// The nodes that processes of a group may use.
    pub(super) fn mems(&self, group: Option<super::cgroup::GroupId>) -> Bits {
        let mut mems = self.layout.all();
        for own in self.written_mems(group) {
            if own & mems != 0 {
                mems &= own;
            }
        }
        mems
    }

    pub(super) fn cg_mems(&mut self, op: &CgMems) -> Outcome {
        self.write_mems(&op.cg, op.nodes.bits())?;
        for p in self.processes.keys().copied().collect::<Vec<_>>() {
            let group = self.process(p).group;
            let own = self.written_mems(group).last().copied().filter(|own| *own != 0);
            self.confine(p, own);
        }
        Ok(Answer::ok())
    }

    /// Lets a process use the nodes of its group from now on: policies change, those of VMAs by what was written to the group, and pages elsewhere move.
    pub(super) fn confine(&mut self, p: u16, areas: Option<Bits>) {
        let allowed = self.mems(self.process(p).group);
        let process = self.process_mut(p);
        let before = std::mem::replace(&mut process.allowed, allowed);
        if before == allowed {
            return;
        }
        process.policy = process.policy.rebound(allowed);
        for vma in &mut process.vmas {
            vma.policy = vma.policy.map(|policy| policy.rebound(areas.unwrap_or(allowed)));
        }
        self.move_over(p, before, allowed);
    }
}

impl Mbind {
    /// Modes that name nodes or none as they must.
    fn mode_is_sound(&self) -> bool {
        let none = self.nodes.is_none_or(|nodes| nodes.bits() == 0);
        let without = matches!(self.mode, PolicyMode::Default | PolicyMode::Local);
        if without {
            none && self.are.is_none()
        } else {
            !none || (self.mode == PolicyMode::Preferred && self.are.is_none())
        }
    }
}

/// Whether two policies are the same, whenever they were made. Who has the policy already is left alone.
fn same(one: Option<Policy>, other: Option<Policy>) -> bool {
    one.map(|policy| Policy { since: 0, ..policy }) == other.map(|policy| Policy { since: 0, ..policy })
}

fn policy_text(policy: &Policy) -> String {
    let name = match policy.mode {
        PolicyMode::Default => return "default".to_owned(),
        PolicyMode::Local => return "local".to_owned(),
        PolicyMode::Preferred => "prefer",
        PolicyMode::PreferredMany => "prefer (many)",
        PolicyMode::Bind => "bind",
        PolicyMode::Interleave => "interleave",
        PolicyMode::WeightedInterleave => "weighted interleave",
    };
    let are = match policy.asked {
        None => "",
        Some((NodesAre::Static, _)) => "=static",
        Some((NodesAre::Relative, _)) => "=relative",
    };
    let mut parts: Vec<String> = Vec::new();
    let nodes = nodes_of(policy.nodes);
    let mut at = 0;
    while at < nodes.len() {
        let run = (at..nodes.len()).take_while(|&n| nodes[n] - nodes[at] == n - at).count();
        parts.push(match run {
            1 => nodes[at].to_string(),
            _ => format!("{}-{}", nodes[at], nodes[at + run - 1]),
        });
        at += run;
    }
    format!("{name}{are}:{}", parts.join(","))
}
