//! The scenarios that the documents show hold.

use std::path::Path;

use lab::instance::Instance;
use lab::run::run;
use lab::scenario::Scenario;

/// Each fenced block of scenario text, with its first line in the page.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in page.lines().enumerate() {
        match (open, line) {
            (false, "```scenario") => {
                blocks.push((number + 2, String::new()));
                open = true;
            }
            (true, "```") => open = false,
            (true, line) => {
                let (_, text) = blocks.last_mut().expect("a block is open");
                text.push_str(line);
                text.push('\n');
            }
            (false, _) => {}
        }
    }
    blocks
}

#[test]
fn every_scenario_of_the_readme_holds() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let blocks = blocks(&std::fs::read_to_string(page).expect("the project has a README"));
    assert!(!blocks.is_empty(), "the README shows a scenario");
    for (line, text) in blocks {
        let name = format!("README.md:{line}");
        let scenario = Scenario::parse(&name, &text).unwrap_or_else(|problems| panic!("{}", problems[0]));
        assert_eq!(scenario.to_string(), text, "{name}: the canonical form");
        let file = Path::new(&name);
        scenario.check(file).unwrap_or_else(|problems| panic!("{}", problems[0]));
        let outcome = run(&scenario, file, &mut Instance::new(), &mut |_| {}).expect("the machine can be built");
        assert_eq!(outcome.failures, [], "{name}");
    }
}
