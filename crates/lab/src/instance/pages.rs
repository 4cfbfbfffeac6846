//! Operations on ordinary pages: on the memory that a scenario describes, which is a page allocator of its own.

mod happened;
mod knobs;
mod query;
mod script;

use std::collections::BTreeMap;

use hugefolio::pages::{
    Access, Allocation, Answer as Reached, Area, Attempted, Block, Bulk, CompactQuestion, Compaction, ContextError,
    Contig, ContigQuestion, ContigRange, ContigRequest, ExactRange, Fate, Knobs, OfflineQuestion, PageAllocator,
    PageRequest, Plug, Question, Standing, Task, TaskSite, Zones,
};
use hugefolio::{BadFree, CpuId, GfpFlags, IsolateRefusal, NodeId, Nodemask, Order, PageCount, Pfn, ZoneKind, ZoneRef};

use hugefolio::errno::ToErrno;
use hugefolio::{NoPages, Pages as _};

use super::{Instance, answers};
use crate::op::{self, AccessFlag, AreaFlag, Flags, NodeList, Op, Replies, TaskFlag, ZoneName};
use crate::scenario::{Known, MemoryLine, ZoneQuery, described};
use crate::target::{Answer, Extras, StepResult};

use script::Script;

/// The most questions that one operation is asked; a request that must not fail may ask for ever.
const MOST_QUESTIONS: usize = 1000;

/// Memory of its own, with names for what was taken.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    allocator: PageAllocator,
    knobs: Knobs,
    held: BTreeMap<String, Held>,
}

/// What a name stands for.
#[derive(Clone, Debug)]
enum Held {
    Blocks(Vec<Block>),
    Exact(ExactRange),
    Contig(ContigRange),
}

/// How a request ended: with a block, or with what is answered for want of one.
type Ended = Result<Block, Box<Answer>>;

impl Pages {
    pub(super) fn new(lines: &[(usize, MemoryLine)]) -> Result<Self, String> {
        let allocator = described(lines).map_err(|(line, error)| format!("line {line}: {error}"))?;
        let knobs = knobs::usual(&allocator);
        Ok(Self { allocator, knobs, held: BTreeMap::new() })
    }

    fn run(&mut self, op: &Op) -> Answer {
        let mut script = Script::new(replies(op));
        let mut answer = self.run_with(op, &mut script);
        answer.extras.asked = script.asked();
        answer.extras.events = happened::taken(&mut self.allocator);
        if let Err(broken) = self.allocator.validate() {
            return Answer::not_modelled(format!("the memory recounts: {broken}"));
        }
        answer
    }

    fn run_with(&mut self, op: &Op, script: &mut Script) -> Answer {
        match op {
            Op::AllocPages(call) => self.alloc(call, script),
            Op::AllocBulk(call) => self.alloc_bulk(call, script),
            Op::AllocExact(call) => self.alloc_exact(call, script),
            Op::AllocContig(call) => self.alloc_contig(call, script),
            Op::FreePages(op::FreePages { block }) => self.give_back(block.as_str()),
            Op::MarkMovable(op::MarkMovable { block }) => self.mark_movable(block.as_str()),
            Op::DrainPages(_) => {
                self.allocator.drain_everything();
                Answer::ok()
            }
            Op::Tick(_) => {
                self.allocator.tick();
                Answer::ok()
            }
            Op::OnCpu(op::OnCpu { cpu }) => match self.allocator.run_on(CpuId::new(cpu.get())) {
                Ok(()) => Answer::ok(),
                Err(error) => Answer::not_modelled(format!("{error}: add its node to `memory cpus=...`")),
            },
            Op::Compact(call) => self.compact(call, script),
            Op::Isolate(op::Isolate { at, frames }) => self.isolate(*at, Pfn::new(frames.first)),
            Op::Unisolate(op::Unisolate { at, frames }) => self.unisolate(*at, Pfn::new(frames.first)),
            Op::Online(op::Online { at, frames }) => {
                self.allocator.online(plug(*at, *frames), &self.knobs).map_or_else(|e| because(&e), |()| Answer::ok())
            }
            Op::Offline(call) => self.offline(call, script),
            _ => StepResult::BadOp.into(),
        }
    }

