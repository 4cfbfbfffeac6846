//! Users: a script in four that is about files has some, with mounts that let them in or not.

use super::random::Random;
use super::{Generator, Profile};
use crate::op::{Actor, MmapFlag, Op, PinFor, UserId, Verbatim};

/// Draws of its own, so that scripts without users are what they were.
#[derive(Debug, Clone)]
pub(super) struct Users(Option<Random>);

impl Users {
    pub(super) fn new(seed: u64, profile: Profile) -> Self {
        let some = matches!(profile, Profile::File | Profile::Subpool) && seed % 4 == 1;
        Self(some.then(|| Random::new(seed ^ 0x7573_6572)))
    }

    fn id(random: &mut Random, ids: &[u32]) -> Option<UserId> {
        random.percent(70).then(|| UserId::new(*random.of(ids)))
    }
}

impl Generator {
    /// The user and the group of a new process.
    pub(super) fn user(&mut self) -> (Option<UserId>, Option<UserId>) {
        let Some(random) = &mut self.users.0 else { return (None, None) };
        (Users::id(random, &[1000, 1001]), Users::id(random, &[100, 101]))
    }

    /// Whose the root of a new mount is.
    pub(super) fn root(&mut self) -> Option<Verbatim> {
        let random = self.users.0.as_mut()?;
        let uid = random.of(&[0, 1000, 1001]);
        let gid = random.of(&[0, 100]);
        let mode = random.of(&["1777", "1777", "777", "770", "755", "711", "733", "1775"]);
        Some(Verbatim(format!("uid={uid},gid={gid},mode={mode}")))
    }

    /// Does the operation ask what of users is not modelled: the limit on locked memory, or the owner of a segment?
    pub(super) fn asks_more_of_users(&self, op: &Op) -> bool {
        let more = match op {
            Op::Mlock(_) | Op::Shmat(_) | Op::Shmrm(_) => true,
            Op::Mmap(mmap) => mmap.flags.has(MmapFlag::Locked),
            // What a device keeps counts as locked.
            Op::Pin(pin) => pin.purpose == PinFor::Vfio,
            _ => false,
        };
        more && self.users.0.is_some()
    }

    /// Who does something to a path.
    pub(super) fn by(&mut self) -> Option<Actor> {
        let living: Vec<Actor> = self.view.processes.keys().map(|number| Actor::new(*number)).collect();
        let random = self.users.0.as_mut()?;
        if random.percent(75) { random.any(living) } else { None }
    }
}
