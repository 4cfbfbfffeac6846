//! What each command prints, and its exit code, through the real program.

mod common;

use common::Folder;
use insta::assert_snapshot;

#[test]
fn run_prints_a_ktap_line_for_each_scenario() {
    let folder = Folder::new("run");
    folder.file("all/good.scenario", "nop\n");
    folder.file("all/below/bad.scenario", "machine node=1G\nnop\nexpect free_hugepages = 12345\n");
    folder.file("all/README", "not a scenario");
    let done = folder.run(&["run", "all"]);
    assert_eq!((done.code, done.stderr.as_str()), (1, ""));
    assert_snapshot!(done.stdout, @r"
    KTAP version 1
    1..2
    # all/below/bad.scenario:3: expect free_hugepages = 12345
    #   after:    line 2: nop
    #   expected: = 12345
    #   came:     0
    #   ledger:   none refused
    not ok 1 - bad
    ok 2 - good
    # Totals: pass:1 fail:1 xfail:0 xpass:0 skip:0 error:0
    ");
}

#[test]
fn run_with_trace_prints_every_step_with_its_counters() {
    let folder = Folder::new("trace");
    folder.file("x.scenario", "name shown\nmachine node=1G\nnop\n");
    let done = folder.run(&["run", "--trace", "x.scenario"]);
    assert_eq!(done.code, 0);
    assert_snapshot!(done.stdout, @r"
    KTAP version 1
    1..1
    #    3 nop -> ok
    #        2M nr=0 free=0 resv=0 surplus=0
    ok 1 - shown
    # Totals: pass:1 fail:0 xfail:0 xpass:0 skip:0 error:0
    ");
}

#[test]
fn run_as_json_prints_an_object_for_each_scenario() {
    let folder = Folder::new("run_json");
    folder.file("x.scenario", "machine node=1G\nnop\nexpect refused-by pool\n");
    let done = folder.run(&["run", "--json", "x.scenario"]);
    assert_eq!(done.code, 1);
    let object: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(object["ok"], false);
    assert_eq!(object["failures"][0]["line"], 3);
    assert_eq!(object["failures"][0]["expected"], "refused by pool");
    assert_eq!(object["failures"][0]["came"], "no refusal");
}

/// A machine is saved at the end of one scenario, and another one goes on from there with the names of the first.
#[test]
fn a_run_goes_on_where_another_one_ended() {
    let folder = Folder::new("ends");
    folder.file("first.scenario", "machine node=1G hugepages=4\na0 spawn\na0 mmap A 4M private,anon\n");
    folder.file("second.scenario", "a0 touch A p0 write\nexpect resv_hugepages = 1\n");
    let done = folder.run(&["run", "first.scenario", "--save", "one.json"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let done = folder.run(&["run", "--from", "one.json", "second.scenario", "--save", "two.json"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let done = folder.run(&["diff", "one.json", "two.json"]);
    assert_eq!(done.code, 1);
    assert!(
        done.stdout.contains("- pool 2M resv: 2\n") && done.stdout.contains("+ pool 2M resv: 1\n"),
        "{}",
        done.stdout
    );
    assert_eq!(folder.run(&["diff", "one.json", "one.json"]).code, 0);

    let done = folder.run(&["run", "--from", "one.json", "first.scenario"]);
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("describes a machine, and one was loaded"), "{}", done.stderr);
    let done = folder.run(&["run", "--save", "three.json", "first.scenario", "second.scenario"]);
    assert_eq!(done.code, 2);
    folder.file("bad.json", "{\"version\": 1, \"machine\": 5}");
    let done = folder.run(&["run", "--from", "bad.json", "second.scenario"]);
    assert_eq!((done.code, done.stdout.as_str()), (2, ""));
    assert!(done.stderr.starts_with("bad.json: invalid type: integer `5`"), "{}", done.stderr);
    for words in [vec!["run", "--from", "one.json", "second.scenario"], vec!["diff", "one.json", "two.json"]] {
        let done = folder.run(&[&words[..], &["--limit", "state=1K"]].concat());
        let told = "one.json: the file is longer than 1024 bytes; if you trust it, permit more with --limit, such as --limit state=1G\n";
        assert!(done.code == 2 && done.stderr.starts_with(told), "{}", done.stderr);
    }
}

#[test]
fn with_one_bad_file_nothing_runs() {
    let folder = Folder::new("one_bad");
    folder.file("a.scenario", "nop\n");
    folder.file("b.scenario", "nap\n");
    let done = folder.run(&["run", "."]);
    assert_eq!((done.code, done.stdout.as_str()), (2, ""));
    assert_eq!(done.stderr, "./b.scenario:1:1: unknown operation `nap`; did you mean `nop`?\n");
}

#[test]
fn check_counts_what_a_file_holds() {
    let folder = Folder::new("check");
    folder.file("x.scenario", "a0 spawn\na0 mmap A 2M private,anon\nexpect resv_hugepages = 1\n");
    let done = folder.run(&["check", "x.scenario"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "x.scenario: ok, 2 operations, 1 expectations\n"));
    let done = folder.run(&["--json", "check", "x.scenario"]);
    assert_eq!(done.stdout, "{\"expectations\":1,\"file\":\"x.scenario\",\"ok\":true,\"operations\":2}\n");
}

#[test]
fn fmt_prints_the_canonical_form_and_keeps_comments() {
    let folder = Folder::new("fmt");
    let text =
        "\n\n#first\na0   spawn\n\n\n\na0 mmap A   2097152 private,anon   #why\nset_nr 8 1G\na0 touch A p0..1\n\n";
    let canonical = "# first\na0 spawn\n\na0 mmap A 2M private,anon  # why\n\
                     echo 8 > /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages\na0 touch A p0\n";
    let file = folder.file("x.scenario", text);
    let done = folder.run(&["fmt", "x.scenario"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, canonical));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    assert_eq!(folder.run(&["fmt", "--write", "x.scenario"]).stdout, "x.scenario: formatted\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), canonical);
    assert_eq!(folder.run(&["fmt", "--write", "x.scenario"]).stdout, "x.scenario: unchanged\n");
}

#[test]
fn convert_goes_both_ways() {
    let folder = Folder::new("convert");
    let scenario = "title \"two pages\"\nmachine node=1G hugepages=2\na0 spawn\na0 mmap A 4M private,anon -> ENOMEM\n";
    folder.file("x.scenario", scenario);
    let script = folder.run(&["convert", "x.scenario"]).stdout;
    assert_snapshot!(script, @r#"
    {"script":"x","desc":"two pages","machine":"node=1G hugepages=2"}
    {"op":"spawn","p":0}
    {"op":"mmap","p":0,"m":"A","len":4194304,"flags":"private,anon"}
    "#);
    folder.file("y.jsonl", &script);
    let back = folder.run(&["convert", "y.jsonl"]).stdout;
    let expected = scenario.replace("-> ENOMEM", "-> any").replace("a0 spawn", "a0 spawn -> any");
    assert_eq!(back, format!("name x\n{expected}"));
}

#[test]
fn convert_takes_the_results_of_a_recording() {
    let folder = Folder::new("convert_recorded");
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/linux-6.18");
    let script = format!("{corpus}/scripts/cow_file_no_page.jsonl");
    let done = folder.run(&["convert", &script, "--recorded", &format!("{corpus}/recorded")]);
    assert_eq!(done.code, 0);
    assert!(done.stdout.contains("a1 touch A p0 -> SIGBUS\n"), "{}", done.stdout);
    assert!(done.stdout.contains("\na0 fork a1\n"), "{}", done.stdout);
}

#[test]
fn conform_ends_with_the_counts() {
    let folder = Folder::new("conform");
    let c = r#""c":{"2M":[0,0,0,0],"1G":[0,0,0,0],"n0_2M":[0,0,0],"n0_1G":[0,0,0]}"#;
    folder.file("scripts/one.jsonl", "{\"script\": \"one\", \"desc\": \"\"}\n{\"op\": \"nop\"}\n");
    folder.file("scripts/two.jsonl", "{\"script\": \"two\", \"desc\": \"\"}\n{\"op\": \"nop\"}\n{\"op\": \"nop\"}\n");
    let step = |i: usize, c: &str| format!("{{\"i\":{i},\"op\":\"nop\",\"r\":\"ok\",{c}}}\n");
    let head = |name: &str| format!("{{\"oracle\":1,\"script\":\"{name}\",\"kernel\":\"6.18\",{c}}}\n");
    let end = format!("{{\"end\":1,{c}}}\n");
    folder.file("recorded/one.jsonl", format!("{}{}{end}", head("one"), step(0, c)));
    let other = c.replace("\"2M\":[0,0,0,0]", "\"2M\":[3,0,0,0]");
    folder.file("recorded/two.jsonl", format!("{}{}{}{end}", head("two"), step(0, c), step(1, &other)));
    let entry = |name: &str, steps: usize, feature: &str| {
        format!("{{\"name\":\"{name}\",\"steps\":{steps},\"features\":[\"{feature}\"],\"kind\":\"hand\"}}")
    };
    folder.file("manifest.json", format!("[{},{}]", entry("one", 1, "file"), entry("two", 2, "fork")));

    let done = folder.run(&["conform", "--recorded", "."]);
    assert_eq!(done.code, 1);
    assert_snapshot!(done.stdout, @r"
    two step 1: nop
      2M nr_hugepages: ours 0, theirs 3
    not judged: none
    conform: 2 scripts, 3 steps: 2 equal, 0 not judged, 1 different
    ");
    let done = folder.run(&["conform", "--recorded", ".", "--without", "fork"]);
    assert_eq!(done.code, 0);
    assert!(done.stdout.ends_with("conform: 1 scripts, 1 steps: 1 equal, 0 not judged, 0 different\n"));
    let done = folder.run(&["conform", "--recorded", ".", "--without", "frok"]);
    assert_eq!(done.code, 2);
    assert_eq!(done.stderr, "./manifest.json: no script has the feature `frok`; the features are file, fork\n");
}

#[test]
fn grammar_prints_the_page_and_the_table() {
    let folder = Folder::new("grammar");
    assert!(folder.run(&["grammar"]).stdout.starts_with("# The scenario language\n"));
    let table = folder.run(&["grammar", "--json"]).stdout;
    let verbs: Vec<serde_json::Value> = table.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let touch = verbs.iter().find(|verb| verb["verb"] == "touch").unwrap();
    assert_eq!(touch["usage"], "aN touch MAP PAGES [ACCESS] [poff=...] [= VALUE]");
}