    fn request(&self, gfp: GfpFlags, node: Option<op::Node>) -> PageRequest {
        let node = node.map_or_else(|| self.allocator.cpu_node(), |node| node_of(node.get()));
        PageRequest::new(Order::ZERO, gfp, node)
    }

    fn alloc(&mut self, call: &op::AllocPages, script: &mut Script) -> Answer {
        let mut request = self.request(call.gfp.0, call.node);
        request.order = order_of(call.order);
        request.nodemask = call.mask.as_ref().map(mask);
        request.access = access(call.access.as_ref());
        request.task = task(call.task.as_ref(), call.mems.as_ref());
        match self.serve(&request, script) {
            Ok(block) => {
                let mut answer = Answer::ok();
                show(&mut answer.extras, &self.allocator, block.zone, block.pfn);
                self.hold(call.block.as_str(), Held::Blocks(vec![block]), answer)
            }
            Err(answer) => *answer,
        }
    }

    /// A request from its beginning to its end.
    fn serve(&mut self, request: &PageRequest, script: &mut Script) -> Ended {
        match self.allocator.alloc(request) {
            Ok(Attempted::Done(block)) => Ok(block),
            Ok(Attempted::Slow(allocation)) => self.go_on(allocation, script),
            Ok(Attempted::Failed(none)) => Err(Box::new(answers::refused(&none))),
            Err(error) => Err(Box::new(because(&error))),
        }
    }

    fn go_on(&mut self, mut allocation: Allocation, script: &mut Script) -> Ended {
        let mut question = allocation.begin(&mut self.allocator);
        for _ in 0..MOST_QUESTIONS {
            let reached = match question {
                Question::Done(block) => return Ok(block),
                Question::Failed(none) => return Err(Box::new(answers::refused(&none))),
                Question::Compact(priority) => match script.compacted() {
                    Some(end) => Reached::Compacted(end),
                    // Whoever gives no answer lets the library compact.
                    None if script.moves() => {
                        let compaction = allocation.compaction(&self.allocator, priority);
                        self.compacted(compaction, script)
                    }
                    None => Reached::Compacted(hugefolio::pages::Compacted::Skipped),
                },
                ref other => script.reached(other),
            };
            for name in script.frees() {
                self.give_back(&name);
            }
            question = allocation.answer(&mut self.allocator, reached);
        }
        Err(Box::new(StepResult::TimedOut.into()))
    }

    fn compacted(&mut self, mut compaction: Compaction, script: &mut Script) -> Reached {
        let mut question = compaction.begin(&mut self.allocator);
        loop {
            match question {
                CompactQuestion::Move(block) => {
                    let moved = script.moved();
                    self.note_move(&block, moved);
                    question = compaction.answer(&mut self.allocator, moved);
                }
                CompactQuestion::End(_, Some(block)) => return Reached::Captured(block),
                CompactQuestion::End(end, None) => return Reached::Compacted(end.into()),
            }
        }
    }

    fn alloc_bulk(&mut self, call: &op::AllocBulk, script: &mut Script) -> Answer {
        let request = self.request(call.gfp.0, call.node);
        let mut slots = vec![None; usize::try_from(call.count.get()).unwrap_or(0).min(1 << 20)];
        let done = match self.allocator.alloc_bulk(&request, &mut slots) {
            Ok(Bulk::Filled(done)) => done,
            Ok(Bulk::One { slot, allocation }) => match self.go_on(allocation, script) {
                Ok(block) => {
                    slots[slot] = Some(block);
                    1
                }
                Err(answer) => return *answer,
            },
            Err(error) => return because(&error),
        };
        let blocks = slots.into_iter().flatten().collect();
        let answer = Answer { extras: Extras { done: Some(done as u64), ..Extras::default() }, ..Answer::ok() };
        self.hold(call.block.as_str(), Held::Blocks(blocks), answer)
    }

