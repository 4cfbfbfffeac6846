//! The running kernel as a target.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use lab::op::{self, About, Op, Record, Scalar};
use lab::target::{Answer, BeginError, Counters, Header, MemoryAccounting, Ordered, StepResult, Target};

use crate::actor::{Actor, NoReply};
use crate::errno::{done, failed};
use crate::groups::Groups;
use crate::host::{self, Host, number};
use crate::machine::boot;
use crate::message::Request;
use crate::mounts::Mounts;
use crate::snapshot::{self, Snapshot};
use crate::sys::memory::SLOTS;
use crate::sys::placement;
use crate::sys::process::{Interrupts, User};
use crate::sys::segment;
use crate::{Damage, StartError, bounds, pools};

/// The distance of two mappings' places.
const SLOT: u64 = 8 << 30;
/// The most names of mappings in a script.
const MOST_SLOTS: usize = 4096;

/// The running kernel.
#[derive(Debug)]
pub struct Running {
    host: Host,
    lock: OwnedFd,
    snapshot: Snapshot,
    interrupts: Interrupts,
    actors: BTreeMap<u16, Actor>,
    mounts: Mounts,
    groups: Option<Groups>,
    /// All that the script made, in order. A name used again means the later one.
    segments: Vec<(String, i32)>,
    /// Names that were spoken of before anything was made under them: while that is so they stand for the first segment.
    unmade: Vec<String>,
    /// Names of mappings in order of first mention: the place is the slot.
    slots: Vec<String>,
    script: String,
    repairs: Vec<String>,
    /// Some process keeps pages: the end of one that is killed would give them back only later.
    keeps_pages: bool,
    /// Operations of a repair, which no interrupt ends.
    is_repairing: bool,
    is_open: bool,
}

