//! The instance against what a real Linux 6.18 answered, step by step.

use std::path::Path;

use lab::conform::{Corpus, Verdict, conform};
use lab::defects;
use lab::instance::Instance;

/// What this machine does not model yet.
const WITHOUT: [&str; 8] = ["subpool", "cgroup", "1G", "demote", "uffd", "shm", "hvo", "seal"];

#[test]
fn every_recorded_step_is_equal_or_stopped_by_a_known_defect() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/linux-6.18");
    let corpus = Corpus::open(&folder).unwrap_or_else(|problem| panic!("{problem}"));
    let corpus = corpus.without(&WITHOUT.map(str::to_owned)).unwrap_or_else(|problem| panic!("{problem}"));
    let report = conform(&corpus, &mut Instance::new(), &mut defects::all());
    let report = report.unwrap_or_else(|problems| panic!("{}", problems[0]));
    for script in &report.scripts {
        assert!(!matches!(script.verdict, Verdict::Different { .. }), "{}: {:?}", script.script, script.verdict);
    }
    let totals = report.totals();
    assert_eq!((report.scripts.len(), totals.steps), (126, 4685), "the corpus is whole");
    assert!(report.passed(), "{totals:?}");
}