    fn alloc_exact(&mut self, call: &op::AllocExact, script: &mut Script) -> Answer {
        let request = self.request(call.gfp.0, call.node);
        let pages = PageCount::new(call.count.get().into());
        let request = self.allocator.exact_request(&request, pages);
        let block = match self.serve(&request, script) {
            Ok(block) => block,
            Err(answer) => return *answer,
        };
        match self.allocator.trim(block, pages) {
            Ok(range) => {
                let mut answer = Answer::ok();
                show(&mut answer.extras, &self.allocator, range.zone, range.pfn);
                self.hold(call.block.as_str(), Held::Exact(range), answer)
            }
            Err(error) => answers::failed(&error),
        }
    }

    fn alloc_contig(&mut self, call: &op::AllocContig, script: &mut Script) -> Answer {
        let lent = call.area.as_ref().is_some_and(|flags| flags.has(AreaFlag::Cma));
        let mut contig = Contig::new(ContigRequest {
            zone: place(call.at),
            start: Pfn::new(call.frames.first),
            pages: PageCount::new(call.frames.len()),
            area: if lent { Area::Lent } else { Area::Ordinary },
            gfp: call.gfp.0,
        });
        let mut question = contig.begin(&mut self.allocator);
        loop {
            match question {
                ContigQuestion::Move(block) => {
                    let moved = script.moved();
                    self.note_move(&block, moved);
                    question = contig.answer(&mut self.allocator, moved);
                }
                ContigQuestion::Done(range) => {
                    let mut answer = Answer::ok();
                    show(&mut answer.extras, &self.allocator, range.zone, range.pfn);
                    return self.hold(call.block.as_str(), Held::Contig(range), answer);
                }
                ContigQuestion::Failed(error) => return because(&error),
                _ => return StepResult::BadOp.into(),
            }
        }
    }

    fn compact(&mut self, call: &op::Compact, script: &mut Script) -> Answer {
        let node = node_of(call.node.get());
        let compaction = match call.order {
            Some(order) => Compaction::background(&self.allocator, node, order_of(Some(order)), ZoneKind::Movable),
            None => Compaction::whole(&self.allocator, node),
        };
        self.compacted(compaction, script);
        Answer::ok()
    }

    /// A block that was moved has its name still.
    fn note_move(&mut self, block: &hugefolio::pages::Move, moved: hugefolio::pages::Moved) {
        if moved != hugefolio::pages::Moved::Moved {
            return;
        }
        let named = self.held.values_mut().filter_map(|held| match held {
            Held::Blocks(blocks) => Some(blocks),
            Held::Exact(_) | Held::Contig(_) => None,
        });
        for held in named.flatten().filter(|held| held.pfn == block.from) {
            (held.pfn, held.zone) = (block.to, block.zone);
        }
    }

    /// What the kernel does not map stays where it is: its pageblock is one block to its zone.
    fn mark_movable(&mut self, name: &str) -> Answer {
        let Some(Held::Blocks(blocks)) = self.held.get(name) else { return StepResult::Nomap.into() };
        let whole = |block: &&Block| {
            let found = self.allocator.zone(block.zone).and_then(|zone| zone.find(block.pfn));
            found.is_some_and(|found| (found.pfn, found.order) == (block.pfn, block.order))
        };
        if blocks.iter().any(|block| !whole(&block)) {
            return because(&ContextError::UnmappedNeedsUnmovable);
        }
        blocks.iter().for_each(|block| self.allocator.mark_movable(block.zone, block.pfn, block.order));
        Answer::ok()
    }

    fn isolate(&mut self, at: ZoneName, pfn: Pfn) -> Answer {
        let there = self.allocator.zone(place(at)).is_some_and(|zone| zone.find(pfn).is_some());
        let parts = self.allocator.parts(place(at)).filter(|_| there);
        match parts.map(|parts| parts.zone.isolate(pfn)) {
            Some(done) => answers::done::<()>(done),
            None => answers::failed(&IsolateRefusal::Straddles(pfn)),
        }
    }

