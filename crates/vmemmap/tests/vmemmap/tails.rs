//! Optimising and restoring, with every page counted.

use std::collections::BTreeSet;

use crate::world::{MOVABLE, NORMAL, OTHER, World, ZONE};
use units::{Bytes, Order, PageCount, PageShift, Pfn, Vaddr};
use vmemmap::{
    Descriptor, Geometry, HugeBlock, Left, MemmapPages, NoMetadata, Optimising, Outcome, Restored, TailKey, TailLife,
    TailWord, drop_unused_tails, optimise, optimise_all, restore,
};

const M2: Order = Order::new(9);

fn pages(n: u64) -> PageCount {
    PageCount::new(n)
}

fn sum(m: MemmapPages) -> u64 {
    m.boot.get() + m.allocated.get()
}

fn optimised(w: &mut World, block: HugeBlock) -> u64 {
    match optimise(w, block) {
        Outcome::Optimised(freed) => freed.get(),
        Outcome::Left(why) => panic!("{block:?} was left: {why}"),
    }
}

#[test]
fn the_first_block_makes_the_tail_and_the_second_reads_it() {
    let mut w = World::new(TailLife::Counted);
    let (a, b) = (w.block(NORMAL, M2), w.block(NORMAL, M2));
    let (free, memmap) = (w.free(), sum(w.vmemmap.pages()));

    assert_eq!(optimised(&mut w, a), 7);
    w.validate().unwrap();
    assert_eq!(w.free(), free + pages(6), "eight came back, one became the tail and one the first page");
    assert_eq!(sum(w.vmemmap.pages()), memmap - 7, "a tail is in no count");
    let (tail, users) = w.vmemmap.tail(TailKey::new(NORMAL, M2)).unwrap();
    assert_eq!(users, 1);

    assert_eq!(optimised(&mut w, b), 7);
    w.validate().unwrap();
    assert_eq!(w.free(), free + pages(6 + 7));
    assert_eq!(sum(w.vmemmap.pages()), memmap - 14);
    for block in [a, b] {
        let homes: BTreeSet<Pfn> = (64..512).map(|n| home_of_tail(&w, block.pfn.offset(pages(n)))).collect();
        assert_eq!(homes, [tail].into());
    }
    assert_eq!(optimise(&mut w, a), Outcome::Left(Left::Already));
}

fn home_of_tail(w: &World, pfn: Pfn) -> Pfn {
    match w.vmemmap.descriptor(pfn) {
        Some(Descriptor::Shared(tail)) => tail.home(),
        other => panic!("{pfn} has {other:?}"),
    }
}

#[test]
fn a_tail_says_head_zone_and_size_and_the_first_pages_stay_their_own() {
    let mut w = World::new(TailLife::Counted);
    for zone in [NORMAL, MOVABLE, OTHER] {
        for order in [8, 9, 10].map(Order::new) {
            let block = w.block(zone, order);
            optimised(&mut w, block);
            for n in 0..order.pages().get() {
                let pfn = block.pfn.offset(pages(n));
                match w.vmemmap.descriptor(pfn) {
                    Some(Descriptor::Own { .. }) => assert!(n < 64, "{pfn}"),
                    Some(Descriptor::Shared(tail)) => {
                        assert!(n >= 64, "{pfn}");
                        assert_eq!((tail.head(), tail.zone(), tail.order()), (block.pfn, zone, order));
                    }
                    None => panic!("{pfn} is memory"),
                }
            }
        }
    }
    w.validate().unwrap();
    assert_eq!(w.vmemmap.tail_pages(), pages(9), "one for each zone and size, though two zones are of one node");
    assert_eq!(w.vmemmap.descriptor(Pfn::new(3 * ZONE)), None);
}

#[test]
fn restoring_takes_all_pages_or_none() {
    let mut w = World::new(TailLife::Kept);
    let a = w.block(NORMAL, M2);
    let memmap = sum(w.vmemmap.pages());
    optimised(&mut w, a);
    w.take_all_but(6);
    let refused = restore(&mut w, a.pfn).unwrap_err();
    assert!(matches!(refused, NoMetadata { needed, found, .. } if needed == pages(7) && found == pages(6)));
    assert_eq!(
        refused.to_string().split_once(':').unwrap().0,
        "descriptors need 7 pages more, near node",
        "the numbers come first: {refused}"
    );
    assert!(w.vmemmap.is_optimised(a.pfn));
    w.validate().unwrap();

    w.give_back(1);
    assert_eq!(restore(&mut w, a.pfn), Ok(Restored::Filled(pages(7))));
    w.validate().unwrap();
    assert_eq!(sum(w.vmemmap.pages()), memmap);
    assert!((0..512).all(|n| matches!(w.vmemmap.descriptor(a.pfn.offset(pages(n))), Some(Descriptor::Own { .. }))));
    assert_eq!(w.vmemmap.tail_pages(), pages(1), "this tail waits for the next");
    assert_eq!(restore(&mut w, a.pfn), Ok(Restored::Whole));
    assert_eq!(drop_unused_tails(&mut w), pages(1));
    w.validate().unwrap();
}

