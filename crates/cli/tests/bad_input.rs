//! Bad input: a message with file, line, column and the mend, exit code 2, never a panic, never much memory.

mod common;

#[cfg(unix)]
use std::process::Command;

use common::Folder;

/// File name, content, where the problem is, and what the message must say.
type Row = (&'static str, &'static [u8], &'static str, &'static str);

const SCENARIOS: &[Row] = &[
    ("unknown_operation", b"a0 spawn\na0 mumap A 0..2M\n", "2:4", "unknown operation `mumap`; did you mean"),
    ("no_operation", b"a0 spawn\na0\n", "2:1", "there is no operation here"),
    ("unknown_knob_form", b"echo 8 /proc/sys/vm/nr_hugepages\n", "1:1", "write `echo VALUE > FILE`"),
    ("bad_size", b"a0 spawn\na0 mmap A 2Q private,anon\n", "2:11", "`2Q` is not a size; `len` of `mmap` is a size"),
    ("size_out_of_range", b"a0 spawn\na0 mmap A 99999999999G shared\n", "2:11", "`99999999999G` is out of range"),
    ("bad_flag", b"a0 spawn\na0 mmap A 2M privat,anon\n", "2:14", "`privat` is not a mapping flag"),
    ("bad_flag_mend", b"a0 spawn\na0 mmap A 2M privat,anon\n", "2:14", "did you mean `private`?"),
    (
        "bad_page",
        b"a0 spawn\na0 touch A 3\n",
        "2:12",
        "`3` is not a page; `pages` of `touch` is huge pages, such as p3",
    ),
    ("backward_range", b"a0 spawn\na0 munmap A 4M..2M\n", "2:13", "`4M..2M` ends before it begins"),
    ("missing_argument", b"a0 spawn\na0 munmap A\n", "2:1", "`munmap` needs `range`: a byte range, such as 0..2M"),
    ("unknown_argument", b"a0 spawn\na0 spawn cgg=g0\n", "2:10", "`spawn` has no argument `cgg`; did you mean `cg`?"),
    ("argument_twice", b"a0 spawn cg=g0 cg=g1\n", "1:16", "`cg` is given twice; keep one"),
    ("unknown_process", b"a0 spawn\na1 exit\n", "2:1", "starts the process a1; add `a1 spawn`"),
    ("unknown_process_in_query", b"nop\nexpect a3 HugetlbPages = 0 kB\n", "2:1", "add `a3 spawn`"),
    ("process_beyond_the_last", b"a16 spawn\n", "1:1", "the processes are a0 to a15"),
    ("process_out_of_range", b"a99999999 spawn\n", "1:1", "the processes are a0 to a15"),
    ("no_process", b"touch A p0\n", "1:1", "`touch` is done by a process, and none is named; write `a0 touch"),
    ("process_too_many", b"a0 nop\n", "1:1", "leave out `a0`"),
    ("misaligned_offset", b"a0 spawn\na0 mmap A 2M shared file=F off=4097\n", "2:1", "4097 is not a multiple of 2M"),
    ("misaligned_length", b"a0 spawn\na0 ftruncate F 12K\n", "2:1", "12K is not a multiple of 2M"),
    ("bad_result", b"nop -> enomem\n", "1:8", "`enomem` is not a result; write `ok`"),
    ("result_not_last", b"nop -> ok ok\n", "1:5", "one result and nothing else"),
    ("open_string", b"mount M opts=\"size=1\n", "1:14", "close it with a double quote"),
    ("control_character", b"nop \x1b[0m\n", "1:5", "control character"),
    ("late_header", b"nop\nmachine node=1G\n", "2:1", "`machine` stands once, and before the first operation"),
    ("unknown_parameter", b"machine hugepage=4\nnop\n", "1:9", "did you mean `hugepages`?"),
    ("bad_node", b"machine node=lots\nnop\n", "1:9", "write a size, such as node=24G"),
    ("bad_arch", b"machine arch=arm\nnop\n", "1:9", "`arm` is not an architecture; write one of x86-64, arm64,"),
    ("unknown_query", b"nop\nexpect free_hugepags = 3\n", "2:8", "did you mean `free_hugepages`?"),
    ("no_comparison", b"nop\nexpect free_hugepages\n", "2:22", "the expectation compares nothing"),
    ("unknown_ledger", b"nop\nexpect refused-by pol\n", "2:19", "did you mean `pool`?"),
    ("not_utf8", b"a0 spawn\nnop \xff\xfe\n", "2:5", "not UTF-8; save the file as UTF-8 text"),
    ("empty", b"", "1:1", "the file holds no operation; write at least one"),
    ("only_comments", b"# nothing\n\n# here\n", "1:1", "the file holds no operation"),
];

