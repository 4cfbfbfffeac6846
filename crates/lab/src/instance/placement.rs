//! Operations on where pages lie.

use hugefolio::{
    Bytes, CallError, Existing, InjectError, Injection, Mempolicy, MovePageError, MoveScope, Moves, NoPolicyNodes,
    NodeId, Nodemask, NodesMean, Pid, Policies, Vaddr, Wish,
};

use super::{Instance, answers};
use crate::op::{self, Flags, MapName, MoveFlag, NodeList, NodesAre, Op, PageIndex, PolicyMode, Span};
use crate::target::{Answer, Extras, StepResult};

impl Instance {
    pub(super) fn placement_op(&mut self, op: &Op) -> Answer {
        let Some((actor, pid)) = op.actor().and_then(|a| Some((a.number(), self.pid(a)?))) else {
            return StepResult::BadActor.into();
        };
        match op {
            Op::RunOn(op::RunOn { node, .. }) => {
                let node = node_of(node.get());
                let known = self.machine.topology().node(node).is_some_and(|spec| spec.online && spec.cpus > 0);
                if known && self.machine.run_on_node(pid, node) {
                    Answer::ok()
                } else {
                    answers::failed(&NoPolicyNodes)
                }
            }
            Op::SetMempolicy(op::SetMempolicy { mode, nodes, are, .. }) => match wish(*mode, *nodes, *are) {
                Some(wish) => answers::done(self.machine.set_mempolicy(pid, wish)),
                None => answers::failed(&NoPolicyNodes),
            },
            Op::MovePage(op::MovePage { map, page, node, flags, .. }) => self.with_page(actor, map, *page, |m, at| {
                let all = flags.as_ref().is_some_and(|flags| flags.has(MoveFlag::All));
                let scope = if all { MoveScope::All } else { MoveScope::Own };
                on(m.move_page(pid, at, node_of(node.get()), scope))
            }),
            Op::MigratePages(op::MigratePages { from, to, .. }) => {
                let stayed = self.machine.migrate_pages(pid, mask(*from), mask(*to), MoveScope::All);
                match stayed {
                    Ok(count) => {
                        let n = i64::try_from(count.get()).ok();
                        Answer { extras: Extras { n, ..Extras::default() }, ..Answer::ok() }
                    }
                    Err(error) => answers::refused(&error),
                }
            }
            Op::NumaMaps(op::NumaMaps { map, .. }) => self.numa_maps(actor, pid, map),
            Op::WhereIs(op::WhereIs { map, page, .. }) => {
                self.with_page(actor, map, *page, |m, at| on(m.node_of(pid, at)))
            }
            Op::Pin(_) | Op::Udmabuf(_) | Op::Unpin(_) => self.pin_op(actor, pid, op),
            _ => self.placed_range_op(actor, pid, op),
        }
    }

    /// The lines of a mapping's areas.
    fn numa_maps(&mut self, actor: u16, pid: Pid, name: &MapName) -> Answer {
        self.slot(name.as_str());
        let Some(map) = self.actors.get(&actor).and_then(|state| state.maps.get(name.as_str())).copied() else {
            return StepResult::Nomap.into();
        };
        let end = map.addr.get().saturating_add(map.len.max(1));
        let lines = self.machine.numa_maps(pid).unwrap_or_default();
        let inside = lines.iter().filter(|line| (map.addr.get()..end).contains(&line.start.get()));
        let text: String = inside.map(ToString::to_string).collect();
        Answer { extras: Extras { numa: Some(placed(&text)), ..Extras::default() }, ..Answer::ok() }
    }

    fn with_page(
        &mut self,
        actor: u16,
        map: &MapName,
        page: PageIndex,
        f: impl FnOnce(&mut hugefolio::Machine, Vaddr) -> Answer,
    ) -> Answer {
        self.slot(map.as_str());
        let Some(map) = self.actors.get(&actor).and_then(|state| state.maps.get(map.as_str())).copied() else {
            return StepResult::Nomap.into();
        };
        let offset = u64::from(page.get()) << map.page.shift();
        f(&mut self.machine, Vaddr::new(map.addr.get().wrapping_add(offset)))
    }

