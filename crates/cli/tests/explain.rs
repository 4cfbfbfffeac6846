//! `explain` on saved hosts, and `tree`, through the real program.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::Folder;

fn hosts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/hosts")
}

/// Runs every command of the transcript anew; with `UPDATE_EXPECT=1` writes down what it says.
#[test]
fn saved_hosts_are_explained_as_written_down() {
    let folder = Folder::new("explained");
    let file = hosts().join("explained.txt");
    let written = std::fs::read_to_string(&file).unwrap();
    let mut came = String::new();
    for command in written.lines().filter_map(|line| line.strip_prefix("$ hugefolio ")) {
        let mut program = Command::new(env!("CARGO_BIN_EXE_hugefolio"));
        let words = command.split(' ').map(|word| {
            let tree = hosts().join(word);
            if tree.is_dir() { tree.display().to_string() } else { word.to_owned() }
        });
        let done = folder.done(program.args(words));
        assert_eq!(done.stderr, "", "{command}");
        assert!(done.stdout.lines().count() <= 8, "{command}: more than eight lines\n{}", done.stdout);
        assert_eq!(done.code == 0, done.stdout.contains("touch: every page"), "{command}");
        came.push_str(&format!("$ hugefolio {command}\n{}\n", done.stdout));
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &came).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(came == written, "{} is not what is said now; it is:\n{came}", file.display());
}

#[test]
fn a_bad_host_is_refused_with_file_and_line() {
    let folder = Folder::new("bad_host");
    let copy = |name: &str, path: &str, text: &[u8]| {
        let root = format!("{name}/");
        for entry in walk(&hosts().join("fine")) {
            let rest = entry.strip_prefix(hosts().join("fine")).unwrap();
            folder.file(&format!("{root}{}", rest.display()), std::fs::read(&entry).unwrap());
        }
        folder.file(&format!("{root}{path}"), text);
        let done = folder.run(&["explain", "--map", "2M", "--from", name]);
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{name}");
        done.stderr
    };
    let free = "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    assert_eq!(
        copy("huge", free, b"99999999999999999999\n"),
        format!("huge/{free}:1:1: `99999999999999999999` where a number below 2^64 was expected\n")
    );
    assert_eq!(
        copy("binary", free, b"8\n\xff\xfe\0"),
        format!("binary/{free}:2:1: not text: give the kernel's file as it is\n")
    );
    assert_eq!(
        copy("lines", "proc/meminfo", b"MemTotal: 1 kB\n"),
        "lines/proc/meminfo: there is no line `Hugepagesize:`: is this the right file, of a kernel with huge pages?\n"
    );
    assert_eq!(
        copy("torn", free, b"9\n"),
        "torn/sys/kernel/mm/hugepages/hugepages-2048kB: 9 free and 0 surplus pages of 8 cannot be: \
         read it again while nothing changes\n"
    );
    let done = folder.run(&["explain", "--map", "2M", "--from", "nowhere"]);
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (2, "nowhere/proc/meminfo: there is no such file; every kernel has it\n")
    );
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the host is there") {
        let path = entry.expect("the host is there").path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn a_scenario_s_machine_is_written_and_explained() {
    let folder = Folder::new("tree");
    folder.file(
        "x.scenario",
        "machine node=1G hugepages=4\na0 spawn\nmount m size=4M\na0 mmap A 6M private,anon\na0 touch A p0 write\n",
    );
    let done = folder.run(&["tree", "saved", "--scenario", "x.scenario"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let text = |path: &str| std::fs::read_to_string(folder.path("saved").join(path)).unwrap();
    assert_eq!(text("sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages"), "2\n");
    assert!(text("proc/meminfo").starts_with("HugePages_Total:       4\nHugePages_Free:        3\n"));
    assert!(text("statfs/mnt/m/statfs").contains("blocks 2\nbfree 2\n"));
    let done = folder.run(&["--json", "explain", "--map", "4M", "--noreserve", "--from", "saved"]);
    let said: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((done.code, &said["mmap"], &said["touched"]), (1, &"ok".into(), &1.into()));
    assert_eq!((&said["ledger"], &said["mends"][0]), (&"pool".into(), &"echo 5 > /proc/sys/vm/nr_hugepages".into()));
    let done = folder.run(&["explain", "--map", "6M", "--mount", "/mnt/m", "--from", "saved"]);
    assert!(
        done.stdout.contains("why:   subpool: 0 used + 3 asked > 2 allowed by the mount /mnt/m\n"),
        "{}",
        done.stdout
    );
}

#[test]
fn a_size_that_cannot_be_is_no_mapping() {
    let folder = Folder::new("bad_size");
    for bad in ["0", "-2M", "2Q", "", "4M,3M", "4M,", "4M,2M,2M"] {
        let done = folder.run(&["explain", &format!("--map={bad}")]);
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{bad}");
    }
}
