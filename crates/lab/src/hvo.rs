//! Descriptors of huge pages on two targets, counted before and after pools grow and shrink.

use std::fmt;

use hugefolio::text::{HugetlbMeminfo, Vmstat, VmstatItem, Zoneinfo};

use crate::op::Op;
use crate::target::Target;

/// The switch.
pub const KNOB: &str = "/proc/sys/vm/hugetlb_optimize_vmemmap";

/// Pages whose descriptors were given back before, and had again, are described by pages of the allocator: the count of boot falls the first time only. Which
/// pages a pool gets is the page allocator's choice, and a host has a past.
pub const PAST: &str = "frames-with-a-past";

/// The running kernel maps the tails of a huge page to its own first page. Here they read a tail that all share, which costs one page for each zone and size as
/// long as somebody reads it.
pub const OLDER_SCHEME: &str = "older-tail-scheme";

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `nr_memmap_pages`.
    pub allocated: i64,
    /// `nr_memmap_boot_pages`.
    pub boot: i64,
    /// Pages that all zones manage.
    pub managed: i64,
    /// `HugePages_Total`.
    pub total: i64,
    /// `HugePages_Free`.
    pub free: i64,
    /// `Hugetlb`, in kB.
    pub hugetlb: i64,
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Seen {
    /// Reads it off a target's files.
    ///
    /// # Errors
    /// A file is missing, or is not what it should be.
    pub fn of(target: &mut dyn Target) -> Result<Self, String> {
        let mut read = |path: &str| target.read_file(path).ok_or_else(|| format!("there is no {path}"));
        let vmstat: Vmstat = read("/proc/vmstat")?.parse().map_err(|error| format!("/proc/vmstat: {error}"))?;
        let meminfo: HugetlbMeminfo =
            read("/proc/meminfo")?.parse().map_err(|error| format!("/proc/meminfo: {error}"))?;
        let zones: Zoneinfo = read("/proc/zoneinfo")?.parse().map_err(|error| format!("/proc/zoneinfo: {error}"))?;
        let item = |item| vmstat.0.get(item).map(signed).ok_or_else(|| format!("/proc/vmstat has no {item:?}"));
        Ok(Self {
            allocated: item(VmstatItem::NrMemmapPages)?,
            boot: item(VmstatItem::NrMemmapBootPages)?,
            managed: signed(zones.0.iter().map(|zone| zone.pages.managed.get()).sum()),
            total: signed(meminfo.total.get()),
            free: signed(meminfo.free.get()),
            hugetlb: signed(meminfo.hugetlb.get() >> 10),
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            allocated: self.allocated - before.allocated,
            boot: self.boot - before.boot,
            managed: self.managed - before.managed,
            total: self.total - before.total,
            free: self.free - before.free,
            hugetlb: self.hugetlb - before.hugetlb,
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allocated, boot, managed, total, free, hugetlb } = self;
        write!(f, "nr_memmap_pages {allocated:+} nr_memmap_boot_pages {boot:+} managed {managed:+}")?;
        write!(f, " HugePages_Total {total:+} HugePages_Free {free:+} Hugetlb {hugetlb:+} kB")
    }
}

/// What is written, one after the other.
pub const STEPS: [&str; 14] = [
    "set_hvo 1",
    "set_nr 1",
    "set_nr 5",
    "set_nr 13",
    "set_nr 9",
    "set_hvo 0",
    "set_nr 17",
    "set_nr 3",
    "set_nr 0",
    "set_nr 8",
    "set_hvo 1",
    "set_nr 12",
    "set_nr 0",
    "set_hvo 0",
];

/// The same with a page of 1 GiB, where there are such.
pub const GIGANTIC_STEPS: [&str; 4] = ["set_hvo 1", "set_nr 1 1G", "set_nr 0 1G", "set_hvo 0"];

/// How the two compare after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every number moved alike.
    Equal,
    /// They differ as is known by this name.
    Known(&'static str),
    /// They differ otherwise.
    Different,
}

/// One step on both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was written.
    pub op: &'static str,
    /// How far the kernel's numbers moved.
    pub kernel: Seen,
    /// And the machine's.
    pub machine: Seen,
    /// How these compare.
    pub verdict: Verdict,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, kernel, machine, verdict } = self;
        match verdict {
            Verdict::Equal => write!(f, "equal {op}: {kernel}"),
            Verdict::Known(name) => write!(f, "{name} {op}: {kernel}; on the machine {machine}"),
            Verdict::Different => write!(f, "different {op}: {kernel}; on the machine {machine}"),
        }
    }
}