#[test]
fn a_counted_tail_goes_with_its_last_reader() {
    let mut w = World::new(TailLife::Counted);
    let blocks = [0; 3].map(|_| w.block(NORMAL, M2));
    let free = w.free();
    blocks.iter().for_each(|&block| assert_eq!(optimised(&mut w, block), 7));
    for (left, block) in (0..3).rev().zip(blocks) {
        restore(&mut w, block.pfn).unwrap();
        w.validate().unwrap();
        assert_eq!(w.vmemmap.tail_pages(), pages(u64::from(left > 0)));
    }
    assert_eq!(w.free(), free, "nothing is left of it");
}

/// Each starts while the one before it is about to take the page for the tail, and goes all the way.
fn start_all(w: &mut World, blocks: &[HugeBlock]) {
    let Some((&first, rest)) = blocks.split_first() else { return };
    let rest = rest.to_vec();
    w.meanwhile(0, move |w| start_all(w, &rest));
    assert_eq!(optimised(w, first), 1);
}

/// Two blocks are the first of their size and zone at the same time. Both see that there is no tail, both make one. In an early form of the
/// series the later one's was noted and the earlier one's used or lost, so that a block read a page that nobody knew of.
#[test]
fn of_two_who_make_the_tail_one_gives_his_page_back() {
    let mut w = World::new(TailLife::Counted);
    let blocks = [0; 32].map(|_| w.block(NORMAL, Order::new(7)));
    let (free, memmap) = (w.free(), sum(w.vmemmap.pages()));
    start_all(&mut w, &blocks);
    w.validate().unwrap();
    assert_eq!(w.free(), free + pages(32) - pages(1), "31 losers gave their pages back");
    assert_eq!(sum(w.vmemmap.pages()), memmap - 32);
    let homes: BTreeSet<Pfn> = blocks.iter().map(|block| home_of_tail(&w, block.pfn.offset(pages(64)))).collect();
    assert_eq!(homes.len(), 1);
    assert_eq!(w.vmemmap.tail(TailKey::new(NORMAL, Order::new(7))).unwrap().1, 32);
}

/// The last reader leaves while another is on its way: it has looked the tail up and waits for a page of its own. Were tails counted by
/// optimised blocks alone, the tail would be given back under it.
#[test]
fn a_tail_that_is_about_to_be_read_is_not_given_back() {
    let mut w = World::new(TailLife::Counted);
    let (old, new) = (w.block(NORMAL, M2), w.block(NORMAL, M2));
    optimised(&mut w, old);
    let tail = w.vmemmap.tail(TailKey::new(NORMAL, M2)).unwrap().0;
    w.meanwhile(0, move |w| {
        restore(w, old.pfn).unwrap();
        assert_eq!(w.vmemmap.tail(TailKey::new(NORMAL, M2)), Some((tail, 1)), "the one on its way counts");
    });
    optimised(&mut w, new);
    w.validate().unwrap();
    assert_eq!(w.vmemmap.tail(TailKey::new(NORMAL, M2)), Some((tail, 1)));
    assert!(!w.vmemmap.is_optimised(old.pfn));
}

#[test]
fn every_attempt_that_fails_leaves_all_as_it_was() {
    for k in 0..2 {
        let mut w = World::new(TailLife::Counted);
        let a = w.block(NORMAL, M2);
        let (free, before) = (w.free(), w.vmemmap.clone());
        w.plan = (0..=k).map(|n| n == k).collect();
        let outcome = optimise(&mut w, a);
        assert!(matches!((k, outcome), (0, Outcome::Left(Left::NoTail(_))) | (1, Outcome::Left(Left::NoHead(_)))));
        assert_eq!((w.free(), &w.vmemmap), (free, &before), "attempt {k}");
        w.validate().unwrap();
    }
    for k in 0..7 {
        let mut w = World::new(TailLife::Counted);
        let a = w.block(NORMAL, M2);
        optimised(&mut w, a);
        let (free, before) = (w.free(), w.vmemmap.clone());
        w.plan = (0..=k).map(|n| n == k).collect();
        let refused = restore(&mut w, a.pfn).unwrap_err();
        assert_eq!(refused.found, pages(k));
        assert_eq!((w.free(), &w.vmemmap), (free, &before), "attempt {k}");
        w.validate().unwrap();
    }
}

