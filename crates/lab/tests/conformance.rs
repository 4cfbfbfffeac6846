//! The instance against what a real Linux 6.18 answered, step by step.

use std::path::Path;

use lab::conform::{Corpus, Report, Verdict, conform};
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

/// Control groups, mount limits, seals, 1 GiB pages, userfaultfd.
#[test]
fn all_others_too() {
    let report = compare("linux-6.18", &[]);
    assert!(report.scripts.len() == 278 && report.passed(), "{:?}", report.totals());
}

/// Recorded to decide rules that the corpus leaves open, and random scripts that nobody looked at while the rules were written.
#[test]
fn every_probed_step_is_equal_or_stopped_by_a_known_defect() {
    let report = compare("linux-6.18-probes", &["base_pages", "directory"]);
    let totals = report.totals();
    assert_eq!((report.scripts.len(), totals.steps), (581, 17_220), "the corpus is whole");
    assert!(report.passed(), "{totals:?}");
}