const SCRIPTS: &[Row] = &[
    ("unknown_operation", b"{\"op\": \"mmep\", \"p\": 0}\n", "1:2", "unknown operation `mmep`; did you mean `mmap`?"),
    ("no_operation", b"{\"p\": 0}\n", "1:1", "there is no operation here"),
    ("truncated", b"{\"op\": \"nop\"}\n{\"op\": \"spawn\", \"p\": \n", "2:", "write one whole object a line"),
    ("truncated_string", b"{\"op\": \"spa", "1:", "write one whole object a line"),
    ("not_json", b"spawn 0\n", "1:", "write one flat JSON object a line"),
    ("unknown_key", b"{\"op\": \"spawn\", \"p\": 0, \"cgg\": \"g\"}\n", "1:25", "did you mean `cg`?"),
    ("key_twice", b"{\"op\": \"spawn\", \"p\": 0, \"p\": 1}\n", "1:", "key `p` is given twice; keep one"),
    ("nested", b"{\"op\": \"spawn\", \"p\": [0]}\n", "1:", "script lines are flat"),
    (
        "negative_page",
        b"{\"op\":\"spawn\",\"p\":0}\n{\"op\":\"touch\",\"p\":0,\"m\":\"A\",\"pg\":-1}\n",
        "2:29",
        "the number -1 is out of range",
    ),
    ("huge_number", b"{\"op\": \"nop\"}\n{\"op\": \"spawn\", \"p\": 99999999999999999999999}\n", "2:", "number"),
    (
        "beyond_u64",
        b"{\"op\": \"nop\"}\n{\"op\": \"munmap\", \"p\": 0, \"m\": \"a\", \"off\": 0, \"len\": 18446744073709551616}\n",
        "2:",
        "number",
    ),
    ("fraction", b"{\"op\": \"spawn\", \"p\": 0.5}\n", "1:", "a whole number or a string"),
    ("process_out_of_range", b"{\"op\": \"spawn\", \"p\": 70000}\n", "1:17", "70000 is not a process number"),
    ("unknown_process", b"{\"op\": \"exit\", \"p\": 3}\n", "1:1", "starts the process a3"),
    ("both_values", b"{\"op\": \"set_hvo\", \"n\": 1, \"raw\": \"1\"}\n", "1:19", "both `n` and `raw` are given"),
    ("wrong_type", b"{\"op\": \"mount\", \"mnt\": 3}\n", "1:17", "3 is a number where a string is expected"),
    ("not_utf8", b"{\"op\": \"nop\xff\"}\n", "1:12", "not UTF-8"),
    ("empty", b"\n\n", "1:1", "the file holds no operation"),
];

fn refused(folder: &Folder, file: &str, place: &str, message: &str) {
    for command in ["check", "run"] {
        let done = folder.run(&[command, file]);
        assert_eq!(done.code, 2, "{command} {file}: {}{}", done.stdout, done.stderr);
        assert_eq!(done.stdout, "", "{command} {file}");
        let first = done.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("{file}:{place}")), "{command}: {first}");
        assert!(first.contains(message), "{command}: {first}");
        assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    }
}

#[test]
fn bad_scenarios_are_refused_where_they_are_wrong() {
    let folder = Folder::new("bad_scenarios");
    for (name, content, place, message) in SCENARIOS {
        let file = format!("{name}.scenario");
        folder.file(&file, content);
        refused(&folder, &file, place, message);
    }
}

#[test]
fn bad_scripts_are_refused_where_they_are_wrong() {
    let folder = Folder::new("bad_scripts");
    for (name, content, place, message) in SCRIPTS {
        let file = format!("{name}.jsonl");
        folder.file(&file, content);
        refused(&folder, &file, place, message);
    }
}

#[test]
fn deep_nesting_is_refused_at_its_first_bracket() {
    let folder = Folder::new("deep");
    for (name, open) in [("arrays", "["), ("objects", "{\"a\":")] {
        let file = format!("{name}.jsonl");
        folder.file(&file, format!("{{\"op\":{}", open.repeat(10_000)));
        refused(&folder, &file, "1:", "script lines are flat");
    }
}

#[test]
fn a_line_of_100_megabytes_is_not_read_whole() {
    let folder = Folder::new("long_line");
    let mut content = b"{\"op\": \"".to_vec();
    content.resize(100 << 20, b'x');
    for file in ["long.jsonl", "long.scenario"] {
        folder.file(file, &content);
        refused(&folder, file, "1:65537", "the line is longer than 65536 bytes");
    }
}

