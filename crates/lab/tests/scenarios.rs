//! Every scenario of the repository holds on the instance, and is written as the formatter would write it.

use std::path::{Path, PathBuf};

use lab::instance::Instance;
use lab::run::{name_of, run};
use lab::scenario::Scenario;

fn scenarios() -> Vec<PathBuf> {
    let files = files_of("scenarios");
    assert!(files.len() >= 40, "only {} scenarios", files.len());
    files.into_iter().chain(files_of("testdata/linux-6.18-cgroup-v1")).collect()
}

fn files_of(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be listed").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "scenario"));
    files.sort();
    files
}

#[test]
fn every_scenario_holds() {
    for file in scenarios() {
        let scenario = Scenario::read(&file).unwrap_or_else(|problems| panic!("{}", problems[0]));
        scenario.check(&file).unwrap_or_else(|problems| panic!("{}", problems[0]));
        let outcome = run(&scenario, &file, &mut Instance::new(), &mut |_| ());
        let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if let Some(failure) = outcome.failures.first() {
            panic!("{}:{}: {failure}", file.display(), failure.line);
        }
    }
}

#[test]
fn every_scenario_is_formatted() {
    for file in scenarios() {
        let scenario = Scenario::read(&file).unwrap_or_else(|problems| panic!("{}", problems[0]));
        let text = std::fs::read_to_string(&file).expect("it was read before");
        assert_eq!(text, scenario.to_string(), "{}: run `hugefolio fmt --write` on it", name_of(&file));
    }
}
