//! Mappings.

use crate::op::amount::{Fill, PageIndex, PageTotal, Pages, Size, Span};
use crate::op::flag::{Flags, MmapFlag, MremapFlag};
use crate::op::name::{FileName, MapName};
use crate::op::table::verbs;
use crate::op::word::{Access, Advice, Protection, SizeName};

verbs! {
    about Memory

    /// Maps anonymous huge pages or a file.
    Mmap = "mmap" by actor {
        /// The name that the mapping gets.
        map: MapName ["m"];
        /// Its length.
        len: Size ["len"];
        /// How it is mapped.
        flags: Flags<MmapFlag> ["flags"] or Flags::NONE;
        /// The file mapped; without it and without `anon` the call gets no file.
        file: Option<FileName> ["f"];
        /// The offset in the file.
        off: Option<Size> ["off"];
        /// The page size of an anonymous mapping.
        pagesize: Option<SizeName> ["hsz"];
        /// What it may be used for; rw if left out.
        prot: Option<Protection> ["prot"];
        /// Moves the wanted address by so many bytes.
        addr_off: Option<Size> ["addr_off"];
        /// The mapping over which it is laid with MAP_FIXED.
        at: Option<MapName> ["at"];
        /// The offset in that mapping.
        at_off: Option<Size> ["at_off"];
    }

    /// Unmaps a range of a mapping.
    Munmap = "munmap" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range, counted from the mapping's start.
        range: Span ["off", "len"];
    }

    /// Changes the length or the place of a mapping.
    Mremap = "mremap" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The old length.
        old: Size ["old"];
        /// The new length.
        new: Size ["new"];
        /// How it may move.
        flags: Flags<MremapFlag> ["flags"] or Flags::NONE;
        /// Where in the mapping the old range begins.
        off: Option<Size> ["off"];
        /// The name whose place it moves to.
        to: Option<MapName> ["to"];
        /// Moves the wanted address by so many bytes.
        addr_off: Option<Size> ["addr_off"];
    }

    /// Changes what a range of a mapping may be used for.
    Mprotect = "mprotect" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
        /// What it may be used for.
        prot: Protection ["prot"];
    }

    /// Gives advice about a range of a mapping.
    Madvise = "madvise" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
        /// The advice.
        advice: Advice ["adv"];
    }

    /// Locks a range of a mapping into memory.
    Mlock = "mlock" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Unlocks a range of a mapping.
    Munlock = "munlock" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Writes a range of a mapping back.
    Msync = "msync" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Asks which pages of a range are in memory; answers `vec`.
    Mincore = "mincore" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Loads or stores one byte of each page, until the first fault that fails; answers `done`, and `rd` for loads.
    Touch = "touch" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The pages.
        pages: Pages ["pg", "n"];
        /// Load or store.
        access: Access ["w"] or Access::Read;
        /// Where in each page.
        poff: Option<Size> ["poff"];
        /// The byte stored in the first page; 1 if left out.
        value: Option<Fill> ["v"];
    }

    /// Lets the kernel load or store one byte of a mapping, as read(2) and write(2) do.
    Uaccess = "uaccess" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The page.
        page: PageIndex ["pg"];
        /// Load or store.
        access: Access ["w"] or Access::Read;
    }

    /// Asks how the pages of a mapping are mapped; answers `pm`, one letter a page.
    Pagemap = "pagemap" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The first page; page 0 if left out.
        page: Option<PageIndex> ["pg"];
        /// How many pages; the whole mapping if left out.
        count: Option<PageTotal> ["n"];
    }

    /// Asks for the VMAs of a mapping and the huge pages in them.
    Smaps = "smaps" by actor {
        /// The mapping.
        map: MapName ["m"];
    }
}