#[test]
#[cfg(unix)]
fn the_largest_file_that_is_read_stays_within_256_megabytes() {
    let folder = Folder::new("largest");
    let line = "a0 mremap A 4M 8M maymove,fixed off=2M to=B addr_off=4K -> ENOMEM  # a long story about this line\n";
    folder.file("big.scenario", format!("a0 spawn\n{}", line.repeat(99_998)));
    let limited = |limit: &str, file: &str| {
        let mut shell = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_hugefolio");
        folder.done(shell.args(["-c", &format!("ulimit -v {limit} && exec \"$0\" check \"$1\""), program, file]))
    };
    let done = limited("262144", "big.scenario");
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    folder.file("lines.scenario", "\n".repeat(100_001));
    assert_eq!(folder.run(&["check", "lines.scenario"]).code, 2);
    folder.file("bytes.scenario", format!("# {}\n", "x".repeat(60_000)).repeat(300));
    let done = folder.run(&["check", "bytes.scenario"]);
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("split it"), "{}", done.stderr);
}

#[test]
fn folders_and_missing_files_are_named() {
    let folder = Folder::new("folders");
    folder.file("named.scenario/inner.scenario", "nop\n");
    folder.file("none/README", "no scenario here");
    folder.file("mixed/good.scenario", "nop\n");
    folder.file("mixed/folder.scenario/x", "");
    let row = |arguments: &[&str], message: &str| {
        let done = folder.run(arguments);
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(done.stderr.contains(message), "{arguments:?}: {}", done.stderr);
    };
    row(&["run", "named.scenario"], "named.scenario: is a directory where a file is expected; name a file inside it");
    row(&["check", "named.scenario"], "is a directory where a file is expected");
    row(&["fmt", "mixed"], "is a directory where a file is expected");
    row(&["run", "mixed"], "mixed/folder.scenario: is a directory where a file is expected");
    row(&["run", "none"], "the directory holds no scenario: no file ends in .scenario or .jsonl");
    row(&["run", "missing.scenario"], "missing.scenario: cannot be read: No such file");
    row(&["conform", "--recorded", "none"], "none/manifest.json: cannot be read");
    row(&["convert", "mixed/good.jsonl"], "cannot be read");
}

#[test]
fn a_broken_corpus_is_bad_input() {
    let folder = Folder::new("corpus");
    let row = |message: &str| {
        let done = folder.run(&["conform", "--recorded", "."]);
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{}", done.stderr);
        assert!(done.stderr.contains(message), "{}", done.stderr);
    };
    folder.file("manifest.json", "[".repeat(100_000));
    row("manifest.json:1:");
    folder.file("manifest.json", r#"[{"name": "../x", "steps": 1, "features": []}]"#);
    row("\"../x\" is not a script's name");
    folder.file("manifest.json", r#"[{"name": "x", "steps": 2, "features": []}]"#);
    row("scripts/x.jsonl: cannot be read");
    folder.file("scripts/x.jsonl", "{\"script\": \"x\"}\n{\"op\": \"nop\"}\n");
    row("the script has 1 operations and the manifest says 2");
    folder.file("manifest.json", r#"[{"name": "x", "steps": 1, "features": []}]"#);
    row("recorded/x.jsonl: cannot be read");
    let c = r#""c":{"2M":[0,0,0,0],"1G":[0,0,0,0],"n0_2M":[0,0,0],"n0_1G":[0,0,0]}"#;
    folder.file("recorded/x.jsonl", format!("{{\"i\":0,\"op\":\"nop\",\"r\":\"ok\",{c}}}\n"));
    row("the recording has no last line");
    folder.file("recorded/x.jsonl", format!("{{\"i\":0,\"op\":\"exit\",\"r\":\"ok\",{c}}}\n{{\"end\":1,{c}}}\n"));
    row("step 0 of the recording is another operation than the script's");
    folder.file(
        "recorded/x.jsonl",
        format!("{{\"i\":0,\"op\":\"nop\",\"r\":\"ok\",\"whatever\":1,{c}}}\n{{\"end\":1,{c}}}\n"),
    );
    row("recorded/x.jsonl:1:1: unknown field `whatever`");
}

#[test]
fn problems_are_objects_for_programs() {
    let folder = Folder::new("problem_json");
    folder.file("x.scenario", "nap\nexpect free_hugepages = 1\nnip\n");
    let done = folder.run(&["check", "--json", "x.scenario"]);
    assert_eq!(done.code, 2);
    let problems: Vec<serde_json::Value> =
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(problems.len(), 2);
    assert_eq!(problems[1]["line"], 3);
    assert_eq!(problems[1]["column"], 1);
    assert_eq!(problems[1]["problem"], "unknown operation `nip`; did you mean `nop`?");
}
