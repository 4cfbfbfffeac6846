//! The instance against what a real Linux 6.18 answered, step by step.

use std::path::{Path, PathBuf};

use lab::conform::{Corpus, Report, Totals, Verdict, conform};
use lab::defects;
use lab::instance::Instance;

fn compare(folder: &str, without: &[&str]) -> Report {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(folder);
    let corpus = Corpus::open(&folder).unwrap_or_else(|problem| panic!("{problem}"));
    let without: Vec<String> = without.iter().map(|&feature| feature.to_owned()).collect();
    let corpus = corpus.without(&without).unwrap_or_else(|problem| panic!("{problem}"));
    let report = conform(&corpus, &mut Instance::new(), &mut defects::all());
    let report = report.unwrap_or_else(|problems| panic!("{}", problems[0]));
    for script in &report.scripts {
        assert!(!matches!(script.verdict, Verdict::Different { .. }), "{}: {:?}", script.script, script.verdict);
    }
    report
}

#[test]
fn every_recorded_step_is_equal_or_stopped_by_a_known_defect() {
    let report = compare("linux-6.18", &["subpool", "cgroup", "1G", "demote", "uffd", "shm", "hvo", "seal"]);
    let totals = report.totals();
    assert_eq!((report.scripts.len(), totals.steps), (126, 4685), "the corpus is whole");
    assert!(report.passed(), "{totals:?}");
}

/// The corpora of the repository: folder, what it is, features that are not modelled, scripts and steps compared.
const CORPORA: [(&str, &str, &[&str], usize, usize); 5] = [
    ("linux-6.18", "the corpus: scripts by hand and random ones", &[], 278, 12_096),
    (
        "linux-6.18-probes",
        "scripts that decide what the corpus leaves open, and random ones that nobody looked at while the rules were written",
        &["base_pages", "directory"],
        650,
        21_333,
    ),
    ("linux-6.18-numa", "where pages lie on two nodes, moves and broken memory: by hand and random", &[], 144, 7_463),
    (
        "linux-6.18-nodes",
        "four nodes unequally far apart, one without processors and one without memory: random",
        &[],
        87,
        5_220,
    ),
    ("linux-6.18-memcg", "huge pages as memory of control groups: by hand and random", &[], 85, 4_860),
];

const PAGE: &str = "docs/conformance.md";
const UPDATE: &str = "UPDATE_EXPECT=1 cargo test -p hugefolio-lab --test conformance";

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The kernel that a recording names in its first line.
fn kernel_of(folder: &str, script: &str) -> String {
    let path = project("testdata").join(folder).join("recorded").join(format!("{script}.jsonl"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap_or("")).expect("a line of JSON");
    let release = first["kernel"].as_str().expect("a recording names its kernel");
    release.split('-').next().unwrap_or(release).to_owned()
}

/// The page: a row for each corpus, and a row for each defect that stopped scripts.
fn page(reports: &[Report]) -> String {
    let mut page = String::from(
        "# Conformance\n\nThe library beside what a real kernel answered: result, everything else an operation answers, and all counters, after \
         every\noperation. A script runs until a step differs. If that step is exactly what a \
         [known difference](behaviour/known-differences.md) says, it and\nthe rest of the script are *not judged*; otherwise they are *different*. \
         This page is written by\n[a test](../crates/lab/tests/conformance.rs); `hugefolio conform --recorded testdata/linux-6.18` prints the \
         same figures.\n\n| kernel | recordings | scripts | steps | equal | not judged | different |\n|---|---|---|---|---|---|---|\n",
    );
    for ((folder, what, ..), report) in CORPORA.iter().zip(reports) {
        let kernel = kernel_of(folder, &report.scripts[0].script);
        let Totals { scripts, steps, equal, not_judged, different } = report.totals();
        page += &format!(
            "| {kernel} | [{folder}](../testdata/{folder}/): {what} | {scripts} | {steps} | {equal} | {not_judged} | {different} |\n"
        );
    }
    page += "\nWhat was not judged, by the defect of the kernel that ended the script:\n\n| defect |";
    page += &CORPORA.iter().map(|(folder, ..)| format!(" {folder} |")).collect::<String>();
    page += &format!("\n|{}\n", "---|".repeat(CORPORA.len() + 1));
    let by_defect: Vec<_> = reports.iter().map(Report::not_judged).collect();
    let mut defects: Vec<_> = by_defect.iter().flat_map(|one| one.keys().copied()).collect();
    defects.sort_unstable();
    defects.dedup();
    for defect in defects {
        page += &format!("| {defect} |");
        for one in &by_defect {
            let (scripts, steps) = one.get(&defect).copied().unwrap_or_default();
            page += &format!(" {steps} steps in {scripts} scripts |");
        }
        page += "\n";
    }
    page + "\nEach is told in [kernel-defects](kernel-defects.md).\n"
}

/// Control groups, mount limits, segments, seals, 1 GiB pages, userfaultfd; and everything that was probed.
#[test]
fn every_corpus_conforms_and_the_page_says_so() {
    let reports = CORPORA.map(|(folder, _, without, scripts, steps)| {
        let report = compare(folder, without);
        let totals = report.totals();
        assert_eq!((totals.scripts, totals.steps), (scripts, steps), "{folder} is whole");
        assert!(report.passed(), "{folder}: {totals:?}");
        report
    });
    let (path, page) = (project(PAGE), page(&reports));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &page).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "{PAGE} says otherwise: {UPDATE}");
}
