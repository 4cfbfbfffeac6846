//! Where pages come from, for every policy, cpuset and kind of request, on machines of all shapes: each page is compared with the rules written
//! out naively, once for ordinary pages and once for huge ones.

mod draw;

use std::collections::{BTreeMap, BTreeSet};

use draw::Draw;
use hugefolio::Writer;
use hugefolio::pages::PageRequest;
use hugefolio::{
    Admin, Bytes, Calls, Credentials, DriverId, GfpFlags, HugeCount, HugeIndex, HugeSize, Machine, MapCall, MapFlags,
    MemoryRange, Mempolicy, NodeCaps, NodeId, Nodemask, Order, Origin, Pages, Pfn, PrivateNode, ResizeNodes, Share,
    ZoneKind, ZoneRef,
};

/// What a node of a drawn machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Ordinary,
    NoProcessor,
    NoMemory,
    MovableAlone,
    Private,
}

/// A machine as it was drawn.
#[derive(Clone, Debug)]
struct World {
    shapes: Vec<Shape>,
    distances: Vec<Vec<u8>>,
    /// The zones of each node, from the highest down.
    zones: Vec<Vec<ZoneKind>>,
    /// Nodes whose memory is all in use.
    full: BTreeSet<usize>,
    /// How many pages each gets in a row under a weighted policy.
    weights: Vec<u8>,
    /// For each node, all others in the order in which it looks for memory.
    lists: Vec<Vec<usize>>,
}

const fn node(n: usize) -> NodeId {
    #[expect(clippy::cast_possible_truncation, reason = "a machine has four nodes")]
    NodeId::new(n as u8)
}

fn members(mask: Nodemask) -> Vec<usize> {
    mask.iter().map(|node| usize::from(node.get())).collect()
}

impl World {
    fn draw(draw: &mut Draw) -> Self {
        let count = draw.of(&[2, 4]);
        let shapes = [
            Shape::Ordinary,
            Shape::Ordinary,
            Shape::NoProcessor,
            Shape::NoMemory,
            Shape::MovableAlone,
            Shape::Private,
        ];
        // The kernel itself needs memory somewhere, and here a processor too.
        let home = usize::try_from(draw.below(count)).expect("a small number");
        let count = usize::try_from(count).expect("a small number");
        let shapes: Vec<Shape> =
            (0..count).map(|n| if n == home { Shape::Ordinary } else { draw.of(&shapes) }).collect();
        let mut distances = vec![vec![10; count]; count];
        let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        for (a, b) in pairs {
            let distance = draw.of(&[11, 15, 20, 20, 21, 30, 40]);
            (distances[a][b], distances[b][a]) = (distance, distance);
        }
        let large = draw.chance(2);
        let zones = shapes.iter().enumerate().map(|(n, shape)| match (shape, n) {
            (Shape::NoMemory, _) => Vec::new(),
            (Shape::MovableAlone, _) => vec![ZoneKind::Movable],
            (_, 0) if large => vec![ZoneKind::Normal, ZoneKind::Dma32, ZoneKind::Dma],
            (_, 0) => vec![ZoneKind::Dma32, ZoneKind::Dma],
            _ => vec![ZoneKind::Normal],
        });
        let zones: Vec<Vec<ZoneKind>> = zones.collect();
        let weights = zones.iter().zip(&shapes).map(|(zones, shape): (&Vec<ZoneKind>, &Shape)| {
            let plain = zones.is_empty() || *shape == Shape::Private;
            if plain { 1 } else { draw.of(&[1, 1, 2, 3]) }
        });
        let weights = weights.collect();
        let mut world = Self { shapes, distances, zones, full: BTreeSet::new(), weights, lists: Vec::new() };
        world.lists = world.lists();
        world
    }

    fn has_memory(&self, n: usize) -> bool {
        !matches!(self.shapes[n], Shape::NoMemory | Shape::Private)
    }

    /// Each node first itself, then whoever costs least: distance, one more for a lower number, one more for processors; of equals who was
    /// seldom first at its distance, then the lower number.
    fn lists(&self) -> Vec<Vec<usize>> {
        let mut load = vec![0; self.shapes.len()];
        let list = |local: usize| {
            let mut left: Vec<usize> = (0..self.shapes.len()).filter(|&n| self.has_memory(n)).collect();
            let (mut list, mut last) = (Vec::new(), local);
            while !left.is_empty() {
                let cost = |&n: &usize| {
                    let processors = !matches!(self.shapes[n], Shape::NoProcessor);
                    let more = u32::from(n < local) + u32::from(processors);
                    (n != local, u32::from(self.distances[local][n]) + more, load[n], n)
                };
                let next = left.iter().copied().min_by_key(|n| cost(n)).expect("some are left");
                if self.distances[local][next] != self.distances[local][last] {
                    load[next] += 1;
                }
                left.retain(|&n| n != next);
                list.push(next);
                last = next;
            }
            list
        };
        (0..self.shapes.len()).map(list).collect()
    }

