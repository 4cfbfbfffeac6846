//! `docs/coverage.md`: for every operation of the language and every public call of a machine, what tries it. The page is made from what is
//! there, the tables of tests, the generator, the recordings, the scenarios and the sources, and this test looks that it is true.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use lab::generate::{Generator, Profile};
use lab::instance::Instance;
use lab::op::{Op, Scalar, VERBS, Verb};
use lab::scenario::Scenario;
use lab::target::{Header, Target};

use source::{arms, calls, files, functions, is_switch, operations, root, text, tokens};

const PAGE: &str = "docs/coverage.md";

/// What tries something.
#[derive(Clone, Debug, Default)]
struct Tried {
    /// A naive model is compared with the machine: by random operations of the language, or by a model test of its own.
    model: Option<&'static str>,
    /// Each of its steps is refused in turn, or it provably takes none that could be.
    fails: Option<&'static str>,
    /// On threads, under schedules.
    shuttle: bool,
    /// Has a kernel answered it?
    recorded: bool,
    /// Can the running kernel be asked?
    live: bool,
    /// Is it in a scenario?
    scenarios: bool,
}

impl Tried {
    fn cells(&self) -> String {
        let yes = |is: bool| if is { "yes" } else { "-" };
        let kernel = match (self.recorded, self.live) {
            (true, _) => "recorded",
            (false, true) => "live",
            (false, false) => "-",
        };
        let (model, fails) = (self.model.unwrap_or("-"), self.fails.unwrap_or("-"));
        format!("{model} | {fails} | {} | {kernel} | {}", yes(self.shuttle), yes(self.scenarios))
    }

    fn is_nothing(&self) -> bool {
        self.cells().split('|').all(|cell| cell.trim() == "-")
    }
}

fn sources(folder: &str) -> Vec<proc_macro2::TokenTree> {
    files(folder, ".rs").iter().flat_map(|path| tokens(&text(path))).collect()
}

/// The methods of the machine that tests call, in files whose paths below the tests have this in them.
fn called_by_tests(part: &str, on: &[&str]) -> BTreeSet<String> {
    let all = files("crates/hugefolio/tests", ".rs");
    let tests = root().join("crates/hugefolio/tests");
    let chosen = all.iter().filter(|path| path.strip_prefix(&tests).is_ok_and(|p| p.to_string_lossy().contains(part)));
    let none = BTreeMap::new();
    chosen.flat_map(|path| calls(&tokens(&text(path)), on, &none, &mut BTreeSet::new())).collect()
}

/// The verbs of the operations that random tests draw.
fn drawn() -> BTreeSet<String> {
    let mut drawn = BTreeSet::new();
    for profile in Profile::named() {
        for seed in 0..4 {
            let mut generator = Generator::new(seed, profile);
            let mut instance = Instance::new();
            let header = Header { machine: profile.machine(), ..Header::default() };
            instance.begin(&header).expect("there is such a machine");
            for _ in 0..300 {
                let op = generator.next_op();
                drawn.insert(verb_of(&op));
                let answer = instance.step(&op);
                generator.observe(&op, &answer);
            }
        }
    }
    drawn
}

fn verb_of(op: &Op) -> String {
    match op.to_record().get("op") {
        Some(Scalar::Text(verb)) => verb.to_string(),
        _ => String::new(),
    }
}

/// The verbs that stand in scenarios.
fn in_scenarios() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in files("scenarios", ".scenario") {
        let scenario = Scenario::read(&path).unwrap_or_else(|problems| panic!("{}", problems[0]));
        found.extend(scenario.ops().map(verb_of));
    }
    found
}

/// The verbs of scripts that a kernel answered.
fn recorded() -> BTreeSet<String> {
    let mut verbs = BTreeSet::new();
    for path in files("testdata", ".jsonl") {
        if !path.to_string_lossy().contains("/scripts/") {
            continue;
        }
        for line in text(&path).lines() {
            if let Some(rest) = line.split("\"op\": \"").nth(1).or(line.split("\"op\":\"").nth(1)) {
                verbs.insert(rest.split('"').next().unwrap_or_default().to_owned());
            }
        }
    }
    verbs
}

