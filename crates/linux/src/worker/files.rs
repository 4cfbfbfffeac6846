//! Operations on descriptors.

use std::ffi::{CStr, CString};

use lab::op::{self, FallocateMode, FileName, Flags, MemfdFlag, MountPath, Op, OpenFlag, Seal, SizeName, Span};
use lab::target::{Answer, Extras, StepResult};
use rustix::io::Errno;

use super::Worker;
use crate::bounds::BASE_BYTES;
use crate::errno::{done, failed};
use crate::sys::file::{self, RawFd};

/// The magic number of hugetlbfs.
const HUGETLBFS: i64 = 0x9584_58f6;

/// The flag bits by which a call names a huge page size.
pub(super) fn size_bits(size: Option<SizeName>) -> u32 {
    size.and_then(SizeName::log2).map_or(0, |log| u32::from(log) << 26)
}

impl Worker {
    /// The descriptor of that name; -1 where the name is unknown.
    pub(super) fn fd(&self, name: &FileName) -> RawFd {
        self.files.get(name.as_str()).copied().unwrap_or(-1)
    }

    fn keep(&mut self, name: &FileName, result: Result<RawFd, Errno>) -> Answer {
        if let Ok(fd) = result {
            self.files.insert(name.as_str().to_owned(), fd);
        }
        done(result)
    }

    pub(super) fn file_op(&mut self, op: &Op) -> Answer {
        match op {
            Op::Open(op::Open { file, path, flags, .. }) => self.open(file, path, flags),
            Op::Memfd(op::Memfd { file, flags, pagesize, .. }) => self.memfd(file, flags, *pagesize),
            Op::Unlink(op::Unlink { path, .. }) => self.by_name(path, |path| done(rustix::fs::unlink(path))),
            Op::Truncate(op::Truncate { path, len, .. }) => {
                self.by_name(path, |path| done(file::truncate_path(path, len.signed())))
            }
            Op::Close(op::Close { file, .. }) => {
                let fd = self.files.remove(file.as_str()).unwrap_or(-1);
                done(file::close(fd))
            }
            Op::Ftruncate(op::Ftruncate { file, len, .. }) => done(file::truncate(self.fd(file), len.signed())),
            Op::Fallocate(op::Fallocate { file, range, mode, .. }) => fallocate(self.fd(file), *range, mode),
            Op::Fstat(op::Fstat { file, .. }) => fstat(self.fd(file)),
            Op::Pread(op::Pread { file, range, .. }) => pread(self.fd(file), *range),
            Op::Pwrite(op::Pwrite { file, range, .. }) => {
                let len = range.len.unsigned();
                let zeros = vec![0; usize::try_from(len.min(BASE_BYTES)).unwrap_or(0)];
                done(file::write(self.fd(file), &zeros, len, range.off.signed()))
            }
            Op::Fsync(op::Fsync { file, .. }) => done(file::sync(self.fd(file))),
            Op::AddSeals(op::AddSeals { file, seals, .. }) => done(file::add_seals(self.fd(file), seal_bits(seals))),
            Op::GetSeals(op::GetSeals { file, .. }) => match file::seals(self.fd(file)) {
                Ok(seals) => with(Extras { seals: u32::try_from(seals).ok(), ..Extras::default() }),
                Err(refused) => failed(refused),
            },
            _ => StepResult::BadOp.into(),
        }
    }

    fn open(&mut self, name: &FileName, path: &MountPath, flags: &Flags<OpenFlag>) -> Answer {
        let has = |flag| flags.has(flag);
        let mut how = match (has(OpenFlag::Rdonly), has(OpenFlag::Wronly)) {
            (true, _) => libc::O_RDONLY,
            (false, true) => libc::O_WRONLY,
            (false, false) => libc::O_RDWR,
        };
        for (flag, bits) in [
            (OpenFlag::Creat, libc::O_CREAT),
            (OpenFlag::Excl, libc::O_EXCL),
            (OpenFlag::Trunc, libc::O_TRUNC),
            (OpenFlag::Tmpfile, libc::O_TMPFILE),
        ] {
            how |= if has(flag) { bits } else { 0 };
        }
        let mut full = format!("{}/{}", self.mounts, path.mount);
        if !has(OpenFlag::Tmpfile) {
            full.push('/');
            full.push_str(path.name());
        }
        let Ok(full) = CString::new(full) else { return StepResult::BadOp.into() };
        let opened = file::open(&full, how);
        self.keep(name, opened)
    }

