//! Names that operations give to processes, mappings, files, mounts, control groups and segments.

use super::argument::{Value, ValueError};
use super::draw::Draws;
use super::record::Scalar;

const LONGEST_NAME: usize = 255;

/// A process of a scenario, `a0`, `a1`, ...: a number that `spawn` and `fork` bring to life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor(u16);

impl Actor {
    /// The processes a target must be able to run: `a0` to `a15`. A higher number answers `BADACTOR`.
    pub const LIMIT: u16 = 16;

    /// The process with this number.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number that the JSON form uses.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a{}", self.0)
    }
}

impl Value for Actor {
    const EXPECTS: &'static str = "a process, a0 to a15";
    fn draw(draws: &mut Draws<'_>) -> Self {
        Self(u16::from(draws.byte() % 5))
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        text.strip_prefix('a')
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| ValueError::new(format!("`{text}` is not a process")))
    }
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_scalar(scalar: &Scalar) -> Result<Self, ValueError> {
        match scalar {
            Scalar::Number(n) => u16::try_from(*n).ok().map(Self),
            Scalar::Text(_) => None,
        }
        .ok_or_else(|| ValueError::new(format!("{scalar} is not a process number")))
    }
    fn to_scalar(&self) -> Scalar {
        Scalar::Number(i64::from(self.0))
    }
}

fn check_name(text: &str, extra: &str, may_be_empty: bool) -> Result<(), ValueError> {
    if text.is_empty() && !may_be_empty {
        return Err(ValueError::new("the name is empty"));
    }
    if text.len() > LONGEST_NAME {
        return Err(ValueError::new(format!("a name of {} bytes is longer than {LONGEST_NAME}", text.len())));
    }
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"_-.".contains(*c) && !extra.contains(*c)) {
        Some(c) => Err(ValueError::new(format!("{c:?} cannot stand in the name {text:?}"))),
        None => Ok(()),
    }
}

macro_rules! names {
    ($($(#[doc = $doc:literal])* $name:ident: $expects:literal, $extra:literal;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// A name of letters, digits and `_ - .`, where allowed also `/`.
            ///
            /// # Errors
            /// The name is empty, longer than 255 bytes or holds another character.
            pub fn new(name: &str) -> Result<Self, ValueError> {
                check_name(name, $extra, false).map(|()| Self(name.to_owned()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Value for $name {
            const EXPECTS: &'static str = $expects;
            fn draw(draws: &mut Draws<'_>) -> Self {
                Self((*draws.of(&["A", "B", "C", "x1", "0-._"])).to_owned())
            }
            fn from_text(text: &str) -> Result<Self, ValueError> {
                Self::new(text)
            }
            fn to_text(&self) -> String {
                self.0.clone()
            }
        }
    )*};
}

names! {
    /// A mapping of a process; known from the first successful `mmap`, `mremap to=` or `shmat` on.
    MapName: "a mapping's name", "";
    /// A file descriptor of a process.
    FileName: "a file descriptor's name", "";
    /// A mount of hugetlbfs.
    MountName: "a mount's name", "";
    /// A control group, by its path below the root; `/` is the root itself.
    CgroupName: "a control group's path", "/";
    /// A System V shared memory segment.
    SegmentName: "a segment's name", "";
    /// A block of pages, or several that were taken together.
    BlockName: "a block's name", "";
    /// Pages that a process keeps pinned.
    PinName: "a pin's name", "";
    /// A userfaultfd of a process.
    UffdName: "a userfaultfd's name", "";
    /// Page tables by themselves.
    TablesName: "the name of page tables", "";
    /// A place in page tables that was found.
    PlaceName: "a place's name", "";
}

/// A file in a mount: `MOUNT/NAME`. The name may be empty, which is the mount's root directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MountPath {
    /// The mount.
    pub mount: MountName,
    name: String,
}

impl MountPath {
    /// The file `name` of `mount`.
    ///
    /// # Errors
    /// The name is longer than 255 bytes or holds a character that no name may hold.
    pub fn new(mount: MountName, name: &str) -> Result<Self, ValueError> {
        check_name(name, "/", true)?;
        Ok(Self { mount, name: name.to_owned() })
    }

    /// The file's name inside the mount.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl super::argument::Argument for MountPath {
    const EXPECTS: &'static str = "a file as MOUNT/NAME";
    fn draw(draws: &mut Draws<'_>) -> Self {
        Self { mount: <MountName as Value>::draw(draws), name: (*draws.of(&["f", "", "dir/g"])).to_owned() }
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        let (mount, name) =
            text.split_once('/').ok_or_else(|| ValueError::new(format!("`{text}` names no file of a mount")))?;
        Self::new(MountName::new(mount)?, name)
    }
    fn print(&self) -> Option<String> {
        Some(format!("{}/{}", self.mount, self.name))
    }
    fn from_record(record: &super::record::Record, keys: &[&str]) -> Result<Option<Self>, ValueError> {
        let Some(mount) = record.get(keys[0]) else {
            return Ok(None);
        };
        let name = match record.get(keys[1]) {
            Some(Scalar::Text(name)) => name,
            None => "",
            Some(Scalar::Number(n)) => {
                return Err(ValueError::new(format!("{n} is a number where a name is expected")));
            }
        };
        Self::new(MountName::from_scalar(mount)?, name).map(Some)
    }
    fn to_record(&self, keys: &[&str], record: &mut super::record::Record) {
        record.push(keys[0], self.mount.to_scalar());
        record.push(keys[1], Scalar::Text(self.name.clone()));
    }
}