    fn build(&self) -> Machine {
        let mut builder = Machine::builder().cmdline("movable_node");
        for (n, shape) in self.shapes.iter().enumerate() {
            // Low memory is never movable.
            let low = n == 0 && *shape != Shape::MovableAlone;
            let start = Pfn::new(if low { 0 } else { u64::try_from(n + 1).expect("small") << 24 });
            let memory = if self.zones[n].len() == 3 { Bytes::gib(5) } else { Bytes::mib(128) };
            let end = Pfn::new(start.get() + (memory.get() >> 12));
            let hotpluggable = *shape == Shape::MovableAlone;
            if *shape != Shape::NoMemory {
                builder = builder.memory(MemoryRange { node: node(n), start, end, hotpluggable, mirrored: false });
            }
            let cpus = if *shape == Shape::NoProcessor { 0 } else { 1 };
            builder = builder.cpus(node(n), cpus);
            if *shape == Shape::Private {
                builder = builder.private(node(n), PrivateNode { owner: DriverId(1), caps: NodeCaps::NONE });
            }
            for m in 0..n {
                builder = builder.distance(node(n), node(m), self.distances[n][m]);
            }
        }
        let mut machine = builder.build().unwrap_or_else(|error| panic!("{self:?}: {error}"));
        for n in (0..self.shapes.len()).filter(|&n| self.has_memory(n)) {
            let path = format!("/sys/kernel/mm/mempolicy/weighted_interleave/node{n}");
            machine.write_file(&path, &self.weights[n].to_string()).expect("a weight");
        }
        machine
    }

    /// Takes all memory of some nodes, to the last page.
    fn fill(&mut self, machine: &mut Machine, draw: &mut Draw) {
        for n in (0..self.shapes.len()).filter(|&n| self.has_memory(n)).collect::<Vec<_>>() {
            let large = self.zones[n].len() == 3;
            if large || !draw.chance(3) {
                continue;
            }
            self.full.insert(n);
            let movable = if self.shapes[n] == Shape::MovableAlone { GfpFlags::MOVABLE } else { GfpFlags::empty() };
            let gfp = GfpFlags::HIGHMEM | movable | GfpFlags::THISNODE | GfpFlags::MEMALLOC;
            for order in (0..=10).rev() {
                let request = PageRequest::new(Order::new(order), gfp, node(n));
                while machine.alloc_pages(&request).is_ok() {}
            }
        }
    }

    /// The highest zone that policies restrict.
    fn policy_zone(&self) -> Option<ZoneKind> {
        let ordinary = (0..self.shapes.len()).filter(|&n| self.has_memory(n)).flat_map(|n| &self.zones[n]);
        ordinary.copied().filter(|&kind| kind != ZoneKind::Movable).max()
    }

    /// Where to start, and the sets of nodes to go through one after the other; nothing stands for all.
    fn meaning(&self, wish: &Wish, turn: u64, highest: ZoneKind) -> (usize, Vec<Option<Vec<usize>>>) {
        let at = |n: NodeId| usize::from(n.get());
        let local = at(wish.local);
        match &wish.policy {
            Mempolicy::Default | Mempolicy::Local => (local, vec![None]),
            &Mempolicy::Preferred(n) => (at(n), vec![None]),
            &Mempolicy::PreferredMany { nodes, home } => (home.map_or(local, at), vec![Some(members(nodes)), None]),
            &Mempolicy::Bind { nodes, home } => {
                let kernel = members(nodes)
                    .iter()
                    .any(|&n| self.zones[n].iter().any(|&kind| kind != ZoneKind::Movable) && self.has_memory(n));
                let least = if kernel { self.policy_zone() } else { Some(ZoneKind::Movable) };
                let binds = least.is_none_or(|least| highest >= least) && !nodes.intersection(wish.allowed).is_empty();
                (home.map_or(local, at), vec![binds.then(|| members(nodes))])
            }
            &Mempolicy::Interleave(nodes) => {
                let nodes = members(nodes);
                (nodes[usize::try_from(turn).expect("small") % nodes.len()], vec![None])
            }
            &Mempolicy::WeightedInterleave(nodes) => {
                let row: Vec<usize> =
                    members(nodes).iter().flat_map(|&n| vec![n; usize::from(self.weights[n])]).collect();
                (row[usize::try_from(turn).expect("small") % row.len()], vec![None])
            }
            other => panic!("{other:?} is not drawn"),
        }
    }

