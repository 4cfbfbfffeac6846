//! Knobs: the numbers that set_nr, sysctl_nr and set_overcommit write.

use super::nodes::nodes_of;
use super::pool::Nodes;
use super::{Fail, NaiveMachine, Outcome, no_1g};
use crate::op::{Actor, PolicyMode, SetNr, SetOvercommit, SysctlNr, Write};
use crate::target::{Answer, StepResult};

/// A number as sysfs reads it: decimal, one `+` before it and one newline behind it allowed; an empty write does nothing.
fn sysfs_number(text: &str) -> Result<Option<u64>, Fail> {
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.strip_suffix('\n').unwrap_or(text);
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Fail::Errno("EINVAL"));
    }
    digits.parse().map(Some).map_err(|_| Fail::Errno("ERANGE"))
}

/// A number as sysctl reads it: blanks before it, `0x` and octal allowed, what stands behind a blank is ignored.
fn sysctl_number(text: &str) -> Result<Option<u64>, Fail> {
    if text.is_empty() {
        return Ok(None);
    }
    let word = text.split_ascii_whitespace().next().unwrap_or("");
    let (digits, radix) = if let Some(hex) = word.strip_prefix("0x").or(word.strip_prefix("0X")) {
        (hex, 16)
    } else if word.len() > 1 && word.starts_with('0') {
        (&word[1..], 8)
    } else {
        (word, 10)
    };
    if digits.starts_with('+') {
        return Err(Fail::Errno("EINVAL"));
    }
    u64::from_str_radix(digits, radix).map(Some).map_err(|_| Fail::Errno("EINVAL"))
}

impl NaiveMachine {
    pub(super) fn set_nr(&mut self, op: &SetNr) -> Outcome {
        let node = op.node.map(|node| node.get() as usize);
        if node.is_some_and(|node| !self.layout.memory.contains(&node)) {
            return Err(Fail::Errno("ENOENT"));
        }
        let target = sysfs_number(&op.value.bytes())?;
        no_1g(Some(op.size))?;
        match (target, node) {
            (Some(target), Some(node)) => self.pool.resize_node(target, node),
            (Some(target), None) => self.pool.resize(target, &self.layout.memory),
            (None, _) => (),
        }
        Ok(Answer::ok())
    }

    pub(super) fn sysctl_nr(&mut self, op: &SysctlNr) -> Outcome {
        if let Some(target) = sysctl_number(&op.value.bytes())? {
            self.pool.resize(target, &self.layout.memory);
        }
        Ok(Answer::ok())
    }

    /// The pool by the nodes of the writer's policy, and the weights of nodes.
    pub(super) fn write(&mut self, op: &Write) -> Outcome {
        let by = op.by.map(Actor::number);
        if by.is_some_and(|p| !self.processes.contains_key(&p)) {
            return Err(Fail::Target(StepResult::BadActor));
        }
        if op.path.0 == "/proc/sys/vm/nr_hugepages_mempolicy" {
            if let Some(target) = sysctl_number(&op.value.bytes())? {
                let on = by.map_or_else(|| self.layout.memory.clone(), |p| self.nodes_of_writer(p));
                let within = by.map_or(u64::MAX, |p| self.process(p).allowed);
                self.pool.resize_within(target, &on, within);
            }
            return Ok(Answer::ok());
        }
        let Some(node) = op.path.0.strip_prefix("/sys/kernel/mm/mempolicy/weighted_interleave/node") else {
            return Err(Fail::NotModelled("this file"));
        };
        let node: usize = node.parse().map_err(|_| Fail::NotModelled("this file"))?;
        if !self.layout.memory.contains(&node) {
            return Err(Fail::Errno("ENOENT"));
        }
        let weight = op.value.bytes().trim_end().parse().ok().filter(|weight| *weight > 0);
        self.layout.weights[node] = weight.ok_or(Fail::Errno("EINVAL"))?;
        Ok(Answer::ok())
    }

    fn nodes_of_writer(&self, p: u16) -> Nodes {
        let process = self.process(p);
        match process.policy.mode {
            PolicyMode::Default => self.layout.memory.clone(),
            PolicyMode::Local => Nodes::from([process.local]),
            _ => nodes_of(process.policy.nodes).into_iter().collect(),
        }
    }

    pub(super) fn set_overcommit(&mut self, op: &SetOvercommit) -> Outcome {
        // 1 GiB pages have no surplus.
        no_1g(Some(op.size)).map_err(|_| Fail::Errno("EINVAL"))?;
        if let Some(limit) = sysfs_number(&op.value.bytes())? {
            self.pool.overcommit = limit;
        }
        Ok(Answer::ok())
    }
}
