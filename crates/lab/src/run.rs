//! Runs a scenario on a target and says what did not hold.

use std::fmt;
use std::path::Path;

use hugefolio::text::{Vmstat, VmstatItem};
use serde::Serialize;

use crate::op::{Fstat, Op, Pagemap, SizeName, Smaps, Value};
use crate::scenario::{Expectation, Item, Known, PoolCounter, Query, Scenario, Step};
use crate::target::{Answer, BeginError, Counters, FsCounters, MachineLine, PoolCounters, StepResult, Target};

/// One thing that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The line of the scenario that states it.
    pub line: usize,
    /// That line.
    pub text: String,
    /// The operation it is about, with its line, where that is another line.
    pub after: Option<(usize, String)>,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub came: String,
    /// The ledger that refused the operation.
    pub ledger: Option<&'static str>,
    /// Why it refused.
    pub reason: Option<String>,
}

/// How a scenario went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The operations that were run.
    pub steps: usize,
    /// What did not hold; the scenario ends at the first operation after it.
    pub failures: Vec<Failure>,
}

impl Outcome {
    /// Whether everything held.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// One operation as it was run, for those who want to watch.
#[derive(Debug)]
pub struct Traced<'a> {
    /// Its line.
    pub line: usize,
    /// The operation.
    pub step: &'a Step,
    /// What the target answered.
    pub answer: &'a Answer,
    /// The counters after it.
    pub counters: &'a Counters,
}