/// The types of operations by their words, as the table of verbs has them: `WhereIs = "where"`.
fn variants() -> BTreeMap<String, String> {
    let mut variants = BTreeMap::new();
    for path in files("crates/lab/src/op/verbs", ".rs") {
        for line in text(&path).lines() {
            if let Some((name, rest)) = line.split_once(" = \"")
                && name.trim().starts_with(|c: char| c.is_ascii_uppercase())
                && let Some((verb, _)) = rest.split_once('"')
            {
                variants.insert(verb.to_owned(), name.trim().to_owned());
            }
        }
    }
    variants
}

/// What the machine is told by each verb.
fn calls_of_verbs(public: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let instance = sources("crates/lab/src/instance");
    let (mut follow, mut done) = (BTreeMap::new(), BTreeMap::new());
    functions(&instance, &mut follow);
    follow.retain(|_, body| !is_switch(body));
    arms(&instance, &mut done);
    let called = |arm: &Vec<_>| {
        let called = calls(arm, &["machine", "m"], &follow, &mut BTreeSet::new());
        called.intersection(public).cloned().collect()
    };
    done.iter().map(|(name, arm)| (name.clone(), called(arm))).collect()
}

struct Evidence {
    variants: BTreeMap<String, String>,
    methods: BTreeSet<String>,
    of_verbs: BTreeMap<String, BTreeSet<String>>,
    drawn: BTreeSet<String>,
    model: BTreeSet<String>,
    fails: BTreeSet<String>,
    quiet: BTreeSet<String>,
    shuttle: BTreeSet<String>,
    recorded: BTreeSet<String>,
    live: BTreeSet<String>,
    scenarios: BTreeSet<String>,
}

impl Evidence {
    fn gather(public: &BTreeSet<(String, String)>) -> Self {
        let methods: BTreeSet<String> = public.iter().map(|(_, method)| method.clone()).collect();
        let quiet = text(&root().join("crates/hugefolio/tests/fault_places/quiet.rs"));
        let quiet = quiet.split('"').filter_map(|part| part.split_once("::")).map(|(_, method)| method.to_owned());
        let mut fails = called_by_tests("fault_places/operations", &["machine", "m"]);
        fails.extend(called_by_tests("fault_places/calls", &["machine", "m"]));
        let mut live = BTreeMap::new();
        arms(&sources("crates/linux/src"), &mut live);
        Self {
            of_verbs: calls_of_verbs(&methods),
            drawn: drawn(),
            model: called_by_tests("model", &["machine"]),
            fails,
            quiet: quiet.collect(),
            shuttle: called_by_tests("shuttle", &["on"]),
            recorded: recorded(),
            live: live.into_keys().collect(),
            scenarios: in_scenarios(),
            variants: variants(),
            methods,
        }
    }

    fn of_call(&self, method: &str) -> Tried {
        let has = |set: &BTreeSet<String>| set.contains(method);
        let fails = if has(&self.quiet) { Some("asks for nothing") } else { has(&self.fails).then_some("yes") };
        Tried { model: has(&self.model).then_some("its own"), fails, shuttle: has(&self.shuttle), ..Tried::default() }
    }

    fn of_verb(&self, of: &Verb) -> (BTreeSet<String>, Tried) {
        let verb = of.name;
        let name = self.variants.get(verb).unwrap_or_else(|| panic!("{verb} is nowhere in the table")).clone();
        let mut called = self.of_verbs.get(&name).cloned().unwrap_or_default();
        if !of.files.is_empty() || verb == "write" {
            called.insert("write_file".to_owned());
        }
        // What is left when all others have an arm of their own.
        if called.is_empty() && self.methods.contains(verb) {
            called.insert(verb.to_owned());
        }
        let mut tried = Tried::default();
        for call in &called {
            let of = self.of_call(call);
            tried.model = tried.model.or(of.model);
            tried.fails = if tried.fails == Some("yes") { tried.fails } else { of.fails.or(tried.fails) };
            tried.shuttle |= of.shuttle;
        }
        if self.drawn.contains(verb) {
            tried.model = Some("random");
        }
        tried.recorded = self.recorded.contains(verb);
        tried.live = self.live.contains(&name);
        tried.scenarios = self.scenarios.contains(verb);
        (called, tried)
    }
}

fn in_monospace(names: &BTreeSet<String>) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

