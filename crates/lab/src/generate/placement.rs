//! Where pages lie: policies, cpusets and moves on a machine with several nodes.

use super::Generator;
use crate::op::{
    CgMems, CgroupName, Flags, HomeNode, Mbind, MigratePages, MoveFlag, MovePage, Node, NodeList, NodesAre, NumaMaps,
    Op, PageIndex, PolicyMode, RunOn, SetMempolicy, SetNr, SizeName, Value, Verbatim, WhereIs, Write, Written,
};
use crate::target::MachineLine;

/// The groups whose processes are kept to nodes.
const GROUPS: [&str; 2] = ["g0", "g1"];

impl Generator {
    /// An operation on where pages lie, if there is anything to do it to.
    pub(super) fn placement(&mut self) -> Option<Op> {
        match self.random.below(24) {
            0..5 => self.bind_range(),
            5..8 => {
                let (mode, nodes, are) = self.policy();
                Some(SetMempolicy { actor: self.process()?, mode, nodes, are }.into())
            }
            8 => self.home_node(),
            9..11 => Some(RunOn { actor: self.process()?, node: self.node(5) }.into()),
            11..14 => self.move_page(),
            14..17 => self.where_is(),
            17..19 => {
                let (from, to) = (self.nodes(10), self.nodes(10));
                Some(MigratePages { actor: self.process()?, from, to }.into())
            }
            19..21 => self.mems(),
            21 => self.weight(),
            22 => self.nr_by_policy(),
            _ => Some(self.nr_of_node()),
        }
    }

    fn node(&mut self, percent_none: u32) -> Node {
        let beyond = self.random.percent(percent_none);
        Node::new(if beyond { self.nodes } else { self.random.below(self.nodes) })
    }

    /// Some nodes, seldom none of those that there are.
    fn nodes(&mut self, percent_odd: u32) -> NodeList {
        let odd = self.random.percent(percent_odd);
        let bits = if odd { self.random.below(2 << self.nodes) } else { self.random.between(1, (1 << self.nodes) - 1) };
        let list: Vec<String> = (0..32).filter(|n| bits >> n & 1 == 1).map(|n: u32| n.to_string()).collect();
        let text = if list.is_empty() { "none".to_owned() } else { list.join(",") };
        NodeList::from_text(&text).unwrap_or_else(|_| unreachable!("numbers below 64 with commas"))
    }

    fn policy(&mut self) -> (PolicyMode, Option<NodeList>, Option<NodesAre>) {
        let mode = *self.random.of(&[
            PolicyMode::Default,
            PolicyMode::Local,
            PolicyMode::Preferred,
            PolicyMode::PreferredMany,
            PolicyMode::Bind,
            PolicyMode::Bind,
            PolicyMode::Interleave,
            PolicyMode::Interleave,
            PolicyMode::WeightedInterleave,
        ]);
        let names_none = matches!(mode, PolicyMode::Default | PolicyMode::Local);
        let odd = self.random.percent(4);
        let nodes = (names_none == odd).then(|| self.nodes(4));
        let are = if names_none && !self.random.percent(3) || self.random.percent(65) {
            None
        } else {
            Some(*self.random.of(&[NodesAre::Static, NodesAre::Relative]))
        };
        (mode, nodes, are)
    }

    fn bind_range(&mut self) -> Option<Op> {
        let (actor, map, view) = self.map()?;
        let piece = self.piece(&view);
        let range = self.span(&view, piece, 4);
        let (mode, nodes, are) = self.policy();
        let flags: &[MoveFlag] = match self.random.below(9) {
            0..3 => &[],
            3 => &[MoveFlag::Strict],
            4..6 => &[MoveFlag::Move],
            6 => &[MoveFlag::All],
            7 => &[MoveFlag::Strict, MoveFlag::Move],
            _ => &[MoveFlag::Strict, MoveFlag::All],
        };
        let flags = (!flags.is_empty()).then(|| Flags::of(flags));
        Some(Mbind { actor, map, range, mode, nodes, flags, are }.into())
    }

    fn home_node(&mut self) -> Option<Op> {
        let (actor, map, view) = self.map()?;
        let piece = self.piece(&view);
        let range = self.span(&view, piece, 4);
        Some(HomeNode { actor, map, range, node: self.node(5) }.into())
    }

    fn move_page(&mut self) -> Option<Op> {
        let (actor, map, view) = self.map()?;
        let page = PageIndex::new(self.piece(&view).first);
        let flags = self.random.percent(50).then(|| Flags::of(&[MoveFlag::All]));
        Some(MovePage { actor, map, page, node: self.node(5), flags }.into())
    }

    fn where_is(&mut self) -> Option<Op> {
        let (actor, map, view) = self.map()?;
        if self.random.percent(50) {
            return Some(NumaMaps { actor, map }.into());
        }
        let page = PageIndex::new(self.piece(&view).first);
        Some(WhereIs { actor, map, page }.into())
    }

    fn mems(&mut self) -> Option<Op> {
        let name: &str = self.random.any(GROUPS)?;
        // A group that takes its nodes from one above it is not the place for policies: 6.18 divides by zero when those change.
        let above = format!("{name}/");
        if self.on_kernel && self.view.groups.iter().any(|group| group.as_str().starts_with(&above)) {
            return None;
        }
        let cg = CgroupName::new(name).ok()?;
        Some(CgMems { cg, nodes: self.nodes(12) }.into())
    }

    fn weight(&mut self) -> Option<Op> {
        let path = format!("/sys/kernel/mm/mempolicy/weighted_interleave/node{}", self.node(2).get());
        let value = Written::Number(i64::from(*self.random.of(&[1, 1, 2, 3, 5])));
        Some(Write { path: Verbatim(path), value, by: None }.into())
    }

    fn nr_by_policy(&mut self) -> Option<Op> {
        let path = Verbatim("/proc/sys/vm/nr_hugepages_mempolicy".to_owned());
        let value = Written::Number(i64::from(self.random.below(13)));
        let by = if self.random.percent(90) { Some(self.process()?) } else { None };
        Some(Write { path, value, by }.into())
    }

    pub(super) fn nr_of_node(&mut self) -> Op {
        let value = Written::Number(i64::from(self.random.below(8)));
        SetNr { value, size: SizeName::M2, node: Some(self.node(2)) }.into()
    }

    /// Pages on all nodes, and groups whose processes are kept to some.
    pub(super) fn open_nodes(&mut self) {
        for node in 0..self.nodes {
            let value = Written::Number(i64::from(self.random.below(6)));
            self.opening.push_back(SetNr { value, size: SizeName::M2, node: Some(Node::new(node)) }.into());
        }
        for name in GROUPS {
            let Ok(cg) = CgroupName::new(name) else { continue };
            self.view.groups.insert(cg.clone());
            self.opening.push_back(crate::op::CgCreate { cg: cg.clone(), sub: None }.into());
            if self.random.percent(50) {
                let nodes = self.nodes(0);
                self.opening.push_back(CgMems { cg, nodes }.into());
            }
        }
    }
}

/// Four nodes as Linux numbers them, those with processors first: the third has no memory, and the fourth no processors.
pub(super) fn four_nodes() -> MachineLine {
    let mib = |n: i64| crate::op::Size::bytes(n << 20);
    let distances = vec![(0, 1, 21), (0, 2, 30), (0, 3, 17), (1, 2, 15), (1, 3, 40), (2, 3, 25)];
    let nodes = vec![mib(1024), mib(768), mib(0), mib(768)];
    MachineLine { nodes, cpus: vec![(3, 0)], distances, ..MachineLine::default() }
}
