//! A process of a script: it does one operation at a time, as it is told, until nobody is left to tell it.

mod files;
mod forked;
mod memory;
mod pins;
mod placement;
mod proc;
mod segments;
mod uffd;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use lab::op::{self, About, Op};
use lab::target::{Answer, StepResult};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::message::{LARGEST, Reply, Request};
use crate::sys::file::RawFd;
use crate::sys::memory::Reach;
use crate::sys::pin::Kept;
use crate::sys::{access, process};
use crate::{errno, host};
use forked::Private;

/// A mapping as the process knows it: the range that was asked for, whatever has become of it.
#[derive(Debug, Clone)]
struct Map {
    addr: u64,
    /// As asked for; not rounded.
    len: u64,
    /// The page size.
    page: u64,
}

impl Map {
    fn range(&self) -> Range<u64> {
        self.addr..self.addr.saturating_add(self.len.next_multiple_of(self.page.max(1)))
    }
}

/// What the process knows.
#[derive(Debug)]
pub(crate) struct Worker {
    socket: OwnedFd,
    /// Held open, so that the lock of the host is held for as long as the process lives.
    _lock: OwnedFd,
    maps: BTreeMap<String, Map>,
    files: BTreeMap<String, RawFd>,
    uffds: BTreeMap<String, RawFd>,
    pins: BTreeMap<String, Kept>,
    /// Those whose names were used again.
    nameless: Vec<Kept>,
    slots: BTreeMap<String, u64>,
    segment: Option<i32>,
    private: Private,
    mounts: String,
}

/// An answer, and what goes with it.
#[derive(Debug)]
struct Outcome {
    answer: Answer,
    segment: Option<i32>,
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self { answer, segment: None }
    }
}

/// A pair of connected sockets that keep messages apart.
pub(crate) fn socket_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

impl Worker {
    /// Of a new process: everything else that it has from its parent is closed. `mounts` is where the mounts are.
    pub(crate) fn new(socket: OwnedFd, lock: OwnedFd, mounts: String) -> Self {
        process::close_all_but(&[socket.as_fd(), lock.as_fd()]);
        process::forget_children();
        Self {
            socket,
            _lock: lock,
            maps: BTreeMap::new(),
            files: BTreeMap::new(),
            uffds: BTreeMap::new(),
            pins: BTreeMap::new(),
            nameless: Vec::new(),
            slots: BTreeMap::new(),
            segment: None,
            private: Private::default(),
            mounts,
        }
    }

    /// Does what it is told, and ends with whoever tells it.
    pub(crate) fn serve(mut self) -> Infallible {
        if access::catch_faults().is_err() {
            process::exit(122);
        }
        let mut buffer = vec![0; LARGEST];
        loop {
            let Ok((_, length)) = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) else {
                process::exit(0)
            };
            if length == 0 {
                process::exit(0);
            }
            let Ok(request) = serde_json::from_slice::<Request>(&buffer[..length]) else { process::exit(9) };
            let Ok(op) = Op::from_record(&request.op) else { process::exit(9) };
            self.slots.extend(request.slots);
            self.segment = request.segment;
            match op {
                Op::Exit(op::Exit { code, .. }) => {
                    self.let_all_go();
                    process::exit(code.map_or(0, |code| i32::from(code.get())))
                }
                Op::Fork(_) => self.fork(),
                op => {
                    let Outcome { answer, segment } = self.run(&op);
                    self.reply(&Reply { segment, ..Reply::from(answer) }, None);
                }
            }
        }
    }

    fn reply(&self, reply: &Reply, socket: Option<&OwnedFd>) {
        let Ok(text) = serde_json::to_vec(reply) else { process::exit(9) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        let rights = socket.map(|socket| [socket.as_fd()]);
        if let Some(rights) = &rights {
            with.push(SendAncillaryMessage::ScmRights(rights));
        }
        let sent = rustix::net::sendmsg(&self.socket, &[IoSlice::new(&text)], &mut with, SendFlags::NOSIGNAL);
        if sent.is_err() {
            process::exit(0);
        }
    }

    /// Copies this process. The new one gets a socket of its own, whose other end goes to whoever tells us.
    fn fork(&mut self) {
        self.private.fork();
        let (theirs, childs) = match socket_pair() {
            Ok(pair) => pair,
            Err(refused) => return self.reply(&Reply::from(errno::failed(refused)), None),
        };
        let mut childs = Some(childs);
        // What the new process returns to is the loop in `serve`, of which it has its own copy.
        match process::fork_here() {
            Ok(None) => {
                drop(theirs);
                if let Some(socket) = childs.take() {
                    self.socket = socket;
                    self.forget_pins();
                }
            }
            Ok(Some(child)) => {
                let reply = Reply { child: Some(child.as_raw_nonzero().get()), ..Reply::from(Answer::ok()) };
                self.reply(&reply, Some(&theirs));
            }
            Err(refused) => self.reply(&Reply::from(errno::failed(refused)), None),
        }
    }

    fn run(&mut self, op: &Op) -> Outcome {
        match op.about() {
            About::File | About::Mount => self.file_op(op).into(),
            About::Segment => self.segment_op(op),
            About::Uffd => self.uffd_op(op).into(),
            About::Placement => self.placement_op(op).into(),
            About::Knob => written(op).into(),
            _ => self.memory_op(op).into(),
        }
    }

    /// The mapping of that name. One at address 0, which a mapping over an unknown one gets, is known by no name, as in the recordings.
    fn map(&self, name: &op::MapName) -> Option<&Map> {
        self.maps.get(name.as_str()).filter(|map| map.addr != 0)
    }

    /// The place of a mapping's name.
    fn slot(&self, name: &op::MapName) -> u64 {
        self.slots.get(name.as_str()).copied().unwrap_or(u64::MAX)
    }

    /// `len` bytes from `start` on, if nothing but mappings of scripts can lie there.
    fn reach(&self, start: u64, len: u64) -> Tried<Reach> {
        let own = self.maps.values().map(Map::range).find(|range| range.contains(&start));
        Reach::new(start, len, own.as_ref()).ok_or_else(|| {
            Box::new(Answer::not_modelled("the range reaches into the memory of the process's own program"))
        })
    }
}

/// A part of an operation, or the answer if it ends there.
type Tried<T> = Result<T, Box<Answer>>;

fn either(result: Tried<Answer>) -> Answer {
    result.unwrap_or_else(|answer| *answer)
}

fn nomap() -> Answer {
    StepResult::Nomap.into()
}

/// Writes a file of the kernel as this process.
fn written(op: &Op) -> Answer {
    match op {
        Op::Write(op::Write { path, value, .. }) => {
            errno::done(host::write(&path.0, &value.bytes()).map_err(|error| errno::of(&error)))
        }
        _ => StepResult::BadOp.into(),
    }
}
