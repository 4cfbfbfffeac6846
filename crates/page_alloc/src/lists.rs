//! What processors keep.

use alloc::vec::Vec;

use policy::ZoneRef;
use zone::tuning::PcpTuning;
use zone::{BadFree, PerCpuPages, PerCpuState};

use crate::allocator::{PageAllocator, Slot, index};

impl PageAllocator {
    /// Gives back what every processor keeps of every zone.
    pub fn drain_everything(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            slot.lists.iter_mut().for_each(|lists| slot.zone.drain(lists));
        }
    }

    /// No processor keeps anything of a zone from now on; what the sizes of their lists were.
    #[doc(alias = "zone_pcp_disable")]
    pub(crate) fn switch_lists_off(&mut self, zone: ZoneRef) -> Vec<PcpTuning> {
        let Some(Some(slot)) = self.slots.get_mut(index(zone)) else { return Vec::new() };
        let Slot { zone, lists, .. } = slot;
        let off = lists.iter_mut().map(|lists| {
            zone.drain(lists);
            let tuning = *lists.tuning();
            lists.set_tuning(PcpTuning::BOOT);
            tuning
        });
        off.collect()
    }

    /// They keep pages again.
    #[doc(alias = "zone_pcp_enable")]
    pub(crate) fn switch_lists_on(&mut self, zone: ZoneRef, tuning: &[PcpTuning]) {
        let Some(Some(slot)) = self.slots.get_mut(index(zone)) else { return };
        slot.lists.iter_mut().zip(tuning).for_each(|(lists, &tuning)| lists.set_tuning(tuning));
    }

    /// What the processor at hand keeps of a zone.
    #[must_use]
    pub fn lists(&self, zone: ZoneRef) -> Option<&PerCpuPages> {
        self.slots.get(index(zone))?.as_ref()?.lists.get(self.cpu)
    }

    /// Gives the processor at hand lists of a zone as they stand; what it kept goes back before.
    ///
    /// # Errors
    /// A block that is not allocated: then the lists are empty.
    pub fn set_lists(&mut self, zone: ZoneRef, tuning: PcpTuning, state: &PerCpuState) -> Result<(), BadFree> {
        let pageblock = self.rules.pageblock;
        let Some(parts) = self.parts(zone) else { return Ok(()) };
        parts.zone.drain(parts.lists);
        *parts.lists = parts.zone.lists(pageblock, tuning, state)?;
        Ok(())
    }
}
