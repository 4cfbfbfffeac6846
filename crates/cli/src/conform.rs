//! `hugefolio conform`.

use std::io::{self, Write};
use std::path::Path;

use lab::conform::{Corpus, conform as compare};
use lab::defects;
use lab::instance::Instance;
use serde_json::json;

use crate::output::{Output, Status};

/// Compares the instance with the recordings in `folder`.
pub(crate) fn conform(folder: &Path, without: &[String], output: &mut Output) -> io::Result<Status> {
    let corpus = match Corpus::open(folder).and_then(|corpus| corpus.without(without)) {
        Ok(corpus) => corpus,
        Err(problem) => return output.problems(&[problem]),
    };
    let report = match compare(&corpus, &mut Instance::new(), &mut defects::all()) {
        Ok(report) => report,
        Err(problems) => return output.problems(&problems),
    };
    if output.is_json() {
        report.scripts.iter().try_for_each(|script| output.object(&script.to_json()))?;
        let by_defect: serde_json::Map<_, _> = report
            .not_judged()
            .iter()
            .map(|(defect, (scripts, steps))| (defect.to_string(), json!({ "scripts": scripts, "steps": steps })))
            .collect();
        output.object(&json!({ "totals": report.totals(), "defects": by_defect, "ok": report.passed() }))?;
    } else {
        write!(output.stream(), "{report}")?;
    }
    Ok(if report.passed() { Status::Passed } else { Status::Failed })
}
