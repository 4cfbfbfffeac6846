//! Limits of a mount: a maximum that everything of its files counts against, and a minimum that is reserved from the start.

use super::world::{Limits, MountId, PAGE};
use super::{Fail, NaiveMachine, Quirk};
use crate::op::MountValue;
use crate::target::FsCounters;

/// A limit as it is written: bytes, or so many hundredths of the persistent pages.
fn pages_of(value: &MountValue, persistent: i64) -> Result<i64, Fail> {
    let invalid = Fail::Errno("EINVAL");
    match value {
        MountValue::Number(bytes) if bytes.signed() < 0 => Err(invalid),
        MountValue::Number(bytes) => Ok(bytes.signed() / PAGE.cast_signed()),
        MountValue::Text(text) if plain(text).is_some() => Ok(plain(text).unwrap_or(0) / PAGE.cast_signed()),
        MountValue::Text(text) => {
            let share: Option<i64> = text.strip_suffix('%').and_then(|digits| digits.parse().ok());
            let share = share.filter(|share| (0..=1000).contains(share));
            Ok(share.ok_or(Fail::NotModelled("mount options other than plain ones"))? * persistent / 100)
        }
    }
}

/// A number written as text, plainly.
fn plain(text: &str) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| digits)
}

impl NaiveMachine {
    /// The limits that a mount asks for, its minimum reserved.
    pub(super) fn new_limits(&mut self, op: &crate::op::Mount) -> Result<Option<Limits>, Fail> {
        let persistent = self.pool.nr() - self.pool.surplus();
        let read = |value: &Option<MountValue>| value.as_ref().map(|value| pages_of(value, persistent)).transpose();
        let (max, min) = (read(&op.size)?, read(&op.min_size)?);
        if max.is_some_and(|max| min.is_some_and(|min| min > max)) {
            return Err(Fail::Errno("EINVAL"));
        }
        let inodes = match &op.nr_inodes {
            None => None,
            Some(MountValue::Number(n)) if n.signed() >= 0 => Some(n.signed()),
            Some(MountValue::Number(_)) => return Err(Fail::Errno("EINVAL")),
            Some(MountValue::Text(text)) => {
                Some(plain(text).ok_or(Fail::NotModelled("mount options other than plain ones"))?)
            }
        };
        let reserved = min.unwrap_or(0);
        if inodes == Some(0) {
            if self.quirks.has(Quirk::RefusedMountKeepsMinimum) {
                let nodes = self.all_nodes();
                self.pool.reserve(reserved, &nodes);
            }
            return Err(Fail::Errno("ENOMEM"));
        }
        let nodes = self.all_nodes();
        if !self.pool.reserve(reserved, &nodes) {
            return Err(Fail::Errno("ENOMEM"));
        }
        Ok(Some(Limits {
            given: max.is_some() || min.is_some(),
            max,
            min: reserved,
            used: 0,
            lendable: reserved,
            inodes,
        }))
    }

    fn limits_mut(&mut self, mount: Option<MountId>) -> Option<&mut Limits> {
        let mount = self.mounts.iter_mut().find(|other| Some(other.id) == mount)?;
        mount.limits.as_mut().filter(|limits| limits.given)
    }

    /// Counts `pages` against a mount: how many reservations they need besides what the minimum lends, or nothing if they are too
    /// many.
    pub(super) fn count_in(&mut self, mount: Option<MountId>, pages: i64) -> Option<i64> {
        let Some(limits) = self.limits_mut(mount) else {
            return Some(pages);
        };
        if let Some(max) = limits.max {
            if limits.used + pages > max {
                return None;
            }
            limits.used += pages;
        }
        let lent = limits.lendable.min(pages);
        limits.lendable -= lent;
        Some(pages - lent)
    }

    /// Counts `pages` out again, `held` of which have a reservation: how many reservations the minimum does not take.
    pub(super) fn count_out(&mut self, mount: Option<MountId>, pages: i64, held: i64) -> i64 {
        let Some(limits) = self.limits_mut(mount) else {
            return held;
        };
        if limits.max.is_some() {
            limits.used -= pages;
            if limits.used >= limits.min {
                return held;
            }
        }
        let taken = held.min(limits.min - limits.lendable).max(0);
        limits.lendable += taken;
        held - taken
    }

    /// As [`count_out`](Self::count_out), and gives the reservations back.
    pub(super) fn give_back(&mut self, mount: Option<MountId>, pages: i64, held: i64) {
        let released = self.count_out(mount, pages, held);
        if released > 0 {
            self.pool.unreserve(released);
        }
    }

    /// A reservation of `pages` is refused, `held` of which the minimum had lent.
    pub(super) fn refuse_reservation(&mut self, mount: Option<MountId>, pages: i64, held: i64) {
        if !self.quirks.has(Quirk::RefusalTakesMinimum) {
            return self.give_back(mount, pages, held);
        }
        self.give_back(mount, held, held);
        if let Some(limits) = self.limits_mut(mount).filter(|limits| limits.max.is_some()) {
            limits.used -= pages - held;
        }
    }

    /// A page is refused that was counted against a mount; `held` says whether the minimum had lent it.
    pub(super) fn refuse_page(&mut self, mount: Option<MountId>, held: i64) {
        let has_max = self.limits_mut(mount).is_some_and(|limits| limits.max.is_some());
        if !has_max || !self.quirks.has(Quirk::RefusedPageKeepsPlace) {
            self.give_back(mount, 1, held);
        } else if held > 0 {
            self.count_out(mount, 1, held);
        }
    }

    /// What statfs says of a mount.
    pub(super) fn statfs(&self, mount: MountId) -> FsCounters {
        let bsize = PAGE.cast_signed();
        let limits = self.mounts.iter().find(|other| other.id == mount).and_then(|mount| mount.limits);
        let Some(limits) = limits.filter(|limits| limits.given) else {
            return FsCounters { bsize, ..FsCounters::default() };
        };
        let (blocks, bfree) = limits.max.map_or((-1, -1), |max| (max, max - limits.used));
        let (files, ffree) = limits.inodes.map_or((-1, -1), |inodes| (inodes, inodes - 1 - self.files_of(mount)));
        FsCounters { bsize, blocks, bfree, bavail: bfree, files, ffree }
    }

    /// How many files a mount has, with a name or without.
    pub(super) fn files_of(&self, mount: MountId) -> i64 {
        super::world::count(self.files.values().filter(|file| file.mount == Some(mount)).count())
    }
}
