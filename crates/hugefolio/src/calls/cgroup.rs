//! Control groups: made, removed, limited, entered, and their files as text.

use charge::{
    Charges, Counter, CreateError, EnterError, GroupVersion, GroupView, HandOnError, Limit, LimitError,
    MemoryAccounting, MemoryView, NoGroup, RemoveError,
};
use units::{Bytes, CgroupId, HstateId, HugeCount, HugeSize, PageShift, Pid};

use super::knob::KnobError;
use super::{CallError, Env, NoSuchSize, pool};
use crate::text::{
    Access, BytesByNode, CgroupCoreFile, CgroupFile, CgroupFileName, CgroupLimit, CgroupPath, CgroupV1File,
    CgroupValue, ControllerWrite, ControllerWrites, MemoryFile, Written, cgroup_limit, length, subtree_control,
};

/// Which counter of a control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupCounter {
    /// Pages in use (`hugetlb.SIZE.current`).
    Usage,
    /// Pages reserved, or in use without a reservation (`hugetlb.SIZE.rsvd.current`).
    Rsvd,
}

impl CgroupCounter {
    const fn of(self, hstate: HstateId) -> Counter {
        match self {
            Self::Usage => Counter::Usage(hstate),
            Self::Rsvd => Counter::Rsvd(hstate),
        }
    }
}

/// Why a limit of a control group cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupLimitError {
    /// No pool of that size.
    #[error(transparent)]
    NoSuchSize(#[from] NoSuchSize),
    /// The group said no.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

pub(super) fn create<P: Env>(p: &mut P, path: &str) -> Result<CgroupId, CreateError> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    p.with_charges(|c| {
        let parent = c.look_up(parent).map_err(|NoGroup| CreateError::NoParent)?;
        let core = if c.version() == GroupVersion::V1 { CORE_FILES_V1 } else { &[] };
        if CgroupFileName::named(name, c.version()).is_some() || core.contains(&name) {
            return Err(CreateError::Exists);
        }
        c.create(parent, name)
    })
}

/// The files of a group of cgroup v1 that are not about huge pages: no group beside them has such a name.
const CORE_FILES_V1: &[&str] = &["cgroup.clone_children", "cgroup.procs", "notify_on_release", "tasks"];

pub(super) fn remove<P: Env>(p: &mut P, cgroup: CgroupId) -> Result<(), RemoveError> {
    p.with_charges(|c| c.remove(cgroup))
}

/// As many pages as a counter can hold are no limit.
pub(super) fn set_limit<P: Env>(
    p: &mut P,
    cgroup: CgroupId,
    size: HugeSize,
    counter: CgroupCounter,
    limit: Limit,
) -> Result<(), CgroupLimitError> {
    let hstate = pool::hstate(p, Some(size))?.id;
    let most = size.count_floor(most_bytes(p.page_shift()));
    let limit = if limit.pages().is_some_and(|pages| pages >= most) { Limit::Max } else { limit };
    Ok(p.with_charges(|c| c.set_limit(cgroup, counter.of(hstate), limit))?)
}

pub(super) fn view<P: Env>(p: &mut P, cgroup: CgroupId, size: HugeSize) -> Option<GroupView> {
    let hstate = pool::hstate(p, Some(size)).ok()?.id;
    p.with_charges(|c| c.view(cgroup, hstate))
}

/// As many bytes as the counter can hold are no limit.
pub(super) fn set_memory_limit<P: Env>(p: &mut P, cgroup: CgroupId, limit: Option<Bytes>) -> Result<(), NoGroup> {
    let shift = p.page_shift();
    let limit = limit.filter(|&bytes| bytes < most_bytes(shift)).map(|bytes| shift.pages_floor(bytes));
    p.with_charges(|c| c.set_memory_limit(cgroup, limit))
}

pub(super) fn memory_view<P: Env>(p: &mut P, cgroup: CgroupId) -> Option<MemoryView> {
    p.with_charges(|c| c.memory_view(cgroup))
}

/// Moves a process; what it is charged for stays where it is.
pub(super) fn attach<P: Env>(p: &mut P, pid: Pid, cgroup: Option<CgroupId>) -> Result<(), CallError<EnterError>> {
    let cgroup = seat(p, cgroup);
    enter(p, cgroup)?;
    let left = p.with_process(pid, |process| core::mem::replace(&mut process.origin.cgroup, cgroup));
    leave(p, left.unwrap_or(cgroup));
    left.ok_or(CallError::NoProcess)?;
    let allowed = super::cpuset::effective(p, cgroup);
    super::cpuset::confine(p, pid, allowed, allowed);
    Ok(())
}

