//! The areas that map a file.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use hugetlb::Holder;
use units::{HstateId, HugeIndex, HugeRange, InodeId, MmId, Name, ResvMapId, Vaddr, VmaId};

use crate::Env;

/// One area of one address space, as its file sees it.
#[doc(alias = "vm_area_struct")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct MappedArea {
    /// The address space.
    pub mm: MmId,
    /// The area.
    pub vma: VmaId,
    /// The file.
    pub inode: InodeId,
    /// Which pages of the file it maps.
    pub range: HugeRange,
    /// Where the first of them lies.
    pub start: Vaddr,
    /// The size of its pages.
    pub hstate: HstateId,
    /// Shared with the file, or private to the area?
    pub shared: bool,
    /// The map of a private owner.
    pub owner: Option<ResvMapId>,
}

impl MappedArea {
    /// The reservations that this area can draw on, given its file's map.
    #[must_use]
    pub fn holder(&self, file_map: ResvMapId) -> Holder {
        match (self.shared, self.owner) {
            (true, _) => Holder::Shared(file_map),
            (false, Some(map)) => Holder::Owner(map),
            (false, None) => Holder::Nothing,
        }
    }
}

/// The areas that map one file, by first page; those that start at the same page in the order in which they came, a child's
/// right behind its parent's.
#[doc(alias = "i_mmap")]
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct FileMappings {
    areas: BTreeMap<HugeIndex, Vec<MappedArea>>,
}

impl FileMappings {
    /// Nobody maps the file.
    #[must_use]
    pub const fn new() -> Self {
        Self { areas: BTreeMap::new() }
    }

    /// An area maps the file.
    pub fn insert(&mut self, area: MappedArea) {
        debug_assert!(!self.iter().any(|a| a.vma == area.vma), "{} maps the file already", area.vma);
        self.areas.entry(area.range.start).or_default().push(area);
    }

    /// A child's copy of the area `parent` maps the file.
    pub fn insert_behind(&mut self, parent: VmaId, area: MappedArea) {
        let list = self.areas.entry(area.range.start).or_default();
        let at = list.iter().position(|a| a.vma == parent).map_or(list.len(), |at| at + 1);
        list.insert(at, area);
    }

    /// An area whose range starts at `start` does not map the file any more.
    pub fn remove(&mut self, start: HugeIndex, vma: VmaId) -> Option<MappedArea> {
        let list = self.areas.get_mut(&start)?;
        let at = list.iter().position(|a| a.vma == vma)?;
        let area = list.remove(at);
        if list.is_empty() {
            self.areas.remove(&start);
        }
        Some(area)
    }

    /// The areas that map a page of `range`, in order.
    pub fn over(&self, range: HugeRange) -> impl Iterator<Item = MappedArea> {
        let before = self.areas.range(..range.end).flat_map(|(_, list)| list).copied();
        before.filter(move |area| area.range.end > range.start)
    }

    /// All areas in order.
    pub fn iter(&self) -> impl Iterator<Item = MappedArea> {
        self.areas.values().flatten().copied()
    }

    /// Every place where an area names something.
    pub fn names(&mut self) -> Vec<Name<'_>> {
        let mut names = Vec::new();
        for area in self.areas.values_mut().flatten() {
            names.extend([Name::from(&mut area.mm), Name::from(&mut area.inode)]);
            names.extend(area.owner.as_mut().map(Name::from));
        }
        names
    }

    /// Does nobody map the file?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.areas.is_empty()
    }
}

/// The areas over `range`, as they are now. Inside the file-mapping scope none of them goes away.
#[doc(alias = "vma_interval_tree_foreach")]
pub fn areas_over<P: Env>(p: &mut P, inode: InodeId, range: HugeRange) -> Vec<MappedArea> {
    p.with_mappings(inode, |m| m.over(range).collect()).unwrap_or_default()
}