    /// The zone that a page comes from.
    fn zone_for(&self, wish: &Wish, turn: u64, highest: ZoneKind) -> Option<ZoneRef> {
        let (start, passes) = self.meaning(wish, turn, highest);
        let allowed = members(wish.allowed);
        passes.iter().find_map(|mask| {
            self.lists[start].iter().find_map(|&n| {
                let may = allowed.contains(&n) && mask.as_ref().is_none_or(|mask| mask.contains(&n));
                let kind = self.zones[n].iter().copied().find(|&kind| kind <= highest)?;
                (may && !self.full.contains(&n)).then_some(ZoneRef { node: node(n), kind })
            })
        })
    }
}

/// Who asks.
#[derive(Clone, Debug)]
struct Wish {
    local: NodeId,
    allowed: Nodemask,
    policy: Mempolicy,
}

impl Wish {
    fn draw(draw: &mut Draw, world: &World) -> Self {
        let count = world.shapes.len();
        let any = |draw: &mut Draw| node(usize::try_from(draw.below(count as u64)).expect("small"));
        let some = |draw: &mut Draw| {
            let mask: Nodemask = (0..count).filter(|_| draw.chance(2)).map(node).collect();
            if mask.is_empty() { Nodemask::of(any(draw)) } else { mask }
        };
        let home = |draw: &mut Draw| if draw.chance(2) { Some(any(draw)) } else { None };
        let policy = match draw.below(7) {
            0 => Mempolicy::Default,
            1 => Mempolicy::Local,
            2 => Mempolicy::Preferred(any(draw)),
            3 => Mempolicy::PreferredMany { nodes: some(draw), home: home(draw) },
            4 => Mempolicy::Bind { nodes: some(draw), home: home(draw) },
            5 => Mempolicy::Interleave(some(draw)),
            _ => Mempolicy::WeightedInterleave(some(draw)),
        };
        let allowed = if draw.chance(2) { Nodemask::ALL } else { some(draw) };
        Self { local: any(draw), allowed, policy }
    }

    fn spawn(&self, machine: &mut Machine) -> hugefolio::Pid {
        let Self { local, allowed, policy } = self.clone();
        let origin = Origin { local, allowed, policy: policy.into(), cgroup: None, credentials: Credentials::root() };
        machine.spawn_as(origin).expect("nobody limits processes")
    }
}

/// How many requests there were of each kind.
#[derive(Debug, Default)]
struct Seen(BTreeMap<String, u32>);

impl Seen {
    fn note(&mut self, world: &World, wish: &Wish, kind: &str, came: Option<usize>) {
        let mode = format!("{:?}", wish.policy);
        let mode = mode.split([' ', '(']).next().unwrap_or_default();
        let outcome = if came.is_some() { "served" } else { "refused" };
        let homed = match wish.policy {
            Mempolicy::PreferredMany { home, .. } | Mempolicy::Bind { home, .. } => home.is_some(),
            _ => false,
        };
        let mut keys =
            vec!["all".to_owned(), outcome.to_owned(), format!("{mode} {outcome}"), format!("{kind} {outcome}")];
        keys.push(format!("{} nodes", world.shapes.len()));
        keys.extend(homed.then(|| format!("{mode} with a home")));
        keys.extend((wish.allowed != Nodemask::ALL).then(|| format!("a cpuset, {outcome}")));
        keys.extend(came.map(|n| format!("from {:?}", world.shapes[n])));
        keys.extend(world.shapes.iter().map(|shape| format!("beside {shape:?}")));
        keys.extend(
            (world.shapes[usize::from(wish.local.get())] == Shape::NoMemory).then(|| "without memory".to_owned()),
        );
        for key in keys {
            *self.0.entry(key).or_default() += 1;
        }
    }