/// Compares how far the numbers moved. Descriptors of boot that become the allocator's are managed from then on, on both.
#[must_use]
pub fn compare(kernel: Seen, machine: Seen) -> Verdict {
    if kernel == machine {
        return Verdict::Equal;
    }
    let whole = |seen: Seen| seen.boot <= 0 && seen.managed == -seen.boot;
    let alike = |seen: Seen| Seen { allocated: seen.allocated + seen.boot, boot: 0, managed: 0, ..seen };
    if alike(kernel) == alike(machine) && whole(kernel) && whole(machine) {
        return Verdict::Known(PAST);
    }
    Verdict::Different
}

/// Does the steps on both.
///
/// # Errors
/// A target cannot say what it counts, or refuses a step.
pub fn run(kernel: &mut dyn Target, machine: &mut dyn Target, steps: &[&'static str]) -> Result<Vec<Step>, String> {
    let mut before = (Seen::of(kernel)?, Seen::of(machine)?);
    let mut done = Vec::new();
    for &op in steps {
        let parsed: Op = op.parse().map_err(|error| format!("{op}: {error}"))?;
        write(kernel, &parsed)?;
        write(machine, &parsed)?;
        let after = (Seen::of(kernel)?, Seen::of(machine)?);
        let (of_kernel, of_machine) = (after.0.since(before.0), after.1.since(before.1));
        done.push(Step { op, kernel: of_kernel, machine: of_machine, verdict: compare(of_kernel, of_machine) });
        before = after;
    }
    Ok(done)
}

fn write(target: &mut dyn Target, op: &Op) -> Result<(), String> {
    let result = target.step(op).result;
    if result.is_ok() { Ok(()) } else { Err(format!("{op} on the {}: {result}", target.name())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Instance;

    const NONE: Seen = Seen { allocated: 0, boot: 0, managed: 0, total: 0, free: 0, hugetlb: 0 };

    /// As a Linux 6.18 counted four pages that were never optimised before, and four that were.
    #[test]
    fn a_past_is_known_and_a_page_too_few_is_not() {
        let four = Seen { total: 4, free: 4, hugetlb: 8192, ..NONE };
        let fresh = Seen { allocated: 4, boot: -32, managed: 32, ..four };
        let known = Seen { allocated: -28, ..four };
        assert_eq!(compare(fresh, fresh), Verdict::Equal);
        assert_eq!(compare(known, fresh), Verdict::Known(PAST));
        assert_eq!(compare(Seen { allocated: -27, ..known }, fresh), Verdict::Different);
        assert_eq!(compare(Seen { managed: 31, ..fresh }, known), Verdict::Different);
        assert_eq!(compare(Seen { free: 3, ..known }, fresh), Verdict::Different);
    }

    #[test]
    fn a_machine_is_like_another() {
        let steps = [&STEPS[..], &GIGANTIC_STEPS].concat();
        let done = run(&mut Instance::new(), &mut Instance::new(), &steps).expect("both count");
        assert!(done.iter().all(|step| step.verdict == Verdict::Equal), "{done:?}");
        let moved: Vec<i64> = done.iter().map(|step| step.kernel.allocated + step.kernel.boot).collect();
        assert_eq!(moved[1..5], [-7, -28, -56, 28], "seven pages for each of 2 MiB");
        assert_eq!(moved[15..17], [-4095, 4095]);
    }
}
