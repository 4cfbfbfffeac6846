//! The files of a control group that say which nodes its processes may use.

use std::fmt;
use std::str::FromStr;

use units::{NodeId, Nodemask};

use super::write::{WriteError, invalid};

const ROOT: &str = "/sys/fs/cgroup/";

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpusetFile {
    /// What was written: `cpuset.mems`.
    Mems,
    /// What holds: `cpuset.mems.effective`.
    MemsEffective,
}

/// A file about nodes of a control group of cgroup v2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpusetPath {
    /// The group's path from the root on; empty for the root.
    pub group: String,
    /// The file.
    pub file: CpusetFile,
}

/// Not one of these files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a file about nodes of a control group")]
pub struct NoCpusetFile;

impl FromStr for CpusetPath {
    type Err = NoCpusetFile;

    fn from_str(path: &str) -> Result<Self, NoCpusetFile> {
        let below = path.strip_prefix(ROOT).ok_or(NoCpusetFile)?;
        let (group, name) = below.rsplit_once('/').unwrap_or(("", below));
        let file = match name {
            "cpuset.mems" => CpusetFile::Mems,
            "cpuset.mems.effective" => CpusetFile::MemsEffective,
            _ => return Err(NoCpusetFile),
        };
        Ok(Self { group: group.to_owned(), file })
    }
}

impl fmt::Display for CpusetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.group.is_empty() { "" } else { "/" };
        let file = match self.file {
            CpusetFile::Mems => "cpuset.mems",
            CpusetFile::MemsEffective => "cpuset.mems.effective",
        };
        write!(f, "{ROOT}{}{slash}{file}", self.group)
    }
}

/// Reads a list of nodes such as `0-2,5`; blanks around it are skipped, and no node at all is a list too.
///
/// # Errors
/// Anything else.
#[doc(alias = "nodelist_parse")]
pub fn node_list(text: &[u8]) -> Result<Nodemask, WriteError> {
    let refuse = || invalid(text, "a list of nodes, such as 0-2,5");
    let words = std::str::from_utf8(text).map_err(|_| refuse())?;
    let number = |word: &str| {
        let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        word.parse::<u8>().ok().filter(|&n| plain && n < Nodemask::CAPACITY)
    };
    let mut nodes = Nodemask::EMPTY;
    for part in words.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = number(first).zip(number(last)).ok_or_else(refuse)?;
        if first > last {
            return Err(refuse());
        }
        nodes = (first..=last).fold(nodes, |nodes, n| nodes.with(NodeId::new(n)));
    }
    Ok(nodes)
}
