//! A machine that is looked at after every step.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hugefolio::Machine;
use hugefolio::text::{Buddyinfo, Pagetypeinfo, Vmstat, Zoneinfo};
use serde_json::Value;

use crate::instance::Instance;
use crate::machine_state::{Limits, SavedMachine};
use crate::op::{About, Op, Record};
use crate::target::{
    Answer, Counters, Header, MachineLine, NodeCounters, PoolCounters, StepResult, Target, diff_fields,
};

/// How many steps a machine that was saved is compared with the one that was loaded.
const SIDE_BY_SIDE: u32 = 8;

/// How often the kernel's files are read and read again.
const FILES_EVERY: u32 = 16;

/// A sum over what happened (FNV-1a).
#[derive(Debug, Clone, Copy)]
pub(super) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

impl Digest {
    pub(super) fn add(&mut self, op: &Op, answer: &Answer, counters: &Counters) {
        let written = write!(self, "{op} {answer} {counters:?}");
        debug_assert!(written.is_ok(), "it takes everything");
    }

    pub(super) const fn sum(self) -> u64 {
        self.0
    }
}

/// A machine, the one that it was loaded from, and what was done.
#[derive(Debug)]
pub(super) struct Watched {
    here: Instance,
    /// The one that was saved, and for how many steps it still goes beside.
    twin: Option<(Instance, u32)>,
    steps: u32,
    /// Memory has broken: some of it stays out of use.
    broke: bool,
}

impl Watched {
    /// A machine as it boots; nothing where there can be no such machine.
    pub(super) fn begin(machine: &MachineLine) -> Result<Option<Self>, String> {
        unless_it_panics(|| {
            let mut here = Instance::new();
            let header = Header { machine: Some(machine.clone()), ..Header::default() };
            if here.begin(&header).is_err() {
                return Ok(None);
            }
            recount(here.machine())?;
            Ok(Some(Self { here, twin: None, steps: 0, broke: false }))
        })
    }

    pub(super) const fn machine(&self) -> &Machine {
        self.here.machine()
    }

    pub(super) fn counters(&mut self) -> Counters {
        self.here.counters()
    }

    /// Does one operation; what is wrong after it.
    pub(super) fn step(&mut self, op: &Op) -> Result<Answer, String> {
        unless_it_panics(|| self.step_and_look(op))
    }

    fn step_and_look(&mut self, op: &Op) -> Result<Answer, String> {
        self.steps += 1;
        self.broke |= matches!(op, Op::Hwpoison(_) | Op::SoftOffline(_) | Op::GmemFail(_));
        reads_back(op)?;
        if matches!(op, Op::Nop(_)) {
            self.save_and_load()?;
        }
        let answer = self.here.step(op);
        if let StepResult::NotModelled(reason) = &answer.result
            && reason.contains("recount")
        {
            return Err(reason.clone());
        }
        recount(self.here.machine())?;
        let counters = self.here.counters();
        sane(&counters)?;
        // Tables of nobody are of no machine, so they are not in what is saved of it.
        let of_machine = op.about() != About::Tables;
        if let Some((twin, left)) = self.twin.as_mut().filter(|_| of_machine) {
            let theirs = twin.step(op);
            same("answer", (&answer.result, &answer.refusal), (&theirs.result, &theirs.refusal))?;
            let mut differences = diff_fields(&answer.extras.fields(), &theirs.extras.fields());
            differences.extend(counters.diff(&twin.counters()));
            if let Some(difference) = differences.first() {
                return Err(format!("the machine that was loaded differs from the one that was saved: {difference}"));
            }
            *left -= 1;
            if *left == 0 {
                self.twin = None;
            }
        }
        if self.steps.is_multiple_of(FILES_EVERY) {
            self.read_files()?;
        }
        Ok(answer)
    }

    /// From here on it is the machine that its text describes.
    fn save_and_load(&mut self) -> Result<(), String> {
        let text = self.here.saved().to_string();
        let bad = |error| format!("the text of a saved machine is refused: {error}");
        // Nobody else wrote it, so that it is read whatever its length.
        let limits = Limits { bytes: text.len(), ..Limits::default() };
        let read = SavedMachine::parse(&text, limits).map_err(bad)?;
        let there = Instance::resumed(&read).map_err(bad)?;
        let again = there.saved();
        if again.to_string() != text {
            return Err(format!("a machine that was loaded is saved in another way:\n{}", read.diff(&again)));
        }
        self.twin = Some((std::mem::replace(&mut self.here, there), SIDE_BY_SIDE));
        Ok(())
    }

    /// Files that the library both writes and reads are the same after that, and every other one can be written.
    fn read_files(&mut self) -> Result<(), String> {
        let _ = self.here.saved_host();
        let mut read = |path: &str| self.here.read_file(path).unwrap_or_default();
        file_reads_back::<Buddyinfo>("/proc/buddyinfo", &read("/proc/buddyinfo"))?;
        file_reads_back::<Pagetypeinfo>("/proc/pagetypeinfo", &read("/proc/pagetypeinfo"))?;
        file_reads_back::<Vmstat>("/proc/vmstat", &read("/proc/vmstat"))?;
        file_reads_back::<Zoneinfo>("/proc/zoneinfo", &read("/proc/zoneinfo"))
    }

