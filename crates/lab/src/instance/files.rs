//! Operations on descriptors.

use hugefolio::{
    Bytes, Calls, Create, FallocateMode as Mode, Fd, FileAccess, HugeSize, MemfdFlags, NamedSize, NoSuchSize, OpenCall,
    Pid, Seals, SizeWithoutHuge, Truncate,
};

use super::{Instance, answers};
use crate::op::{self, FallocateMode, FileName, Flags, MemfdFlag, MountPath, Op, OpenFlag, Seal, SizeName, Span};
use crate::target::{Answer, Extras, StepResult};

/// A descriptor that no process ever has: what an unknown name stands for.
const NEVER: Fd = Fd::new(u32::MAX);

impl Instance {
    pub(super) fn file_op(&mut self, op: &Op) -> Answer {
        let Some((number, pid)) = op.actor().and_then(|a| Some((a.number(), self.pid(a)?))) else {
            return StepResult::BadActor.into();
        };
        match op {
            Op::Open(op::Open { file, path, flags, .. }) => self.open(number, pid, file, path, flags),
            Op::Memfd(op::Memfd { file, flags, pagesize, .. }) => self.memfd(number, pid, file, flags, *pagesize),
            Op::Close(op::Close { file, .. }) => {
                let fd = self.fd(number, file);
                if let Some(state) = self.actors.get_mut(&number) {
                    state.files.remove(file.as_str());
                }
                answers::done(self.machine.close(pid, fd))
            }
            Op::Ftruncate(op::Ftruncate { file, len, .. }) => {
                let fd = self.fd(number, file);
                answers::done(self.machine.ftruncate(pid, fd, Bytes::new(len.unsigned())))
            }
            Op::Fallocate(op::Fallocate { file, range, mode, .. }) => {
                let fd = self.fd(number, file);
                self.fallocate(pid, fd, *range, mode)
            }
            Op::Fstat(op::Fstat { file, .. }) => {
                let fd = self.fd(number, file);
                self.fstat(pid, fd)
            }
            Op::Pread(op::Pread { file, range, .. }) => {
                let fd = self.fd(number, file);
                self.pread(pid, fd, *range)
            }
            Op::Pwrite(op::Pwrite { file, range, .. }) => {
                let fd = self.fd(number, file);
                answers::done(self.machine.pwrite(pid, fd, Bytes::new(range.off.unsigned())))
            }
            Op::Fsync(op::Fsync { file, .. }) => {
                let fd = self.fd(number, file);
                answers::done(self.machine.fstat(pid, fd))
            }
            Op::AddSeals(op::AddSeals { file, seals, .. }) => {
                let fd = self.fd(number, file);
                let seals = seals.iter().map(seal_of).fold(Seals::empty(), Seals::union);
                answers::done(self.machine.add_seals(pid, fd, seals))
            }
            Op::GetSeals(op::GetSeals { file, .. }) => {
                let fd = self.fd(number, file);
                match self.machine.seals(pid, fd) {
                    Ok(seals) => with(Extras { seals: Some(seals.bits()), ..Extras::default() }),
                    Err(error) => answers::failed(&error),
                }
            }
            _ => StepResult::BadOp.into(),
        }
    }

    /// The descriptor of that name in that process; one that is never open where the name is unknown.
    pub(super) fn fd(&self, actor: u16, name: &FileName) -> Fd {
        self.actors.get(&actor).and_then(|state| state.files.get(name.as_str())).copied().unwrap_or(NEVER)
    }

    fn name_fd(&mut self, actor: u16, name: &FileName, fd: Fd) -> Answer {
        if let Some(state) = self.actors.get_mut(&actor) {
            state.files.insert(name.as_str().to_owned(), fd);
        }
        Answer::ok()
    }

    fn open(&mut self, actor: u16, pid: Pid, name: &FileName, path: &MountPath, flags: &Flags<OpenFlag>) -> Answer {
        let Some(mount) = self.mounted(path.mount.as_str()) else { return StepResult::NoMount.into() };
        let access = if flags.has(OpenFlag::Rdonly) {
            FileAccess::ReadOnly
        } else if flags.has(OpenFlag::Wronly) {
            FileAccess::WriteOnly
        } else {
            FileAccess::ReadWrite
        };
        let create = match (flags.has(OpenFlag::Tmpfile), flags.has(OpenFlag::Creat), flags.has(OpenFlag::Excl)) {
            (true, true, _) => Create::Contradictory,
            (true, false, _) => Create::Unnamed,
            (false, true, true) => Create::Exclusive,
            (false, true, false) => Create::IfMissing,
            (false, false, _) => Create::Never,
        };
        let truncate = if flags.has(OpenFlag::Trunc) { Truncate::Empty } else { Truncate::Keep };
        match self.machine.open(pid, &OpenCall { mount, name: path.name(), access, create, truncate }) {
            Ok(fd) => self.name_fd(actor, name, fd),
            Err(error) => answers::failed(&error),
        }
    }

