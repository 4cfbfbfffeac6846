//! Free blocks and page blocks by type: `/proc/pagetypeinfo`.

use std::fmt;
use std::str::FromStr;

use units::{Migratetype, NodeId, Order, PageCount, ZoneKind};

use super::cursor::{Cursor, TextError, read};

const FREE: &str = "Free pages count per migrate type at order";
const BLOCKS: &str = "Number of blocks type ";
const MIXED: &str = "Number of mixed blocks ";

/// The length of a free list. The kernel stops counting at 100000, since the zone is locked meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListLength {
    /// So many blocks.
    Exactly(u64),
    /// So many and perhaps more.
    AtLeast(u64),
}

impl ListLength {
    /// Where the kernel stops.
    pub const LIMIT: u64 = 100_000;

    /// What the kernel says of a list of `blocks`.
    #[must_use]
    pub const fn of(blocks: u64) -> Self {
        if blocks >= Self::LIMIT { Self::AtLeast(Self::LIMIT) } else { Self::Exactly(blocks) }
    }
}

/// The free lists of one type in one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeListRow {
    /// The node.
    pub node: NodeId,
    /// The zone.
    pub zone: ZoneKind,
    /// The type.
    pub of: Migratetype,
    /// The list of each order, from order 0.
    pub lists: Vec<ListLength>,
}

/// The page blocks of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRow {
    /// The node.
    pub node: NodeId,
    /// The zone.
    pub zone: ZoneKind,
    /// How many blocks, in the order of the table's types.
    pub blocks: Vec<u64>,
}

/// Page blocks by type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockTable {
    /// The types of this kernel.
    pub types: Vec<Migratetype>,
    /// The zones.
    pub zones: Vec<BlockRow>,
}

/// One node in [`Pagetypeinfo`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePagetypes {
    /// The order of a page block.
    pub pageblock: Order,
    /// How many orders there are.
    pub orders: u8,
    /// Free lists, by zone and type.
    pub free: Vec<FreeListRow>,
    /// Page blocks, by zone.
    pub blocks: BlockTable,
    /// Blocks with pages of another type in them, where the kernel keeps track of owners.
    pub mixed: Option<BlockTable>,
}

/// `/proc/pagetypeinfo`: each node that has memory.
#[doc(alias = "pagetypeinfo_show")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pagetypeinfo(pub Vec<NodePagetypes>);

impl fmt::Display for ListLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(blocks) => write!(f, "{blocks:6} "),
            Self::AtLeast(blocks) => write!(f, ">{blocks:6} "),
        }
    }
}

impl BlockTable {
    fn print(&self, f: &mut fmt::Formatter<'_>, title: &str) -> fmt::Result {
        write!(f, "\n{title:<23}")?;
        self.types.iter().try_for_each(|of| write!(f, "{of:>12} "))?;
        f.write_str("\n")?;
        for row in &self.zones {
            write!(f, "Node {}, zone {:>8} ", row.node.get(), row.zone)?;
            row.blocks.iter().try_for_each(|blocks| write!(f, "{blocks:12} "))?;
            f.write_str("\n")?;
        }
        Ok(())
    }

    fn parse(cursor: &mut Cursor<'_>, title: &str) -> Result<Self, TextError> {
        cursor.expect(title)?;
        let types = cursor.row(|cursor| cursor.known("the name of a page type", Migratetype::named))?;
        let mut zones = Vec::new();
        while cursor.sees("Node ") {
            let (node, zone) = cursor.node_and_zone()?;
            zones.push(BlockRow { node, zone, blocks: cursor.row(Cursor::number)? });
        }
        Ok(Self { types, zones })
    }
}

impl NodePagetypes {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, TextError> {
        cursor.expect("Page block order: ")?;
        let order = |word: &str| word.parse().ok().and_then(Order::try_new);
        let pageblock = cursor.known("an order, at most 30", order)?;
        cursor.expect("\nPages per block:  ")?;
        cursor.expect(&pageblock.pages().get().to_string())?;
        cursor.expect("\n\n")?;
        cursor.expect(FREE)?;
        let orders = u8::try_from(cursor.row(Cursor::number)?.len()).unwrap_or(u8::MAX);
        let mut free = Vec::new();
        while !cursor.eat("\n") {
            let (node, zone) = cursor.node_and_zone()?;
            cursor.expect(", type ")?;
            cursor.blanks();
            let of = cursor.known("the name of a page type", Migratetype::named)?;
            free.push(FreeListRow { node, zone, of, lists: cursor.row(list_length)? });
        }
        let blocks = BlockTable::parse(cursor, BLOCKS)?;
        let mixed = if cursor.eat("\n") { Some(BlockTable::parse(cursor, MIXED)?) } else { None };
        Ok(Self { pageblock, orders, free, blocks, mixed })
    }

    /// Base pages of one page block.
    #[must_use]
    pub const fn block_pages(&self) -> PageCount {
        self.pageblock.pages()
    }
}

fn list_length(cursor: &mut Cursor<'_>) -> Result<ListLength, TextError> {
    if cursor.eat(">") {
        cursor.blanks();
        return cursor.number().map(ListLength::AtLeast);
    }
    cursor.number().map(ListLength::Exactly)
}

impl fmt::Display for NodePagetypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Page block order: {}", self.pageblock.get())?;
        writeln!(f, "Pages per block:  {}\n", self.block_pages().get())?;
        write!(f, "{FREE:<43} ")?;
        (0..self.orders).try_for_each(|order| write!(f, "{order:6} "))?;
        f.write_str("\n")?;
        for row in &self.free {
            write!(f, "Node {:4}, zone {:>8}, type {:>12} ", row.node.get(), row.zone, row.of)?;
            row.lists.iter().try_for_each(|list| write!(f, "{list}"))?;
            f.write_str("\n")?;
        }
        self.blocks.print(f, BLOCKS)?;
        self.mixed.as_ref().map_or(Ok(()), |mixed| mixed.print(f, MIXED))
    }
}

impl fmt::Display for Pagetypeinfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|node| write!(f, "{node}"))
    }
}

impl FromStr for Pagetypeinfo {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        read(text, |cursor| {
            let mut nodes = Vec::new();
            while !cursor.at_end() {
                nodes.push(NodePagetypes::parse(cursor)?);
            }
            Ok(Self(nodes))
        })
    }
}
