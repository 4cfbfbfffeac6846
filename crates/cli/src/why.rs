//! `hugefolio why`: what stands in the way of a huge page.

use std::io;
use std::path::PathBuf;

use clap::Args;
use hugefolio::why::{Candidate, Obstacle, Verdict, Wanted, Why};
use hugefolio::{Bytes, HugeSize, Machine, NodeId, Nodemask, Order, Pfn};
use lab::input::{BadInput, Problem};
use lab::limits::Limits;
use lab::op::{Size, Value};
use lab::run::play;
use serde_json::json;

use crate::output::{Output, Status};
use crate::saved::Ends;

/// What is missing.
#[derive(Args)]
pub(crate) struct Asked {
    /// How large the page is that is not there.
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = size)]
    size: HugeSize,
    /// The node that it is to lie on; any if left out.
    #[arg(long, value_name = "N")]
    node: Option<u8>,
    /// Of how many windows to tell, the best first.
    #[arg(long, value_name = "N", default_value_t = 1)]
    candidates: usize,
    /// Tells of the window that this frame is in instead.
    #[arg(long, value_name = "PFN")]
    pfn: Option<u64>,
    /// The machine to ask, as `run --save` wrote it; the usual one if left out.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Runs this scenario before.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
}

fn size(text: &str) -> Result<HugeSize, String> {
    let bytes = Size::from_text(text).map_err(|error| error.to_string())?.unsigned();
    HugeSize::from_bytes(Bytes::new(bytes)).ok_or_else(|| format!("`{text}` is no size of a page: write it as in 1G"))
}

/// Says what is in the way. Ends with 1 if no such page could be had.
pub(crate) fn why(asked: &Asked, output: &mut Output) -> io::Result<Status> {
    let machine = match machine(asked) {
        Ok(machine) => machine,
        Err(problems) => return output.problems(&problems),
    };
    let Some(order) = asked.size.order(machine.page_shift()) else {
        return output.fault(&format!("{} is less than a base page of this machine", asked.size));
    };
    match asked.pfn {
        Some(pfn) => of_window(&machine, Pfn::new(pfn), order, output),
        None => {
            let nodes = asked.node.map_or(Nodemask::ALL, |node| Nodemask::of(NodeId::new(node.min(63))));
            let why = machine.why(&Wanted { order, nodes, candidates: asked.candidates.max(1) });
            output.result(why.to_string().trim_end(), &object(&why))?;
            Ok(status(why.best()))
        }
    }
}

fn of_window(machine: &Machine, pfn: Pfn, order: Order, output: &mut Output) -> io::Result<Status> {
    let Some(candidate) = machine.why_range(pfn, order) else {
        return output.fault(&format!("no zone that may be used has frame {}", pfn.get()));
    };
    output.result(candidate.to_string().trim_end(), &window(&candidate))?;
    Ok(status(Some(&candidate)))
}

fn status(candidate: Option<&Candidate>) -> Status {
    let possible = candidate.is_some_and(|candidate| candidate.verdict.is_possible());
    if possible { Status::Passed } else { Status::Failed }
}

fn machine(asked: &Asked) -> Result<Machine, Vec<Problem>> {
    let ends = Ends::new(asked.from.as_deref(), None, Limits::default()).map_err(|problem| vec![problem])?;
    let mut instance = ends.begin();
    if let Some(file) = &asked.scenario {
        let scenario = ends.read(file)?;
        play(&scenario, file, &mut instance, &mut |_| {})
            .map_err(|error| vec![Problem::of_file(file, BadInput::Machine(error.to_string()))])?;
    }
    Ok(instance.machine().clone())
}

fn object(why: &Why) -> serde_json::Value {
    json!({
        "windows": why.windows,
        "free": why.free,
        "movable": why.movable,
        "candidates": why.candidates.iter().map(window).collect::<Vec<_>>(),
    })
}

fn window(candidate: &Candidate) -> serde_json::Value {
    let at = &candidate.window;
    let verdict = match candidate.verdict {
        Verdict::Free => json!({ "is": "free" }),
        Verdict::ByMoving { blocks, pages } => json!({ "is": "by-moving", "blocks": blocks, "pages": pages.get() }),
        Verdict::NoRoom { pages, room } => json!({ "is": "no-room", "pages": pages.get(), "room": room.get() }),
        Verdict::Stays { blocks } => json!({ "is": "stays", "blocks": blocks }),
    };
    json!({
        "node": at.zone.node.get(),
        "zone": at.zone.kind.name(),
        "start": at.start.get(),
        "end": at.end().get(),
        "verdict": verdict,
        "obstacles": candidate.obstacles.iter().map(obstacle).collect::<Vec<_>>(),
    })
}

fn obstacle(obstacle: &Obstacle) -> serde_json::Value {
    json!({
        "pfn": obstacle.pfn.get(),
        "pages": obstacle.order.pages().get(),
        "holder": obstacle.holder.name(),
        "mend": obstacle.mend.name(),
    })
}
