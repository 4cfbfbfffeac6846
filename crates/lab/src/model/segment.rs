//! System V segments: files without a name that stay until they are removed.

use super::cgroup::Charge;
use super::world::{FileId, Hints, Named, PAGE, PROGRAM, Segment, TASK_END, Vma, ceil, pages_in};
use super::{Fail, NaiveMachine, Outcome, no_1g};
use crate::op::{AttachFlag, Protection, SegmentFlag, SegmentName, Shmat, Shmdt, Shmget, Shmrm, SizeName};
use crate::target::Answer;

const INVALID: Fail = Fail::Errno("EINVAL");

impl NaiveMachine {
    /// What a name stands for: the segment made last under it, or the first of the script.
    fn segment(&mut self, name: &SegmentName) -> Option<Segment> {
        let number = *self.segment_names.entry(name.clone()).or_insert(0);
        let segment = self.segments.get(number).copied()?;
        self.files.contains_key(&segment.file).then_some(segment)
    }

    pub(super) fn shmget(&mut self, op: &Shmget) -> Outcome {
        self.segment(&op.segment);
        no_1g(op.pagesize)?;
        if !matches!(op.pagesize, None | Some(SizeName::Default | SizeName::M2 | SizeName::Log(0 | 21))) {
            return Err(INVALID);
        }
        let len = op.len.unsigned();
        let size = ceil(len).filter(|size| *size > 0 && i64::try_from(*size).is_ok()).ok_or(INVALID)?;
        if !self.process(op.actor.number()).user.may_make_segments() {
            return Err(Fail::Errno("EPERM"));
        }
        let reserves = !op.flags.has(SegmentFlag::Noreserve);
        let payer = self.payer(op.actor.number());
        let pages = pages_in(size);
        let nodes = self.promise_nodes(op.actor.number());
        if reserves && !(self.may_charge(payer, Charge::Rsvd, pages) && self.pool.reserve(pages, &nodes)) {
            return Err(Fail::Errno("ENOMEM"));
        }
        let file = self.hidden_file(size);
        let made = self.file_mut(file);
        made.segment = true;
        made.removed = false;
        made.seals = 1;
        if reserves {
            made.reserved.extend((0..size / PAGE).map(|index| (index, payer)));
        }
        self.segment_names.insert(op.segment.clone(), self.segments.len());
        self.segments.push(Segment { file, len });
        Ok(Answer::ok())
    }

    pub(super) fn shmat(&mut self, p: u16, op: &Shmat) -> Outcome {
        let addr = self.slot_address(&op.map);
        let segment = self.segment(&op.segment).ok_or(INVALID)?;
        let reads = op.flags.as_ref().is_some_and(|flags| flags.has(AttachFlag::Rdonly));
        let end = addr + self.file(segment.file).size;
        if end > TASK_END {
            return Err(Fail::Errno("ENOMEM"));
        }
        if end > PROGRAM || !self.process(p).vmas_in(addr, end).is_empty() {
            return Err(INVALID);
        }
        let prot = Protection { write: !reads, ..Protection::READ_WRITE };
        self.attaches += 1;
        let vma = Vma {
            attach: self.attaches,
            start: addr,
            end,
            file: segment.file,
            first: 0,
            shared: true,
            prot,
            may_write: !reads,
            reads_only: reads,
            owner: None,
            stolen: false,
            had_anon: false,
            hints: Hints::default(),
            watch: None,
            policy: None,
            place: self.last_place(),
        };
        let process = self.process_mut(p);
        process.insert(vma);
        process.names.insert(op.map.clone(), Named { addr, len: segment.len });
        Ok(Answer::ok())
    }

    /// Everything of one attach goes that lies where an attach at this address puts it.
    pub(super) fn shmdt(&mut self, p: u16, op: &Shmdt) -> Outcome {
        let addr = self.named(p, &op.map)?.addr;
        let in_place = |vma: &Vma| vma.start.checked_sub(addr) == Some(vma.first * PAGE);
        let vmas: Vec<Vma> = self.process(p).vmas.iter().filter(|vma| in_place(vma)).copied().collect();
        let lowest = vmas.iter().find(|vma| self.file(vma.file).segment).ok_or(INVALID)?;
        let (attach, size) = (lowest.attach, self.file(lowest.file).size);
        for vma in vmas.iter().filter(|vma| vma.attach == attach && vma.end - addr <= size) {
            self.unmap(p, vma.start, vma.end);
        }
        Ok(Answer::ok())
    }

    pub(super) fn shmrm(&mut self, op: &Shmrm) -> Outcome {
        let segment = self.segment(&op.segment).ok_or(INVALID)?;
        self.remove_segment(segment.file);
        Ok(Answer::ok())
    }

    fn remove_segment(&mut self, file: FileId) {
        if let Some(file) = self.files.get_mut(&file) {
            file.removed = true;
        }
        self.evict_unused();
    }

    /// Removes what every name stands for.
    pub(super) fn remove_segments(&mut self) {
        for number in std::mem::take(&mut self.segment_names).into_values() {
            if let Some(segment) = self.segments.get(number).copied() {
                self.remove_segment(segment.file);
            }
        }
    }
}
