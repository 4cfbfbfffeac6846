//! Memory of guests, and attempts that fail.

use crate::op::amount::{BasePage, BlockOrder, Fill, FrameTotal, Size, Span};
use crate::op::flag::{Flags, GuestAttribute, GuestFlag};
use crate::op::name::{BlockName, FileName, MapName};
use crate::op::table::verbs;
use crate::op::word::{FailingSite, SizeName, Switch};

verbs! {
    about Guest

    /// Makes a file of guest memory, of huge pages where `pagesize` says of which. It is bound to a guest whose first frame is its first page. All
    /// operations on such files answer what happened to the guest's tables and to the folios, in order (`steps`).
    GmemCreate = "gmem_create" by actor {
        /// The name that the descriptor gets.
        file: FileName ["f"];
        /// Its size.
        len: Size ["len"];
        /// Its page size; base pages if left out.
        pagesize: Option<SizeName> ["hsz"];
        /// How it is made; `mmap`, and `huge` where there is a page size, if left out.
        flags: Option<Flags<GuestFlag>> ["flags"];
    }

    /// Says where the guest sees the first page of a file; nowhere if left out.
    GmemBind = "gmem_bind" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The guest's frame.
        frame: Option<BasePage> ["gfn"];
    }

    /// Allocates the missing pages of a range.
    GmemAllocate = "gmem_allocate" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Removes the pages of a range.
    GmemPunch = "gmem_punch" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Sets the size of a file.
    GmemTruncate = "gmem_truncate" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The size.
        len: Size ["len"];
    }

    /// Makes pages of a range private or shared; answers where it stopped, if it did (`at`).
    GmemConvert = "gmem_convert" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The range.
        range: Span ["off", "len"];
        /// What they become.
        to: Flags<GuestAttribute> ["to"];
    }

    /// Lets pages of guests be converted, or not.
    GmemConversion = "gmem_conversion" {
        /// Whether they may be.
        on: Switch ["on"];
    }

    /// Maps a part of a file for the host.
    GmemMap = "gmem_map" by actor {
        /// The name that the mapping gets.
        map: MapName ["m"];
        /// The descriptor.
        file: FileName ["f"];
        /// The part.
        range: Span ["off", "len"];
    }

    /// Ends such a mapping.
    GmemUnmap = "gmem_unmap" by actor {
        /// The mapping.
        map: MapName ["m"];
    }

    /// Touches a page of a file by a mapping of the host; answers its first byte (`b0`).
    GmemTouch = "gmem_touch" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The page of the file.
        page: BasePage ["pg"];
        /// What is written there; it is read if left out.
        value: Option<Fill> ["v"];
    }

    /// Pins a page for a device.
    GmemPin = "gmem_pin" by actor {
        /// The name that the pin gets.
        pin: BlockName ["b"];
        /// The mapping that reaches it.
        map: MapName ["m"];
        /// The page of the file.
        page: BasePage ["pg"];
    }

    /// Ends such a pin, in an interrupt if need be.
    GmemUnpin = "gmem_unpin" {
        /// The pin.
        pin: BlockName ["b"];
        /// Whether nobody may wait.
        atomic: Option<Switch> ["atomic"];
    }

    /// The guest touches a page; answers its first byte (`b0`) and the order of the leaf that maps it (`leaf`).
    GuestTouch = "guest_touch" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The page.
        page: BasePage ["pg"];
        /// What is written there; it is read if left out.
        value: Option<Fill> ["v"];
    }

    /// A page breaks.
    GmemFail = "gmem_fail" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The page.
        page: BasePage ["pg"];
    }

    /// Splits the folio that a private page is in into smaller ones.
    GmemSplit = "gmem_split" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The page.
        page: BasePage ["pg"];
        /// The order of the pieces.
        order: BlockOrder ["order"];
    }

    /// Tries again to put together what is private and in pieces.
    GmemMerge = "gmem_merge" by actor {
        /// The descriptor.
        file: FileName ["f"];
    }

    /// One of the next attempts to have something fails, once.
    FailNext = "fail_next" {
        /// What it is an attempt at.
        site: FailingSite ["site"];
        /// How many before it succeed; none if left out.
        after: Option<FrameTotal> ["after"];
    }
}
