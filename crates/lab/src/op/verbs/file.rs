//! Files and System V segments.

use super::Op;
use crate::op::amount::{Size, Span};
use crate::op::argument::{Argument, Presence};
use crate::op::error::OpError;
use crate::op::flag::{AttachFlag, FallocateMode, Flags, MemfdFlag, OpenFlag, Seal, SegmentFlag};
use crate::op::name::{Actor, FileName, MapName, MountPath, SegmentName};
use crate::op::table::{ArgumentInfo, Sink, Source, Verb, verbs};
use crate::op::word::SizeName;

verbs! {
    /// Opens a file of a mount.
    Open = "open" by actor {
        /// The name that the descriptor gets.
        file: FileName ["f"];
        /// The file.
        path: MountPath ["mnt", "name"];
        /// How it is opened.
        flags: Flags<OpenFlag> ["flags"] or Flags::NONE;
    }

    /// Makes a file without name.
    Memfd = "memfd" by actor {
        /// The name that the descriptor gets.
        file: FileName ["f"];
        /// How it is made.
        flags: Flags<MemfdFlag> ["flags"] or Flags::of(&[MemfdFlag::Hugetlb]);
        /// Its page size.
        pagesize: Option<SizeName> ["hsz"];
    }

    /// Closes a descriptor.
    Close = "close" by actor {
        /// The descriptor.
        file: FileName ["f"];
    }

    /// Sets the size of an open file.
    Ftruncate = "ftruncate" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The new size.
        len: Size ["len"];
    }

    /// Allocates or punches a range of a file.
    Fallocate = "fallocate" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The range.
        range: Span ["off", "len"];
        /// What is done to it.
        mode: Flags<FallocateMode> ["mode"] or Flags::NONE;
    }

    /// Asks for a file's size, blocks, block size and links.
    Fstat = "fstat" by actor {
        /// The descriptor.
        file: FileName ["f"];
    }

    /// Reads a range of a file; answers the bytes read (`n`) and the first one (`b0`).
    Pread = "pread" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Writes zeros to a range of a file.
    Pwrite = "pwrite" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The range.
        range: Span ["off", "len"];
    }

    /// Writes a file back.
    Fsync = "fsync" by actor {
        /// The descriptor.
        file: FileName ["f"];
    }

    /// Adds seals to a memfd.
    AddSeals = "seal" by actor {
        /// The descriptor.
        file: FileName ["f"];
        /// The seals.
        seals: Flags<Seal> ["seals"];
    }

    /// Asks for a memfd's seals.
    GetSeals = "get_seals" by actor {
        /// The descriptor.
        file: FileName ["f"];
    }

    /// Makes a System V segment of huge pages.
    Shmget = "shmget" by actor {
        /// The name that the segment gets.
        segment: SegmentName ["s"];
        /// Its length.
        len: Size ["len"];
        /// How it is made.
        flags: Flags<SegmentFlag> ["flags"] or Flags::NONE;
        /// Its page size.
        pagesize: Option<SizeName> ["hsz"];
    }

    /// Maps a segment.
    Shmat = "shmat" by actor {
        /// The segment.
        segment: SegmentName ["s"];
        /// The name that the mapping gets.
        map: MapName ["m"];
        /// How it is mapped.
        flags: Option<Flags<AttachFlag>> ["flags"];
        /// The segment's page size.
        pagesize: Option<SizeName> ["hsz"];
    }

    /// Unmaps a segment.
    Shmdt = "shmdt" by actor {
        /// The mapping.
        map: MapName ["m"];
    }

    /// Removes a segment; it goes when its last mapping goes.
    Shmrm = "shmrm" by actor {
        /// The segment.
        segment: SegmentName ["s"];
    }
}
