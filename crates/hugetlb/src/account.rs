//! Global reservations.
//!
//! `resv` rises only in the section that has just proved the pages exist, and every reservation has a free page from then on.

use alloc_crate::vec::Vec;

use policy::Placement;
use units::{HstateId, HugeCount, NodeId, Nodemask};

use crate::free::look_again;
use crate::pool::{Condition, Fate, Joins, Pool};
use crate::surplus::{alloc_surplus, asked_by, destroy_claimed};
use crate::{Env, HugeFolio, ReserveRefusal};

/// Reserves `count` pages, making surplus pages where the free ones do not suffice.
///
/// # Errors
/// Not enough pages even so; nothing is changed then.
#[doc(alias("hugetlb_acct_memory", "gather_surplus_pages"))]
pub fn acct_reserve<P: Env>(
    p: &mut P,
    hstate: HstateId,
    count: HugeCount,
    local: NodeId,
    allowed: Nodemask,
) -> Result<(), ReserveRefusal> {
    if count.is_zero() {
        return Ok(());
    }
    gather_surplus(p, hstate, count, local, allowed)?;
    let on_allowed = p.with_pool(hstate, |pool| {
        allowed.iter().take_while(|n| n.index() < pool.nodes.len()).map(|n| pool.node(n).free).sum::<HugeCount>()
    });
    if count > on_allowed {
        acct_release(p, hstate, count);
        return Err(ReserveRefusal::Cpuset { asked: count, free: on_allowed });
    }
    Ok(())
}

/// Gives `count` reservations back. Surplus pages that nobody needs any more leave the pool.
#[doc(alias("hugetlb_acct_memory", "return_unused_surplus_pages"))]
pub fn acct_release<P: Env>(p: &mut P, hstate: HstateId, count: HugeCount) {
    if count.is_zero() {
        return;
    }
    let mut left = p.with_pool(hstate, |pool| {
        pool.resv -= count;
        count.min(pool.surplus)
    });
    while !left.is_zero() {
        let node = p.with_pool(hstate, |pool| {
            if pool.available().is_zero() {
                return None;
            }
            let node = pool.next_freeing(Nodemask::ALL, |n| !n.surplus.is_zero() && !n.free.is_zero())?;
            Some((node, pool.remove_worst(node, Joins::Surplus)))
        });
        let Some((node, condition)) = node else { return };
        let h = p.hstate(hstate);
        destroy_claimed(p, h, node, condition);
        left -= HugeCount::new(1);
    }
}

fn gather_surplus<P: Env>(
    p: &mut P,
    hstate: HstateId,
    count: HugeCount,
    local: NodeId,
    allowed: Nodemask,
) -> Result<(), ReserveRefusal> {
    let h = p.hstate(hstate);
    let mut made: Vec<HugeFolio> = Vec::new();
    loop {
        // Fresh pages lie on the shelves before the ledger decides how many of them it takes.
        let short = p.with_pool(hstate, |pool| {
            let fresh = HugeCount::new(made.len() as u64);
            let short = pool.balance().shortfall(count).saturating_sub(fresh);
            if short.is_zero() {
                let wanted = pool.balance().shortfall(count);
                pool.resv += count;
                let taken = usize::try_from(wanted.get()).unwrap_or(usize::MAX).min(made.len());
                made[..taken].iter().for_each(|folio| pool.add_free(folio.node));
                // A resize may have made the others persistent meanwhile: such a page stays.
                let mut leaving = Vec::new();
                for folio in &made[taken..] {
                    if pool.settle_freed(folio.node, false, Condition::Sound) == Fate::Destroyed {
                        leaving.push(folio.node);
                    }
                }
                return Ok(leaving);
            }
            Err((short, pool.free, pool.resv))
        });
        match short {
            Ok(leaving) => {
                leaving.into_iter().for_each(|node| destroy_claimed(p, h, node, Condition::Sound));
                made.into_iter().for_each(|folio| look_again(p, folio, Condition::Sound));
                return Ok(());
            }
            Err((short, free, resv)) => {
                for _ in 0..short.get() {
                    match alloc_surplus(p, h, Placement::local(local), asked_by(allowed, page_alloc::Pin::Short)) {
                        Ok(folio) => {
                            p.with_shelf(hstate, folio.node, |shelf| shelf.put(folio));
                            made.push(folio);
                        }
                        Err(surplus) => {
                            for folio in &made {
                                let settle = |pool: &mut Pool| pool.settle_freed(folio.node, false, Condition::Sound);
                                if p.with_pool(hstate, settle) == Fate::Destroyed {
                                    destroy_claimed(p, h, folio.node, Condition::Sound);
                                }
                            }
                            return Err(ReserveRefusal::Pool { asked: count, free, resv, surplus });
                        }
                    }
                }
            }
        }
    }
}