impl Running {
    /// Takes the host's huge pages: waits for the lock, puts back what a killed run left, looks that nobody uses a pool, writes down
    /// what there is, and goes into namespaces of its own, in which the process stays. Interrupts wait from now on; see
    /// [`is_interrupted`](Self::is_interrupted).
    ///
    /// # Errors
    /// The host lacks something, or its huge pages are in use. Nothing is changed then.
    pub fn start() -> Result<Self, StartError> {
        let host = Host::look()?;
        let lock = OwnedFd::from(host::lock()?);
        let refused = |what: &'static str| move |error| StartError::Refused(format!("{what}: {error}"));
        let interrupts = Interrupts::hold().map_err(refused("signals"))?;
        Snapshot::recover()?;
        if let Some(pools) = pools::in_use() {
            return Err(StartError::InUse(pools));
        }
        let snapshot = Snapshot::take(&host)?;
        let prepared = Self::prepare(&host, &snapshot);
        let (mounts, groups) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                snapshot.restore()?;
                return Err(error);
            }
        };
        Ok(Self {
            host,
            lock,
            snapshot,
            interrupts,
            actors: BTreeMap::new(),
            mounts,
            groups,
            segments: Vec::new(),
            unmade: Vec::new(),
            slots: Vec::new(),
            script: String::new(),
            repairs: Vec::new(),
            keeps_pages: false,
            is_repairing: false,
            is_open: true,
        })
    }

    fn prepare(host: &Host, snapshot: &Snapshot) -> Result<(Mounts, Option<Groups>), StartError> {
        let refused = |what: &'static str| move |error| StartError::Refused(format!("{what}: {error}"));
        let mounts = Mounts::separate(snapshot::mounts()).map_err(refused("namespaces"))?;
        snapshot.make_group().map_err(|error| StartError::Refused(format!("control groups: {error}")))?;
        if let (true, Some((root, ours))) = (host.expendable, host.cgroups.as_ref().zip(host.group())) {
            // Nobody puts it back, so this is for hosts that are thrown away.
            for group in [root, &ours] {
                let _ = host::write(group.join("cgroup.subtree_control"), "+cpuset");
            }
        }
        if let [first, _, ..] = host::nodes()[..] {
            // Processes run on the first node until they are told otherwise, and what nobody does is done there.
            placement::run_on(&host::processors_of(first))
                .map_err(|error| StartError::Refused(format!("processors: {error}")))?;
        }
        let groups = host.cgroups.clone().zip(host.group()).map(|(root, ours)| Groups::new(root, ours));
        Ok((mounts, groups))
    }

    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) const fn has_groups(&self) -> bool {
        self.groups.is_some()
    }

    /// The kernel's release.
    pub fn release(&self) -> &str {
        &self.host.release
    }

    /// Whether a signal waits that wants an end. It has its effect after [`close`](Self::close).
    pub fn is_interrupted(&self) -> bool {
        self.interrupts.pending()
    }

    /// What was repaired after scripts that met a defect of the kernel.
    pub fn repairs(&self) -> &[String] {
        &self.repairs
    }

    /// Ends what runs and puts the host back as it was.
    ///
    /// # Errors
    /// Something could not be put back.
    pub fn close(mut self) -> Result<(), Damage> {
        self.restore()
    }

    fn restore(&mut self) -> Result<(), Damage> {
        if !std::mem::take(&mut self.is_open) {
            return Ok(());
        }
        let cleared = self.clear();
        self.mounts.close();
        let restored = self.snapshot.restore();
        match (cleared, restored) {
            (Ok(()), restored) => restored,
            (Err(reason), Ok(())) => Err(Damage(vec![reason])),
            (Err(reason), Err(Damage(more))) => Err(Damage([vec![reason], more].concat())),
        }
    }

    /// Ends what the script before left, and empties the pools.
    fn clear(&mut self) -> Result<(), String> {
        self.tear_down();
        while !self.segments.is_empty() {
            self.remove_named_segments();
        }
        self.unmade.clear();
        self.mounts.clear();
        if let Some(groups) = &mut self.groups {
            groups.clear();
        }
        self.slots.clear();
        pools::empty();
        if pools::are_empty() {
            return Ok(());
        }
        self.is_repairing = true;
        let repaired = self.repair();
        self.is_repairing = false;
        let repaired = repaired.map_err(|pools| format!("after {}: {pools}", self.script))?;
        self.mounts.clear();
        self.slots.clear();
        self.repairs.extend(repaired.map(|what| format!("{}: {what}", self.script)));
        Ok(())
    }

    /// Ends a script: processes by ascending number, then segments, then mounts.
    pub(crate) fn tear_down(&mut self) {
        let exit = Op::from(op::Exit { actor: op::Actor::new(0), code: None });
        while let Some((_, actor)) = self.actors.pop_first() {
            actor.exit(&self.request(&exit));
        }
        self.remove_named_segments();
        self.mounts.unmount_all();
    }

    /// Removes the segments that names stand for. Those made before under the same names stay, as in the recordings.
    fn remove_named_segments(&mut self) {
        let made = std::mem::take(&mut self.segments);
        let first_is_named = self.unmade.iter().any(|name| made.iter().all(|(known, _)| known != name));
        for (place, (name, id)) in made.iter().enumerate() {
            let is_later = made[place + 1..].iter().any(|(later, _)| later == name);
            if is_later && !(place == 0 && first_is_named) {
                self.segments.push((name.clone(), *id));
            } else {
                // It may have gone with its last mapping.
                let _ = segment::remove(*id);
            }
        }
    }

    /// The message for an operation. Names of mappings get their slots in order of first mention.
    fn request(&mut self, op: &Op) -> Request {
        let op = op.to_record();
        let text = |key: &str| match op.get(key) {
            Some(Scalar::Text(name)) => Some(name.clone()),
            _ => None,
        };
        let names: Vec<String> = ["m", "at", "to"].iter().filter_map(|key| text(key)).collect();
        let slots = names.into_iter().map(|name| {
            let slot = self.slots.iter().position(|known| *known == name).unwrap_or_else(|| {
                self.slots.push(name.clone());
                self.slots.len() - 1
            });
            (name, SLOTS + slot as u64 * SLOT)
        });
        let slots = slots.collect();
        let is_made = op.get("op") == Some(&Scalar::Text("shmget".to_owned()));
        let segment = text("s").filter(|_| !is_made).and_then(|name| self.segment(&name));
        Request { op, slots, segment }
    }

    pub(crate) fn run(&mut self, op: &Op) -> Answer {
        match op {
            // The kernel's workers do by themselves what was put off.
            Op::Nop(_) | Op::Quiesce(_) => Answer::ok(),
            Op::SetNr(op::SetNr { value, size, node }) => done(pools::set_nr(*size, node.map(op::Node::get), value)),
            Op::SysctlNr(op::SysctlNr { value }) => write("/proc/sys/vm/nr_hugepages", &value.bytes()),
            Op::SetOvercommit(op::SetOvercommit { value, size }) => done(pools::set_overcommit(*size, &value.bytes())),
            Op::Demote(op::Demote { value, size }) => done(pools::set(*size, "demote", &value.bytes())),
            Op::DemoteSize(op::DemoteSize { value, size }) => done(pools::set(*size, "demote_size", &value.bytes())),
            Op::SetHvo(op::SetHvo { value }) => write("/proc/sys/vm/hugetlb_optimize_vmemmap", &value.bytes()),
            Op::Write(op::Write { path, value, by: None }) => write(&path.0, &value.bytes()),
            Op::Write(op::Write { by: Some(actor), .. }) => self.asked_of(*actor, op),
            Op::Mount(op) => self.mounts.mount(op),
            Op::Umount(op::Umount { mount, lazy }) => self.mounts.umount(mount, *lazy),
            Op::Open(op::Open { path, .. })
            | Op::Unlink(op::Unlink { path, .. })
            | Op::Truncate(op::Truncate { path, .. })
                if !self.mounts.is_mounted(&path.mount) =>
            {
                StepResult::NoMount.into()
            }
            Op::Unlink(op::Unlink { path, by: None }) => self.mounts.unlink(path),
            Op::Truncate(op::Truncate { path, len, by: None }) => self.mounts.truncate(path, *len),
            Op::Unlink(op::Unlink { by: Some(actor), .. }) | Op::Truncate(op::Truncate { by: Some(actor), .. }) => {
                self.asked_of(*actor, op)
            }
            Op::Spawn(op) => self.spawn(op),
            Op::Exit(op::Exit { actor, .. }) => self.exit(actor.number(), op),
            // Who keeps pages lets them go before he ends, of himself.
            Op::Kill(op::Kill { actor }) if self.keeps_pages => {
                self.exit(actor.number(), &op::Exit { actor: *actor, code: None }.into())
            }
            Op::Kill(op::Kill { actor }) => match self.actors.remove(&actor.number()) {
                Some(actor) => {
                    actor.kill();
                    Answer::ok()
                }
                None => StepResult::BadActor.into(),
            },
            _ if op.about() == About::Group => self.group_op(op),
            _ => self.actor_op(op),
        }
    }

    fn group_op(&mut self, op: &Op) -> Answer {
        let Some(groups) = &mut self.groups else {
            return Answer::not_modelled("the host has no control groups of version 2 with the hugetlb controller");
        };
        match op {
            Op::CgCreate(op::CgCreate { cg, sub }) => groups.create(cg, *sub),
            Op::CgMax(op::CgMax { cg, value, size }) => groups.limit(cg, *size, "max", value),
            Op::CgRsvdMax(op::CgRsvdMax { cg, value, size }) => groups.limit(cg, *size, "rsvd.max", value),
            Op::CgMemoryMax(op::CgMemoryMax { cg, value }) => groups.limit_memory(cg, value),
            Op::CgRmdir(op::CgRmdir { cg }) => groups.remove(cg),
            Op::CgMems(op::CgMems { cg, nodes }) => groups.mems(cg, *nodes),
            Op::CgAttach(op::CgAttach { actor, cg }) => match self.actors.get(&actor.number()) {
                Some(process) => done(groups.attach(cg, process.pid())),
                None => StepResult::BadActor.into(),
            },
            _ => StepResult::BadOp.into(),
        }
    }

    fn spawn(&mut self, op: &op::Spawn) -> Answer {
        let number = op.actor.number();
        if number >= op::Actor::LIMIT || self.actors.contains_key(&number) {
            return StepResult::BadActor.into();
        }
        let id = |id: Option<op::UserId>| id.map_or(0, op::UserId::get);
        let user = (op.uid.is_some() || op.gid.is_some()).then(|| User { uid: id(op.uid), gid: id(op.gid) });
        let actor = match Actor::spawn(&self.lock, &self.mounts.folder(), user) {
            Ok(actor) => actor,
            Err(refused) => return failed(refused),
        };
        if let Some(cg) = &op.cg {
            let attached = match &self.groups {
                Some(groups) => groups.attach(cg, actor.pid()),
                None => return Answer::not_modelled("the host has no control groups"),
            };
            if let Err(refused) = attached {
                actor.kill();
                return failed(refused);
            }
        }
        self.actors.insert(number, actor);
        Answer::ok()
    }

    fn exit(&mut self, number: u16, op: &Op) -> Answer {
        let request = self.request(op);
        match self.actors.remove(&number) {
            Some(actor) => {
                actor.exit(&request);
                Answer::ok()
            }
            None => StepResult::BadActor.into(),
        }
    }

    /// What a process does itself.
    fn actor_op(&mut self, op: &Op) -> Answer {
        op.actor().map_or_else(|| StepResult::BadOp.into(), |actor| self.asked_of(actor, op))
    }

    fn asked_of(&mut self, actor: op::Actor, op: &Op) -> Answer {
        let number = actor.number();
        self.keeps_pages |= matches!(op, Op::Pin(_) | Op::Udmabuf(_));
        let request = self.request(op);
        if self.slots.len() > MOST_SLOTS {
            return Answer::not_modelled(format!("more than {MOST_SLOTS} names of mappings"));
        }
        let Some(actor) = self.actors.get(&number) else { return StepResult::BadActor.into() };
        let child = match op {
            Op::Fork(op::Fork { child, .. }) => Some(child.number()),
            _ => None,
        };
        if child.is_some_and(|child| child >= op::Actor::LIMIT || self.actors.contains_key(&child)) {
            return StepResult::BadActor.into();
        }
        match actor.ask(&request, Some(&self.interrupts).filter(|_| !self.is_repairing)) {
            Ok((reply, born)) => {
                if let (Some(child), Some(actor)) = (child, born) {
                    self.actors.insert(child, actor);
                }
                self.learn_segment(&request.op, reply.segment);
                reply.answer()
            }
            Err(reason) => {
                if let Some(actor) = self.actors.remove(&number) {
                    actor.kill();
                }
                match reason {
                    NoReply::Died => StepResult::Died.into(),
                    NoReply::TimedOut => StepResult::TimedOut.into(),
                    NoReply::Interrupted => interrupted(),
                }
            }
        }
    }

    /// A name is spoken of even if nothing comes of it.
    fn learn_segment(&mut self, op: &Record, made: Option<i32>) {
        let Some(Scalar::Text(name)) = op.get("s") else { return };
        match made {
            Some(id) => self.segments.push((name.clone(), id)),
            None => self.unmade.push(name.clone()),
        }
    }

    /// What a name stands for; one under which nothing was made stands for the first segment of the script.
    fn segment(&self, name: &str) -> Option<i32> {
        let named = self.segments.iter().rev().find(|(known, _)| known == name);
        named.or(self.segments.first()).map(|&(_, id)| id)
    }
}

