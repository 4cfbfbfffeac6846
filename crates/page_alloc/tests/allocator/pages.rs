//! What is in pages, and what is wrong with them.

use page_alloc::{
    BadPage, Block, Content, FreeMapping, Guards, HookStep, PageAllocator, PageHooks, PageInit, PageWatch,
};
use policy::ZoneRef;
use units::{GfpFlags, Migratetype, Order, Pfn, ZoneKind};
use zone::BadFree;

use crate::common::{at, checked, first, free, full, machine, place, request, start_of, typed};

use Migratetype::Unmovable;
use ZoneKind::Normal;

const KERNEL: GfpFlags = GfpFlags::KERNEL;
const ZONE: ZoneRef = at(0, Normal);

fn pfn(frame: u64) -> Pfn {
    Pfn::new(start_of(ZONE) + frame)
}

fn watched(hooks: PageHooks, order: u8, frames: &[u64]) -> PageAllocator {
    let mut machine = machine(vec![free(typed(full(ZONE, 4), 0, Unmovable), order, Unmovable, frames)]);
    machine.watch_pages(PageWatch::new(hooks));
    machine
}

fn of(init: PageInit, mapping: FreeMapping) -> PageHooks {
    PageHooks { init, mapping }
}

fn give_back(machine: &mut PageAllocator, block: Block) {
    assert_eq!(machine.free(block.zone, block.pfn, block.order), Ok(()));
    machine.drain_everything();
    checked(machine);
}

fn free_pages(machine: &PageAllocator) -> u64 {
    machine.zone(ZONE).expect("a zone").free().get()
}

fn watch(machine: &mut PageAllocator) -> &mut PageWatch {
    machine.pages().expect("pages are watched")
}

/// The pattern is looked at before the page is zeroed, and nothing is touched before it is mapped.
#[test]
fn nasty_the_order_of_steps() {
    use HookStep::{CheckPattern, FillPattern, Map, Unmap, Zero};
    let (kept, removed) = (FreeMapping::Kept, FreeMapping::Removed);
    for (hooks, gfp, there, back) in [
        (of(PageInit::OnRequest, kept), KERNEL, vec![], vec![]),
        (of(PageInit::OnRequest, removed), KERNEL | GfpFlags::ZERO, vec![Map, Zero], vec![Unmap]),
        (of(PageInit::OnAlloc, kept), KERNEL, vec![Zero], vec![]),
        (of(PageInit::OnFree, removed), KERNEL | GfpFlags::ZERO, vec![Map], vec![Zero, Unmap]),
        (
            of(PageInit::Pattern, removed),
            KERNEL | GfpFlags::ZERO,
            vec![Map, CheckPattern, Zero],
            vec![FillPattern, Unmap],
        ),
        (of(PageInit::Pattern, kept), KERNEL, vec![CheckPattern], vec![FillPattern]),
    ] {
        let mut machine = watched(hooks, 2, &[8]);
        let block = first(&mut machine, &request(2, gfp)).expect("a block");
        assert_eq!(watch(&mut machine).take_steps(), there, "{hooks:?} {gfp}");
        give_back(&mut machine, block);
        assert_eq!(watch(&mut machine).take_steps(), back, "{hooks:?} {gfp}");
    }
}

#[test]
fn what_is_in_a_page() {
    let second = |init, gfp| {
        let mut machine = watched(of(init, FreeMapping::Kept), 0, &[8]);
        let block = first(&mut machine, &request(0, gfp)).expect("a page");
        let fresh = watch(&mut machine).content(block.pfn);
        watch(&mut machine).write(block.pfn);
        give_back(&mut machine, block);
        assert!(first(&mut machine, &request(0, gfp)).is_some());
        (fresh, watch(&mut machine).content(block.pfn))
    };
    let zeroed = KERNEL | GfpFlags::ZERO;
    assert_eq!(second(PageInit::OnRequest, KERNEL), (Content::Unknown, Content::Written), "secrets are handed on");
    assert_eq!(second(PageInit::OnRequest, zeroed), (Content::Zero, Content::Zero));
    assert_eq!(second(PageInit::OnAlloc, KERNEL), (Content::Zero, Content::Zero));
    assert_eq!(second(PageInit::OnFree, KERNEL), (Content::Unknown, Content::Zero));
    assert_eq!(second(PageInit::OnFree, zeroed), (Content::Unknown, Content::Zero), "nobody freed it before");
    assert_eq!(second(PageInit::Pattern, KERNEL), (Content::Unknown, Content::Pattern));
}

#[test]
fn nasty_somebody_writes_to_a_free_page() {
    let mut machine = watched(of(PageInit::Pattern, FreeMapping::Kept), 2, &[8]);
    let block = first(&mut machine, &request(2, KERNEL)).expect("a block");
    give_back(&mut machine, block);
    watch(&mut machine).write(pfn(9));
    let again = first(&mut machine, &request(2, KERNEL | GfpFlags::ZERO));
    assert_eq!(place(again), Some((ZONE, 8)), "it is said, and the block is handed out");
    assert_eq!(watch(&mut machine).spoiled(), [pfn(9)]);
}