    /// Takes everything down and looks that nothing is left.
    pub(super) fn end(&mut self) -> Result<(), String> {
        unless_it_panics(|| self.take_down())
    }

    fn take_down(&mut self) -> Result<(), String> {
        self.here.take_down();
        recount(self.here.machine())?;
        let counters = self.here.counters();
        sane(&counters)?;
        // Who had a page that broke pays for it for ever, and so does the mount that it was of.
        let left = |(field, value): &(String, i64)| !self.broke && left_over(field, *value);
        if let Some((field, value)) = counters.fields().into_iter().find(left) {
            return Err(format!("nobody is left, and {field} is {value}"));
        }
        let state = serde_json::to_value(SavedMachine::of(self.here.machine()).machine).unwrap_or_default();
        if !self.broke && !is_empty(&state["subpools"]) {
            return Err(format!("nobody is left, and there are limits: {}", state["subpools"]));
        }
        for part in ["maps", "mounts", "inodes", "spaces", "gmems", "uffds", "processes", "split"] {
            if !is_empty(&state[part]) {
                return Err(format!("nobody is left, and there are {part}: {}", state[part]));
            }
        }
        if !self.broke && !is_empty(&state["folios"]) && !self.short_of_memory() {
            return Err(format!("nobody is left, and there are folios: {}", state["folios"]));
        }
        Ok(())
    }

    /// Is there so little that the descriptors of a huge page find no place? Then it stays in its pool.
    fn short_of_memory(&self) -> bool {
        let machine = self.here.machine();
        machine.topology().nodes().iter().any(|node| machine.spare_pages(node).get() < 1 << 13)
    }
}

/// What a counter may not be where nobody is left.
fn left_over(field: &str, value: i64) -> bool {
    let counts = ["current", "rsvd", "resv_hugepages", "HugetlbPages", "hugetlb"];
    value > 0 && counts.iter().any(|word| field.ends_with(word))
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(serde_json::Map::is_empty)
        || value.is_null()
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, theirs: T) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    Err(format!(
        "the {what} of the machine that was loaded differs from that of the one that was saved: {ours:?}, {theirs:?}"
    ))
}

fn recount(machine: &Machine) -> Result<(), String> {
    machine.validate().map_err(|broken| format!("the machine recounts: {broken}"))
}

fn unless_it_panics<T>(does: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(does)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("it panics: {}", text.unwrap_or("without a word")))
    })
}

/// What is printed of an operation is that operation, in both forms.
fn reads_back(op: &Op) -> Result<(), String> {
    let (line, record) = (op.to_string(), op.to_record());
    let read = line.parse::<Op>();
    if read.as_ref() != Ok(op) {
        return Err(format!("`{line}` is read as {read:?}"));
    }
    let text = record.to_string();
    let read = serde_json::from_str::<Record>(&text).map_err(|error| format!("{text}: {error}"))?;
    if Op::from_record(&read).as_ref() != Ok(op) {
        return Err(format!("{text} is read as {:?}", Op::from_record(&read)));
    }
    Ok(())
}

fn file_reads_back<T: std::str::FromStr + std::fmt::Display>(path: &str, text: &str) -> Result<(), String>
where
    T::Err: std::fmt::Display,
{
    match text.parse::<T>() {
        Ok(read) if read.to_string() == text => Ok(()),
        Ok(read) => Err(format!("{path} reads back as another text:\n{text}\n{read}")),
        Err(error) => Err(format!("{path} is not read back: {error}\n{text}")),
    }
}

/// What holds of the counters of any kernel.
fn sane(counters: &Counters) -> Result<(), String> {
    let sizes = [
        ("2M", counters.m2, counters.node0_m2, counters.nodes.iter().map(|(_, node)| node.m2).collect::<Vec<_>>()),
        ("1G", counters.g1, counters.node0_g1, counters.nodes.iter().map(|(_, node)| node.g1).collect()),
    ];
    for (size, pool, first, others) in sizes {
        let PoolCounters { nr, free, resv, surplus } = pool;
        let fits = 0 <= resv && resv <= free && free <= nr && 0 <= surplus && surplus <= nr;
        let mut sum = first;
        for NodeCounters { nr, free, surplus } in others {
            sum = NodeCounters { nr: sum.nr + nr, free: sum.free + free, surplus: sum.surplus + surplus };
        }
        if !fits || (sum.nr, sum.free, sum.surplus) != (nr, free, surplus) {
            return Err(format!("the counters of {size} cannot be: {pool:?}, by node {sum:?}"));
        }
    }
    // -1 stands for what a group has no file for, and for a mount without such a limit.
    let may_lack = |field: &str| field.starts_with("cg ") || field.starts_with("fs ");
    match counters.fields().into_iter().find(|(field, value)| *value < -i64::from(may_lack(field))) {
        Some((field, value)) => Err(format!("{field} is {value}")),
        None => Ok(()),
    }
}
