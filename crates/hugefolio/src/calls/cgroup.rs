//! Control groups: made, removed, limited, entered, and their files as text.

use charge::{Charges, Counter, CreateError, EnterError, GroupView, Limit, LimitError, NoGroup, RemoveError};
use units::{Bytes, CgroupId, HstateId, HugeCount, HugeSize, PageShift, Pid};

use super::knob::KnobError;
use super::{CallError, Env, NoSuchSize, pool};
use crate::text::{
    Access, CgroupCoreFile, CgroupFile, CgroupFileName, CgroupLimit, CgroupPath, CgroupValue, ControllerWrite, Written,
    cgroup_limit, subtree_control,
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
        if CgroupFileName::named(name).is_some() {
            return Err(CreateError::Exists);
        }
        c.create(parent, name)
    })
}

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

/// Moves a process; what it is charged for stays where it is.
pub(super) fn attach<P: Env>(p: &mut P, pid: Pid, cgroup: Option<CgroupId>) -> Result<(), CallError<EnterError>> {
    enter(p, cgroup)?;
    let left = p.with_process(pid, |process| core::mem::replace(&mut process.origin.cgroup, cgroup));
    leave(p, left.unwrap_or(cgroup));
    left.map(|_| ()).ok_or(CallError::NoProcess)
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
    let path = CgroupPath::parse(path)?;
    let cgroup = group(p, &path)?;
    if path.file.access() != Access::ReadWrite {
        return Err(KnobError::ReadOnlyCgroupFile(path));
    }
    match (path.file, cgroup) {
        (CgroupFileName::Pool { size, file }, Some(cgroup)) => {
            let Some(Written { value, consumed }) = cgroup_limit(text)? else { return Ok(Bytes::ZERO) };
            let counter = if file == CgroupFile::Max { CgroupCounter::Usage } else { CgroupCounter::Rsvd };
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
        (CgroupFileName::Core(_), Some(cgroup)) => {
            let Written { value, consumed } = subtree_control(text)?;
            p.with_charges(|c| match value {
                ControllerWrite::Enable => c.hand_on(cgroup),
                ControllerWrite::Disable => c.keep_to_itself(cgroup),
                ControllerWrite::Leave => Ok(()),
            })?;
            Ok(consumed)
        }
        (CgroupFileName::Core(_), None) => match subtree_control(text)? {
            Written { value: ControllerWrite::Disable, .. } => Err(KnobError::RootKeepsController),
            Written { consumed, .. } => Ok(consumed),
        },
        (CgroupFileName::Pool { .. }, None) => Err(KnobError::NoCgroup(path)),
    }
}

/// What a file of a group shows.
pub(super) fn read<P: Env>(p: &mut P, path: &str) -> Result<String, KnobError> {
    let path = CgroupPath::parse(path)?;
    let cgroup = group(p, &path)?;
    let value = match (path.file, cgroup) {
        (CgroupFileName::Pool { size, file }, Some(cgroup)) => {
            let view = view(p, cgroup, size).ok_or(KnobError::NoCgroup(path))?;
            shown(p, size, file, &view)
        }
        (CgroupFileName::Pool { .. }, None) => return Err(KnobError::NoCgroup(path)),
        (CgroupFileName::Core(file), _) => {
            let is_there = |c: &Charges, cgroup| match file {
                CgroupCoreFile::Controllers => c.is_accounted(cgroup),
                CgroupCoreFile::SubtreeControl => c.hands_on(cgroup),
            };
            if cgroup.is_none_or(|cgroup| p.with_charges(|c| is_there(c, cgroup))) {
                CgroupValue::Controller
            } else {
                CgroupValue::NoController
            }
        }
    };
    Ok(value.to_string())
}

/// The group of a path, which has the file: those about pages are only where the controller is, and not in the root.
fn group<P: Env>(p: &mut P, path: &CgroupPath) -> Result<Option<CgroupId>, KnobError> {
    let missing = || KnobError::NoCgroup(path.clone());
    let cgroup = p.with_charges(|c| c.look_up(&path.group)).map_err(|NoGroup| missing())?;
    if let CgroupFileName::Pool { size, .. } = path.file {
        pool::hstate(p, Some(size))?;
        let accounted = cgroup.is_some_and(|cgroup| p.with_charges(|c| c.is_accounted(cgroup)));
        return if accounted { Ok(cgroup) } else { Err(missing()) };
    }
    Ok(cgroup)
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
        CgroupFile::NumaStat => {
            let nodes = p.with_topology(policy::Topology::nodes);
            let on = |node: units::NodeId| view.nodes.get(node.index()).copied().unwrap_or(HugeCount::ZERO);
            CgroupValue::NumaStat {
                total: size.total(view.usage),
                nodes: nodes.iter().map(|node| (node, size.total(on(node)))).collect(),
            }
        }
    }
}

/// What no counter can exceed: the most base pages of which 63 bits can count the bytes.
#[doc(alias = "PAGE_COUNTER_MAX")]
const fn most_bytes(shift: PageShift) -> Bytes {
    Bytes::new(i64::MAX.cast_unsigned() >> shift.get() << shift.get())
}
