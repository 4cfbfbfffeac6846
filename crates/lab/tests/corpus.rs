//! Every recorded script converts both ways, and every recorded line prints the bytes it was read from.

use std::path::{Path, PathBuf};

use lab::op::{Op, Record};
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

#[test]
fn scripts_convert_from_json_to_scenario_text_and_back() {
    for file in files("scripts") {
        for (number, line) in
            std::fs::read_to_string(&file).expect("the corpus is part of the repository").lines().enumerate().skip(1)
        {
            let place = format!("{}:{}", file.display(), number + 1);
            let record: Record = serde_json::from_str(line).unwrap();
            let op = Op::from_record(&record).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert!(op.to_record().same(&record), "{place}: {} is not {record}", op.to_record());
            let text = op.to_string();
            assert_eq!(Op::from_text(&text).unwrap_or_else(|error| panic!("{place}: {text}: {error}")), op, "{place}");
        }
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