/// Runs `scenario` on `target` and ends what it left behind; `watch` sees every operation. `file` names the scenario if it does
/// not name itself.
///
/// # Errors
/// The target cannot be the machine that the scenario wants.
pub fn run(
    scenario: &Scenario,
    file: &Path,
    target: &mut dyn Target,
    watch: &mut dyn FnMut(&Traced<'_>),
) -> Result<Outcome, BeginError> {
    let outcome = play(scenario, file, target, watch)?;
    target.end();
    Ok(outcome)
}

/// As [`run`], and leaves the target in the state that the scenario ends in.
///
/// # Errors
/// The target cannot be the machine that the scenario wants.
pub fn play(
    scenario: &Scenario,
    file: &Path,
    target: &mut dyn Target,
    watch: &mut dyn FnMut(&Traced<'_>),
) -> Result<Outcome, BeginError> {
    let header = scenario.header(&name_of(file));
    target.begin(&header)?;
    let mut run = Run { target, default_size: default_size(&header.machine.unwrap_or_default()), last: None };
    let mut outcome = Outcome::default();
    for line in &scenario.lines {
        match &line.item {
            Item::Step(_) if !outcome.passed() => break,
            Item::Step(step) => {
                outcome.failures.extend(run.step(line.number, step, watch));
                outcome.steps += 1;
            }
            Item::Expect(expectation) => {
                outcome.failures.extend(run.expect(line.number, expectation));
            }
            Item::Blank | Item::Header(_) => {}
        }
    }
    Ok(outcome)
}

/// The name that a file gives to its scenario: its own without the extension.
pub fn name_of(file: &Path) -> String {
    file.file_stem().map_or_else(|| "scenario".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

fn default_size(machine: &MachineLine) -> SizeName {
    let named = machine.boot.iter().find_map(|word| word.strip_prefix("default_hugepagesz="));
    named.and_then(|text| SizeName::from_text(text).ok()).unwrap_or_else(|| machine.arch.default_size())
}

struct Run<'t> {
    target: &'t mut dyn Target,
    default_size: SizeName,
    last: Option<(usize, String, Answer)>,
}

impl Run<'_> {
    fn step(&mut self, line: usize, step: &Step, watch: &mut dyn FnMut(&Traced<'_>)) -> Option<Failure> {
        let answer = self.target.step(&step.op);
        let counters = self.target.counters();
        watch(&Traced { line, step, answer: &answer, counters: &counters });
        let failure = (!step.wanted.allows(&answer.result)).then(|| Failure {
            line,
            text: step.to_string(),
            after: None,
            expected: step.wanted.to_string(),
            came: answer.to_string(),
            ledger: answer.refusal.as_ref().map(|refusal| refusal.ledger.name()),
            reason: answer.refusal.as_ref().map(|refusal| refusal.text.clone()),
        });
        self.last = Some((line, step.to_string(), answer));
        failure
    }

    fn expect(&mut self, line: usize, expectation: &Expectation) -> Option<Failure> {
        let (expected, came) = match expectation {
            Expectation::RefusedBy(ledger) => {
                let refused = self.last.as_ref().and_then(|(.., answer)| answer.refusal.as_ref());
                let came = refused.map_or("no refusal".to_owned(), |refusal| refusal.ledger.to_string());
                if refused.is_some_and(|refusal| refusal.ledger == *ledger) {
                    return None;
                }
                (format!("refused by {ledger}"), came)
            }
            Expectation::Compare { query, comparison, value } => {
                let came = match self.ask(query) {
                    Ok(known) if comparison.holds(&known, value) => return None,
                    Ok(known) => known.to_string(),
                    Err(reason) => reason,
                };
                (format!("{comparison} {value}"), came)
            }
        };
        let last = self.last.as_ref();
        let refusal = last.and_then(|(.., answer)| answer.refusal.as_ref());
        Some(Failure {
            line,
            text: expectation.to_string(),
            after: last.map(|(line, step, _)| (*line, step.clone())),
            expected,
            came,
            ledger: refusal.map(|refusal| refusal.ledger.name()),
            reason: refusal.map(|refusal| refusal.text.clone()),
        })
    }

    /// The value of a query, or why there is none.
    fn ask(&mut self, query: &Query) -> Result<Known, String> {
        match query {
            Query::Pool { counter, size, node } => {
                self.pool(*counter, size.unwrap_or(self.default_size), node.map(crate::op::Node::get))
            }
            Query::Meminfo(counter) => self.pool(*counter, self.default_size, None),
            Query::Cgroup { .. } | Query::Memory { .. } => self.group(query),
            Query::Statfs { mount, field } => {
                let counters = self.target.counters();
                let counters = counters.fs.get(mount.as_str()).ok_or_else(|| format!("there is no mount {mount}"))?;
                Ok(Known::Number(statfs_field(counters, field)))
            }
            Query::Vmstat(item) => self.vmstat(*item),
            Query::Tails => {
                let tails = self.target.shared_tails().ok_or("no tails are shared there")?;
                Ok(Known::Number(i64::try_from(tails).unwrap_or(i64::MAX)))
            }
            Query::File(path) => {
                let text = self.target.read_file(&path.0).ok_or("there is no such file")?;
                Ok(Known::Text(text.trim_end().to_owned()))
            }
            Query::Zone(query) => {
                self.target.ask_zone(query).ok_or_else(|| format!("no line describes this of the zone {}", query.at))
            }
            Query::Guest(query) => self
                .target
                .ask_guest(query)
                .ok_or_else(|| format!("{} has no such file, or not that page", query.actor)),
            Query::Piece(query) => self
                .target
                .ask_piece(query)
                .ok_or_else(|| format!("{} has no such mapping, or nobody can tell", query.actor)),
            Query::Tables(query) => {
                self.target.ask_tables(query).ok_or_else(|| format!("there are no page tables {}", query.tables))
            }
            Query::Event(word) => Ok(self.happened(word)),
            Query::HugetlbPages(actor) => {
                let counters = self.target.counters();
                let kilobytes = counters.hp_kb.get(&actor.number().to_string());
                kilobytes.map(|kb| Known::Number(*kb)).ok_or_else(|| format!("there is no process {actor}"))
            }
            Query::Pagemap { actor, map } => {
                let op = Op::from(Pagemap { actor: *actor, map: map.clone(), page: None, count: None });
                self.answer_to(&op, "pm")
            }
            Query::Smaps { actor, map, field } => {
                let op = Op::from(Smaps { actor: *actor, map: map.clone() });
                let field = match *field {
                    "Shared_Hugetlb" => "shared_kb",
                    "Private_Hugetlb" => "private_kb",
                    field => field,
                };
                self.answer_to(&op, field)
            }
            Query::Fstat { actor, file, field } => {
                self.answer_to(&Op::from(Fstat { actor: *actor, file: file.clone() }), field)
            }
            Query::Last(name) => {
                let (.., answer) = self.last.as_ref().ok_or("there is no operation before")?;
                extra(answer, name)
            }
        }
    }

    fn vmstat(&mut self, item: VmstatItem) -> Result<Known, String> {
        let text = self.target.read_file("/proc/vmstat").ok_or("there is no /proc/vmstat")?;
        let text: Vmstat = text.parse().map_err(|error| format!("/proc/vmstat: {error}"))?;
        let count = text.0.get(item).ok_or("/proc/vmstat does not have it")?;
        Ok(Known::Number(i64::try_from(count).unwrap_or(i64::MAX)))
    }

    /// How often something happened in the last operation.
    fn happened(&self, word: &str) -> Known {
        let events = self.last.as_ref().and_then(|(.., answer)| answer.extras.events.as_deref());
        let is_it = |event: &&str| event.split(' ').next() == Some(word);
        let count = events.map_or(0, |events| events.split("; ").filter(is_it).count());
        Known::Number(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// A counter of a control group, or why there is none.
    fn group(&mut self, query: &Query) -> Result<Known, String> {
        match query {
            Query::Cgroup { cg, size, file } => {
                let counters = self.target.counters();
                let sizes = counters.cg.get(cg.as_str()).ok_or_else(|| format!("there is no control group {cg}"))?;
                let of_size = if *size == SizeName::G1 { sizes.g1 } else { sizes.m2 };
                Ok(Known::Number(match *file {
                    "current" => of_size.current,
                    "rsvd.current" => of_size.rsvd,
                    "events max" => of_size.events_max,
                    _ => of_size.events_local_max,
                }))
            }
            Query::Memory { cg, file } => {
                let counters = self.target.counters();
                let sizes = counters.cg.get(cg.as_str()).ok_or_else(|| format!("there is no control group {cg}"))?;
                let memory = sizes.memory.ok_or("no memory is accounted there")?;
                Ok(Known::Number(match *file {
                    "stat hugetlb" => memory.hugetlb,
                    "events max" => memory.events_max,
                    _ => memory.events_local_max,
                }))
            }
            _ => Err("this is no counter of a control group".to_owned()),
        }
    }

    fn answer_to(&mut self, op: &Op, field: &str) -> Result<Known, String> {
        let answer = self.target.step(op);
        if answer.result.is_ok() { extra(&answer, field) } else { Err(answer.to_string()) }
    }

    fn pool(&mut self, counter: PoolCounter, size: SizeName, node: Option<u32>) -> Result<Known, String> {
        let counters = self.target.counters();
        let pool = match size {
            SizeName::M2 | SizeName::Default => Some((counters.m2, counters.node0_m2)),
            SizeName::G1 => Some((counters.g1, counters.node0_g1)),
            SizeName::Log(_) => None,
        };
        let of_node0 = |node0: crate::target::NodeCounters| match counter {
            PoolCounter::Nr => Some(node0.nr),
            PoolCounter::Free => Some(node0.free),
            PoolCounter::Surplus => Some(node0.surplus),
            PoolCounter::Resv => None,
        };
        let known = match (pool, node) {
            (Some((pool, _)), None) => Some(pool_counter(pool, counter)),
            (Some((_, node0)), Some(0)) => of_node0(node0),
            _ => self.pool_file(counter, size, node),
        };
        known.map(Known::Number).ok_or_else(|| "there is no such counter".to_owned())
    }

    fn pool_file(&mut self, counter: PoolCounter, size: SizeName, node: Option<u32>) -> Option<i64> {
        let folder = match node {
            Some(node) => format!("/sys/devices/system/node/node{node}"),
            None => "/sys/kernel/mm".to_owned(),
        };
        let kilobytes = 1u64.checked_shl(u32::from(size.log2()?.checked_sub(10)?))?;
        let path = format!("{folder}/hugepages/hugepages-{kilobytes}kB/{}", counter.sysfs_name());
        self.target.read_file(&path)?.trim_end().parse().ok()
    }
}

fn pool_counter(pool: PoolCounters, counter: PoolCounter) -> i64 {
    match counter {
        PoolCounter::Nr => pool.nr,
        PoolCounter::Free => pool.free,
        PoolCounter::Resv => pool.resv,
        PoolCounter::Surplus => pool.surplus,
    }
}

fn statfs_field(counters: &FsCounters, field: &str) -> i64 {
    match field {
        "f_bsize" => counters.bsize,
        "f_blocks" => counters.blocks,
        "f_bfree" => counters.bfree,
        "f_bavail" => counters.bavail,
        "f_files" => counters.files,
        _ => counters.ffree,
    }
}

fn extra(answer: &Answer, name: &str) -> Result<Known, String> {
    let fields = answer.extras.fields();
    let field = fields.into_iter().find(|(field, _)| *field == name);
    let (_, text) = field.ok_or_else(|| format!("the operation answers no `{name}`"))?;
    let is_text = ["rd", "vec", "pm", "lim", "numa", "steps"].contains(&name);
    match text.parse() {
        Ok(number) if !is_text => Ok(Known::Number(number)),
        _ => Ok(Known::Text(text)),
    }
}

impl fmt::Display for Answer {
    /// The result, and what else the operation answered.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.result)?;
        if let StepResult::NotModelled(reason) = &self.result {
            write!(f, " ({reason})")?;
        }
        self.extras.fields().iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl fmt::Display for Failure {
    /// Several lines: the line as it is written, what was expected, what came, and the ledger.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        if let Some((line, step)) = &self.after {
            writeln!(f, "  after:    line {line}: {step}")?;
        }
        writeln!(f, "  expected: {}", self.expected)?;
        writeln!(f, "  came:     {}", self.came)?;
        match (self.ledger, &self.reason) {
            (Some(ledger), Some(reason)) => write!(f, "  ledger:   {ledger}: {reason}"),
            _ => f.write_str("  ledger:   none refused"),
        }
    }
}

impl fmt::Display for Traced<'_> {
    /// The operation with its answer, the counters, and the ledger if one refused.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4} {} -> {}\n       {}", self.line, self.step.op, self.answer, self.counters)?;
        match &self.answer.refusal {
            Some(refusal) => write!(f, "\n       refused by {}: {}", refusal.ledger, refusal.text),
            None => Ok(()),
        }
    }
}
