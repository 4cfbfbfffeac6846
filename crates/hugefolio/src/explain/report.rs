//! The answer in at most eight lines.

use std::fmt;

use hugetlb::{AllocRefusal, Balance, ReserveRefusal, SubpoolFull, SurplusRefusal};
use mm::{MmapError, Share};
use page_alloc::NoPages;
use units::{HugeCount, HugeSize, Ledger};

use super::decide::{Stop, first_stop, pages_of, pool_of, would_fault, would_map};
use super::host::Host;
use super::mend::{Mend, mends};
use super::verdict::{FaultVerdict, GroupCounter, MapRefusal, MapVerdict, OverGroupLimit, Promise, TouchRefusal, Wish};
use crate::errno::ToErrno;

/// Everything there is to say about a wish on a host. It prints in at most eight lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was asked, in words.
    pub wish: String,
    /// What `mmap` would say.
    pub map: MapVerdict,
    /// What would become of the touches.
    pub fault: FaultVerdict,
    /// How many pages the mapping has.
    pub pages: Option<HugeCount>,
    /// The ledger that refuses, or else nothing.
    pub ledger: Option<Ledger>,
    /// The arithmetic that decides.
    pub why: String,
    /// What to change.
    pub mends: Vec<Mend>,
    /// What else to know, the most important first; three at most.
    pub notes: Vec<String>,
}

const MOST_NOTES: usize = 3;

impl Report {
    /// The report about `wish` on `host`.
    #[must_use]
    pub fn new(host: &Host, wish: &Wish) -> Self {
        let stop = first_stop(host, wish);
        let size = pool_of(host, wish).ok().map(|pool| pool.size);
        let pages = size.and_then(|size| pages_of(size, wish).ok());
        let mends = mends(host, wish);
        let mut notes = notes(host, wish, stop.as_ref(), &mends);
        notes.truncate(MOST_NOTES);
        Self {
            wish: words(wish, size, pages),
            map: would_map(host, wish),
            fault: would_fault(host, wish),
            pages,
            ledger: stop.as_ref().and_then(Stop::ledger),
            why: stop.as_ref().map_or_else(|| enough(host, wish), |stop| arithmetic(host, stop)),
            mends,
            notes,
        }
    }