    /// Calls that take a range of a mapping.
    fn placed_range_op(&mut self, actor: u16, pid: Pid, op: &Op) -> Answer {
        let Some((name, range)) = range_of(op) else { return StepResult::BadOp.into() };
        self.slot(name.as_str());
        let Some(map) = self.actors.get(&actor).and_then(|state| state.maps.get(name.as_str())).copied() else {
            return StepResult::Nomap.into();
        };
        let start = Vaddr::new(map.addr.get().wrapping_add(range.off.unsigned()));
        let len = Bytes::new(range.len.unsigned());
        let machine = &mut self.machine;
        match op {
            Op::Mbind(op::Mbind { mode, nodes, flags, are, .. }) => match wish(*mode, *nodes, *are) {
                Some(wish) => answers::done(machine.mbind(pid, start, len, wish, existing(flags.as_ref()))),
                None => answers::failed(&NoPolicyNodes),
            },
            Op::HomeNode(op::HomeNode { node, .. }) => {
                answers::done(machine.set_home_node(pid, start, len, node_of(node.get())))
            }
            Op::Hwpoison(_) => injected(machine.inject(pid, start, len, Injection::Hard)),
            Op::SoftOffline(_) => injected(machine.inject(pid, start, len, Injection::Soft)),
            _ => StepResult::BadOp.into(),
        }
    }
}

fn injected<T>(result: Result<T, CallError<InjectError>>) -> Answer {
    answers::done(result.map(drop))
}

/// The node that a page lies on.
fn on(result: Result<NodeId, CallError<MovePageError>>) -> Answer {
    match result {
        Ok(node) => {
            let on = Some(u32::from(node.get()));
            Answer { extras: Extras { on, ..Extras::default() }, ..Answer::ok() }
        }
        Err(error) => answers::refused(&error),
    }
}

/// The node of that number; beyond the last that there can be, that one, which no machine of a scenario has.
fn node_of(number: u32) -> NodeId {
    NodeId::new(u8::try_from(number.min(63)).unwrap_or(63))
}

/// Lines of `numa_maps` without what is other on every host: addresses, and names of files.
#[must_use]
pub fn placed(text: &str) -> String {
    let line = |line: &str| -> String {
        let words = line.split(' ').skip(1).filter(|word| !word.starts_with("file="));
        words.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("; ")
}

pub(super) fn mask(nodes: NodeList) -> Nodemask {
    nodes.iter().map(NodeId::new).collect()
}

/// The policy that the words mean; nothing where they contradict each other.
fn wish(mode: PolicyMode, nodes: Option<NodeList>, are: Option<NodesAre>) -> Option<Wish> {
    let mask = nodes.map_or(Nodemask::EMPTY, mask);
    let mean = match are {
        None => NodesMean::Places,
        Some(NodesAre::Static) => NodesMean::Static,
        Some(NodesAre::Relative) => NodesMean::Relative,
    };
    let about_none = mask.is_empty();
    let policy = match mode {
        PolicyMode::Default if about_none && are.is_none() => Mempolicy::Default,
        PolicyMode::Local | PolicyMode::Preferred if about_none && are.is_none() => Mempolicy::Local,
        PolicyMode::Default | PolicyMode::Local => return None,
        _ if about_none => return None,
        PolicyMode::Preferred => return Some(Wish::first_of(mask).meaning(mean)),
        PolicyMode::PreferredMany => Mempolicy::PreferredMany { nodes: mask, home: None },
        PolicyMode::Bind => Mempolicy::Bind { nodes: mask, home: None },
        PolicyMode::Interleave => Mempolicy::Interleave(mask),
        PolicyMode::WeightedInterleave => Mempolicy::WeightedInterleave(mask),
    };
    Some(Wish::from(policy).meaning(mean))
}

fn existing(flags: Option<&Flags<MoveFlag>>) -> Existing {
    let has = |flag| flags.is_some_and(|flags| flags.has(flag));
    let scope = if has(MoveFlag::All) { MoveScope::All } else { MoveScope::Own };
    match (has(MoveFlag::Strict), has(MoveFlag::Move) || has(MoveFlag::All)) {
        (false, false) => Existing::Ignored,
        (true, false) => Existing::Refused,
        (false, true) => Existing::Moved(scope),
        (true, true) => Existing::MovedStrictly(scope),
    }
}

fn range_of(op: &Op) -> Option<(&MapName, Span)> {
    match op {
        Op::Mbind(op::Mbind { map, range, .. })
        | Op::HomeNode(op::HomeNode { map, range, .. })
        | Op::Hwpoison(op::Hwpoison { map, range, .. })
        | Op::SoftOffline(op::SoftOffline { map, range, .. }) => Some((map, *range)),
        _ => None,
    }
}