    fn unisolate(&mut self, at: ZoneName, pfn: Pfn) -> Answer {
        let there = self.allocator.zone(place(at)).is_some_and(|zone| zone.find(pfn).is_some());
        if let Some(parts) = self.allocator.parts(place(at)).filter(|_| there) {
            parts.zone.unisolate(pfn);
        }
        if there { Answer::ok() } else { answers::failed(&IsolateRefusal::Straddles(pfn)) }
    }

    fn offline(&mut self, call: &op::Offline, script: &mut Script) -> Answer {
        let mut offline = match self.allocator.offline(plug(call.at, call.frames)) {
            Ok(offline) => offline,
            Err(error) => return because(&error),
        };
        let mut question = offline.begin(&mut self.allocator, &self.knobs);
        loop {
            question = match question {
                OfflineQuestion::Move(block) => {
                    let moved = script.moved();
                    self.note_move(&block, moved);
                    offline.answer(&mut self.allocator, &self.knobs, moved)
                }
                OfflineQuestion::Busy(_) if script.has_moves() => offline.again(&mut self.allocator, &self.knobs),
                OfflineQuestion::Busy(pfn) => {
                    offline.cancel(&mut self.allocator);
                    return answers::failed(&hugefolio::pages::ContigError::Busy(pfn));
                }
                OfflineQuestion::Failed(error) => return because(&error),
                _ => return Answer::ok(),
            };
        }
    }

    /// A name means what was taken last; what it meant before is given back.
    fn hold(&mut self, name: &str, held: Held, answer: Answer) -> Answer {
        if let Some(before) = self.held.insert(name.to_owned(), held)
            && let Err(error) = self.put(before)
        {
            return answers::failed(&error);
        }
        answer
    }

    fn give_back(&mut self, name: &str) -> Answer {
        match self.held.remove(name) {
            Some(held) => answers::done(self.put(held)),
            None => StepResult::Nomap.into(),
        }
    }

    fn put(&mut self, held: Held) -> Result<(), BadFree> {
        match held {
            Held::Blocks(blocks) => blocks.iter().try_for_each(|b| self.allocator.free(b.zone, b.pfn, b.order)),
            Held::Exact(range) => self.allocator.free_exact(range),
            Held::Contig(range) => self.allocator.free_contig(range),
        }
    }
}

impl Instance {
    /// On memory that the scenario describes, or else on the machine's own, which answers questions by itself.
    pub(super) fn pages_op(&mut self, op: &Op) -> Answer {
        match &mut self.pages {
            Some(pages) => pages.run(op),
            None => self.machine_pages(op),
        }
    }

    fn machine_pages(&mut self, op: &Op) -> Answer {
        let place = |call: &op::AllocPages, at: NodeId| {
            let node = call.node.map_or(at, |node| node_of(node.get()));
            let mut request = PageRequest::new(order_of(call.order), call.gfp.0, node);
            (request.nodemask, request.access) = (call.mask.as_ref().map(mask), access(call.access.as_ref()));
            request.task = task(call.task.as_ref(), call.mems.as_ref());
            request
        };
        match op {
            Op::AllocPages(op::AllocPages { answers: Some(_), .. }) => Answer::not_modelled(
                "a whole machine answers by itself: describe memory with a line such as `zone 0:Normal 0..4096` to script it",
            ),
            Op::AllocPages(call) => {
                let request = place(call, self.machine.pages().cpu_node());
                match self.machine.alloc_pages(&request) {
                    Ok(id) => {
                        if let Some(before) = self.blocks.insert(call.block.as_str().to_owned(), id) {
                            // It was held until now, and nobody pins what a script takes.
                            let _ = self.machine.free_pages(before);
                        }
                        let mut answer = Answer::ok();
                        if let Some(block) = self.machine.block(id) {
                            show(&mut answer.extras, self.machine.pages(), block.zone, block.pfn);
                        }
                        answer
                    }
                    Err(NoPages::WaitsForEver(_)) => StepResult::TimedOut.into(),
                    Err(error) => answers::refused(&error),
                }
            }
            Op::FreePages(op::FreePages { block }) => match self.blocks.remove(block.as_str()) {
                Some(id) => answers::done(self.machine.free_pages(id)),
                None => StepResult::Nomap.into(),
            },
            Op::DrainPages(_) => {
                self.machine.drain_pages();
                Answer::ok()
            }
            Op::Compact(op::Compact { node, order: None, answers: None }) => {
                self.machine.compact_pages(node_of(node.get()));
                Answer::ok()
            }
            Op::OnCpu(op::OnCpu { cpu }) => match self.machine.run_on(CpuId::new(cpu.get())) {
                Ok(()) => Answer::ok(),
                Err(error) => Answer::not_modelled(error.to_string()),
            },
            _ => self.machine_range(op),
        }
    }

