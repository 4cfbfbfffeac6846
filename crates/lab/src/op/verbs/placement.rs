//! Where pages lie, and memory that breaks.

use crate::op::amount::{Node, PageIndex, Span};
use crate::op::flag::{Flags, MoveFlag};
use crate::op::name::MapName;
use crate::op::placement::{NodeList, NodesAre, PolicyMode};
use crate::op::table::verbs;

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