/// A block with one bad page never comes back; whoever asked gets another one. What is leaked is counted as taken.
#[test]
fn nasty_bad_pages_are_leaked() {
    let mut machine = watched(PageHooks::default(), 2, &[8, 16]);
    watch(&mut machine).spoil(pfn(10), BadPage::Flags);
    let block = first(&mut machine, &request(2, KERNEL)).expect("the other one");
    assert_eq!((place(Some(block)), free_pages(&machine)), (Some((ZONE, 16)), 0));
    assert_eq!(watch(&mut machine).leaked(), [(pfn(8), Order::new(2))]);
    watch(&mut machine).spoil(pfn(17), BadPage::Mapped);
    watch(&mut machine).spoil(pfn(17), BadPage::Charged);
    give_back(&mut machine, block);
    assert_eq!((free_pages(&machine), watch(&mut machine).leaked().len()), (0, 2), "all of it, for one page");
    assert_eq!(BadPage::Charged.reason(), "page still charged to cgroup");
    assert_eq!(first(&mut machine, &request(0, KERNEL)), None);
}

#[test]
fn nasty_broken_memory_leaves_the_lists() {
    let mut machine = watched(PageHooks::default(), 3, &[8]);
    assert!(machine.poison(ZONE, pfn(13)));
    checked(&machine);
    let list = |machine: &PageAllocator, order: u8| -> Vec<u64> {
        let zone = machine.zone(ZONE).expect("a zone");
        zone.free_list(Order::new(order), Unmovable).iter().map(|pfn| pfn.get() - start_of(ZONE)).collect()
    };
    assert_eq!((list(&machine, 0), list(&machine, 1), list(&machine, 2)), (vec![12], vec![14], vec![8]));
    assert_eq!(free_pages(&machine), 7);
    assert!(!machine.poison(ZONE, pfn(13)) && !machine.poison(ZONE, pfn(100)), "it is not free");
    assert_eq!(machine.unpoison(ZONE, pfn(14)), Err(BadFree::Free { pfn: pfn(14), block: pfn(14) }));
    assert_eq!(machine.unpoison(ZONE, pfn(13)), Ok(()));
    assert_eq!(list(&machine, 3), [8], "whole again");
}

/// A page in use breaks. By itself it is dropped when it comes back; as a part of a block it goes to the lists with the others, and
/// whoever frees such a block must split it before.
#[test]
fn nasty_broken_memory_in_use() {
    let mut machine = watched(PageHooks::default(), 2, &[8, 16]);
    assert!(machine.poison(ZONE, pfn(16)));
    assert_eq!(machine.free(ZONE, pfn(16), Order::ZERO), Ok(()), "nobody is told");
    assert_eq!((free_pages(&machine), watch(&mut machine).leaked()), (7, &[(pfn(16), Order::ZERO)][..]));
    let block = first(&mut machine, &request(2, KERNEL)).expect("a block");
    assert!(!machine.poison(ZONE, pfn(9)), "only free pages are taken off the lists");
    give_back(&mut machine, block);
    assert_eq!(free_pages(&machine), 7);
}

/// With guards below order 2 a page is cut out of four: the page beside it and the two behind are nobody's, on no list and not free.
#[test]
fn nasty_guards_come_and_go() {
    let mut machine = machine(vec![free(typed(full(ZONE, 4), 0, Unmovable), 4, Unmovable, &[16])]);
    machine.guard(&Guards::new(Order::new(2), Order::new(10)).expect("it is small"));
    let list = |machine: &PageAllocator, order: u8| -> Vec<u64> {
        let zone = machine.zone(ZONE).expect("a zone");
        zone.free_list(Order::new(order), Unmovable).iter().map(|pfn| pfn.get() - start_of(ZONE)).collect()
    };
    let guards = |machine: &mut PageAllocator| -> Vec<(u64, u8)> {
        let guards = machine.parts(ZONE).expect("a zone").guards.iter();
        guards.map(|(pfn, order)| (pfn.get() - start_of(ZONE), order.get())).collect()
    };
    let page = first(&mut machine, &request(0, KERNEL)).expect("a page");
    assert_eq!((place(Some(page)), guards(&mut machine)), (Some((ZONE, 16)), vec![(17, 0), (18, 1)]));
    assert_eq!((free_pages(&machine), list(&machine, 2), list(&machine, 3)), (12, vec![20], vec![24]));
    let large = first(&mut machine, &request(2, KERNEL)).expect("a block");
    assert_eq!((place(Some(large)), guards(&mut machine).len()), (Some((ZONE, 20)), 2), "it is not below the order");
    assert_eq!(machine.free(ZONE, page.pfn, page.order), Ok(()));
    checked(&machine);
    assert_eq!((guards(&mut machine), list(&machine, 2)), (vec![], vec![16]));
    // A pair that is given back page by page merges by itself first, and then with its guard.
    let pair = first(&mut machine, &request(1, KERNEL)).expect("a pair");
    assert_eq!(guards(&mut machine), [(18, 1)]);
    assert_eq!(machine.free_but_first(ZONE, pair.pfn, pair.order), Ok(()));
    assert_eq!((guards(&mut machine).len(), list(&machine, 0)), (1, vec![17]));
    assert_eq!(machine.free(ZONE, pair.pfn, Order::ZERO), Ok(()));
    assert_eq!((guards(&mut machine), list(&machine, 2)), (vec![], vec![16]));
    assert_eq!(machine.free(ZONE, large.pfn, large.order), Ok(()));
    assert_eq!((list(&machine, 4), free_pages(&machine)), (vec![16], 16));
    assert_eq!(Guards::new(Order::new(6), Order::new(10)), None, "too little would be left");
}
