//! Operations as data: what a scenario, a recorded script, a random test or a fuzzer asks of a target.
//!
//! One table ([`VERBS`], written down in the folder `verbs`) gives every verb with its arguments. The types, the readers and
//! printers of scenario text and JSON lines, the help and the grammar page are all made from it.
//!
//! ```
//! use lab::op::{Op, Record};
//!
//! let op: Op = "a0 touch A p0..4 write = 5".parse()?;
//! assert_eq!(op.to_string(), "a0 touch A p0..4 write = 5");
//! assert_eq!(op.to_record().to_string(), r#"{"op":"touch","p":0,"m":"A","pg":0,"n":4,"w":1,"v":5}"#);
//! assert_eq!(Op::from_record(&op.to_record())?, op);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod amount;
mod argument;
mod draw;
mod error;
mod flag;
mod frames;
mod json;
mod knob;
mod name;
mod placement;
mod record;
mod table;
mod text;
mod verbs;
mod word;
mod words;

pub use amount::{
    BasePage, BlockOrder, Cpu, ExitCode, Fill, FrameTotal, MountValue, Node, PageIndex, PageTotal, Pages, Size, Span,
    UserId, Verbatim, Written,
};
pub use argument::{Argument, Place, Presence, Value, ValueError};
pub use draw::Draws;
pub use error::OpError;
pub use flag::{
    AccessFlag, AreaFlag, AttachFlag, FallocateMode, Flag, Flags, GuestAttribute, GuestFlag, MemfdFlag, MmapFlag,
    MoveFlag, MremapFlag, OpenFlag, Seal, SegmentFlag, TaskFlag, UffdMode,
};
pub use frames::{COMPACTED, FrameRange, Gfp, MOVED, Replies, Reply, ZoneName};
pub use name::{
    Actor, BlockName, CgroupName, FileName, MapName, MountName, MountPath, PinName, PlaceName, SegmentName, TablesName,
    UffdName,
};
pub use placement::{NodeList, NodesAre, PinFor, PolicyMode};
pub use record::{Record, Scalar};
pub use table::{About, ArgumentInfo, Verb};
pub use text::{nearest, quote, unquote};
pub use verbs::*;
pub use word::{Access, Advice, FailingSite, Protection, SizeName, Switch, TableEntry};
pub use words::Word;

pub(crate) use knob::write_to;