    /// Would everything succeed?
    #[must_use]
    pub fn all_well(&self) -> bool {
        self.fault == FaultVerdict::All
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ask:   {}", self.wish)?;
        match &self.map {
            MapVerdict::Maps => writeln!(f, "mmap:  succeeds")?,
            MapVerdict::Refused(refusal) => writeln!(f, "mmap:  fails with {}", refusal.errno())?,
        }
        match (&self.fault, self.pages) {
            (FaultVerdict::All, _) => writeln!(f, "touch: every page can be touched")?,
            (FaultVerdict::Stops { after, .. }, Some(pages)) => {
                writeln!(f, "touch: {} of {} pages, the next raises SIGBUS", after.get(), pages.get())?;
            }
            _ => writeln!(f, "touch: there is no mapping to touch")?,
        }
        match self.ledger {
            Some(ledger) => writeln!(f, "why:   {ledger}: {}", self.why)?,
            None => writeln!(f, "why:   {}", self.why)?,
        }
        let commands: Vec<String> = self.mends.iter().map(ToString::to_string).collect();
        match (self.all_well(), commands.is_empty()) {
            (true, _) => {}
            (false, true) => writeln!(f, "mend:  nothing here would help")?,
            (false, false) => writeln!(f, "mend:  {}", commands.join(" && "))?,
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note:  {note}"))
    }
}

fn words(wish: &Wish, size: Option<HugeSize>, pages: Option<HugeCount>) -> String {
    let share = if wish.share == Share::Private { "private" } else { "shared" };
    let promise = match wish.promise {
        Promise::AtMap => "reserved by mmap",
        Promise::Never => "MAP_NORESERVE",
    };
    match (size, pages) {
        (Some(size), Some(pages)) => format!("{} pages of {size}, {share}, {promise}", pages.get()),
        _ => {
            let size = wish.size.map_or_else(String::new, |size| format!(" in pages of {size}"));
            format!("{}{size}, {share}, {promise}", wish.len)
        }
    }
}

/// Why it suffices.
fn enough(host: &Host, wish: &Wish) -> String {
    let Ok(pool) = pool_of(host, wish) else { return String::new() };
    let Balance { free, resv, surplus, overcommit } = pool.balance;
    let pages = pages_of(pool.size, wish).unwrap_or_default();
    let short = pool.balance.shortfall(pages);
    let sum = format!("{} asked + {} reserved, {} free", pages.get(), resv.get(), free.get());
    if short.is_zero() {
        return format!("{sum}: enough");
    }
    format!(
        "{sum}: {} surplus pages are made, {} of at most {} are there",
        short.get(),
        surplus.get(),
        overcommit.get()
    )
}

fn arithmetic(host: &Host, stop: &Stop) -> String {
    match stop {
        Stop::Map(MapRefusal::Group(over)) | Stop::Touch { refusal: TouchRefusal::Group(over), .. } => group(over),
        Stop::Map(MapRefusal::Mmap(MmapError::Refused(refusal))) => match refusal {
            ReserveRefusal::Subpool(full) => mount(host, full),
            ReserveRefusal::Pool { asked, free, resv, surplus } => {
                let short = resv.saturating_add(*asked).saturating_sub(*free);
                let sum = format!("{} asked + {} reserved - {} free", asked.get(), resv.get(), free.get());
                format!("{sum} = {} short; {}", short.get(), no_surplus(surplus))
            }
            ReserveRefusal::Cpuset { asked, free } => {
                format!("{} asked, {} free on the nodes allowed ({})", asked.get(), free.get(), host.allowed)
            }
            other => other.to_string(),
        },
        Stop::Touch { refusal: TouchRefusal::Alloc(refusal), .. } => match refusal {
            AllocRefusal::Subpool(full) => mount(host, full),
            AllocRefusal::Pool { free, resv, surplus } => {
                format!("{} free - {} reserved leaves none; {}", free.get(), resv.get(), no_surplus(surplus))
            }
            AllocRefusal::Node { available, surplus } => {
                let nodes = format!("none on the nodes allowed ({})", host.allowed);
                format!("{} available, {nodes}; {}", available.get(), no_surplus(surplus))
            }
            other => other.to_string(),
        },
        Stop::Map(other) => other.to_string(),
    }
}

fn group(over: &OverGroupLimit) -> String {
    let OverGroupLimit { folder, charged, limit, asked, .. } = over;
    format!("{} charged + {} asked > {} allowed by {folder}", charged.get(), asked.get(), limit.get())
}

fn mount(host: &Host, full: &SubpoolFull) -> String {
    let dir = host.mount.as_ref().map_or("", |mount| &mount.dir);
    format!("{} used + {} asked > {} allowed by the mount {dir}", full.used.get(), full.asked.get(), full.max.get())
}

fn no_surplus(refusal: &SurplusRefusal) -> String {
    match refusal {
        SurplusRefusal::Gigantic => "gigantic pages are never surplus".to_owned(),
        SurplusRefusal::Overcommit { surplus, limit } => {
            format!("surplus {} of at most {}", surplus.get(), limit.get())
        }
        SurplusRefusal::NoPages(NoPages::NoBlock(none)) => {
            format!("no free block of 2^{} base pages for a surplus page", none.order.get())
        }
        other => other.to_string(),
    }
}

fn notes(host: &Host, wish: &Wish, stop: Option<&Stop>, mends: &[Mend]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(Stop::Touch { refusal: TouchRefusal::Group(over), .. }) = stop
        && (over.counter, wish.promise) == (GroupCounter::Usage, Promise::AtMap)
    {
        notes.push("mmap asks the limit on reserved pages, a touch the limit on pages in use".to_owned());
    }
    if let (Some(mount), Some(size)) = (&host.mount, wish.size)
        && size != mount.size
    {
        notes.push(format!("a file has the pages of its mount: {} and not {size}", mount.size));
    }
    if mends.iter().any(|mend| matches!(mend, Mend::Mount { .. })) {
        notes.push(
            "limits are set when mounting: a remount succeeds and changes nothing; the new mount hides the old"
                .to_owned(),
        );
    }
    if mends.iter().any(|mend| matches!(mend, Mend::Compact | Mend::Reclaim)) {
        notes.push("how much that yields cannot be told beforehand: ask again after it".to_owned());
    }
    if let Some(limits) = host.mount.as_ref().and_then(|mount| mount.limits)
        && !limits.min.is_zero()
    {
        let left = limits.subpool().rsv().get();
        notes.push(format!(
            "how much of min_size is unspent cannot be seen: {left} of {} pages assumed",
            limits.min.get()
        ));
    }
    if host.groups.is_empty() {
        notes.push("no control group with limits on huge pages can be seen from here".to_owned());
    }
    notes
}
