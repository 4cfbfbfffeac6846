//! A process of a script, seen from outside.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};

use crate::message::{LARGEST, Reply, Request};
use crate::sys::process::{self, Interrupts, User};
use crate::worker::{Worker, socket_pair};

/// How long an operation may take.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoReply {
    /// The process is gone.
    Died,
    /// It took too long.
    TimedOut,
    /// The user wants an end.
    Interrupted,
}

/// A process that does operations.
#[derive(Debug)]
pub(crate) struct Actor {
    pid: Pid,
    pidfd: OwnedFd,
    socket: OwnedFd,
}

impl Actor {
    /// Starts an empty process. It holds `lock` for as long as it lives. Without `user` it is the superuser's.
    pub(crate) fn spawn(lock: &OwnedFd, mounts: &str, user: Option<User>) -> Result<Self, Errno> {
        let (ours, theirs) = socket_pair()?;
        let lock = lock.try_clone().map_err(|error| crate::errno::of(&error))?;
        let mounts = mounts.to_owned();
        let pid = process::fork(move || {
            let worker = Worker::new(theirs, lock, mounts);
            match user.map_or(Ok(()), process::become_user) {
                Ok(()) => worker.serve(),
                Err(_) => process::exit(123),
            }
        })?;
        Self::known(pid, ours)
    }

    fn known(pid: Pid, socket: OwnedFd) -> Result<Self, Errno> {
        Ok(Self { pid, pidfd: pidfd_open(pid, PidfdFlags::empty())?, socket })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    fn tell(&self, request: &Request) -> Result<(), NoReply> {
        let text = serde_json::to_vec(request).map_err(|_| NoReply::Died)?;
        send(&self.socket, &text, SendFlags::NOSIGNAL).map_err(|_| NoReply::Died)?;
        Ok(())
    }

    /// Lets the process do an operation, until one of `interrupts` comes. A process that it makes comes with the reply.
    pub(crate) fn ask(
        &self,
        request: &Request,
        interrupts: Option<&Interrupts>,
    ) -> Result<(Reply, Option<Actor>), NoReply> {
        self.tell(request)?;
        let wait = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds = vec![wait(self.socket.as_fd()), wait(self.pidfd.as_fd())];
        fds.extend(interrupts.map(|interrupts| wait(interrupts.fd().as_fd())));
        loop {
            match poll(&mut fds, Some(&PATIENCE)) {
                Ok(0) => return Err(NoReply::TimedOut),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return Err(NoReply::Died),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            match ready[..] {
                [true, ..] => return self.receive(),
                [_, _, true] => return Err(NoReply::Interrupted),
                _ => return Err(NoReply::Died),
            }
        }
    }

    fn receive(&self) -> Result<(Reply, Option<Actor>), NoReply> {
        let mut text = vec![0; LARGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut text)];
        let message = recvmsg(&self.socket, into, &mut with, RecvFlags::CMSG_CLOEXEC).map_err(|_| NoReply::Died)?;
        let socket = with.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let reply: Reply = serde_json::from_slice(&text[..message.bytes]).map_err(|_| NoReply::Died)?;
        let child = reply.child.and_then(Pid::from_raw).zip(socket);
        let child = child.map(|(pid, socket)| Self::known(pid, socket)).transpose().map_err(|_| NoReply::Died)?;
        Ok((reply, child))
    }

    /// Ends the process by an operation, and waits until it has let go of everything.
    pub(crate) fn exit(self, request: &Request) {
        // Who is gone already needs not be told.
        let _ = self.tell(request);
        self.wait();
    }

    /// Ends the process from outside, and waits.
    pub(crate) fn kill(self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        self.wait();
    }

    fn wait(self) {
        let ready = poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&PATIENCE));
        if ready != Ok(1) {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&PATIENCE));
        }
        // A process that another one made is none of our children, and its maker does not wait for it either.
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}
