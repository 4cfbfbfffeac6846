//! Control groups. Nothing is counted: what a group is charged is asked of all pages, reservations and mappings, each of which knows
//! who pays for it.

use super::world::{MountId, PAGE, Page, count, pages_in};
use super::{Fail, NaiveMachine, Outcome, Quirk};
use crate::op::{Actor, CgAttach, CgCreate, CgMax, CgMemoryMax, CgRmdir, CgRsvdMax, CgroupName, SizeName, Written};
use crate::target::{Answer, CgroupCounters, CgroupSizes, Counters, Extras, MemoryCounters, StepResult};

/// A control group; one made again under the same name is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupId(pub(super) u64);

/// A control group, which is kept when it was removed.
#[derive(Debug, Clone)]
pub(super) struct Group {
    id: GroupId,
    name: String,
    parent: Option<GroupId>,
    removed: bool,
    /// It has counters and limits.
    accounted: bool,
    /// Its children are accounted.
    hands_on: bool,
    /// The nodes that its processes may use; none where it is as above it.
    mems: u64,
    /// Of 2 MiB pages: on pages in use, on reserved ones.
    limits: [Option<i64>; 2],
    events: i64,
    local_events: i64,
    memory: Memory,
}

/// What the memory controller knows of a group.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    /// The group has the controller.
    accounted: bool,
    /// Its children have it.
    hands_on: bool,
    /// In bytes.
    limit: Option<u64>,
    events: i64,
    local_events: i64,
}

/// What one refused page counts as: the kernel tries so often.
const MEMORY_TRIES: i64 = 18;

/// Who pays for a page, and for it as one that was not reserved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Payers {
    pub(super) usage: Option<GroupId>,
    pub(super) rsvd: Option<GroupId>,
    /// For its memory.
    pub(super) memory: Option<GroupId>,
}

/// What is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charge {
    Usage,
    Rsvd,
}

impl NaiveMachine {
    fn group(&self, id: GroupId) -> &Group {
        self.groups.iter().find(|group| group.id == id).expect("groups are kept when they are removed")
    }

