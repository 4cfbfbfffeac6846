//! Errors and signals as Linux reports them: the one place where they are derived.

mod admin;
mod file;
mod gmem;
mod memory;
mod moves;
mod pages;
mod segment;
mod tables;
mod uffd;

pub use self::gmem::signal_of_host_fault;

use std::fmt;

use mm::{FaultError, Warned};

use crate::calls::CallError;

macro_rules! errnos {
    ($($name:ident = $number:literal),* $(,)?) => {
        /// An error number, by its Linux name.
        #[doc(alias = "errno")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are Linux's own")]
        #[non_exhaustive]
        pub enum Errno {
            $($name = $number),*
        }

        impl Errno {
            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name)),*
                }
            }

            /// Its number on x86-64 and arm64.
            #[must_use]
            pub const fn number(self) -> i32 {
                self as i32
            }
        }
    };
}

errnos! {
    EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, EIO = 5, EBADF = 9, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, EBUSY = 16, EEXIST = 17,
    ENODEV = 19, ENOTDIR = 20, EISDIR = 21, EINVAL = 22, ENOTTY = 25, EFBIG = 27, ENOSPC = 28, ERANGE = 34, EOVERFLOW = 75, EBADFD = 77,
    EOPNOTSUPP = 95, EHWPOISON = 133,
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error that a system call reports as a number.
pub trait ToErrno {
    /// The number.
    fn errno(&self) -> Errno;
}

/// The signal that a failed access raises, with its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Nothing is mapped there (`SEGV_MAPERR`), the area does not permit it (`SEGV_ACCERR`), or it may only be run (`SEGV_PKUERR`).
    Sigsegv(u8),
    /// No page can be had (`BUS_ADRERR`), or its memory is broken: found so by an access (`BUS_MCEERR_AR`), or without one (`BUS_MCEERR_AO`).
    Sigbus(u8),
}

/// The signal of a failed access.
#[must_use]
pub const fn signal(error: &FaultError) -> Signal {
    match error {
        FaultError::NoArea(_) => Signal::Sigsegv(1),
        FaultError::Protection(_) => Signal::Sigsegv(2),
        FaultError::ExecuteOnly(_) => Signal::Sigsegv(4),
        FaultError::Poisoned { .. } => Signal::Sigbus(4),
        _ => Signal::Sigbus(2),
    }
}

/// The signal that somebody gets at once whose memory broke.
#[must_use]
pub const fn signal_of_failure(told: Warned) -> Option<Signal> {
    match told {
        Warned::ByAccess => None,
        Warned::Required => Some(Signal::Sigbus(4)),
        Warned::Optional => Some(Signal::Sigbus(5)),
    }
}

impl<E: ToErrno> ToErrno for CallError<E> {
    fn errno(&self) -> Errno {
        match self {
            Self::NoProcess => Errno::ESRCH,
            Self::Failed(error) => error.errno(),
        }
    }
}
