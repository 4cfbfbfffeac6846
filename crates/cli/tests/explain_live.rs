//! What `explain` says of this host is what mmap and the touches then do on it: 200 states drawn at random.
//!
//! The states are made by the target of the running kernel, which needs root, an idle pool and a program with one thread, hence no
//! harness: this is a program of its own. Where the host cannot be asked, one line says why it is skipped.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() {
    // Programs that list tests ask for nothing else.
    if !std::env::args().any(|argument| argument == "--list") {
        live::main();
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "../../hugefolio/tests/draw/mod.rs"]
mod draw;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod live {
    use std::collections::BTreeMap;
    use std::fmt::Write;
    use std::process::Command;

    use lab::op::Op;
    use lab::scenario::Scenario;
    use lab::target::{StepResult, Target};
    use linux::Running;

    use crate::draw::Draw;

    const STATES: u32 = 200;
    const M2: u64 = 2 << 20;
    const GROUPS: [&str; 3] = ["g", "g/a", "g/b"];

    /// A state of the host, and what is asked there.
    struct Case {
        state: String,
        asked: Vec<String>,
        task: String,
        pages: u64,
    }

    fn state(draw: &mut Draw) -> (String, bool) {
        let mut text = String::new();
        let mut line = |line: String| writeln!(text, "{line}").expect("memory");
        line(format!("echo {} > /proc/sys/vm/nr_hugepages", draw.below(20)));
        let overcommit =
            |limit| format!("echo {limit} > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages");
        if draw.chance(2) {
            line(overcommit(draw.below(10)));
        }
        line("cg_create g sub".to_owned());
        line("cg_create g/a".to_owned());
        line("cg_create g/b".to_owned());
        for group in GROUPS {
            for verb in ["cg_max", "cg_rsvd_max"] {
                if draw.chance(3) {
                    line(format!("{verb} {group} {}", draw.below(14) * M2));
                }
            }
        }
        let mounted = draw.chance(2);
        let minimum = draw.chance(3);
        if mounted {
            let size = draw.below(9);
            let min = if minimum { format!(" min_size={}", draw.below(size + 1) * M2) } else { String::new() };
            line(format!("mount m pagesize=2M size={}{min}", size * M2));
        }
        for other in 0..draw.below(4) {
            line(format!("a{other} spawn{}", draw.of(&["", " cg=g/a", " cg=g/b"])));
            let pages = 1 + draw.below(5);
            // How much of a minimum is left does not show, so nobody else uses such a mount.
            let source = if mounted && !minimum && draw.chance(2) {
                line(format!("a{other} open f m/other{other} creat"));
                "shared file=f"
            } else {
                draw.of(&["shared,anon", "private,anon", "shared,anon,noreserve"])
            };
            line(format!("a{other} mmap M {} {source}", pages * M2));
            for page in 0..draw.below(pages + 1) {
                line(format!("a{other} touch M p{page} write"));
            }
        }
        if draw.chance(3) {
            line(overcommit(draw.below(6)));
        }
        if draw.chance(3) {
            line(format!("echo {} > /proc/sys/vm/nr_hugepages", draw.below(20)));
        }
        (text, mounted)
    }

    fn case(draw: &mut Draw) -> Case {
        let (state, mounted) = state(draw);
        let pages = 1 + draw.below(11);
        let (group, of_file) = (draw.of(&["", "g/a", "g/b"]), mounted && draw.chance(2));
        let (share, promise) = (draw.of(&["shared", "private"]), draw.of(&["", ",noreserve"]));
        let mut asked = vec![format!("--map={}", pages * M2), format!("--cgroup=/hugefolio/{group}")];
        let mut task = if group.is_empty() { "a9 spawn\n".to_owned() } else { format!("a9 spawn cg={group}\n") };
        if share == "private" {
            asked.push("--private".to_owned());
        }
        if !promise.is_empty() {
            asked.push("--noreserve".to_owned());
        }
        if of_file {
            asked.push("--mount=/run/hugefolio/mnt/m".to_owned());
            task.push_str("a9 open f m/mine creat\n");
            writeln!(task, "a9 mmap M {} {share}{promise} file=f", pages * M2).expect("memory");
        } else {
            writeln!(task, "a9 mmap M {} {share},anon{promise}", pages * M2).expect("memory");
        }
        (0..pages).for_each(|page| writeln!(task, "a9 touch M p{page} write").expect("memory"));
        Case { state, asked, task, pages }
    }

    fn scenario(text: &str) -> Scenario {
        Scenario::parse("state.scenario", text).expect("what was drawn is a scenario")
    }

    fn explained(asked: &[String]) -> serde_json::Value {
        let mut program = Command::new(env!("CARGO_BIN_EXE_hugefolio"));
        let done = program.args(["explain", "--json"]).args(asked).output().expect("the program can be run");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&done.stderr)))
    }

    /// What `mmap` answers, and how many touches succeed.
    fn came(kernel: &mut Running, task: &str) -> (String, u64) {
        let (mut mmap, mut touched) = (String::new(), 0);
        for op in scenario(task).ops() {
            let result = kernel.step(op).result;
            match op {
                Op::Mmap(_) => mmap = result.to_string(),
                Op::Touch(_) if result == StepResult::Ok => touched += 1,
                Op::Touch(_) => break,
                _ => assert_eq!(result, StepResult::Ok, "{task}"),
            }
            if !mmap.is_empty() && mmap != "ok" {
                break;
            }
        }
        (mmap, touched)
    }

    pub(super) fn main() {
        let mut kernel = match Running::start() {
            Ok(kernel) => kernel,
            Err(reason) => {
                println!("skipped explain_live: {reason}");
                return;
            }
        };
        let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        let mut wrong = Vec::new();
        let mut states = 0;
        while states < STATES {
            let case = case(&mut draw);
            let state = scenario(&case.state);
            kernel.begin(&state.header("state")).expect("the host stands for any machine");
            let mut mounted = true;
            for op in state.ops() {
                // What is refused makes a state as well.
                let result = kernel.step(op).result;
                mounted &= !matches!(op, Op::Mount(_)) || result == StepResult::Ok;
            }
            if !mounted && case.asked.iter().any(|argument| argument.starts_with("--mount")) {
                // No mount, no question about it.
                kernel.end();
                continue;
            }
            states += 1;
            let said = explained(&case.asked);
            let expected =
                (said["mmap"].as_str().unwrap_or_default().to_owned(), said["touched"].as_u64().unwrap_or(0));
            let came = came(&mut kernel, &case.task);
            let well = came == ("ok".to_owned(), case.pages);
            if came != expected || said["ok"].as_bool() != Some(well) {
                wrong.push(format!("{}{}said {said}\ncame {came:?}\n", case.state, case.task));
            }
            *seen.entry(format!("{} {}", said["mmap"], said["ledger"])).or_default() += 1;
            kernel.end();
        }
        kernel.close().expect("the host is as it was");
        assert!(wrong.is_empty(), "{} of {STATES} are otherwise:\n{}", wrong.len(), wrong.join("\n"));
        println!("explain_live: {STATES} states as said: {seen:?}");
    }
}