#[test]
fn what_cannot_be_optimised_is_left_and_says_why() {
    let mut w = World::new(TailLife::Counted);
    let small = w.block(NORMAL, Order::new(6));
    assert_eq!(optimise(&mut w, small), Outcome::Left(Left::TooSmall(Order::new(6))));
    assert_eq!(restore(&mut w, small.pfn), Ok(Restored::Whole));
    let a = w.block(NORMAL, M2);
    w.vmemmap.optimising = Optimising::Off;
    assert_eq!(optimise(&mut w, a), Outcome::Left(Left::Off));
    w.vmemmap.optimising = Optimising::On;
    let odd = HugeBlock { pfn: a.pfn.offset(pages(1)), ..a };
    assert_eq!(optimise(&mut w, odd), Outcome::Left(Left::Undescribed(odd.pfn)));
    let past = Pfn::new(4 * ZONE);
    assert_eq!(optimise(&mut w, HugeBlock { pfn: past, ..a }), Outcome::Left(Left::Undescribed(past)));
    w.vmemmap.describe_by_itself(past, past.offset(pages(1024)), past);
    assert_eq!(optimise(&mut w, HugeBlock { pfn: past, ..a }), Outcome::Left(Left::SelfHosted));
    assert_eq!(sum(w.vmemmap.pages()), 3 * ZONE / 64 + 16);
}

#[test]
fn many_are_flushed_once_and_live_on_what_those_before_them_gave_back() {
    let mut w = World::new(TailLife::Counted);
    let blocks = [0; 6].map(|_| w.block(NORMAL, M2));
    let mut freed = 0;
    optimise_all(&mut w, &blocks[..3], |_, outcome| freed += u64::from(outcome == Outcome::Optimised(pages(7))));
    assert_eq!((freed, w.vmemmap.flushes()), (3, 1));
    // One page for the fourth's own, none for the fifth's until the fourth's pages are free.
    w.take_all_but(1);
    let mut told = Vec::new();
    optimise_all(&mut w, &blocks[3..], |block, outcome| told.push((block.pfn, outcome)));
    assert_eq!(told, blocks[3..].iter().map(|block| (block.pfn, Outcome::Optimised(pages(7)))).collect::<Vec<_>>());
    assert_eq!(w.vmemmap.flushes(), 3, "one because memory was lacking, one at the end");
    w.validate().unwrap();
}

#[test]
fn nothing_to_give_means_nothing_is_flushed() {
    let mut w = World::new(TailLife::Counted);
    let a = w.block(NORMAL, M2);
    w.take_all_but(0);
    let mut outcomes = Vec::new();
    optimise_all(&mut w, &[a], |_, outcome| outcomes.push(outcome));
    assert!(matches!(outcomes[..], [Outcome::Left(Left::NoTail(_))]));
    assert_eq!(w.vmemmap.flushes(), 0);
}

/// A tail that names its head takes a pointer of its own in every block; one that masks its own address is the same everywhere.
#[test]
fn heads_are_found_by_mask_or_by_name() {
    let base = 0xffff_ea00_0000_0000;
    let at = |pfn: u64| Vaddr::new(base + pfn * 64);
    let word = Geometry::X86_64.tail_word(M2).unwrap();
    assert_eq!((at(512 + 200).get(), word.get()), (0xffff_ea00_0000_b200, 0xffff_ffff_ffff_8001));
    assert_eq!(word.head_by_mask(at(512 + 200)), at(512));
    assert_eq!(word.head_by_mask(at(1024 + 511)), at(1024));
    assert_eq!(TailWord::NONE.head_by_mask(at(1024 + 511)), at(1024 + 511));
    assert!(word.is_tail() && !TailWord::NONE.is_tail());

    let odd = Geometry::new(PageShift::K4, Bytes::new(56)).unwrap();
    assert_eq!((odd.tail_word(M2), odd.freeable(M2)), (None, PageCount::ZERO));
    assert_eq!(odd.tail_word_of(at(512)).head_by_name(at(700)), at(512));
    assert!(Geometry::new(PageShift::K4, Bytes::new(4)).is_err());
    assert_eq!(Geometry::X86_64.tail_word(Order::new(30)).unwrap().get(), !((1 << 36) - 1) | 1);
}

#[test]
fn what_optimising_gives_back_by_size() {
    let freed = |shift, order| Geometry::new(shift, Bytes::new(64)).unwrap().freeable(Order::new(order)).get();
    let (k4, k16, k64) = (PageShift::K4, PageShift::K16, PageShift::K64);
    assert_eq!([4, 9, 13, 18].map(|order| freed(k4, order)), [0, 7, 127, 4095]);
    assert_eq!([7, 11, 16].map(|order| freed(k16, order)), [0, 7, 255]);
    assert_eq!([5, 13, 18].map(|order| freed(k64, order)), [0, 7, 255]);
}