    /// Every mode, cpuset, home, kind of machine and of node had its share, and not all went one way.
    fn is_everything(&self, requests: u32, share: u32) {
        let count = |key: &str| self.0.get(key).copied().unwrap_or(0);
        assert!(count("all") >= requests && count("refused") >= 500, "{self:?}");
        for mode in ["Default", "Local", "Preferred", "PreferredMany", "Bind", "Interleave", "WeightedInterleave"] {
            let (served, refused) = (count(&format!("{mode} served")), count(&format!("{mode} refused")));
            assert!(served >= share && refused >= 10, "{mode}: {self:?}");
        }
        let shapes = ["Ordinary", "NoProcessor", "NoMemory", "MovableAlone", "Private"];
        let mut keys: Vec<String> = shapes.iter().map(|shape| format!("beside {shape}")).collect();
        keys.extend(["from Ordinary", "from NoProcessor", "from MovableAlone"].map(str::to_owned));
        keys.extend(
            ["2 nodes", "4 nodes", "without memory", "a cpuset, served", "a cpuset, refused"].map(str::to_owned),
        );
        keys.extend(["Bind with a home", "PreferredMany with a home"].map(str::to_owned));
        for key in keys {
            assert!(count(&key) >= share, "{key}: {self:?}");
        }
        assert_eq!(
            (count("from NoMemory"), count("from Private")),
            (0, 0),
            "nobody gets what is not there, or a driver's"
        );
    }
}

/// The wishes of requests, and the highest zone of each.
const WISHES: [(GfpFlags, ZoneKind); 4] = [
    (GfpFlags::HIGHUSER_MOVABLE, ZoneKind::Movable),
    (GfpFlags::HIGHUSER, ZoneKind::Normal),
    (GfpFlags::KERNEL, ZoneKind::Normal),
    (GfpFlags::KERNEL.union(GfpFlags::DMA32), ZoneKind::Dma32),
];

#[test]
fn ordinary_pages_come_from_where_the_rules_say() {
    let mut draw = Draw(0x51ac_e0f2_77b1);
    let mut seen = Seen::default();
    for _ in 0..250 {
        let mut world = World::draw(&mut draw);
        let mut machine = world.build();
        world.fill(&mut machine, &mut draw);
        for _ in 0..40 {
            let wish = Wish::draw(&mut draw, &world);
            let (gfp, highest) = draw.of(&WISHES);
            let order = Order::new(draw.of(&[0, 0, 1, 3, 4, 9]));
            let pid = wish.spawn(&mut machine);
            let expected = world.zone_for(&wish, 0, highest);
            let got = machine.alloc_pages_for(pid, order, gfp).ok();
            let zone = got.and_then(|block| machine.block(block)).map(|block| block.zone);
            assert_eq!(zone, expected, "{gfp} {order} {wish:?} on {world:?}");
            got.into_iter().for_each(|block| machine.free_pages(block).expect("it was just taken"));
            machine.exit(pid);
            seen.note(&world, &wish, &format!("{highest:?}"), expected.map(|zone| usize::from(zone.node.get())));
        }
        machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    }
    seen.is_everything(10_000, 150);
}

/// What each node has of the pool: pages, and free ones.
fn by_node(machine: &mut Machine) -> Vec<(u64, u64)> {
    let pool = machine.pool(HugeSize::M2).expect("a PC has such pages");
    pool.nodes.iter().map(|(_, counts)| (counts.nr.get(), counts.free.get())).collect()
}

