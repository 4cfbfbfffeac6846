//! Where pages lie, and memory that breaks.

use crate::op::amount::{Node, PageIndex, Pages, Span};
use crate::op::flag::{Flags, MoveFlag};
use crate::op::name::{FileName, MapName, PinName};
use crate::op::placement::{NodeList, NodesAre, PinFor, PolicyMode};
use crate::op::table::verbs;
use crate::op::word::{Access, Switch};

verbs! {
    about Placement

    /// Runs on the processors of a node from now on.
    RunOn = "run_on" by actor {
        /// The node.
        node: Node ["node"];
    }

    /// Says where pages of the process are to lie, but for mappings with a policy of their own.
    SetMempolicy = "set_mempolicy" by actor {
        /// How.
        mode: PolicyMode ["mode"];
        /// On which nodes; none if left out.
        nodes: Option<NodeList> ["nodes"];
        /// What the nodes mean once the process may use other ones; places among these if left out.
        are: Option<NodesAre> ["are"];
    }

    /// Says where pages of a range are to lie.
    Mbind = "mbind" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
        /// How.
        mode: PolicyMode ["mode"];
        /// On which nodes; none if left out.
        nodes: Option<NodeList> ["nodes"];
        /// What becomes of pages that lie elsewhere; they stay if left out.
        flags: Option<Flags<MoveFlag>> ["flags"];
        /// What the nodes mean once the process may use other ones; places among these if left out.
        are: Option<NodesAre> ["are"];
    }

    /// Says where the policies of a range begin to look.
    HomeNode = "home_node" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
        /// The node.
        node: Node ["node"];
    }

    /// Moves a page to a node; answers `on`, where it lies in the end.
    MovePage = "move_page" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The page.
        page: PageIndex ["pg"];
        /// The node.
        node: Node ["node"];
        /// Whether pages of others move too: `all`; none if left out.
        flags: Option<Flags<MoveFlag>> ["flags"];
    }

    /// Asks on which node a page lies; answers `on`.
    WhereIs = "where" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The page.
        page: PageIndex ["pg"];
    }

    /// Moves all pages of the process from nodes to nodes; answers `n`, how many stay.
    MigratePages = "migrate_pages" by actor {
        /// The nodes to leave.
        from: NodeList ["from"];
        /// The nodes that stand in their place.
        to: NodeList ["to"];
    }

    /// Asks where pages of a mapping lie and why; answers `numa`, its lines of `/proc/PID/numa_maps` without address and file.
    NumaMaps = "numa_maps" by actor {
        /// The mapping.
        map: MapName ["m"];
    }

    /// Pins pages of a mapping until `unpin` or the end of the process: all of them or none.
    Pin = "pin" by actor {
        /// The name that the pin gets.
        pin: PinName ["pin"];
        /// The mapping.
        map: MapName ["m"];
        /// The pages.
        pages: Pages ["pg", "n"];
        /// What for.
        purpose: PinFor ["for"];
        /// Whether they will be written.
        access: Access ["w"] or Access::Read;
    }

    /// Pins pages of a memory file for a device as `/dev/udmabuf` does, also absent ones, until `unpin` or the end of the process.
    Udmabuf = "udmabuf" by actor {
        /// The name that the pin gets.
        pin: PinName ["pin"];
        /// The file.
        file: FileName ["f"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Ends a pin.
    Unpin = "unpin" by actor {
        /// The pin.
        pin: PinName ["pin"];
        /// In an interrupt, where nobody may wait: the library alone knows when.
        atomic: Option<Switch> ["atomic"];
    }

    /// Breaks the memory of a range, a base page in each huge page. The kernel of a host does it only if the host can be thrown away.
    Hwpoison = "hwpoison" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Takes the memory of a range out of use, a base page in each huge page, as long as it works. The kernel of a host does it only if the
    /// host can be thrown away.
    SoftOffline = "soft_offline" by actor {
        /// The mapping.
        map: MapName ["m"];
        /// The range.
        range: Span ["off", "len"];
    }
}
