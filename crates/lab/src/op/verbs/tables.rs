//! Page tables by themselves, of the machine's architecture and of nobody's memory: what no program can ask a processor to show.

use crate::op::amount::{FrameTotal, Size, Span};
use crate::op::name::{PlaceName, TablesName};
use crate::op::table::verbs;
use crate::op::word::{Protection, Switch, TableEntry};

verbs! {
    about Tables

    /// Makes empty page tables.
    PtNew = "pt_new" {
        /// Their name.
        tables: TablesName ["t"];
        /// How many tables there may be; 64 if left out.
        max: Option<FrameTotal> ["max"];
    }

    /// Writes an entry where nothing is.
    PtPut = "pt_put" {
        /// The tables.
        tables: TablesName ["t"];
        /// The address.
        at: Size ["at"];
        /// How much the entry is to map.
        grain: Size ["size"];
        /// What it says.
        entry: TableEntry ["entry"];
    }

    /// Maps a page that may be written, with the tables on the way.
    PtMap = "pt_map" {
        /// The tables.
        tables: TablesName ["t"];
        /// The address.
        at: Size ["at"];
        /// How much it maps.
        grain: Size ["size"];
        /// Where somebody else maps a page of that size, all of it between the moment when a first table was had and the one when it is linked.
        meanwhile: Option<Size> ["meanwhile"];
    }

    /// Walks down to an entry; answers what it says (`what`) and how much it maps (`size`).
    PtWalk = "pt_walk" {
        /// The tables.
        tables: TablesName ["t"];
        /// The address.
        at: Size ["at"];
        /// How far down.
        grain: Size ["size"];
        /// Whether tables are made that are missing.
        make: Option<Switch> ["make"];
        /// A name for the place that was found.
        found: Option<PlaceName> ["found"];
    }

    /// Looks again at a place that was found, as whoever is to change it does; answers `same`, `split` or `changed` (`what`).
    PtRecheck = "pt_recheck" {
        /// The tables.
        tables: TablesName ["t"];
        /// The place.
        found: PlaceName ["found"];
    }

    /// Changes whether pages of a range may be written; answers what was flushed until then and what is still owed (`flushed`).
    PtProtect = "pt_protect" {
        /// The tables.
        tables: TablesName ["t"];
        /// The range.
        range: Span ["off", "len"];
        /// `rw`, or anything else for read-only.
        prot: Protection ["prot"];
    }
}