/// The page, and the rows in which nothing stands.
fn page() -> (String, Vec<String>) {
    let public = operations(&sources("crates/hugefolio/src/calls"));
    assert!(public.len() > 100, "the traits are read");
    let evidence = Evidence::gather(&public);
    let mut empty = Vec::new();
    let mut page = HEAD.to_owned();
    let mut by_call: BTreeMap<String, Tried> = BTreeMap::new();
    let mut verbs = VERBS.to_vec();
    verbs.sort_unstable_by_key(|verb| verb.name);
    for of in verbs {
        let verb = of.name;
        let (called, tried) = evidence.of_verb(of);
        if tried.is_nothing() {
            empty.push(verb.to_owned());
        }
        writeln!(page, "| `{verb}` | {} | {} |", in_monospace(&called), tried.cells()).expect("text grows");
        for call in called {
            let of = by_call.entry(call).or_default();
            of.model = of.model.or(tried.model.filter(|model| *model == "random"));
            of.recorded |= tried.recorded;
            of.live |= tried.live;
            of.scenarios |= tried.scenarios;
        }
    }
    page += CALLS_HEAD;
    for (of, method) in &public {
        let mut tried = evidence.of_call(method);
        if let Some(by_verbs) = by_call.get(method) {
            tried.model = by_verbs.model.or(tried.model);
            (tried.recorded, tried.live) = (by_verbs.recorded, by_verbs.live);
            tried.scenarios = by_verbs.scenarios;
        }
        if tried.is_nothing() {
            empty.push(format!("{of}::{method}"));
        }
        writeln!(page, "| `{of}::{method}` | {} |", tried.cells()).expect("text grows");
    }
    (page, empty)
}

const HEAD: &str = "# What tries what

Made by `UPDATE_EXPECT=1 cargo test -p hugefolio-lab --test coverage` from what is there; the test without the variable looks that it is true, and that
no row is empty.

- **model**: compared with a naive model after every step. *random*: the [generator](../crates/lab/src/generate/mod.rs) draws it; *its own*: a model test of the library
  calls it.
- **fail-at-k**: every attempt that it makes is refused in turn ([fault_places](../crates/hugefolio/tests/fault_places/main.rs)), or it is shown that it *asks for nothing*.
- **threads**: called on a thread under [schedules](../crates/hugefolio/tests/shuttle.rs).
- **kernel**: *recorded*: a real Linux has answered it in a script of the test data; *live*: only the running one can be asked.
- **scenarios**: in one of [them](../scenarios/README.md).

## Operations of the language

| operation | calls | model | fail-at-k | threads | kernel | scenarios |
|---|---|---|---|---|---|---|
";

const CALLS_HEAD: &str = "
## Public calls of a machine

Kernel and scenarios are those of the operations above that make the call.

| call | model | fail-at-k | threads | kernel | scenarios |
|---|---|---|---|---|---|
";

#[test]
fn the_page_is_true_and_no_row_is_empty() {
    let (made, empty) = page();
    assert!(empty.is_empty(), "nothing tries {empty:?}");
    let path = root().join(PAGE);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, made).expect("the page can be written");
    } else {
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == made, "make {PAGE} again: UPDATE_EXPECT=1 cargo test -p hugefolio-lab --test coverage");
    }
}

#[test]
fn sources_are_read_as_they_are_meant() {
    let source = "impl I { fn step(&mut self, op: &Op) { match op { Op::A(a) | Op::B(a) => self.both(a), Op::C(_) => match machine.c(1) { _ => () } Op::E(_) => machine.e(), _ => () } \
                  if let Op::D(d) = op { self.machine.d(d) } } fn both(&mut self) { self.machine.both() } }";
    let tokens = tokens(source);
    let (mut found, mut follow) = (BTreeMap::new(), BTreeMap::new());
    arms(&tokens, &mut found);
    functions(&tokens, &mut follow);
    let of =
        |name: &str| calls(&found[name], &["machine"], &follow, &mut BTreeSet::new()).into_iter().collect::<Vec<_>>();
    assert_eq!(["A", "B", "C", "D", "E"].map(of), ["both", "both", "c", "d", "e"].map(|name| vec![name.to_owned()]));
    assert_eq!(variants()["where"], "WhereIs");
}
