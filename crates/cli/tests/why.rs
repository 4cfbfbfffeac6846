//! `hugefolio why`.

use std::process::{Command, Output};

fn why(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hugefolio")).arg("why").args(arguments).output().expect("the program runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_untouched_machine_has_windows() {
    let output = why(&[]);
    assert!(output.status.success());
    assert!(text(&output).contains(" windows of 262144 pages: 23 free, 23 that can be had\n"), "{}", text(&output));
    let output = why(&["--size", "1G", "--pfn", "0"]);
    assert_eq!(output.status.code(), Some(1));
    // The first GiB of a PC has two zones.
    assert!(text(&output).contains("online-memory: "), "{}", text(&output));
}

#[test]
fn a_leftover_of_a_demoted_page_is_named() {
    let scenario =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/leftovers-of-demotion-block-their-window.scenario");
    let output = why(&["--scenario", scenario, "--candidates", "4", "--json"]);
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    let all = object["candidates"].as_array().expect("candidates");
    let mends = all.iter().flat_map(|c| c["obstacles"].as_array().into_iter().flatten()).map(|o| o["mend"].as_str());
    assert!(mends.flatten().any(|mend| mend == "shrink-pool" || mend == "let-go"), "{object}");
}

#[test]
fn what_is_no_size_is_said() {
    let output = why(&["--size", "3M"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no size of a page"));
    assert_eq!(why(&["--pfn", "99999999999"]).status.code(), Some(2));
}
