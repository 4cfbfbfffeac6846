//! What happens once a second.

use policy::ZoneRef;
use units::NodeId;
use zone::{PerCpuPages, Zone};

use crate::allocator::{PageAllocator, Slot, index};
use crate::drift::Pressure;
use crate::kswapd::Sleep;
use crate::zones::{ZoneParts, Zones};

/// Pages of far nodes go back in the third second, counted from the last one in which they were used.
const EXPIRES: u8 = 3;

/// What a processor's lists of a zone were a second ago.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastTick {
    count: u64,
    expire: u8,
}

impl LastTick {
    /// Lists that grew shrink. Pages of a far node go back, a batch at a time, once nobody uses the lists; that a batch went is use, too.
    fn tick(&mut self, zone: &mut Zone, lists: &mut PerCpuPages, home: NodeId) {
        let count = core::mem::replace(&mut self.count, lists.count().get());
        if count != self.count {
            self.expire = EXPIRES;
        }
        zone.decay(lists);
        if zone.node() == home {
            self.expire = 0;
        }
        if self.expire == 0 || lists.count().is_zero() {
            return;
        }
        self.expire -= 1;
        if self.expire == 0 {
            zone.give_back_a_batch(lists);
        }
    }
}

impl PageAllocator {
    /// A second passes for the processor at hand: its counts are handed in, its lists shrink by an eighth of what they grew by, and
    /// what it keeps of far nodes and does not use goes back.
    #[doc(alias("vmstat_update", "refresh_cpu_vm_stats", "drain_zone_pages"))]
    pub fn tick(&mut self) {
        let (cpu, home) = (self.cpu, self.cpus[self.cpu]);
        for slot in self.slots.iter_mut().flatten() {
            let Slot { zone, lists, growth, last_ticks, .. } = slot;
            let Some(lists) = lists.get_mut(cpu) else { continue };
            growth.drift.hand_in(cpu);
            if last_ticks.len() <= cpu {
                last_ticks.resize(cpu + 1, LastTick::default());
            }
            last_ticks[cpu].tick(zone, lists, home);
        }
    }

    /// A section after which the processor has counted what it took or gave.
    pub(crate) fn with_counted<R>(&mut self, zone: ZoneRef, f: impl FnOnce(ZoneParts<'_>) -> R) -> Option<R> {
        let awake = self.with_node(zone.node, |state| state.kswapd.sleep == Sleep::Awake);
        let pressure = if awake { Pressure::ReclaimWorks } else { Pressure::None };
        let cpu = self.cpu;
        let before = self.zone(zone)?.free().get();
        let answer = self.parts(zone).map(f);
        let slot = self.slots.get_mut(index(zone))?.as_mut()?;
        let after = slot.zone.free().get();
        slot.growth.drift.note(cpu, after.cast_signed() - before.cast_signed(), pressure);
        answer
    }
}
