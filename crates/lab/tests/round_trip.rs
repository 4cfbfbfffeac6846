//! Whatever an operation, a line or a scenario holds, printing it and reading it back gives the same.

use lab::op::{Draws, Op, Record, VERBS};
use lab::scenario::{Format, Item, Scenario, Step, Wanted};
use lab::target::StepResult;
use proptest::prelude::*;

fn steps(bytes: &[u8]) -> Vec<Step> {
    let mut draws = Draws::new(bytes);
    let mut steps = Vec::new();
    while !draws.is_spent() {
        let op = Op::draw(&mut draws);
        let wanted = match draws.byte() % 4 {
            0 => Wanted::Any,
            1 => Wanted::Result(StepResult::Errno("ENOMEM".to_owned())),
            2 => Wanted::Result(StepResult::Sigbus),
            _ => Wanted::OK,
        };
        steps.push(Step { op, wanted });
    }
    steps
}

proptest! {
    #[test]
    fn a_scenario_reads_back_from_its_text(bytes in proptest::collection::vec(any::<u8>(), 1..400)) {
        let scenario = Scenario::of(steps(&bytes).into_iter().map(Item::Step));
        let _checked = scenario.check(std::path::Path::new("drawn"));
        let text = scenario.to_string();
        let read = Scenario::parse("printed", &text).map_err(|problems| TestCaseError::fail(problems[0].to_string()))?;
        prop_assert_eq!(&read, &scenario, "{}", text);
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn an_operation_reads_back_from_its_record(bytes in proptest::collection::vec(any::<u8>(), 1..40)) {
        let op = Op::draw(&mut Draws::new(&bytes));
        let line = op.to_record().to_string();
        let record: Record = serde_json::from_str(&line).expect("a record prints as JSON");
        prop_assert_eq!(Op::from_record(&record), Ok(op), "{}", line);
    }

    #[test]
    fn printing_what_was_read_is_a_fixpoint(text in "[ -~\n]{0,200}") {
        if let Ok(scenario) = Scenario::parse("random", &text) {
            let once = scenario.to_string();
            let twice = Scenario::parse("printed", &once).map_err(|problems| TestCaseError::fail(problems[0].to_string()))?;
            prop_assert_eq!(twice.to_string(), once);
        }
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let path = std::path::Path::new("bytes");
        for format in [Format::Scenario, Format::JsonLines] {
            let _read = Scenario::read_from(path, format, &bytes[..]).map(|scenario| scenario.check(path));
        }
    }
}

#[test]
fn every_verb_is_drawn() {
    let mut seen = vec![false; VERBS.len()];
    for first in 0..=u8::MAX {
        let verb = Op::draw(&mut Draws::new(&[first, 3, 141, 59, 26, 53, 58, 97, 93, 23, 84])).verb();
        seen[VERBS.iter().position(|known| *known == verb).unwrap()] = true;
    }
    assert!(seen.iter().all(|seen| *seen));
}