/// The group that a process is in where one was named: the root is one only where it is accounted.
pub(super) fn seat<P: Env>(p: &mut P, cgroup: Option<CgroupId>) -> Option<CgroupId> {
    cgroup.or_else(|| p.with_charges(|c| c.root()))
}

/// Everybody may be in the root.
pub(super) fn enter<P: Env>(p: &mut P, cgroup: Option<CgroupId>) -> Result<(), EnterError> {
    cgroup.map_or(Ok(()), |cgroup| p.with_charges(|c| c.enter(cgroup)))
}

pub(super) fn leave<P: Env>(p: &mut P, cgroup: Option<CgroupId>) {
    if let Some(cgroup) = cgroup {
        p.with_charges(|c| c.leave(cgroup));
    }
}

/// Writes text to a file of a group; returns how much of it the file took.
pub(super) fn write<P: Env>(p: &mut P, path: &str, text: &[u8]) -> Result<Bytes, KnobError> {
    let path = parse(p, path)?;
    let cgroup = group(p, &path)?;
    if path.file.access() != Access::ReadWrite {
        return Err(KnobError::ReadOnlyCgroupFile(path));
    }
    match (path.file, cgroup) {
        (CgroupFileName::Pool { size, file }, Some(cgroup)) => {
            let counter = if file == CgroupFile::Max { CgroupCounter::Usage } else { CgroupCounter::Rsvd };
            write_limit(p, cgroup, size, counter, cgroup_limit(text, GroupVersion::V2)?)
        }
        (CgroupFileName::PoolV1 { size, file }, Some(cgroup)) => write_v1(p, cgroup, size, file, text),
        (CgroupFileName::Core(_), Some(cgroup)) => {
            let Written { value, consumed } = subtree_control(text)?;
            p.with_charges(|c| change_controllers(c, cgroup, value))?;
            Ok(consumed)
        }
        (CgroupFileName::Memory(_), Some(cgroup)) => {
            let Some(Written { value, consumed }) = cgroup_limit(text, GroupVersion::V2)? else {
                return Ok(Bytes::ZERO);
            };
            let limit = match value {
                CgroupLimit::Max => None,
                CgroupLimit::Bytes(bytes) => Some(bytes),
            };
            set_memory_limit(p, cgroup, limit).map_err(|NoGroup| KnobError::NoCgroup(path))?;
            Ok(consumed)
        }
        (CgroupFileName::Core(_), None) => {
            let Written { value, consumed } = subtree_control(text)?;
            let memory = p.with_charges(|c| c.memory_accounting());
            if value.memory == ControllerWrite::Enable && memory == MemoryAccounting::Off {
                return Err(HandOnError::NotAccounted.into());
            }
            if [value.hugetlb, value.memory].contains(&ControllerWrite::Disable) {
                return Err(KnobError::RootKeepsController);
            }
            Ok(consumed)
        }
        (CgroupFileName::Pool { .. } | CgroupFileName::PoolV1 { .. } | CgroupFileName::Memory(_), None) => {
            Err(KnobError::NoCgroup(path))
        }
    }
}

/// What a group has not got itself it cannot hand on, and then nothing changes.
fn change_controllers(c: &mut Charges, cgroup: CgroupId, writes: ControllerWrites) -> Result<(), HandOnError> {
    let lacks = [
        (writes.hugetlb == ControllerWrite::Enable && !c.is_accounted(cgroup)),
        (writes.memory == ControllerWrite::Enable && !c.has_memory(cgroup)),
    ];
    if lacks.contains(&true) {
        return Err(HandOnError::NotAccounted);
    }
    match writes.memory {
        ControllerWrite::Enable => c.hand_memory_on(cgroup),
        ControllerWrite::Disable => c.keep_memory_to_itself(cgroup),
        ControllerWrite::Leave => Ok(()),
    }?;
    match writes.hugetlb {
        ControllerWrite::Enable => c.hand_on(cgroup),
        ControllerWrite::Disable => c.keep_to_itself(cgroup),
        ControllerWrite::Leave => Ok(()),
    }
}

fn write_limit<P: Env>(
    p: &mut P,
    cgroup: CgroupId,
    size: HugeSize,
    counter: CgroupCounter,
    written: Option<Written<CgroupLimit>>,
) -> Result<Bytes, KnobError> {
    let Some(Written { value, consumed }) = written else { return Ok(Bytes::ZERO) };
    let limit = match value {
        CgroupLimit::Max => Limit::Max,
        CgroupLimit::Bytes(bytes) => Limit::Pages(size.count_floor(bytes)),
    };
    set_limit(p, cgroup, size, counter, limit).map_err(|error| match error {
        CgroupLimitError::NoSuchSize(error) => error.into(),
        CgroupLimitError::Limit(error) => KnobError::Limit(error),
    })?;
    Ok(consumed)
}

