//! The counters that a target shows after every operation, in the form of the recordings.

use std::fmt;
use std::marker::PhantomData;

use crate::op::Size;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A map that keeps the order of its keys, which the recordings give a meaning: the order of creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered<T>(Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Ordered<T> {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&T> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// The value of `key`, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut T> {
        self.0.iter_mut().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// Appends an entry; the caller gives each key once.
    pub fn push(&mut self, key: impl Into<String>, value: T) {
        self.0.push((key.into(), value));
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }
}

impl<T: Serialize> Serialize for Ordered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of counters")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
                let mut ordered = Ordered::default();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    ordered.push(key, value);
                }
                Ok(ordered)
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

macro_rules! counter_arrays {
    ($($(#[doc = $doc:literal])+ $name:ident as $array:ty { $($(#[doc = $fdoc:literal])+ $field:ident = $label:literal,)+ })*) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name { $($(#[doc = $fdoc])+ pub $field: i64,)+ }

        impl $name {
            fn fields(&self, prefix: &str, into: &mut Vec<(String, i64)>) {
                $(into.push((format!("{prefix} {}", $label), self.$field));)+
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                [$(self.$field),+].serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let [$($field),+] = <$array>::deserialize(deserializer)?;
                Ok(Self { $($field),+ })
            }
        }
    )*};
}

counter_arrays! {
    /// The counters of a pool. They are signed because a kernel's own may underflow.
    PoolCounters as [i64; 4] {
        /// All huge pages.
        nr = "nr_hugepages",
        /// Free ones.
        free = "free_hugepages",
        /// Promised ones.
        resv = "resv_hugepages",
        /// Those above the persistent number.
        surplus = "surplus_hugepages",
    }
    /// The counters of a pool's pages on one node.
    NodeCounters as [i64; 3] {
        /// All huge pages.
        nr = "nr_hugepages",
        /// Free ones.
        free = "free_hugepages",
        /// Those above the persistent number.
        surplus = "surplus_hugepages",
    }
    /// The counters of a control group and a page size: bytes, and events.
    CgroupCounters as [i64; 4] {
        /// Bytes in use.
        current = "current",
        /// Bytes reserved.
        rsvd = "rsvd.current",
        /// Refusals of the group and of all below it.
        events_max = "events.max",
        /// Refusals of the group itself.
        events_local_max = "events.local.max",
    }
    /// What the memory controller says of a control group: bytes, and events.
    MemoryCounters as [i64; 3] {
        /// Bytes of huge pages.
        hugetlb = "stat.hugetlb",
        /// How often its limit, or one below, was about to be exceeded.
        events_max = "events.max",
        /// How often its own was.
        events_local_max = "events.local.max",
    }
    /// What statfs says about a mount.
    FsCounters as [i64; 6] {
        /// The block size in bytes: the page size.
        bsize = "f_bsize",
        /// All blocks; 0 without limit, -1 with a minimum alone.
        blocks = "f_blocks",
        /// Free blocks.
        bfree = "f_bfree",
        /// Free blocks for everybody.
        bavail = "f_bavail",
        /// All inodes.
        files = "f_files",
        /// Free inodes.
        ffree = "f_ffree",
    }
}

/// The counters of one control group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CgroupSizes {
    /// Of 2 MiB pages.
    #[serde(rename = "2M")]
    pub m2: CgroupCounters,
    /// Of 1 GiB pages.
    #[serde(rename = "1G")]
    pub g1: CgroupCounters,
    /// Of memory, where the memory controller accounts huge pages.
    #[serde(rename = "memory", default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryCounters>,
}

/// The pages of one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSizes {
    /// Of 2 MiB.
    #[serde(rename = "2M")]
    pub m2: NodeCounters,
    /// Of 1 GiB.
    #[serde(rename = "1G")]
    pub g1: NodeCounters,
}

/// All counters at one moment. As JSON it equals the `c` object of a recording byte by byte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// The pool of 2 MiB pages.
    #[serde(rename = "2M")]
    pub m2: PoolCounters,
    /// The pool of 1 GiB pages.
    #[serde(rename = "1G")]
    pub g1: PoolCounters,
    /// The 2 MiB pages of node 0.
    #[serde(rename = "n0_2M")]
    pub node0_m2: NodeCounters,
    /// The 1 GiB pages of node 0.
    #[serde(rename = "n0_1G")]
    pub node0_g1: NodeCounters,
    /// The nodes after node 0, by their numbers.
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    pub nodes: Ordered<NodeSizes>,
    /// Control groups in the order of their creation.
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    pub cg: Ordered<CgroupSizes>,
    /// Mounts in the order in which they were mounted first.
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    pub fs: Ordered<FsCounters>,
    /// `HugetlbPages` of the live processes in kilobytes, by ascending number.
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    pub hp_kb: Ordered<i64>,
}

/// One field in which two answers differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The field.
    pub field: String,
    /// What the target under test says; `None` when it says nothing.
    pub ours: Option<String>,
    /// What the other says.
    pub theirs: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let say = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{}: ours {}, theirs {}", self.field, say(&self.ours), say(&self.theirs))
    }
}