fn interrupted() -> Answer {
    Answer::not_modelled("interrupted")
}

fn write(path: &str, text: &str) -> Answer {
    done(host::write(path, text).map_err(|error| crate::errno::of(&error)))
}

impl Target for Running {
    fn name(&self) -> &str {
        "running kernel"
    }

    fn begin(&mut self, header: &Header) -> Result<(), BeginError> {
        self.clear().map_err(|reason| BeginError::Host(format!("the host is damaged: {reason}")))?;
        self.script.clone_from(&header.script);
        self.keeps_pages = false;
        if let Some(groups) = &mut self.groups {
            groups.account(header.machine.as_ref().map_or(MemoryAccounting::Off, |machine| machine.memory));
        }
        if self.host.nodes.len() > 1 {
            pools::begin_at_first_node();
            for node in host::nodes() {
                // Where weights can be written, they are even again.
                let _ = host::write(format!("{}node{node}", bounds::WEIGHTS), "1");
            }
        }
        for (size, count) in boot(header, &self.host.nodes).map_err(BeginError::Machine)? {
            let set = pools::set_nr(size, None, &op::Written::Number(count));
            let there = number(pools::file(size, "nr_hugepages"));
            if set.is_err() || there != Some(count) {
                let reason = format!("the host has no memory for {count} pages of {}", op::Value::to_text(&size));
                return Err(BeginError::Machine(reason));
            }
        }
        Ok(())
    }