/// What a counter remembers is forgotten whatever is written, as long as something is.
fn write_v1<P: Env>(
    p: &mut P,
    cgroup: CgroupId,
    size: HugeSize,
    file: CgroupV1File,
    text: &[u8],
) -> Result<Bytes, KnobError> {
    use CgroupV1File as File;
    if text.is_empty() {
        return Ok(Bytes::ZERO);
    }
    let counter = v1_counter(file);
    if matches!(file, File::LimitInBytes | File::RsvdLimitInBytes) {
        if p.with_charges(|c| c.root()) == Some(cgroup) {
            return Err(KnobError::Limit(LimitError::Root));
        }
        return write_limit(p, cgroup, size, counter, cgroup_limit(text, GroupVersion::V1)?);
    }
    let counter = counter.of(pool::hstate(p, Some(size))?.id);
    let missing = |NoGroup| KnobError::Limit(LimitError::NoGroup);
    p.with_charges(|c| match file {
        File::MaxUsageInBytes | File::RsvdMaxUsageInBytes => c.reset_most(cgroup, counter),
        _ => c.reset_refusals(cgroup, counter),
    })
    .map_err(missing)?;
    Ok(length(text))
}

const fn v1_counter(file: CgroupV1File) -> CgroupCounter {
    use CgroupV1File as File;
    match file {
        File::Failcnt | File::LimitInBytes | File::MaxUsageInBytes | File::UsageInBytes | File::NumaStat => {
            CgroupCounter::Usage
        }
        File::RsvdFailcnt | File::RsvdLimitInBytes | File::RsvdMaxUsageInBytes | File::RsvdUsageInBytes => {
            CgroupCounter::Rsvd
        }
    }
}

/// What a file of a group shows.
pub(super) fn read<P: Env>(p: &mut P, path: &str) -> Result<String, KnobError> {
    let path = parse(p, path)?;
    let cgroup = group(p, &path)?;
    let value = match (path.file, cgroup) {
        (CgroupFileName::Pool { size, file }, Some(cgroup)) => {
            let view = view(p, cgroup, size).ok_or(KnobError::NoCgroup(path))?;
            shown(p, size, file, &view)
        }
        (CgroupFileName::PoolV1 { size, file }, Some(cgroup)) => {
            let view = view(p, cgroup, size).ok_or(KnobError::NoCgroup(path))?;
            shown_v1(p, size, file, &view)
        }
        (CgroupFileName::Memory(file), Some(cgroup)) => {
            let view = memory_view(p, cgroup).ok_or(KnobError::NoCgroup(path))?;
            shown_memory(p.page_shift(), file, &view)
        }
        (CgroupFileName::Pool { .. } | CgroupFileName::PoolV1 { .. } | CgroupFileName::Memory(_), None) => {
            return Err(KnobError::NoCgroup(path));
        }
        (CgroupFileName::Core(file), _) => CgroupValue::Controllers(p.with_charges(|c| controllers(c, file, cgroup))),
    };
    Ok(value.to_string())
}

/// The controllers of a group, or of its children. The root has and hands on all that there are.
fn controllers(c: &Charges, file: CgroupCoreFile, cgroup: Option<CgroupId>) -> Vec<&'static str> {
    let (memory, hugetlb) = match (cgroup, file) {
        (None, _) => (c.memory_accounting() == MemoryAccounting::HugePages, true),
        (Some(cgroup), CgroupCoreFile::Controllers) => (c.has_memory(cgroup), c.is_accounted(cgroup)),
        (Some(cgroup), CgroupCoreFile::SubtreeControl) => (c.hands_memory_on(cgroup), c.hands_on(cgroup)),
    };
    [("memory", memory), ("hugetlb", hugetlb)].into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

fn shown_memory(shift: PageShift, file: MemoryFile, view: &MemoryView) -> CgroupValue {
    match file {
        MemoryFile::Current => CgroupValue::Bytes(shift.total(view.charged)),
        MemoryFile::Events => CgroupValue::MemoryEvents(view.events),
        MemoryFile::EventsLocal => CgroupValue::MemoryEvents(view.local_events),
        MemoryFile::Max => view.limit.map_or(CgroupValue::Max, |limit| CgroupValue::Bytes(shift.total(limit))),
        MemoryFile::Stat => CgroupValue::MemoryStat { hugetlb: shift.total(view.charged) },
    }
}

