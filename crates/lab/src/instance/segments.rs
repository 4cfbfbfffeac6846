//! System V segments.

use std::collections::BTreeMap;

use hugefolio::{
    Bytes, Calls, FileAccess, HugeSize, Name, NoSegment, Pid, Place, Promise, SegmentCall, SegmentCallError, SegmentId,
    Vaddr,
};
use serde::{Deserialize, Serialize};

use super::actor::NamedMap;
use super::files::wanted;
use super::memory::slot_address;
use super::{Instance, answers};
use crate::op::{self, AttachFlag, Op, SegmentFlag, SegmentName, SizeName};
use crate::target::{Answer, StepResult};

/// The segments of a script. A name stands for a number, which is 0 until a segment was made under it; and 0 is the first segment
/// of the script.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Segments {
    /// In the order in which they were made, with the lengths that were asked for.
    made: Vec<(SegmentId, u64)>,
    numbers: BTreeMap<String, usize>,
}

impl Segments {
    /// What a name stands for; it is known from now on.
    fn named(&mut self, name: &SegmentName) -> Option<(SegmentId, u64)> {
        let number = *self.numbers.entry(name.as_str().to_owned()).or_insert(0);
        self.made.get(number).copied()
    }

    /// Every place where a segment is meant.
    pub(super) fn objects(&mut self) -> impl Iterator<Item = Name<'_>> {
        self.made.iter_mut().map(|(id, _)| id.name())
    }

    /// A name that is used again means the new segment; the old one stays.
    fn make(&mut self, name: &SegmentName, id: SegmentId, len: u64) {
        self.numbers.insert(name.as_str().to_owned(), self.made.len());
        self.made.push((id, len));
    }
}

impl Instance {
    pub(super) fn segment_op(&mut self, op: &Op) -> Answer {
        let Some((actor, pid)) = op.actor().and_then(|a| Some((a.number(), self.pid(a)?))) else {
            return StepResult::BadActor.into();
        };
        match op {
            Op::Shmget(call) => self.shmget(pid, call),
            Op::Shmat(call) => self.shmat(actor, pid, call),
            Op::Shmdt(op::Shmdt { map, .. }) => {
                self.slot(map.as_str());
                let known = self.actors.get(&actor).and_then(|state| state.maps.get(map.as_str())).copied();
                let Some(map) = known else { return StepResult::Nomap.into() };
                answers::done(self.machine.shmdt(pid, map.addr))
            }
            Op::Shmrm(op::Shmrm { segment, .. }) => match self.segments.named(segment) {
                Some((id, _)) => answers::done(self.machine.shmrm(id)),
                None => answers::failed(&NoSegment),
            },
            _ => StepResult::BadOp.into(),
        }
    }

    fn shmget(&mut self, pid: Pid, call: &op::Shmget) -> Answer {
        self.segments.named(&call.segment);
        let size = match wanted(call.pagesize) {
            Ok(size) => size,
            Err(error) => return answers::failed(&SegmentCallError::from(error)),
        };
        let promise = if call.flags.has(SegmentFlag::Noreserve) { Promise::Never } else { Promise::Now };
        let request = SegmentCall { len: Bytes::new(call.len.unsigned()), size, promise };
        match self.machine.shmget(pid, &request) {
            Ok(id) => {
                self.segments.make(&call.segment, id, call.len.unsigned());
                Answer::ok()
            }
            Err(error) => answers::refused(&error),
        }
    }

    fn shmat(&mut self, actor: u16, pid: Pid, call: &op::Shmat) -> Answer {
        let at = Vaddr::new(slot_address(self.slot(call.map.as_str())));
        let Some((id, len)) = self.segments.named(&call.segment) else {
            return answers::failed(&NoSegment);
        };
        let reads = call.flags.as_ref().is_some_and(|flags| flags.has(AttachFlag::Rdonly));
        let access = if reads { FileAccess::ReadOnly } else { FileAccess::ReadWrite };
        match self.machine.shmat(pid, id, Place::FixedNoReplace(at), access) {
            Ok(addr) => {
                let log = call.pagesize.and_then(SizeName::log2);
                let page = log.and_then(HugeSize::from_shift).unwrap_or(HugeSize::M2);
                if let Some(state) = self.actors.get_mut(&actor) {
                    state.maps.insert(call.map.as_str().to_owned(), NamedMap { addr, len, page });
                }
                Answer::ok()
            }
            Err(error) => answers::refused(&error),
        }
    }

    /// Every segment that was made.
    pub(super) fn segments_made(&self) -> Vec<SegmentId> {
        self.segments.made.iter().map(|&(id, _)| id).collect()
    }

    /// Removes every segment that has a name.
    pub(super) fn remove_segments(&mut self) {
        let Segments { made, numbers } = std::mem::take(&mut self.segments);
        for (id, _) in numbers.into_values().filter_map(|number| made.get(number)) {
            // It may have been removed, and be gone.
            let _ = self.machine.shmrm(*id);
        }
    }
}