#[test]
fn huge_pages_come_from_where_the_rules_say() {
    let mut draw = Draw(0x3e11_09d7_aa03);
    let (mut dequeued, mut made, mut refused) = (0, 0, 0);
    let mut seen = Seen::default();
    for _ in 0..250 {
        let mut world = World::draw(&mut draw);
        let mut machine = world.build();
        world.fill(&mut machine, &mut draw);
        machine.set_nr_overcommit(HugeSize::M2, HugeCount::new(1000)).expect("such pages can be surplus");
        for n in 0..world.shapes.len() {
            let count = HugeCount::new(draw.below(3));
            let set = machine.set_nr_hugepages(HugeSize::M2, count, ResizeNodes::Node(node(n)));
            assert_eq!(set.is_ok(), world.has_memory(n), "{world:?}");
        }
        let nodes: Vec<usize> = members(machine.topology().nodes());
        for _ in 0..20 {
            let wish = Wish::draw(&mut draw, &world);
            let pid = wish.spawn(&mut machine);
            let pages = 1 + draw.below(4);
            let mut call = MapCall::anonymous(HugeSize::M2.total(HugeCount::new(pages)), Share::Shared);
            call.flags |= MapFlags::NORESERVE;
            let at = machine.mmap(pid, &call).expect("nothing is promised");
            for turn in 0..pages {
                let before = by_node(&mut machine);
                let free = |n: usize| nodes.iter().position(|&of| of == n).is_some_and(|place| before[place].1 > 0);
                let (start, passes) = world.meaning(&wish, turn, ZoneKind::Movable);
                let allowed = members(wish.allowed);
                let at_hand = passes.iter().find_map(|mask| {
                    let mut list = world.lists[start].iter().copied();
                    list.find(|&n| {
                        allowed.contains(&n) && mask.as_ref().is_none_or(|mask| mask.contains(&n)) && free(n)
                    })
                });
                let new = || world.zone_for(&wish, turn, ZoneKind::Movable).map(|zone| usize::from(zone.node.get()));
                let expected = at_hand.or_else(new);
                let addr = at + HugeSize::M2.total(HugeCount::new(HugeIndex::new(turn).get()));
                let touched = machine.write_byte(pid, addr, 1).is_ok();
                let after = by_node(&mut machine);
                let in_use = |counts: &[(u64, u64)], place: usize| counts[place].0 - counts[place].1;
                let got = nodes.iter().enumerate().find(|&(place, _)| in_use(&after, place) > in_use(&before, place));
                assert_eq!(got.map(|(_, &n)| n), expected, "page {turn} of {wish:?} on {world:?} with {before:?}");
                assert_eq!(touched, expected.is_some());
                seen.note(&world, &wish, "huge", expected);
                match (at_hand, expected) {
                    (Some(_), _) => dequeued += 1,
                    (None, Some(_)) => made += 1,
                    (None, None) => refused += 1,
                }
            }
            machine.exit(pid);
        }
        machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    }
    seen.is_everything(10_000, 150);
    assert!(
        dequeued + made + refused >= 10_000 && dequeued > 1_000 && made > 1_000 && refused > 300,
        "{dequeued} {made} {refused}"
    );
}

/// A count that is written under a policy is spread evenly over the policy's nodes, and a node's own file heeds no policy.
#[test]
fn counts_go_to_the_nodes_of_the_writer() {
    const PATH: &str = "/proc/sys/vm/nr_hugepages_mempolicy";
    let mut draw = Draw(0x77aa_0412_9b31);
    for _ in 0..300 {
        let world = World::draw(&mut draw);
        let mut machine = world.build();
        let Wish { local, policy, .. } = Wish::draw(&mut draw, &world);
        let at = |n: NodeId| usize::from(n.get());
        let wanted: Vec<usize> = match &policy {
            Mempolicy::Default => (0..world.shapes.len()).collect(),
            Mempolicy::Local => vec![at(local)],
            &Mempolicy::Preferred(n) => vec![at(n)],
            &Mempolicy::PreferredMany { nodes, .. }
            | &Mempolicy::Bind { nodes, .. }
            | &Mempolicy::Interleave(nodes)
            | &Mempolicy::WeightedInterleave(nodes) => members(nodes),
            other => panic!("{other:?} is not drawn"),
        };
        let wanted: Vec<usize> = wanted.into_iter().filter(|&n| world.has_memory(n)).collect();
        let count = draw.below(9);
        let writer = Writer { local, policy: policy.into(), ..Writer::default() };
        machine.write_file_as(&writer, PATH, &count.to_string()).expect("a number");
        let nodes: Vec<usize> = members(machine.topology().nodes());
        let counts: BTreeMap<usize, u64> =
            nodes.iter().copied().zip(by_node(&mut machine).iter().map(|of| of.0)).collect();
        let got: Vec<u64> = wanted.iter().map(|n| counts[n]).collect();
        let total = if wanted.is_empty() { 0 } else { count };
        assert_eq!((got.iter().sum::<u64>(), counts.values().sum::<u64>()), (total, total), "{policy:?} on {world:?}");
        let spread = got.iter().max().copied().unwrap_or(0) - got.iter().min().copied().unwrap_or(0);
        assert!(spread <= 1, "{got:?}");
        let own = nodes[usize::try_from(draw.below(nodes.len() as u64)).expect("small")];
        let path = format!("/sys/devices/system/node/node{own}/hugepages/hugepages-2048kB/nr_hugepages");
        machine.write_file_as(&writer, &path, "5").expect("a number");
        let place = nodes.iter().position(|&n| n == own).expect("it has memory");
        assert_eq!(by_node(&mut machine)[place].0, 5);
        machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    }
}
