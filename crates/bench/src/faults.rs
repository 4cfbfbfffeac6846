//! Threads that fault and unmap what is promised to them, on one machine.

use std::hint::black_box;
use std::thread;

use hugefolio::{
    Advice, Bytes, Calls, CpuId, HugeSize, Machine, MapCall, NodeId, Pid, Policies, Share, SharedMachine, Vaddr,
};

/// Faults of each thread.
const FAULTS: u32 = 20_000;

/// Two processes with an area each, on a machine of two nodes with two processors each.
#[derive(Debug)]
pub struct TwoTasks {
    machine: SharedMachine,
    tasks: [(Pid, Vaddr); 2],
}

impl TwoTasks {
    /// With 32 pages on each of two nodes. Each process gets its pages where `on` says of the node of its number.
    #[must_use]
    pub fn new(on: impl Fn(NodeId) -> NodeId) -> Self {
        let nodes = [NodeId::new(0), NodeId::new(1)];
        let builder = nodes.into_iter().fold(Machine::builder(), |b, node| b.node(node, Bytes::gib(4)).cpus(node, 2));
        let mut machine = builder.cmdline("hugepages=0:32,1:32").build().expect("two nodes can be");
        let tasks = nodes.map(|node| {
            let pid = machine.spawn();
            assert!(machine.run_on_node(pid, on(node)), "{pid:?} has just begun");
            let at = machine.mmap(pid, &MapCall::anonymous(HugeSize::M2.bytes(), Share::Private));
            (pid, at.expect("there are pages to promise"))
        });
        Self { machine: machine.into(), tasks }
    }

    /// A thread for each of these processors touches its page and lets it go, again and again.
    pub fn run(&self, cpus: &[u32]) {
        thread::scope(|scope| {
            for (&cpu, &(pid, at)) in cpus.iter().zip(&self.tasks) {
                scope.spawn(move || {
                    let mut cpu = self.machine.check_out(CpuId::new(cpu)).expect("nobody else has it");
                    let mut on = self.machine.on(&mut cpu);
                    for _ in 0..FAULTS {
                        on.write_byte(pid, black_box(at), 1).expect("the page is promised");
                        on.madvise(pid, at, HugeSize::M2.bytes(), Advice::DontNeed).expect("the page is mapped");
                    }
                    self.machine.check_in(cpu);
                });
            }
        });
    }
}
