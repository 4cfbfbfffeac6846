//! Charges against a list of who pays for what.

use charge::{Charges, Counter, EnterError, GroupVersion, History, Limit, Receipt, RemoveError};
use proptest::prelude::*;
use units::{CgroupId, HstateId, HugeCount, NodeId};

const USAGE: Counter = Counter::Usage(HstateId::new(0));
const RSVD: Counter = Counter::Rsvd(HstateId::new(0));

/// A chain of three groups and a sibling of the lowest.
fn tree(version: GroupVersion) -> (Charges, [CgroupId; 4]) {
    let mut charges = Charges::new(1, version);
    let mut make = |parent, name: &str| {
        let id = charges.create(parent, name).unwrap_or_else(|error| panic!("{error}"));
        if name != "low" && name != "sibling" {
            charges.hand_on(id).unwrap_or_else(|error| panic!("{error}"));
        }
        id
    };
    let top = make(None, "top");
    let middle = make(Some(top), "middle");
    let groups = [top, middle, make(Some(middle), "low"), make(Some(middle), "sibling")];
    (charges, groups)
}

const PARENT: [Option<usize>; 4] = [None, Some(0), Some(1), Some(1)];

fn pays(mut who: usize, group: usize) -> bool {
    loop {
        if who == group {
            return true;
        }
        match PARENT[who] {
            Some(parent) => who = parent,
            None => return false,
        }
    }
}

/// What the naive side knows of one counter, besides what is charged to it.
#[derive(Clone, Copy, Debug, Default)]
struct NaiveCounter {
    limit: Option<u64>,
    most: u64,
    refusals: u64,
}

/// What the naive side knows of one group.
#[derive(Clone, Copy, Debug, Default)]
struct Naive {
    usage: NaiveCounter,
    rsvd: NaiveCounter,
    events: u64,
    local_events: u64,
    processes: u64,
    removed: bool,
}

/// One thing that was charged: by whom, and what.
struct Paid {
    who: usize,
    receipt: Receipt,
    node: NodeId,
}

struct Model {
    groups: [Naive; 4],
    paid: Vec<Paid>,
}

impl Model {
    fn charged(&self, group: usize, counter: Counter) -> u64 {
        let mine = self.paid.iter().filter(|paid| pays(paid.who, group) && paid.receipt.counter == counter);
        mine.map(|paid| paid.receipt.pages.get()).sum()
    }

    fn on_node(&self, group: usize, node: NodeId) -> u64 {
        let mine = self.paid.iter().filter(|paid| paid.receipt.counter == USAGE && pays(paid.who, group));
        mine.filter(|paid| paid.node == node).map(|paid| paid.receipt.pages.get()).sum()
    }

    fn counter(&mut self, group: usize, counter: Counter) -> &mut NaiveCounter {
        if counter == USAGE { &mut self.groups[group].usage } else { &mut self.groups[group].rsvd }
    }

    /// Pages of its own, or of groups below that were removed.
    fn is_local(&self, who: usize, group: usize) -> bool {
        let mut at = who;
        while at != group && self.groups[at].removed {
            match PARENT[at] {
                Some(parent) => at = parent,
                None => return false,
            }
        }
        at == group
    }

    fn on_node_locally(&self, group: usize, node: NodeId) -> u64 {
        let mine = self.paid.iter().filter(|paid| paid.receipt.counter == USAGE && self.is_local(paid.who, group));
        mine.filter(|paid| paid.node == node).map(|paid| paid.receipt.pages.get()).sum()
    }
}

/// Nobody is in a removed group, so nobody charges in its name.
fn charge(model: &mut Model, charges: &mut Charges, ids: [CgroupId; 4], who: usize, pages: u64, counter: Counter) {
    if model.groups[who].removed {
        return;
    }
    // From the group to the top: each that is not full remembers what it would hold, the first that is remembers that.
    let mut over = false;
    for g in (0..4).rev().filter(|&g| pays(who, g)) {
        let wanted = model.charged(g, counter) + pages;
        let naive = model.counter(g, counter);
        if naive.limit.is_some_and(|limit| wanted > limit) {
            naive.refusals += 1;
            over = true;
            break;
        }
        naive.most = naive.most.max(wanted);
    }
    match charges.charge(Some(ids[who]), counter, HugeCount::new(pages)) {
        Ok(receipt) => {
            assert!(!over && receipt.owner == Some(ids[who]), "{receipt:?}");
            let node = NodeId::new(u8::from(pages == 2));
            if counter == USAGE {
                (0..pages).for_each(|_| charges.place(ids[who], HstateId::new(0), node));
            }
            model.paid.push(Paid { who, receipt, node });
        }
        Err(refused) => {
            assert!(over, "{refused:?}");
            for group in 0..4 {
                model.groups[group].events += u64::from(pays(who, group));
            }
            model.groups[who].local_events += 1;
        }
    }
}

fn uncharge(model: &mut Model, charges: &mut Charges, which: usize, ids: [CgroupId; 4]) {
    if model.paid.is_empty() {
        return;
    }
    let Paid { who, receipt, node } = model.paid.swap_remove(which % model.paid.len());
    if receipt.counter == USAGE {
        (0..receipt.pages.get()).for_each(|_| charges.displace(ids[who], HstateId::new(0), node));
    }
    charges.uncharge(receipt);
}

