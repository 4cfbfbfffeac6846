//! Every recorded script converts both ways, and every recorded line prints the bytes it was read from.

use std::path::{Path, PathBuf};

use lab::op::Record;
use lab::scenario::Scenario;
use lab::target::RecordedLine;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/linux-6.18").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the corpus is part of the repository")
        .map(|entry| entry.expect("the folder can be listed").path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 278);
    files
}

fn records(json_lines: &str) -> Vec<Record> {
    json_lines.lines().map(|line| serde_json::from_str(line).expect("a line of the corpus is flat JSON")).collect()
}

#[test]
fn scripts_convert_from_json_to_scenario_text_and_back() {
    for file in files("scripts") {
        let script = Scenario::read(&file).unwrap_or_else(|problems| panic!("{}", problems[0]));
        let json = std::fs::read_to_string(&file).unwrap();
        for (ours, theirs) in records(&script.to_json_lines("")).iter().zip(records(&json)) {
            assert!(ours.same(&theirs), "{}: {ours} is not {theirs}", file.display());
        }
        let text = script.to_string();
        let scenario =
            Scenario::parse("text", &text).unwrap_or_else(|problems| panic!("{}: {}", file.display(), problems[0]));
        assert_eq!(scenario.to_string(), text);
        assert_eq!(scenario.header(""), script.header(""));
        assert!(scenario.ops().eq(script.ops()), "{}", file.display());
    }
}

#[test]
fn recordings_print_the_bytes_they_were_read_from() {
    for file in files("recorded") {
        for (number, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            let place = format!("{}:{}", file.display(), number + 1);
            let read = RecordedLine::from_json(line).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(read.to_json(), line, "{place}");
        }
    }
}