    fn group_named(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| !group.removed && group.name == name)
    }

    /// A group and all above it, the lowest first.
    fn line(&self, from: Option<GroupId>) -> Vec<GroupId> {
        let mut line = Vec::new();
        let mut at = from;
        while let Some(id) = at {
            line.push(id);
            at = self.group(id).parent;
        }
        line
    }

    fn is_below(&self, payer: Option<GroupId>, group: GroupId) -> bool {
        self.line(payer).contains(&group)
    }

    /// The group that pays for what a process asks for: its own or the nearest above it that is accounted.
    pub(super) fn payer(&self, p: u16) -> Option<GroupId> {
        self.line(self.process(p).group).into_iter().find(|id| self.group(*id).accounted)
    }

    /// What a group and all below it are charged, counted anew.
    fn charged(&self, group: GroupId, charge: Charge) -> i64 {
        let pays = |payer: Option<GroupId>| self.is_below(payer, group);
        if charge == Charge::Usage {
            return count(self.pages.values().filter(|page| pays(page.payers.usage)).count());
        }
        let pages = self.pages.values().filter(|page| pays(page.payers.rsvd)).count();
        let files = self.files.values().flat_map(|file| file.reserved.values());
        let reserved = files.filter(|payer| pays(**payer)).count();
        let vmas = self.processes.values().flat_map(|process| &process.vmas);
        let owned = vmas.filter(|vma| {
            let owner = vma.owner.and_then(|owner| self.owners.get(&owner));
            owner.is_some_and(|owner| pays(owner.payer))
        });
        let owned: i64 = owned.map(|vma| pages_in(vma.end - vma.start)).sum();
        let forsaken: i64 = self.forsaken.iter().filter(|(payer, _)| pays(*payer)).map(|(_, pages)| pages).sum();
        count(pages) + count(reserved) + owned + forsaken
    }

    /// Whether a group may be charged; a refusal is an event of it and of all above it.
    pub(super) fn may_charge(&mut self, payer: Option<GroupId>, charge: Charge, pages: i64) -> bool {
        let line = self.line(payer);
        let fits = |id: &GroupId| {
            let limit = self.group(*id).limits[usize::from(charge == Charge::Rsvd)];
            limit.is_none_or(|limit| self.charged(*id, charge) + pages <= limit)
        };
        if line.iter().all(fits) {
            return true;
        }
        for group in self.groups.iter_mut().filter(|group| line.contains(&group.id)) {
            group.events += 1;
            group.local_events += i64::from(Some(group.id) == payer);
        }
        false
    }

    /// Whether somebody may have the memory of a page just taken, or nobody needs to pay for it. If not the page goes back.
    pub(super) fn pays_memory(&mut self, p: u16, restore: bool, mount: Option<MountId>, node: usize) -> bool {
        let line = self.line(self.memory_payer(p));
        let over = line.iter().find(|id| {
            let limit = self.group(**id).memory.limit;
            limit.is_some_and(|limit| (self.memory_of(**id) + PAGE) > limit)
        });
        let Some(over) = over.copied() else { return true };
        let above = self.line(Some(over));
        for group in self.groups.iter_mut().filter(|group| above.contains(&group.id)) {
            group.memory.events += MEMORY_TRIES;
            group.memory.local_events += if group.id == over { MEMORY_TRIES } else { 0 };
        }
        // Too late, the page belongs to the mount already.
        let mount = mount.filter(|_| self.quirks.has(Quirk::MemoryRefusedTooLate));
        let page = self.new_page(Page { restore, mount, node, ..Page::default() });
        self.free(vec![page]);
        self.memory_refused = true;
        false
    }

    /// The group whose memory a process takes.
    pub(super) fn memory_payer(&self, p: u16) -> Option<GroupId> {
        self.line(self.process(p).group).into_iter().find(|id| self.group(*id).memory.accounted)
    }

    /// Bytes of a group and all below it, counted anew.
    fn memory_of(&self, group: GroupId) -> u64 {
        self.pages.values().filter(|page| self.is_below(page.payers.memory, group)).count() as u64 * PAGE
    }

    /// A limit in whole base pages; as many as 63 bits can count are none.
    pub(super) fn cg_memory_max(&mut self, op: &CgMemoryMax) -> Outcome {
        if !self.accounts_memory {
            return Err(Fail::NotModelled("no memory is accounted"));
        }
        let group = self.group_named(op.cg.as_str()).filter(|group| group.memory.accounted);
        let id = group.ok_or(Fail::Errno("ENOENT"))?.id;
        let bytes = limit_bytes(&op.value.bytes())?;
        let most = i64::MAX.cast_unsigned() & !0xfff;
        let limit = bytes.map(|bytes| bytes & !0xfff).filter(|bytes| *bytes < most);
        let group = self.groups.iter_mut().find(|group| group.id == id);
        group.expect("the group was found").memory.limit = limit;
        let lim = Some(limit.map_or("max".to_owned(), |bytes| bytes.to_string()));
        Ok(Answer { extras: Extras { lim, ..Extras::default() }, ..Answer::ok() })
    }

    fn memory_counters(&self, group: &Group) -> MemoryCounters {
        if !group.memory.accounted {
            return MemoryCounters { hugetlb: -1, events_max: -1, events_local_max: -1 };
        }
        MemoryCounters {
            hugetlb: self.memory_of(group.id).cast_signed(),
            events_max: group.memory.events,
            events_local_max: group.memory.local_events,
        }
    }

    pub(super) fn cg_create(&mut self, op: &CgCreate) -> Outcome {
        let name = op.cg.as_str();
        if self.group_named(name).is_some() {
            return Err(Fail::Errno("EEXIST"));
        }
        let parent = match name.rsplit_once('/') {
            None => None,
            Some((parent, _)) => Some(self.group_named(parent).ok_or(Fail::Errno("ENOENT"))?),
        };
        let accounted = parent.is_none_or(|parent| parent.hands_on);
        let hands_on = op.sub.is_some_and(|sub| sub.is_on());
        let has_memory = self.accounts_memory && parent.is_none_or(|parent| parent.memory.hands_on);
        let group = Group {
            id: GroupId(self.next_id + 1),
            name: name.to_owned(),
            parent: parent.map(|parent| parent.id),
            removed: false,
            accounted,
            hands_on: accounted && hands_on,
            mems: 0,
            limits: [None; 2],
            events: 0,
            local_events: 0,
            memory: Memory { accounted: has_memory, hands_on: has_memory && hands_on, ..Memory::default() },
        };
        self.fresh_id();
        self.groups.push(group);
        if !self.group_names.iter().any(|known| known == name) {
            self.group_names.push(name.to_owned());
        }
        Ok(Answer::ok())
    }

    /// Processes and children keep a group, charges do not.
    pub(super) fn cg_rmdir(&mut self, op: &CgRmdir) -> Outcome {
        let id = self.group_named(op.cg.as_str()).ok_or(Fail::Errno("ENOENT"))?.id;
        let children = self.groups.iter().any(|group| !group.removed && group.parent == Some(id));
        if children || self.processes.values().any(|process| process.group == Some(id)) {
            return Err(Fail::Errno("EBUSY"));
        }
        self.groups.iter_mut().filter(|group| group.id == id).for_each(|group| group.removed = true);
        Ok(Answer::ok())
    }

    /// The group that a process may enter; nothing for the root.
    pub(super) fn enterable(&self, name: &CgroupName) -> Result<Option<GroupId>, Fail> {
        if name.as_str() == "/" {
            return Ok(None);
        }
        let group = self.group_named(name.as_str()).ok_or(Fail::Errno("ENOENT"))?;
        if group.hands_on || group.memory.hands_on { Err(Fail::Errno("EBUSY")) } else { Ok(Some(group.id)) }
    }

    pub(super) fn cg_attach(&mut self, op: &CgAttach) -> Outcome {
        if !self.processes.contains_key(&Actor::number(op.actor)) {
            return Err(Fail::Target(StepResult::BadActor));
        }
        let group = self.enterable(&op.cg)?;
        self.process_mut(op.actor.number()).group = group;
        self.confine(op.actor.number(), None);
        Ok(Answer::ok())
    }

    /// What was written for the nodes of a group and of those above it, the highest first.
    pub(super) fn written_mems(&self, group: Option<GroupId>) -> Vec<u64> {
        self.line(group).into_iter().rev().map(|id| self.group(id).mems).collect()
    }

    /// Writes the nodes of a group.
    pub(super) fn write_mems(&mut self, cg: &CgroupName, mems: u64) -> Result<(), Fail> {
        let all = self.layout.there();
        let group = self.group_named(cg.as_str()).filter(|group| group.accounted);
        let group = group.ok_or(Fail::Errno("ENOENT"))?;
        if mems & !all != 0 {
            return Err(Fail::Errno("EINVAL"));
        }
        let id = group.id;
        let gives_up = mems == 0 && group.mems != 0;
        if gives_up && self.processes.values().any(|process| self.is_below(process.group, id)) {
            return Err(Fail::Errno("ENOSPC"));
        }
        let group = self.groups.iter_mut().find(|group| group.id == id);
        group.expect("the group was found").mems = mems;
        Ok(())
    }

    pub(super) fn cg_max(&mut self, op: &CgMax) -> Outcome {
        self.set_limit(&op.cg, op.size, &op.value, Charge::Usage)
    }

    pub(super) fn cg_rsvd_max(&mut self, op: &CgRsvdMax) -> Outcome {
        self.set_limit(&op.cg, op.size, &op.value, Charge::Rsvd)
    }

    /// A limit in whole pages; as many as 63 bits can count are none. 1 GiB pages are never charged here.
    fn set_limit(&mut self, cg: &CgroupName, size: SizeName, value: &Written, charge: Charge) -> Outcome {
        let group = self.group_named(cg.as_str()).filter(|group| group.accounted);
        let id = group.ok_or(Fail::Errno("ENOENT"))?.id;
        let page = if size == SizeName::G1 { 1 << 30 } else { PAGE };
        let bytes = limit_bytes(&value.bytes())?;
        let most = (i64::MAX.cast_unsigned() & !0xfff) / page;
        let limit = bytes.map(|bytes| bytes / page).filter(|pages| *pages < most);
        if size != SizeName::G1 {
            let limit = limit.map(u64::cast_signed);
            if limit.is_some_and(|limit| limit < self.charged(id, charge)) {
                return Err(Fail::Errno("EBUSY"));
            }
            let group = self.groups.iter_mut().find(|group| group.id == id);
            group.expect("the group was found").limits[usize::from(charge == Charge::Rsvd)] = limit;
        }
        let lim = Some(limit.map_or("max".to_owned(), |pages| (pages * page).to_string()));
        Ok(Answer { extras: Extras { lim, ..Extras::default() }, ..Answer::ok() })
    }

    pub(super) fn count_groups(&self, counters: &mut Counters) {
        for name in &self.group_names {
            let Some(group) = self.group_named(name) else { continue };
            let bytes = |charge| self.charged(group.id, charge) * PAGE.cast_signed();
            let sizes = if group.accounted {
                let m2 = CgroupCounters {
                    current: bytes(Charge::Usage),
                    rsvd: bytes(Charge::Rsvd),
                    events_max: group.events,
                    events_local_max: group.local_events,
                };
                CgroupSizes { m2, ..CgroupSizes::default() }
            } else {
                let none = CgroupCounters { current: -1, rsvd: -1, events_max: -1, events_local_max: -1 };
                CgroupSizes { m2: none, g1: none, ..CgroupSizes::default() }
            };
            let memory = self.accounts_memory.then(|| self.memory_counters(group));
            counters.cg.push(name.as_str(), CgroupSizes { memory, ..sizes });
        }
    }
}

/// `max`, or decimal digits and one suffix, modulo 2^64; no digit is 0.
fn limit_bytes(text: &str) -> Result<Option<u64>, Fail> {
    let word = text.trim();
    if word == "max" {
        return Ok(None);
    }
    let suffix = word.chars().last().and_then(|last| "KMGTPE".find(last.to_ascii_uppercase()));
    let digits = if suffix.is_some() { &word[..word.len() - 1] } else { word };
    let mut bytes = 0u64;
    for digit in digits.chars() {
        let digit = digit.to_digit(10).ok_or(Fail::Errno("EINVAL"))?;
        bytes = bytes.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    for _ in 0..suffix.map_or(0, |place| place + 1) {
        bytes = bytes.wrapping_mul(1024);
    }
    Ok(Some(bytes))
}
