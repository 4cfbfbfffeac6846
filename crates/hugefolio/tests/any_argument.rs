//! Calls about where pages lie, and limits on memory, with any arguments at all: nothing panics, and every recount holds.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod draw;

use draw::Draw;
use hugefolio::{
    Admin, Advice, Bytes, Calls, Cause, CgroupCounter, Existing, HugeCount, HugeSize, Injection, Limit, Machine,
    MapCall, MapFlags, MemoryAccounting, Mempolicy, MoveScope, Moves, NodeId, Nodemask, Pages, Pfn, Pid, Pin, Policies,
    ResizeNodes, Share, Touch, Vaddr,
};

const M2: u64 = HugeSize::M2.bytes().get();

const NUMBERS: [u64; 18] = [
    0,
    1,
    511,
    4095,
    4096,
    M2 - 1,
    M2,
    M2 + 1,
    3 * M2,
    64 << 20,
    1 << 30,
    (1 << 47) - 4096,
    1 << 47,
    1 << 52,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 4095,
    u64::MAX,
];

struct Rig {
    machine: Machine,
    draw: Draw,
    processes: Vec<Pid>,
    areas: Vec<Vaddr>,
    pins: Vec<Pin>,
}

impl Rig {
    fn new(seed: u64) -> Self {
        let builder = Machine::builder().node(NodeId::new(0), Bytes::mib(64)).node(NodeId::new(1), Bytes::mib(64));
        let builder = builder.memory_accounting(MemoryAccounting::HugePages).cmdline("hugepages=0:6,1:6");
        let mut machine = builder.build().unwrap();
        machine.set_nr_overcommit(HugeSize::M2, HugeCount::new(2)).unwrap();
        let processes = vec![machine.spawn()];
        Self { machine, draw: Draw(seed | 1), processes, areas: vec![Vaddr::new(0)], pins: Vec::new() }
    }

    fn number(&mut self) -> u64 {
        self.draw.of(&NUMBERS)
    }

    fn length(&mut self) -> Bytes {
        Bytes::new(self.number())
    }

    fn pid(&mut self) -> Pid {
        self.draw.of(&self.processes.clone())
    }

    /// In an area mostly, or anywhere.
    fn address(&mut self) -> Vaddr {
        if self.draw.chance(6) {
            return Vaddr::new(self.number());
        }
        let area = self.draw.of(&self.areas.clone());
        Vaddr::new(area.get().wrapping_add(self.draw.below(4) * M2 + self.draw.of(&[0, 0, 0, 4096, 17])))
    }

    /// The frame of an address mostly, or any.
    fn frame(&mut self) -> Pfn {
        let (pid, at) = (self.pid(), self.address());
        let number = self.number();
        let any = self.draw.chance(4);
        self.machine.frame_at(pid, at).filter(|_| !any).unwrap_or(Pfn::new(number >> self.draw.below(20)))
    }

    fn node(&mut self) -> NodeId {
        NodeId::new(self.draw.of(&[0, 0, 0, 1, 1, 1, 2, 63, 64, 200, 255]))
    }

    fn nodes(&mut self) -> Nodemask {
        let all = [Nodemask::EMPTY, Nodemask::ALL, Nodemask::of(NodeId::new(0)), Nodemask::of(NodeId::new(1))];
        self.draw.of(&all)
    }

    fn policy(&mut self) -> Mempolicy {
        let (nodes, node) = (self.nodes(), self.node());
        let home = if self.draw.chance(3) { Some(node) } else { None };
        match self.draw.below(6) {
            0 => Mempolicy::Default,
            1 => Mempolicy::Local,
            2 => Mempolicy::Preferred(node),
            3 => Mempolicy::PreferredMany { nodes, home },
            4 => Mempolicy::Bind { nodes, home },
            _ => Mempolicy::Interleave(nodes),
        }
    }

    fn step(&mut self) {
        let (pid, at, len) = (self.pid(), self.address(), self.length());
        match self.draw.below(27) {
            0..=2 => self.map(pid, len),
            3..=5 => _ = self.machine.write_byte(pid, at, 1),
            6 => _ = self.machine.munmap(pid, at.align_down(Bytes::new(M2)), len),
            7 => self.pin(pid, at),
            8 if self.pins.is_empty() => (),
            8 => {
                let pin = self.pins.swap_remove(0);
                self.machine.unpin(pin);
            }
            9..=12 => self.disturb(pid, at, len),
            13..=16 => self.fail(),
            17 => self.bind(pid, at, len),
            18 | 19 => self.prefer(pid, at, len),
            20 => _ = self.machine.madvise(pid, at, len, Advice::DontNeed),
            21 => self.resize(),
            22 | 23 => self.group(pid, len),
            24 => self.family(pid),
            _ => self.look(pid, at, len),
        }
    }

    /// Pages of an area are moved, or broken.
    fn disturb(&mut self, pid: Pid, at: Vaddr, len: Bytes) {
        let scope = self.draw.of(&[MoveScope::Own, MoveScope::All]);
        let (node, from, to) = (self.node(), self.nodes(), self.nodes());
        match self.draw.below(4) {
            0 => _ = self.machine.move_page(pid, at, node, scope),
            1 => _ = self.machine.migrate_pages(pid, from, to, scope),
            2 => _ = self.machine.inject(pid, at, len, Injection::Hard),
            _ => _ = self.machine.inject(pid, at, len, Injection::Soft),
        }
    }

