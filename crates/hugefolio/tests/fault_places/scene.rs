//! What operations run on: a machine of two nodes on which a parent and its child share files and pages.

use hugefolio::boot::Arch;
use hugefolio::{
    Admin, BlockId, Bytes, Calls, CgroupId, Fd, GmemPin, GmemView, HugeCount, HugeSize, Machine, MapCall,
    MemoryAccounting, MountId, MountOptions, Moves, NodeId, Nodemask, OpenCall, Pid, Pin, PinId, ResizeNodes,
    SegmentId, Share, Vaddr,
};

pub(crate) const N0: NodeId = NodeId::new(0);
pub(crate) const N1: NodeId = NodeId::new(1);
pub(crate) const M2: HugeSize = HugeSize::M2;
pub(crate) const BASE: Bytes = Bytes::kib(4);
pub(crate) const ALL: ResizeNodes = ResizeNodes::Global(Nodemask::ALL);

pub(crate) const fn pages(n: u64) -> Bytes {
    Bytes::new(n * M2.bytes().get())
}

pub(crate) const fn huge(n: u64) -> HugeCount {
    HugeCount::new(n)
}

/// A parent and its child in a group, with a file that the parent maps both ways and has touched in part; every page lies on node 0,
/// and node 1 has none to spare.
pub(crate) struct Scene {
    pub(crate) machine: Machine,
    pub(crate) parent: Pid,
    pub(crate) child: Pid,
    pub(crate) mount: MountId,
    pub(crate) group: CgroupId,
    pub(crate) file: Fd,
    pub(crate) shared: Vaddr,
    pub(crate) private: Vaddr,
    pub(crate) more: More,
}

/// What some operations need besides, made beforehand.
#[derive(Default)]
pub(crate) struct More {
    pub(crate) fd: Option<Fd>,
    pub(crate) at: Option<Vaddr>,
    pub(crate) mount: Option<MountId>,
    pub(crate) pin: Option<Pin>,
    pub(crate) pins: Option<PinId>,
    pub(crate) guest_pin: Option<GmemPin>,
    pub(crate) view: Option<GmemView>,
    pub(crate) segment: Option<SegmentId>,
    pub(crate) blocks: Vec<BlockId>,
    pub(crate) plug: Option<hugefolio::pages::Plug>,
}

/// The scene on a machine that is started like this.
pub(crate) fn scene_of(cmdline: &str, near: Bytes) -> Scene {
    scene_on(Arch::X86_64, cmdline, near)
}

/// The scene on a machine of an architecture.
pub(crate) fn scene_on(arch: Arch, cmdline: &str, near: Bytes) -> Scene {
    let builder = Machine::builder().arch(arch).node(N0, near).node(N1, Bytes::mib(128)).cmdline(cmdline);
    let mut machine = builder.memory_accounting(MemoryAccounting::HugePages).build().unwrap();
    machine.set_nr_hugepages(M2, huge(12), ResizeNodes::Node(N0)).unwrap();
    machine.set_nr_overcommit(M2, huge(4)).unwrap();
    let hstate = machine.hstates().default_hstate().id;
    let mut options = MountOptions::unlimited(hstate);
    options.max = Some(huge(16));
    let mount = machine.mount(&options).unwrap();
    let group = machine.create_cgroup("g").unwrap();
    let parent = machine.spawn();
    machine.attach(parent, Some(group)).unwrap();
    let file = machine.open(parent, &OpenCall::create(mount, "file")).unwrap();
    let shared = machine.mmap(parent, &MapCall::file(file, pages(4), Share::Shared)).unwrap();
    let private = machine.mmap(parent, &MapCall::file(file, pages(4), Share::Private)).unwrap();
    machine.write_byte(parent, shared, 1).unwrap();
    machine.write_byte(parent, private, 2).unwrap();
    machine.write_byte(parent, private + pages(1), 3).unwrap();
    let child = machine.fork(parent).unwrap();
    Scene { machine, parent, child, mount, group, file, shared, private, more: More::default() }
}

pub(crate) fn scene() -> Scene {
    scene_of("", Bytes::mib(128))
}

/// The scene where huge pages have given descriptors back.
pub(crate) fn with_shared_tails() -> Scene {
    scene_of("hugetlb_free_vmemmap=on", Bytes::mib(128))
}

/// Everything that can be seen, as text.
pub(crate) fn seen(scene: &Scene) -> String {
    let mut machine = scene.machine.clone();
    let sizes = [M2, HugeSize::M32, HugeSize::G1];
    let mut text: String = sizes.iter().map(|&size| format!("{:?}\n", machine.pool(size))).collect();
    text += &format!("{:?} {:?}\n", machine.fstat(scene.parent, scene.file), machine.statfs(scene.mount));
    for file in ["memory.current", "hugetlb.2MB.current", "hugetlb.2MB.rsvd.current", "hugetlb.2MB.numa_stat"] {
        text += &machine.read_file(&format!("/sys/fs/cgroup/g/{file}")).unwrap();
    }
    for pid in [scene.parent, scene.child] {
        text += &format!("{:?}\n", machine.hugetlb_pages(pid));
        for base in [scene.shared, scene.private] {
            for n in 0..4 {
                let at = base + pages(n);
                text += &format!("{:?} {:?} ", machine.page_state(pid, at), machine.node_of(pid, at));
            }
        }
    }
    let guests: Vec<_> = machine.processes().flat_map(|(_, process)| process.gmems().collect::<Vec<_>>()).collect();
    for (_, guest) in guests {
        let guest = machine.gmem(guest).unwrap();
        let (there, kinds) = (guest.cached().collect::<Vec<_>>(), guest.attributes().collect::<Vec<_>>());
        let orders: Vec<_> = there.iter().map(|&(_, pfn)| machine.folio(pfn).map(|(_, folio)| folio.order)).collect();
        text += &format!("{there:?} {orders:?} {kinds:?} {}\n", guest.views().count());
    }
    for node in [N0, N1] {
        text += &format!("{:?} ", machine.spare_pages(node));
    }
    text
}

pub(crate) fn total(s: &mut Scene) -> u64 {
    s.machine.pool(M2).unwrap().nr.get()
}