fn parse<P: Env>(p: &mut P, path: &str) -> Result<CgroupPath, KnobError> {
    let version = p.with_charges(|c| c.version());
    Ok(CgroupPath::parse(path, version)?)
}

/// The group of a path, which has the file: those about pages are only where the controller is.
fn group<P: Env>(p: &mut P, path: &CgroupPath) -> Result<Option<CgroupId>, KnobError> {
    let missing = || KnobError::NoCgroup(path.clone());
    let cgroup = p.with_charges(|c| c.look_up(&path.group)).map_err(|NoGroup| missing())?;
    if let CgroupFileName::Memory(_) = path.file {
        let there = cgroup.is_some_and(|cgroup| p.with_charges(|c| c.has_memory(cgroup)));
        return if there { Ok(cgroup) } else { Err(missing()) };
    }
    let Some(size) = path.file.size() else { return Ok(cgroup) };
    pool::hstate(p, Some(size))?;
    let cgroup = seat(p, cgroup);
    let accounted = cgroup.is_some_and(|cgroup| p.with_charges(|c| c.is_accounted(cgroup)));
    if accounted { Ok(cgroup) } else { Err(missing()) }
}

fn shown<P: Env>(p: &mut P, size: HugeSize, file: CgroupFile, view: &GroupView) -> CgroupValue {
    let most = most_bytes(p.page_shift());
    let limit = |limit| match limit {
        Limit::Initial => CgroupValue::Bytes(most),
        Limit::Max => CgroupValue::Max,
        Limit::Pages(pages) => CgroupValue::Bytes(size.total(pages)),
    };
    match file {
        CgroupFile::Current => CgroupValue::Bytes(size.total(view.usage)),
        CgroupFile::RsvdCurrent => CgroupValue::Bytes(size.total(view.rsvd)),
        CgroupFile::Max => limit(view.usage_limit),
        CgroupFile::RsvdMax => limit(view.rsvd_limit),
        CgroupFile::Events => CgroupValue::Events(view.events),
        CgroupFile::EventsLocal => CgroupValue::Events(view.local_events),
        CgroupFile::NumaStat => CgroupValue::NumaStat(by_node(p, size, view.usage, &view.nodes)),
    }
}

fn shown_v1<P: Env>(p: &mut P, size: HugeSize, file: CgroupV1File, view: &GroupView) -> CgroupValue {
    use CgroupV1File as File;
    let most = most_bytes(p.page_shift());
    let (charged, limit, history) = match v1_counter(file) {
        CgroupCounter::Usage => (view.usage, view.usage_limit, view.usage_history),
        CgroupCounter::Rsvd => (view.rsvd, view.rsvd_limit, view.rsvd_history),
    };
    match file {
        File::UsageInBytes | File::RsvdUsageInBytes => CgroupValue::Bytes(size.total(charged)),
        File::LimitInBytes | File::RsvdLimitInBytes => CgroupValue::Bytes(match limit {
            Limit::Initial => most,
            Limit::Max => size.total(size.count_floor(most)),
            Limit::Pages(pages) => size.total(pages),
        }),
        File::MaxUsageInBytes | File::RsvdMaxUsageInBytes => CgroupValue::Bytes(size.total(history.most)),
        File::Failcnt | File::RsvdFailcnt => CgroupValue::Failures(history.refusals),
        File::NumaStat => {
            let own = view.local_nodes.iter().copied().sum();
            let local = by_node(p, size, own, &view.local_nodes);
            CgroupValue::NumaStatV1 { local, hierarchical: by_node(p, size, view.usage, &view.nodes) }
        }
    }
}

fn by_node<P: Env>(p: &mut P, size: HugeSize, total: HugeCount, nodes: &[HugeCount]) -> BytesByNode {
    let with_memory = p.with_topology(policy::Topology::nodes);
    let on = |node: units::NodeId| nodes.get(node.index()).copied().unwrap_or(HugeCount::ZERO);
    let nodes = with_memory.iter().map(|node| (node, size.total(on(node)))).collect();
    BytesByNode { total: size.total(total), nodes }
}

/// What no counter can exceed: the most base pages of which 63 bits can count the bytes.
#[doc(alias = "PAGE_COUNTER_MAX")]
const fn most_bytes(shift: PageShift) -> Bytes {
    Bytes::new(i64::MAX.cast_unsigned() >> shift.get() << shift.get())
}
