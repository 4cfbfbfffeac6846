//! The verdicts.

use mm::MmapError;
use units::{Blame, HugeCount, HugeSize, Ledger};

use super::host::{Host, HostPool};
use super::state::{Promised, State};
use super::verdict::{FaultVerdict, GroupCounter, MapRefusal, MapVerdict, Promise, TouchRefusal, Wish};
use crate::NoSuchSize;

/// What `mmap` would say to `wish` on `host`.
#[must_use]
pub fn would_map(host: &Host, wish: &Wish) -> MapVerdict {
    match map(host, wish) {
        Ok(_) => MapVerdict::Maps,
        Err(refusal) => MapVerdict::Refused(refusal),
    }
}

/// What would become of writing to every page of the mapping in turn, if `mmap` succeeded and nobody else did anything
/// meanwhile.
#[must_use]
pub fn would_fault(host: &Host, wish: &Wish) -> FaultVerdict {
    let Ok(Mapped { mut state, pages }) = map(host, wish) else { return FaultVerdict::NotMapped };
    let promised = match wish.promise {
        Promise::AtMap => Promised::Yes,
        Promise::Never => Promised::No,
    };
    let mut left = pages;
    while !left.is_zero() {
        match state.touch(left, promised) {
            Ok(run) => left -= run,
            Err(refusal) => return FaultVerdict::Stops { after: pages - left, refusal },
        }
    }
    FaultVerdict::All
}

/// A mapping that was made.
struct Mapped<'a> {
    state: State<'a>,
    pages: HugeCount,
}

fn map<'a>(host: &'a Host, wish: &Wish) -> Result<Mapped<'a>, MapRefusal> {
    let pool = pool_of(host, wish)?;
    let pages = pages_of(pool.size, wish)?;
    let mut state = State::new(host, pool);
    if wish.promise == Promise::AtMap {
        state.room(GroupCounter::Rsvd, pages)?;
        state.charge(GroupCounter::Rsvd, pages);
        let refused = |refusal| MapRefusal::Mmap(MmapError::Refused(refusal));
        let global = state.take(pages).map_err(|full| refused(full.into()))?;
        state.reserve(global).map_err(refused)?;
    }
    Ok(Mapped { state, pages })
}

/// The pool that a wish is about.
pub(super) fn pool_of<'a>(host: &'a Host, wish: &Wish) -> Result<&'a HostPool, MapRefusal> {
    let size = host.mount.as_ref().map_or_else(|| wish.size.unwrap_or(host.default), |mount| mount.size);
    host.pool(size).ok_or(MapRefusal::NoPool(NoSuchSize(size.into())))
}

/// The pages of a wish.
pub(super) fn pages_of(size: HugeSize, wish: &Wish) -> Result<HugeCount, MmapError> {
    let len = wish.len.round_up(size.bytes()).filter(|len| !len.is_zero()).ok_or(MmapError::NoLength)?;
    Ok(size.count_floor(len))
}

/// What stops a wish first: `mmap`, or a touch.
pub(super) enum Stop {
    Map(MapRefusal),
    Touch { after: HugeCount, refusal: TouchRefusal },
}

pub(super) fn first_stop(host: &Host, wish: &Wish) -> Option<Stop> {
    match (would_map(host, wish), would_fault(host, wish)) {
        (MapVerdict::Refused(refusal), _) => Some(Stop::Map(refusal)),
        (_, FaultVerdict::Stops { after, refusal }) => Some(Stop::Touch { after, refusal }),
        _ => None,
    }
}

impl Stop {
    pub(super) fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Map(refusal) => refusal.ledger(),
            Self::Touch { refusal, .. } => refusal.ledger(),
        }
    }
}