impl Counters {
    /// Every counter with its name, such as `2M resv_hugepages`, `cg g0 2M current`, `fs M0 f_bfree`, `a1 HugetlbPages`.
    pub fn fields(&self) -> Vec<(String, i64)> {
        let mut fields = Vec::new();
        self.m2.fields("2M", &mut fields);
        self.g1.fields("1G", &mut fields);
        self.node0_m2.fields("node0 2M", &mut fields);
        self.node0_g1.fields("node0 1G", &mut fields);
        for (node, sizes) in self.nodes.iter() {
            sizes.m2.fields(&format!("node{node} 2M"), &mut fields);
            sizes.g1.fields(&format!("node{node} 1G"), &mut fields);
        }
        for (group, sizes) in self.cg.iter() {
            sizes.m2.fields(&format!("cg {group} 2M"), &mut fields);
            sizes.g1.fields(&format!("cg {group} 1G"), &mut fields);
            if let Some(memory) = &sizes.memory {
                memory.fields(&format!("cg {group} memory"), &mut fields);
            }
        }
        for (mount, counters) in self.fs.iter() {
            counters.fields(&format!("fs {mount}"), &mut fields);
        }
        for (actor, kilobytes) in self.hp_kb.iter() {
            fields.push((format!("a{actor} HugetlbPages"), *kilobytes));
        }
        fields
    }

    /// The fields in which `self` (ours) and `other` (theirs) differ.
    pub fn diff(&self, other: &Counters) -> Vec<Difference> {
        if self == other {
            return Vec::new();
        }
        diff_fields(&self.fields(), &other.fields())
    }
}

impl fmt::Display for Counters {
    /// One line: the pool of 2 MiB pages, then whatever else is there and not zero throughout.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pool = |pool: &PoolCounters| {
            format!("nr={} free={} resv={} surplus={}", pool.nr, pool.free, pool.resv, pool.surplus)
        };
        write!(f, "2M {}", pool(&self.m2))?;
        if self.g1 != PoolCounters::default() {
            write!(f, " | 1G {}", pool(&self.g1))?;
        }
        for (group, sizes) in self.cg.iter() {
            for (size, counters) in [("2M", sizes.m2), ("1G", sizes.g1)] {
                let CgroupCounters { current, rsvd, events_max, .. } = counters;
                if size == "2M" || counters != CgroupCounters::default() {
                    write!(f, " | {group} {size} current={} rsvd={}", Size::bytes(current), Size::bytes(rsvd))?;
                    write!(f, " events.max={events_max}")?;
                }
            }
            if let Some(MemoryCounters { hugetlb, events_max, .. }) = sizes.memory {
                write!(f, " | {group} memory hugetlb={} events.max={events_max}", Size::bytes(hugetlb))?;
            }
        }
        for (mount, fs) in self.fs.iter() {
            write!(f, " | {mount} blocks={} bfree={} ffree={}", fs.blocks, fs.bfree, fs.ffree)?;
        }
        self.hp_kb.iter().try_for_each(|(actor, kilobytes)| write!(f, " | a{actor} {kilobytes} kB"))
    }
}

/// The names whose values differ in two lists of named values.
pub fn diff_fields<K: AsRef<str>, V: ToString + PartialEq>(ours: &[(K, V)], theirs: &[(K, V)]) -> Vec<Difference> {
    let find = |fields: &[(K, V)], name: &str| fields.iter().position(|(field, _)| field.as_ref() == name);
    let mut differences = Vec::new();
    for (name, value) in ours {
        let their = find(theirs, name.as_ref()).map(|index| &theirs[index].1);
        if their != Some(value) {
            differences.push(Difference {
                field: name.as_ref().to_owned(),
                ours: Some(value.to_string()),
                theirs: their.map(ToString::to_string),
            });
        }
    }
    for (name, value) in theirs {
        if find(ours, name.as_ref()).is_none() {
            let theirs = Some(value.to_string());
            differences.push(Difference { field: name.as_ref().to_owned(), ours: None, theirs });
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"2M":[4,3,1,0],"1G":[0,0,-1,0],"n0_2M":[4,3,0],"n0_1G":[0,0,0],"cg":{"g1":{"2M":[2097152,0,1,1],"1G":[0,0,0,0]},"g0":{"2M":[0,0,0,0],"1G":[0,0,0,0]}},"fs":{"M0":[2097152,0,0,0,-1,9]},"hp_kb":{"0":2048,"10":0}}"#;

    #[test]
    fn counters_print_the_bytes_they_were_read_from() {
        let counters: Counters = serde_json::from_str(LINE).unwrap();
        assert_eq!(counters.cg.get("g1").unwrap().m2.current, 2_097_152);
        assert_eq!(serde_json::to_string(&counters).unwrap(), LINE);
    }

    #[test]
    fn a_difference_names_its_field_and_both_values() {
        let ours: Counters = serde_json::from_str(LINE).unwrap();
        let mut theirs = ours.clone();
        theirs.m2.resv = 2;
        theirs.hp_kb.push("11", 5);
        let shown: Vec<String> = ours.diff(&theirs).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["2M resv_hugepages: ours 1, theirs 2", "a11 HugetlbPages: ours nothing, theirs 5"]);
        assert!(ours.diff(&ours).is_empty());
    }

    #[test]
    fn an_unknown_counter_is_refused() {
        let line = LINE.replace("\"fs\"", "\"sf\"");
        assert!(serde_json::from_str::<Counters>(&line).is_err());
    }
}