    /// A frame breaks, is given up, or trusted again.
    fn fail(&mut self) {
        let frame = self.frame();
        match self.draw.below(4) {
            0 => _ = self.machine.memory_failure(frame, Cause::Test),
            1 => _ = self.machine.soft_offline(frame),
            2 => _ = self.machine.unpoison(frame),
            _ => _ = self.machine.dissolve(frame),
        }
    }

    fn prefer(&mut self, pid: Pid, at: Vaddr, len: Bytes) {
        let (policy, node) = (self.policy(), self.node());
        match self.draw.below(3) {
            0 => _ = self.machine.set_mempolicy(pid, policy),
            1 => _ = self.machine.set_home_node(pid, at, len, node),
            _ => _ = self.machine.run_on_node(pid, node),
        }
    }

    fn map(&mut self, pid: Pid, len: Bytes) {
        let flags = self.draw.of(&[MapFlags::empty(), MapFlags::NORESERVE, MapFlags::POPULATE]);
        let share = self.draw.of(&[Share::Private, Share::Shared]);
        let len = if self.draw.chance(4) { len } else { Bytes::new(4 * M2) };
        if let Ok(at) = self.machine.mmap(pid, &MapCall::anonymous(len, share).with_flags(flags)) {
            self.areas.push(at);
        }
    }

    fn pin(&mut self, pid: Pid, at: Vaddr) {
        let touch = self.draw.of(&[Touch::Read, Touch::Write]);
        self.pins.extend(self.machine.pin(pid, at, touch));
    }

    fn bind(&mut self, pid: Pid, at: Vaddr, len: Bytes) {
        let (policy, scope) = (self.policy(), self.draw.of(&[MoveScope::Own, MoveScope::All]));
        let existing = self.draw.of(&[
            Existing::Ignored,
            Existing::Refused,
            Existing::Moved(scope),
            Existing::MovedStrictly(scope),
        ]);
        let _ = self.machine.mbind(pid, at, len, policy, existing);
    }

    fn resize(&mut self) {
        let count = HugeCount::new(if self.draw.chance(3) { self.number() } else { self.draw.below(16) });
        let nodes =
            if self.draw.chance(2) { ResizeNodes::Node(self.node()) } else { ResizeNodes::Global(self.nodes()) };
        let _ = self.machine.set_nr_hugepages(HugeSize::M2, count, nodes);
        let _ = self.machine.demote(HugeSize::M2, count, nodes);
    }

    fn group(&mut self, pid: Pid, len: Bytes) {
        let name = self.draw.of(&["g", "h", "g/c", "g/c/d"]);
        let made = self.machine.create_cgroup(name);
        let text = self.draw.of(&["+memory +hugetlb", "-memory", "+hugetlb", "-hugetlb +memory", ""]);
        let _ = self.machine.write_file(&format!("/sys/fs/cgroup/{name}/cgroup.subtree_control"), text);
        let Ok(Some(group)) = self.machine.cgroup(name) else { return };
        match self.draw.below(5) {
            0 => _ = self.machine.remove_cgroup(group),
            1 => _ = self.machine.attach(pid, Some(group)),
            2 => _ = self.machine.set_memory_limit(group, if self.draw.chance(4) { None } else { Some(len) }),
            3 => {
                let limit = Limit::Pages(HugeCount::new(self.number()));
                let _ = self.machine.set_cgroup_limit(group, HugeSize::M2, CgroupCounter::Usage, limit);
            }
            _ => {
                let text = format!("{}{}", self.number(), self.draw.of(&["", "K", "E", "max", "\n"]));
                let _ = self.machine.write_file(&format!("/sys/fs/cgroup/{name}/memory.max"), &text);
            }
        }
        let _ = made;
        for file in ["memory.current", "memory.max", "memory.events", "memory.stat", "memory.events.local"] {
            let _ = self.machine.read_file(&format!("/sys/fs/cgroup/{name}/{file}"));
        }
    }

    fn family(&mut self, pid: Pid) {
        if self.processes.len() < 4
            && let Ok(child) = self.machine.fork(pid)
        {
            self.processes.push(child);
        } else if self.processes.len() > 1 {
            self.machine.exit(pid);
            self.processes.retain(|&other| other != pid);
        }
    }

    fn look(&mut self, pid: Pid, at: Vaddr, len: Bytes) {
        let frame = self.frame();
        let _ = (self.machine.frame(frame), self.machine.node_of(pid, at), self.machine.mincore(pid, at, len));
        let order = hugefolio::Order::new(u8::try_from(self.draw.below(31)).unwrap());
        let block = self.machine.alloc_pages_for(pid, order, hugefolio::GfpFlags::HIGHUSER_MOVABLE);
        let _ = block.map(|block| self.machine.free_pages(block));
    }
}

#[test]
fn no_argument_panics() {
    let seeds = std::env::var("HUGEFOLIO_ANY_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    for seed in 0..seeds {
        let mut rig = Rig::new(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed + 1));
        for n in 0..250 {
            rig.step();
            rig.machine.validate().unwrap_or_else(|broken| panic!("seed {seed}, step {n}: {broken}"));
        }
        let Rig { mut machine, processes, pins, .. } = rig;
        processes.into_iter().for_each(|pid| assert!(machine.exit(pid)));
        pins.into_iter().for_each(|pin| machine.unpin(pin));
        machine.validate().unwrap_or_else(|broken| panic!("seed {seed}, after the end: {broken}"));
    }
}
