//! `hugefolio explain` and `hugefolio tree`.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use hugefolio::errno::ToErrno;
use hugefolio::explain::{FaultVerdict, Host, HostError, HostFiles, MapVerdict, Promise, Question, Report, Wish};
use hugefolio::{Bytes, HugeSize, Share};
use lab::input::{BadInput, Problem};
use lab::instance::Instance;
use lab::op::{Size, Value};
use lab::run::play;
use lab::scenario::Scenario;
use serde_json::json;

use crate::host::{Folder, Live, save};
use crate::output::{Output, Status};

/// What to explain.
#[derive(Args)]
pub(crate) struct Explain {
    /// The mapping: how long, and the size of its pages if that is not the default (or the mount's), as in 64M or 4G,1G.
    #[arg(long, value_name = "SIZE[,PAGESIZE]", value_parser = mapping)]
    map: Mapping,
    /// With `MAP_NORESERVE`: nothing is promised, every touch asks anew.
    #[arg(long)]
    noreserve: bool,
    /// Private instead of shared.
    #[arg(long)]
    private: bool,
    /// The control group that the task will be in, instead of this one's own.
    #[arg(long, value_name = "PATH")]
    cgroup: Option<String>,
    /// A folder of the hugetlbfs mount whose file is mapped, instead of anonymous memory.
    #[arg(long, value_name = "DIR")]
    mount: Option<String>,
    /// A saved host to read instead of this one, as `hugefolio tree` writes it.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

#[derive(Clone, Copy)]
struct Mapping {
    len: Bytes,
    size: Option<HugeSize>,
}

fn mapping(text: &str) -> Result<Mapping, String> {
    let bytes = |text: &str| {
        let size = Size::from_text(text).map_err(|error| error.to_string())?.signed();
        let size = u64::try_from(size).ok().filter(|&size| size > 0);
        size.map(Bytes::new).ok_or_else(|| format!("`{text}` is no size to map: write it as in 64M"))
    };
    let Some((len, size)) = text.split_once(',') else { return Ok(Mapping { len: bytes(text)?, size: None }) };
    let page = HugeSize::from_bytes(bytes(size)?);
    let page =
        page.ok_or_else(|| format!("`{size}` is no size of huge pages: write a power of two, as in 2M or 1G"))?;
    Ok(Mapping { len: bytes(len)?, size: Some(page) })
}

/// Says whether the mapping would succeed.
pub(crate) fn explain(asked: &Explain, output: &mut Output) -> io::Result<Status> {
    let question = Question { cgroup: asked.cgroup.clone(), mount: asked.mount.clone() };
    let host = match &asked.from {
        Some(root) => Host::read(&mut Folder::saved(root), &question),
        None => live(&mut Live::new(), &question),
    };
    let host = match host {
        Ok(host) => host,
        Err(error) => return output.problems(&[problem(asked.from.as_deref(), &error)]),
    };
    let wish = Wish {
        size: asked.map.size,
        len: asked.map.len,
        share: if asked.private { Share::Private } else { Share::Shared },
        promise: if asked.noreserve { Promise::Never } else { Promise::AtMap },
    };
    let report = Report::new(&host, &wish);
    output.result(report.to_string().trim_end(), &object(&report))?;
    Ok(if report.all_well() { Status::Passed } else { Status::Failed })
}

/// Files are read one after the other: where they contradict each other, something changed in between.
fn live(files: &mut dyn HostFiles, question: &Question) -> Result<Host, HostError> {
    const TRIES: usize = 3;
    let once = |files: &mut dyn HostFiles| Host::read(files, question);
    (1..TRIES).find_map(|_| once(files).ok()).map_or_else(|| once(files), Ok)
}

fn problem(root: Option<&Path>, error: &HostError) -> Problem {
    let file = root.map_or_else(|| PathBuf::from(&error.file), |root| root.join(error.file.trim_start_matches('/')));
    let what = BadInput::Mismatch(error.problem.to_string());
    match error.line {
        Some(line) => Problem::at(&file, line, 1, what),
        None => Problem::of_file(&file, what),
    }
}

fn object(report: &Report) -> serde_json::Value {
    let mmap = match &report.map {
        MapVerdict::Maps => "ok",
        MapVerdict::Refused(refusal) => refusal.errno().name(),
    };
    let touched = match &report.fault {
        FaultVerdict::All => report.pages.map(|pages| pages.get()),
        FaultVerdict::Stops { after, .. } => Some(after.get()),
        FaultVerdict::NotMapped => None,
    };
    let mends: Vec<String> = report.mends.iter().map(ToString::to_string).collect();
    json!({
        "ask": report.wish,
        "ok": report.all_well(),
        "mmap": mmap,
        "pages": report.pages.map(|pages| pages.get()),
        "touched": touched,
        "ledger": report.ledger.map(|ledger| ledger.name()),
        "why": report.why,
        "mends": mends,
        "notes": report.notes,
    })
}

/// Runs a scenario, or nothing, and writes what the machine's files say then.
pub(crate) fn tree(folder: &Path, scenario: Option<&Path>, output: &mut Output) -> io::Result<Status> {
    let mut instance = Instance::new();
    let mut status = Status::Passed;
    if let Some(file) = scenario {
        let outcome = Scenario::read(file).and_then(|scenario| {
            scenario.check(file)?;
            play(&scenario, file, &mut instance, &mut |_| {})
                .map_err(|error| vec![Problem::of_file(file, BadInput::Machine(error.to_string()))])
        });
        match outcome {
            Ok(outcome) => {
                for failure in outcome.failures {
                    eprintln!("{}:{}: {failure}", file.display(), failure.line);
                    status = Status::Failed;
                }
            }
            Err(problems) => return output.problems(&problems),
        }
    }
    match save(&instance.saved_host(), folder) {
        Ok(files) => {
            let text = format!("{}: {files} files", folder.display());
            output.result(&text, &json!({ "folder": folder.display().to_string(), "files": files }))?;
            Ok(status)
        }
        Err((path, error)) => {
            output.problems(&[Problem::of_file(&path, BadInput::Mismatch(format!("cannot be written: {error}")))])
        }
    }
}