    fn step(&mut self, op: &Op) -> Answer {
        if self.is_interrupted() {
            return interrupted();
        }
        bounds::refusal(op).map_or_else(|| self.run(op), Answer::not_modelled)
    }

    fn counters(&mut self) -> Counters {
        let mut hp_kb = Ordered::default();
        for (number, actor) in &self.actors {
            if let Some(kilobytes) = hugetlb_pages(actor.pid()) {
                hp_kb.push(number.to_string(), kilobytes);
            }
        }
        let cg = self.groups.as_ref().map(Groups::counters).unwrap_or_default();
        Counters { cg, fs: self.mounts.counters(), hp_kb, ..pools::counters() }
    }

    fn read_file(&mut self, path: &str) -> Option<String> {
        let ours = self.host.group();
        let group = path.strip_prefix("/sys/fs/cgroup/").zip(ours).map(|(rest, ours)| ours.join(rest));
        let path = group.unwrap_or_else(|| Path::new(path).to_owned());
        let known = path.starts_with("/proc") || path.starts_with("/sys");
        if known && !path.components().any(|part| part.as_os_str() == "..") {
            std::fs::read_to_string(path).ok()
        } else {
            None
        }
    }

    fn out_of_order(&self) -> Option<String> {
        self.is_interrupted().then(|| "interrupted".to_owned())
    }

    fn end(&mut self) -> Counters {
        self.tear_down();
        self.counters()
    }
}

/// `HugetlbPages` of a process in kilobytes.
fn hugetlb_pages(pid: i32) -> Option<i64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("HugetlbPages:"));
    Some(value.and_then(|value| value.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(-1))
}

impl Drop for Running {
    /// For those who do not come to [`close`](Self::close), because they failed.
    fn drop(&mut self) {
        if let Err(damage) = self.restore() {
            eprintln!("hugefolio: {damage}");
        }
    }
}