    pub(super) fn ask_of_zone(&self, query: &ZoneQuery) -> Option<Known> {
        match &self.pages {
            Some(pages) => query::ask(&pages.allocator, query),
            None => query::ask(self.machine.pages(), query),
        }
    }
}

/// A request that cannot be, with the reason.
pub(super) fn because(error: &(impl ToErrno + std::fmt::Display)) -> Answer {
    let mut answer = answers::failed(error);
    answer.extras.why = Some(error.to_string());
    answer
}

/// Where a block lies.
pub(super) fn show(extras: &mut Extras, allocator: &PageAllocator, zone: ZoneRef, pfn: Pfn) {
    extras.pfn = Some(pfn.get());
    extras.zone = Some(ZoneName { node: zone.node.get(), kind: zone.kind }.to_string());
    extras.mt = allocator.zone(zone).map(|zone| zone.migratetype(pfn).name().to_owned());
}

fn replies(op: &Op) -> Option<&Replies> {
    match op {
        Op::AllocPages(op::AllocPages { answers, .. })
        | Op::AllocExact(op::AllocExact { answers, .. })
        | Op::AllocContig(op::AllocContig { answers, .. })
        | Op::Compact(op::Compact { answers, .. })
        | Op::Offline(op::Offline { answers, .. }) => answers.as_ref(),
        _ => None,
    }
}

pub(super) const fn place(at: ZoneName) -> ZoneRef {
    ZoneRef { node: NodeId::new(at.node), kind: at.kind }
}

pub(super) const fn plug(at: ZoneName, frames: op::FrameRange) -> Plug {
    Plug { zone: place(at), start: Pfn::new(frames.first), pages: PageCount::new(frames.len()) }
}

/// A node of a scenario; one that no machine has for a number beyond all nodes.
fn node_of(number: u32) -> NodeId {
    NodeId::new(u8::try_from(number).unwrap_or(63).min(63))
}

/// An order beyond all orders is the largest, which no machine has blocks of.
fn order_of(order: Option<op::BlockOrder>) -> Order {
    order.map_or(Order::ZERO, |order| Order::try_new(order.get()).unwrap_or(Order::MAX))
}

fn mask(nodes: &NodeList) -> Nodemask {
    nodes.iter().map(NodeId::new).collect()
}

fn access(flags: Option<&Flags<AccessFlag>>) -> Access {
    let has = |flag| flags.is_some_and(|flags| flags.has(flag));
    Access { cma: has(AccessFlag::Cma), unmapped: has(AccessFlag::Unmapped), managed: has(AccessFlag::Managed) }
}

fn task(flags: Option<&Flags<TaskFlag>>, mems: Option<&NodeList>) -> Task {
    let mut task = Task::default();
    for flag in flags.iter().flat_map(|flags| flags.iter()) {
        match flag {
            TaskFlag::Memalloc => task.standing = Standing::Reclaimer,
            TaskFlag::Victim => task.standing = Standing::Victim,
            TaskFlag::Dying => task.fate = Fate::Ends,
            TaskFlag::Realtime => task.site = TaskSite::RealTime,
            TaskFlag::Interrupt => task.site = TaskSite::Interrupt,
        }
    }
    if let Some(mems) = mems {
        (task.allowed, task.walled) = (mask(mems), mask(mems));
    }
    task
}
