//! Operations on mounts with limits, seals and System V segments.

use super::edges::bytes;
use super::{Action, Generator, Profile};
use crate::op::{
    AddSeals, Flags, GetSeals, Mount, MountName, MountValue, Op, Seal, SegmentFlag, SegmentName, Shmat, Shmdt, Shmget,
    Shmrm, Size,
};

/// How many names there are for segments.
const SEGMENTS: u32 = 3;

impl Generator {
    /// A mount, more often with limits where the profile is about them.
    pub(super) fn mount_of(&mut self, mount: MountName) -> Op {
        let often = if self.profile == Profile::Subpool { 75 } else { 20 };
        let size = self.random.percent(often).then(|| *self.random.of(&[0, 1, 2, 3, 4, 6, 8, 10]));
        let min_size = self.random.percent(often * 2 / 3).then(|| *self.random.of(&[0, 1, 2, 2, 3, 4]));
        let nr_inodes =
            self.random.percent(6).then(|| MountValue::Number(Size::bytes(i64::from(self.random.below(5)))));
        let mut limit = |pages: u32| match self.random.below(20) {
            0 => MountValue::Text(format!("{}%", pages * 10)),
            1 => MountValue::Number(Size::bytes(bytes(pages) + 4096)),
            _ => MountValue::Number(Size::bytes(bytes(pages))),
        };
        let (size, min_size) = (size.map(&mut limit), min_size.map(&mut limit));
        let opts = self.root();
        Mount { mount, opts, pagesize: None, size, min_size, nr_inodes }.into()
    }

    pub(super) fn seal(&mut self) -> Option<Op> {
        let (actor, file, _) = self.descriptor()?;
        if self.random.percent(20) {
            return Some(GetSeals { actor, file }.into());
        }
        let seals = [Seal::Shrink, Seal::Grow, Seal::Write, Seal::FutureWrite, Seal::Seal];
        let seal = *self.random.of(&seals);
        Some(AddSeals { actor, file, seals: Flags::of(&[seal]) }.into())
    }

    pub(super) fn segment(&mut self, action: Action) -> Option<Op> {
        let actor = self.process()?;
        let segment = SegmentName::new(&format!("s{}", self.random.below(SEGMENTS))).ok()?;
        Some(match action {
            Action::Shmget => {
                let noreserve = self.random.percent(30);
                let flags = if noreserve { Flags::of(&[SegmentFlag::Noreserve]) } else { Flags::NONE };
                let odd = *self.random.of(&[0, 0, 0, 1]);
                let len = Size::bytes(bytes(self.random.below(5)) + odd);
                Shmget { actor, segment, len, flags, pagesize: None }.into()
            }
            Action::Shmat => {
                let map = self.new_map(actor)?;
                let flags = self.random.percent(15).then(|| Flags::of(&[crate::op::AttachFlag::Rdonly]));
                Shmat { actor, segment, map, flags, pagesize: None }.into()
            }
            Action::Shmdt => {
                let map = self.map_name_in_use(actor)?;
                Shmdt { actor, map }.into()
            }
            _ => Shmrm { actor, segment }.into(),
        })
    }
}