    fn by_name(&self, path: &MountPath, call: impl FnOnce(&CStr) -> Answer) -> Answer {
        let path = CString::new(format!("{}/{}/{}", self.mounts, path.mount, path.name()));
        path.map_or_else(|_| StepResult::BadOp.into(), |path| call(&path))
    }

    fn memfd(&mut self, name: &FileName, flags: &Flags<MemfdFlag>, pagesize: Option<SizeName>) -> Answer {
        let mut how = size_bits(pagesize);
        for (flag, bits) in [
            (MemfdFlag::Hugetlb, libc::MFD_HUGETLB),
            (MemfdFlag::Seal, libc::MFD_ALLOW_SEALING),
            (MemfdFlag::NoexecSeal, libc::MFD_NOEXEC_SEAL),
        ] {
            how |= if flags.has(flag) { bits } else { 0 };
        }
        let Ok(called) = CString::new(name.as_str()) else { return StepResult::BadOp.into() };
        let made = file::memory_file(&called, how);
        self.keep(name, made)
    }
}

fn with(extras: Extras) -> Answer {
    Answer { extras, ..Answer::ok() }
}

fn fallocate(fd: RawFd, range: Span, mode: &Flags<FallocateMode>) -> Answer {
    let huge = file::file_system(fd).is_ok_and(|(magic, _)| magic == HUGETLBFS);
    if !huge && range.len.signed() > 0 && range.len.unsigned() > BASE_BYTES {
        return Answer::not_modelled(format!("more than {BASE_BYTES} bytes of base pages"));
    }
    let bits = |mode| match mode {
        FallocateMode::KeepSize => libc::FALLOC_FL_KEEP_SIZE,
        FallocateMode::Punch => libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
        FallocateMode::PunchOnly => libc::FALLOC_FL_PUNCH_HOLE,
        FallocateMode::ZeroRange => libc::FALLOC_FL_ZERO_RANGE,
        FallocateMode::Collapse => libc::FALLOC_FL_COLLAPSE_RANGE,
        FallocateMode::Insert => libc::FALLOC_FL_INSERT_RANGE,
    };
    let how = mode.iter().map(bits).fold(0, |all, bits| all | bits);
    done(file::allocate(fd, how, range.off.signed(), range.len.signed()))
}

fn fstat(fd: RawFd) -> Answer {
    match file::stat(fd) {
        Ok(stat) => with(Extras {
            size: Some(stat.st_size),
            blocks: Some(stat.st_blocks),
            blksize: Some(stat.st_blksize),
            nlink: i64::try_from(stat.st_nlink).ok(),
            ..Extras::default()
        }),
        Err(refused) => failed(refused),
    }
}

fn pread(fd: RawFd, range: Span) -> Answer {
    let len = range.len.unsigned();
    let mut buffer = vec![0; usize::try_from(len.min(BASE_BYTES)).unwrap_or(0)];
    match file::read(fd, &mut buffer, len, range.off.signed()) {
        Ok(n) => with(Extras {
            n: i64::try_from(n).ok(),
            b0: buffer.first().copied().filter(|_| n > 0),
            ..Extras::default()
        }),
        Err(refused) => failed(refused),
    }
}

fn seal_bits(seals: &Flags<Seal>) -> i32 {
    let bits = |seal| match seal {
        Seal::Seal => libc::F_SEAL_SEAL,
        Seal::Shrink => libc::F_SEAL_SHRINK,
        Seal::Grow => libc::F_SEAL_GROW,
        Seal::Write => libc::F_SEAL_WRITE,
        Seal::FutureWrite => libc::F_SEAL_FUTURE_WRITE,
        // F_SEAL_EXEC, which the C library does not name.
        Seal::Exec => 0x20,
    };
    seals.iter().map(bits).fold(0, |all, bits| all | bits)
}
