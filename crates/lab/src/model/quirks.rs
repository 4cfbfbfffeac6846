//! Accounting defects of Linux 6.18 that the model copies on demand.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quirk {
    /// K1: an owner that drops a page which others still map gets the reservation back at once, before the page is free.
    OwnerRestoresAtOnce,
    /// K2: the part of a private mapping that mremap leaves behind loses its reservations for ever, and its group pays on.
    PartialMoveLosesMap,
    /// K3: a refused reservation returns to the mount's minimum while all of it still counts as used.
    RefusalTakesMinimum,
    /// K4: a page that was refused stays counted against the mount's maximum.
    RefusedPageKeepsPlace,
    /// K6: a freed page leaves the pool while there is surplus, even if the reservation that it gives back needs it.
    SurplusFreeIgnoresReservations,
    /// K11: a mount that may not even have a root keeps the minimum that was reserved for it.
    RefusedMountKeepsMinimum,
    /// K12: an owner that takes a page from others looks at its own address, for each area that has the file page: also for another
    /// one of its own, and then loses the page itself.
    StealGoesByAddress,
    /// K13: a page that a limit on memory refuses is given back after its place was told that it has one.
    MemoryRefusedTooLate,
}

impl Quirk {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::OwnerRestoresAtOnce,
        Self::PartialMoveLosesMap,
        Self::RefusalTakesMinimum,
        Self::RefusedPageKeepsPlace,
        Self::SurplusFreeIgnoresReservations,
        Self::RefusedMountKeepsMinimum,
        Self::StealGoesByAddress,
        Self::MemoryRefusedTooLate,
    ];

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// A set of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quirks(u16);

impl Quirks {
    /// None: the sound machine.
    pub const NONE: Self = Self(0);
    /// All: the recorded kernel.
    pub const KERNEL: Self = Self((1 << Quirk::ALL.len()) - 1);

    /// One alone.
    pub const fn only(quirk: Quirk) -> Self {
        Self(quirk.bit())
    }

    /// All of these but one.
    #[must_use]
    pub const fn without(self, quirk: Quirk) -> Self {
        Self(self.0 & !quirk.bit())
    }

    /// Whether it is among them.
    pub const fn has(self, quirk: Quirk) -> bool {
        self.0 & quirk.bit() != 0
    }
}
