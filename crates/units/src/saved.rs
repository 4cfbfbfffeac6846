//! Units and identities as text: numbers, and for objects of a machine their kind with a number, `inode:3`.
//!
//! What is read is checked: a value that its type cannot have is refused.

use alloc::string::String;
use alloc::vec::Vec;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use slotmap::{Key, KeyData};

use crate::id::{
    BlockId, CgroupId, CpuId, GmemId, HstateId, InodeId, MmId, MountId, NodeId, Pid, ResvMapId, SubpoolId, UffdId,
    VmaId,
};
use crate::{Bytes, HugeCount, HugeIndex, HugeRange, HugeSize, Nodemask, Order, PageCount, PageIndex, PageShift, Pfn};
use crate::{RangeMap, Vaddr, VaddrRange};

macro_rules! written_as {
    ($($name:ident, $plain:ty, $what:literal, $out:expr, $back:expr;)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let out: fn($name) -> $plain = $out;
                out(*self).serialize(to)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let back: fn(&$plain) -> Option<$name> = $back;
                let plain = <$plain>::deserialize(from)?;
                back(&plain).ok_or_else(|| D::Error::custom(format_args!("{plain:?} is not {}", $what)))
            }
        }
    )*};
}

written_as! {
    PageCount, u64, "a number of pages", PageCount::get, |&n| Some(PageCount::new(n));
    HugeCount, u64, "a number of huge pages", HugeCount::get, |&n| Some(HugeCount::new(n));
    PageIndex, u64, "an index", PageIndex::get, |&n| Some(PageIndex::new(n));
    HugeIndex, u64, "an index", HugeIndex::get, |&n| Some(HugeIndex::new(n));
    Bytes, u64, "a size", Bytes::get, |&n| Some(Bytes::new(n));
    Pfn, u64, "a frame", Pfn::get, |&n| Some(Pfn::new(n));
    Vaddr, u64, "an address", Vaddr::get, |&n| Some(Vaddr::new(n));
    VmaId, u64, "an area", VmaId::get, |&n| Some(VmaId::new(n));
    CpuId, u32, "a processor", CpuId::get, |&n| Some(CpuId::new(n));
    HstateId, u8, "an hstate", HstateId::get, |&n| Some(HstateId::new(n));
    Order, u8, "an order (0 to 30)", Order::get, |&n| Order::try_new(n);
    NodeId, u8, "a node (0 to 63)", NodeId::get, |&n| (n < Nodemask::CAPACITY).then(|| NodeId::new(n));
    Nodemask, Vec<NodeId>, "a set of nodes", |mask| mask.iter().collect(), |nodes| Some(nodes.iter().copied().collect());
    HugeSize, Bytes, "the size of a huge page", HugeSize::bytes, |&bytes| HugeSize::from_bytes(bytes);
    PageShift, Bytes, "the size of a base page (4096, 16384 or 65536)", PageShift::bytes,
        |&bytes| [PageShift::K4, PageShift::K16, PageShift::K64].into_iter().find(|shift| shift.bytes() == bytes);
    VaddrRange, [Vaddr; 2], "a range", |range| [range.start, range.end],
        |&[start, end]| (start <= end).then(|| VaddrRange::new(start, end));
    HugeRange, [HugeIndex; 2], "a range", |range| [range.start, range.end],
        |&[start, end]| (start <= end).then(|| HugeRange::new(start, end));
}

/// The word for an object that is gone although somebody still names it.
const GONE: &str = "gone";

macro_rules! object {
    ($($name:ident $prefix:literal),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                match place_of(*self) {
                    Some(n) => to.collect_str(&format_args!(concat!($prefix, ":{}"), n)),
                    None => to.collect_str(&format_args!(concat!($prefix, ":{}"), GONE)),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                let number = text.strip_prefix(concat!($prefix, ":"));
                let key = number.and_then(|n| if n == GONE { Some(Self::null()) } else { at_place(n.parse().ok()?) });
                key.ok_or_else(|| D::Error::custom(format_args!(concat!("{:?} is not {}:N"), text, $prefix)))
            }
        }
    )*};
}

object!(
    MmId "space", Pid "process", InodeId "inode", MountId "mount", SubpoolId "subpool", ResvMapId "map", CgroupId "group",
    UffdId "uffd", BlockId "block", GmemId "gmem"
);

/// A run of a [`RangeMap`] as text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run<V> {
    from: u64,
    to: u64,
    is: V,
}

impl<V: Serialize + Clone + PartialEq> Serialize for RangeMap<V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter().map(|(run, is)| Run { from: run.start, to: run.end, is }))
    }
}

impl<'de, V: Deserialize<'de> + Clone + PartialEq> Deserialize<'de> for RangeMap<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut map = Self::new();
        for Run { from, to, is } in Vec::<Run<V>>::deserialize(from)? {
            if from >= to || map.touches(from..to) {
                return Err(D::Error::custom(format_args!(
                    "{from}..{to} is no run, or one of those before it has a part of it"
                )));
            }
            map.set(from..to, is);
        }
        Ok(map)
    }
}

/// The how manieth object of a machine in which nothing was ever removed it is.
fn place_of(key: impl Key) -> Option<u64> {
    (!key.is_null()).then(|| (key.data().as_ffi() & u64::from(u32::MAX)).saturating_sub(1))
}

/// The name of the object at that place.
fn at_place<K: Key>(n: u32) -> Option<K> {
    let place = n.checked_add(1).filter(|&n| n < u32::MAX)?;
    Some(KeyData::from_ffi(1 << 32 | u64::from(place)).into())
}