    fn memfd(
        &mut self,
        actor: u16,
        pid: Pid,
        name: &FileName,
        flags: &Flags<MemfdFlag>,
        pagesize: Option<SizeName>,
    ) -> Answer {
        if !flags.has(MemfdFlag::Hugetlb) {
            return match pagesize.and_then(SizeName::log2) {
                Some(_) => answers::failed(&SizeWithoutHuge),
                None => Answer::not_modelled("memory files of base pages"),
            };
        }
        let size = match wanted(pagesize) {
            Ok(size) => size,
            Err(error) => return answers::failed(&error),
        };
        let mut how = MemfdFlags::empty();
        how.set(MemfdFlags::ALLOW_SEALING, flags.has(MemfdFlag::Seal));
        how.set(MemfdFlags::NOEXEC_SEAL, flags.has(MemfdFlag::NoexecSeal));
        match self.machine.memfd(pid, size, how) {
            Ok(fd) => self.name_fd(actor, name, fd),
            Err(error) => answers::failed(&error),
        }
    }

    fn fallocate(&mut self, pid: Pid, fd: Fd, range: Span, flags: &Flags<FallocateMode>) -> Answer {
        let (offset, len) = (Bytes::new(range.off.unsigned()), Bytes::new(range.len.unsigned()));
        answers::settled(self.machine.fallocate(pid, fd, mode_of(flags), offset, len))
    }

    fn fstat(&mut self, pid: Pid, fd: Fd) -> Answer {
        let stat = match self.machine.fstat(pid, fd) {
            Ok(stat) => stat,
            Err(error) => return answers::failed(&error),
        };
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        with(Extras {
            size: Some(signed(stat.size.get())),
            blocks: Some(signed(stat.blocks)),
            blksize: Some(signed(stat.block_size.get())),
            nlink: Some(i64::from(stat.links)),
            ..Extras::default()
        })
    }

    fn pread(&mut self, pid: Pid, fd: Fd, range: Span) -> Answer {
        let (offset, len) = (Bytes::new(range.off.unsigned()), Bytes::new(range.len.unsigned()));
        match self.machine.pread(pid, fd, offset, len, 1) {
            Ok((n, bytes)) => with(Extras {
                n: Some(i64::try_from(n.get()).unwrap_or(i64::MAX)),
                b0: bytes.first().copied(),
                ..Extras::default()
            }),
            Err(error) => answers::failed(&error),
        }
    }
}

/// The page size that a call asks for.
pub(super) fn wanted(size: Option<SizeName>) -> Result<Option<HugeSize>, NoSuchSize> {
    size.and_then(SizeName::log2).map_or(Ok(None), |log| NamedSize::from_log(log).wanted())
}

fn with(extras: Extras) -> Answer {
    Answer { extras, ..Answer::ok() }
}

/// Modes exclude each other; a hole is punched only where the size is kept, and ranges are collapsed or inserted only where
/// it is not.
fn mode_of(flags: &Flags<FallocateMode>) -> Mode {
    let has = |flag| flags.has(flag);
    let punches = has(FallocateMode::Punch) || has(FallocateMode::PunchOnly);
    let keeps = has(FallocateMode::KeepSize) || has(FallocateMode::Punch);
    let moves = has(FallocateMode::Collapse) || has(FallocateMode::Insert);
    let kinds = [punches, has(FallocateMode::ZeroRange), has(FallocateMode::Collapse), has(FallocateMode::Insert)];
    match kinds.iter().filter(|on| **on).count() {
        0 if keeps => Mode::KeepSize,
        0 => Mode::Extend,
        1 if (punches && !keeps) || (moves && keeps) => Mode::Contradictory,
        1 if punches => Mode::PunchHole,
        1 => Mode::Unsupported,
        _ => Mode::Contradictory,
    }
}

const fn seal_of(seal: Seal) -> Seals {
    match seal {
        Seal::Seal => Seals::SEAL,
        Seal::Shrink => Seals::SHRINK,
        Seal::Grow => Seals::GROW,
        Seal::Write => Seals::WRITE,
        Seal::FutureWrite => Seals::FUTURE_WRITE,
        Seal::Exec => Seals::EXEC,
    }
}
