//! Ranges of a whole machine's frames: taken with whatever lies in them, and memory that goes and comes.

use hugefolio::{Order, PageCount, Pages as _, Pfn, ZoneRef};

use super::pages::{because, place, plug, show};
use super::{Instance, answers};
use crate::op::{self, FrameRange, Op};
use crate::target::Answer;

impl Instance {
    pub(super) fn machine_range(&mut self, op: &Op) -> Answer {
        match op {
            Op::AllocContig(op::AllocContig { block, at, frames, gfp, area: None, answers: None }) => {
                let (name, zone) = (block.as_str().to_owned(), place(*at));
                match order_of(*frames) {
                    Some(order) => self.take_frames(name, zone, Pfn::new(frames.first), order, gfp.0),
                    None => Answer::not_modelled(
                        "a whole machine hands out ranges of a power of two of frames, aligned to it",
                    ),
                }
            }
            Op::Online(op::Online { at, frames }) => {
                let done = self.machine.online_memory(plug(*at, *frames));
                done.map_or_else(|error| because(&error), |()| Answer::ok())
            }
            Op::Offline(op::Offline { frames, answers: None, .. }) => {
                let done = self.machine.offline_memory(Pfn::new(frames.first), PageCount::new(frames.len()));
                done.map_or_else(|error| because(&error), |()| Answer::ok())
            }
            _ => Answer::not_modelled(
                "a whole machine is not asked that: describe memory with a line such as `zone 0:Normal 0..4096`",
            ),
        }
    }

    fn take_frames(&mut self, name: String, zone: ZoneRef, pfn: Pfn, order: Order, gfp: hugefolio::GfpFlags) -> Answer {
        match self.machine.take_frames(pfn, order, gfp) {
            Ok(id) => {
                if let Some(before) = self.blocks.insert(name, id) {
                    // It was held until now, and nobody pins what a script takes.
                    let _ = self.machine.free_pages(before);
                }
                let mut answer = Answer::ok();
                show(&mut answer.extras, self.machine.pages(), zone, pfn);
                answer
            }
            Err(error) => answers::failed(&error),
        }
    }
}

/// The order of a range that can be one block.
fn order_of(frames: FrameRange) -> Option<Order> {
    let whole = frames.len().is_power_of_two() && frames.first.is_multiple_of(frames.len());
    whole.then(|| u8::try_from(frames.len().trailing_zeros()).ok().and_then(Order::try_new)).flatten()
}
