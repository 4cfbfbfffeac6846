//! Descriptors.

use crate::op::amount::{Size, Span};
use crate::op::flag::{FallocateMode, Flags, MemfdFlag, OpenFlag, Seal};
use crate::op::name::{FileName, MountPath};
use crate::op::table::verbs;
use crate::op::word::SizeName;

verbs! {
    about File

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
}
