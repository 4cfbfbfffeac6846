//! Free blocks per zone: `/proc/buddyinfo`, and the indices computed from it.

use std::fmt;
use std::str::FromStr;

use units::{NodeId, Order, ZoneKind};
use zone::extfrag::{Permille, fragmentation_index, unusable_index};

use super::cursor::{Cursor, TextError, read};

/// One zone's line of [`Buddyinfo`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeBlocks {
    /// The node.
    pub node: NodeId,
    /// The zone.
    pub zone: ZoneKind,
    /// Free blocks of each order, from order 0.
    pub blocks: Vec<u64>,
}

/// `/proc/buddyinfo`: a line for each zone that has pages, nodes ascending.
#[doc(alias = "frag_show")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buddyinfo(pub Vec<FreeBlocks>);

impl fmt::Display for Buddyinfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.0 {
            write!(f, "Node {}, zone {:>8} ", row.node.get(), row.zone)?;
            row.blocks.iter().try_for_each(|blocks| write!(f, "{blocks:6} "))?;
            f.write_str("\n")?;
        }
        Ok(())
    }
}

impl FromStr for Buddyinfo {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        read(text, |cursor| {
            let mut rows = Vec::new();
            while !cursor.at_end() {
                let (node, zone) = cursor.node_and_zone()?;
                rows.push(FreeBlocks { node, zone, blocks: cursor.row(Cursor::number)? });
            }
            Ok(Self(rows))
        })
    }
}

/// One zone's line of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRow {
    /// The node.
    pub node: NodeId,
    /// The zone.
    pub zone: ZoneKind,
    /// The index for requests of each order, from order 0.
    pub values: Vec<Permille>,
}

/// `extfrag/extfrag_index` of debugfs: would a failure be for want of memory or for fragmentation?
#[doc(alias = "extfrag_show")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtfragIndex(pub Vec<IndexRow>);

/// `extfrag/unusable_index` of debugfs: how much of the free memory is of no use?
#[doc(alias = "unusable_show")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnusableIndex(pub Vec<IndexRow>);

impl ExtfragIndex {
    /// The index of these free blocks.
    #[must_use]
    pub fn of(free: &Buddyinfo) -> Self {
        Self(index(free, |blocks, order| fragmentation_index(blocks.iter().copied(), order)))
    }
}

impl UnusableIndex {
    /// The index of these free blocks.
    #[must_use]
    pub fn of(free: &Buddyinfo) -> Self {
        Self(index(free, |blocks, order| unusable_index(blocks.iter().copied(), order)))
    }
}

fn index(free: &Buddyinfo, value: impl Fn(&[u64], Order) -> Permille) -> Vec<IndexRow> {
    let orders = |row: &FreeBlocks| (0..).map_while(Order::try_new).take(row.blocks.len());
    let rows = free.0.iter().map(|row| IndexRow {
        node: row.node,
        zone: row.zone,
        values: orders(row).map(|order| value(&row.blocks, order)).collect(),
    });
    rows.collect()
}

fn print(rows: &[IndexRow], f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
    for row in rows {
        write!(f, "Node {}, zone {:>8} ", row.node.get(), row.zone)?;
        row.values.iter().try_for_each(|value| write!(f, "{value:width$} "))?;
        f.write_str("\n")?;
    }
    Ok(())
}

fn parse(cursor: &mut Cursor<'_>) -> Result<Vec<IndexRow>, TextError> {
    let mut rows = Vec::new();
    while !cursor.at_end() {
        let (node, zone) = cursor.node_and_zone()?;
        rows.push(IndexRow { node, zone, values: cursor.row(permille)? });
    }
    Ok(rows)
}

/// `-1.000`, ` 0.-500`: quotient and remainder, each with its sign.
fn permille(cursor: &mut Cursor<'_>) -> Result<Permille, TextError> {
    cursor.known("thousandths such as -1.000", |word| {
        let (quotient, remainder) = word.split_once('.')?;
        let (quotient, remainder): (i32, i32) = (quotient.parse().ok()?, remainder.parse().ok()?);
        quotient.checked_mul(1000)?.checked_add(remainder).map(Permille)
    })
}

impl fmt::Display for ExtfragIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(&self.0, f, 2)
    }
}

impl fmt::Display for UnusableIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(&self.0, f, 1)
    }
}

impl FromStr for ExtfragIndex {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        read(text, |cursor| parse(cursor).map(Self))
    }
}

impl FromStr for UnusableIndex {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        read(text, |cursor| parse(cursor).map(Self))
    }
}
