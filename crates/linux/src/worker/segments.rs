//! Operations on System V segments.

use lab::op::{self, Op};
use lab::target::{Answer, StepResult};

use super::files::size_bits;
use super::memory::page_size;
use super::{Map, Outcome, Worker, nomap};
use crate::errno::{done, failed};
use crate::sys::segment;

/// Where no segment is known by the name.
const NONE: i32 = -1;

impl Worker {
    pub(super) fn segment_op(&mut self, op: &Op) -> Outcome {
        let id = self.segment.unwrap_or(NONE);
        match op {
            Op::Shmget(op::Shmget { len, flags, pagesize, .. }) => {
                let noreserve = if flags.has(op::SegmentFlag::Noreserve) { libc::SHM_NORESERVE } else { 0 };
                let flags = libc::SHM_HUGETLB | noreserve | size_bits(*pagesize).cast_signed();
                let made = segment::make(len.unsigned(), flags);
                Outcome { answer: done(made), segment: made.ok() }
            }
            Op::Shmat(op) => self.attach(id, op).into(),
            Op::Shmdt(op::Shmdt { map, .. }) => self.detach(map).into(),
            Op::Shmrm(_) => done(segment::remove(id)).into(),
            _ => Answer::from(StepResult::BadOp).into(),
        }
    }

    fn attach(&mut self, id: i32, op: &op::Shmat) -> Answer {
        let slot = self.slot(&op.map);
        let reach = match self.reach(slot, 0) {
            Ok(reach) => reach,
            Err(refused) => return *refused,
        };
        let read_only = op.flags.as_ref().is_some_and(|flags| flags.has(op::AttachFlag::Rdonly));
        match segment::attach(id, reach, if read_only { libc::SHM_RDONLY } else { 0 }) {
            Ok(addr) => {
                let len = segment::length(id).unwrap_or(0);
                let map = Map { addr, len, page: page_size(op.pagesize) };
                self.private.clear(&map.range());
                self.maps.insert(op.map.as_str().to_owned(), map);
                Answer::ok()
            }
            Err(refused) => failed(refused),
        }
    }

    fn detach(&mut self, map: &op::MapName) -> Answer {
        let Some(map) = self.map(map) else { return nomap() };
        match self.reach(map.addr, 0) {
            Ok(reach) => done(segment::detach(reach)),
            Err(refused) => *refused,
        }
    }
}