fn remove(model: &mut Model, charges: &mut Charges, ids: [CgroupId; 4], who: usize) {
    let children = (0..4).any(|g| PARENT[g] == Some(who) && !model.groups[g].removed);
    let processes = model.groups[who].processes;
    let expected = match (model.groups[who].removed, processes, children) {
        (true, ..) => Err(RemoveError::NoGroup),
        (_, 1.., _) => Err(RemoveError::HasProcesses { processes }),
        (.., true) => Err(RemoveError::HasChildren),
        _ => Ok(()),
    };
    assert_eq!(charges.remove(ids[who]), expected);
    model.groups[who].removed |= expected.is_ok();
}

fn compare(model: &mut Model, charges: &Charges, ids: [CgroupId; 4]) {
    charges.validate().unwrap_or_else(|broken| panic!("{broken}"));
    for (n, &id) in ids.iter().enumerate() {
        let naive = model.groups[n];
        let Some(view) = charges.view(id, HstateId::new(0)) else {
            assert!(naive.removed, "{n}");
            continue;
        };
        assert!(!naive.removed, "{n}");
        assert_eq!((view.usage.get(), view.rsvd.get()), (model.charged(n, USAGE), model.charged(n, RSVD)), "{n}");
        assert_eq!((view.events, view.local_events), (naive.events, naive.local_events), "{n}");
        let limits = (view.usage_limit.pages().map(HugeCount::get), view.rsvd_limit.pages().map(HugeCount::get));
        assert_eq!(limits, (naive.usage.limit, naive.rsvd.limit), "{n}");
        for (history, naive) in [(view.usage_history, naive.usage), (view.rsvd_history, naive.rsvd)] {
            let expected = History { most: HugeCount::new(naive.most), refusals: naive.refusals };
            assert_eq!(history, expected, "{n}");
        }
        assert_eq!(charges.processes(id), naive.processes, "{n}");
        for node in [0, 1] {
            let on = |nodes: &[HugeCount]| nodes.get(usize::from(node)).copied().unwrap_or_default().get();
            assert_eq!(on(&view.nodes), model.on_node(n, NodeId::new(node)), "{n} on {node}");
            assert_eq!(on(&view.local_nodes), model.on_node_locally(n, NodeId::new(node)), "{n} on {node}");
        }
    }
}

proptest! {
    #[test]
    fn a_group_pays_for_itself_and_all_below_and_after_removal_too(
        old in any::<bool>(),
        ops in prop::collection::vec((0..18u8, 0..4usize, 1..4u64, any::<bool>(), any::<prop::sample::Index>()), 1..120),
    ) {
        let version = if old { GroupVersion::V1 } else { GroupVersion::V2 };
        let (mut charges, ids) = tree(version);
        let mut model = Model { groups: [Naive::default(); 4], paid: Vec::new() };
        for (kind, who, pages, rsvd, which) in ops {
            match kind {
                0..=6 => charge(&mut model, &mut charges, ids, who, pages, if rsvd { RSVD } else { USAGE }),
                7..=9 => uncharge(&mut model, &mut charges, which.index(1000), ids),
                10 | 11 => {
                    let counter = if rsvd { RSVD } else { USAGE };
                    let limit = pages + u64::from(kind) % 3 * 3;
                    let fits = !model.groups[who].removed && limit >= model.charged(who, counter);
                    let set = charges.set_limit(ids[who], counter, Limit::Pages(HugeCount::new(limit)));
                    prop_assert_eq!(set.is_ok(), fits);
                    if fits {
                        model.counter(who, counter).limit = Some(limit);
                    }
                }
                12 => {
                    let expected = match (model.groups[who].removed, who) {
                        (true, _) => Err(EnterError::NoGroup),
                        (_, 0 | 1) if version == GroupVersion::V2 => Err(EnterError::HandsOn),
                        _ => Ok(()),
                    };
                    prop_assert_eq!(charges.enter(ids[who]), expected);
                    model.groups[who].processes += u64::from(expected.is_ok());
                }
                13 if model.groups[who].processes > 0 => {
                    charges.leave(ids[who]);
                    model.groups[who].processes -= 1;
                }
                14 => remove(&mut model, &mut charges, ids, who),
                15 | 16 => {
                    let counter = if rsvd { RSVD } else { USAGE };
                    let charged = model.charged(who, counter);
                    let naive = model.counter(who, counter);
                    let reset = if kind == 15 {
                        naive.most = charged;
                        charges.reset_most(ids[who], counter)
                    } else {
                        naive.refusals = 0;
                        charges.reset_refusals(ids[who], counter)
                    };
                    prop_assert_eq!(reset.is_ok(), !model.groups[who].removed);
                }
                _ => (),
            }
            compare(&mut model, &charges, ids);
        }
        while !model.paid.is_empty() {
            uncharge(&mut model, &mut charges, 0, ids);
        }
        compare(&mut model, &charges, ids);
    }
}
