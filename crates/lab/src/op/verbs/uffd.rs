//! userfaultfd.

use crate::op::amount::{Fill, Span};
use crate::op::flag::{Flags, UffdMode};
use crate::op::name::{MapName, UffdName};
use crate::op::table::verbs;

verbs! {
    about Uffd

    /// Opens a userfaultfd whose faults raise SIGBUS, so that nothing waits.
    UffdOpen = "uffd_open" by actor {
        /// The name that the descriptor gets.
        uffd: UffdName ["u"];
    }

    /// Watches a range of a mapping.
    UffdRegister = "uffd_register" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
        /// What is watched.
        mode: Flags<UffdMode> ["mode"] or Flags::NONE;
    }

    /// Ends the watch of a range.
    UffdUnregister = "uffd_unregister" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Fills missing pages; answers the bytes `copied`.
    UffdCopy = "uffd_copy" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
        /// `wp` maps them write-protected.
        mode: Option<Flags<UffdMode>> ["mode"];
        /// The byte at the start of every 4 KiB of them, the rest being 0; 1 if left out.
        value: Option<Fill> ["v"];
    }

    /// Maps pages that are in the page cache; answers the bytes `copied`.
    UffdContinue = "uffd_continue" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Fills missing pages with zeros.
    UffdZero = "uffd_zero" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Sets or clears write protection of a range.
    UffdWp = "uffd_wp" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
        /// `wp` sets it, none clears it.
        mode: Flags<UffdMode> ["mode"] or Flags::NONE;
    }

    /// Closes a userfaultfd.
    UffdClose = "uffd_close" by actor {
        /// The userfaultfd.
        uffd: UffdName ["u"];
    }
}
