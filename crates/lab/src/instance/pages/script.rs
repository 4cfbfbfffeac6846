//! What comes of the questions that an operation asks, as its line says.

use hugefolio::PageCount;
use hugefolio::pages::{Answer, Compacted, Moved, Question};

use crate::op::{COMPACTED, Replies, Reply};

/// Replies that are left, and questions that were asked.
pub(super) struct Script {
    left: Vec<Reply>,
    freed: Vec<String>,
    asked: Vec<(&'static str, usize)>,
}

impl Script {
    pub(super) fn new(replies: Option<&Replies>) -> Self {
        Self { left: replies.map_or_else(Vec::new, |replies| replies.0.clone()), freed: Vec::new(), asked: Vec::new() }
    }

    /// The first reply of a kind; blocks that are named before it are given back.
    fn take<T>(&mut self, question: &'static str, of: impl Fn(&Reply) -> Option<T>) -> Option<T> {
        match self.asked.iter_mut().find(|(known, _)| *known == question) {
            Some((_, times)) => *times += 1,
            None => self.asked.push((question, 1)),
        }
        let (at, found) = self.left.iter().enumerate().find_map(|(at, reply)| Some((at, of(reply)?)))?;
        self.left.remove(at);
        let mut n = 0;
        while n < at.min(self.left.len()) {
            match &self.left[n] {
                Reply::Frees(name) => {
                    self.freed.push(name.clone());
                    self.left.remove(n);
                }
                _ => n += 1,
            }
        }
        Some(found)
    }

    /// Blocks that somebody gives back now.
    pub(super) fn frees(&mut self) -> Vec<String> {
        std::mem::take(&mut self.freed)
    }

    /// How compaction ends, where that is said.
    pub(super) fn compacted(&mut self) -> Option<Compacted> {
        let word = self.take("compact", |reply| match reply {
            Reply::Compacted(word) => Some(*word),
            _ => None,
        })?;
        let ends = [Compacted::Skipped, Compacted::Deferred, Compacted::Success, Compacted::Failure];
        COMPACTED.iter().position(|known| *known == word).map(|at| ends[at])
    }

    /// Are there answers to moves? Then compaction is done and not only told.
    pub(super) fn moves(&self) -> bool {
        self.has_moves()
    }

    pub(super) fn has_moves(&self) -> bool {
        self.left.iter().any(|reply| matches!(reply, Reply::Moved(_)))
    }

    /// What comes of moving a block: it is moved, unless the line says otherwise.
    pub(super) fn moved(&mut self) -> Moved {
        let word = self.take("move", |reply| match reply {
            Reply::Moved(word) => Some(*word),
            _ => None,
        });
        match word {
            Some("busy") => Moved::Busy,
            Some("signal") => Moved::Interrupted,
            _ => Moved::Moved,
        }
    }

    /// The answer to any other question.
    pub(super) fn reached(&mut self, question: &Question) -> Answer {
        match question {
            Question::Reclaim => {
                let pages = self.take("reclaim", |reply| match reply {
                    Reply::Reclaimed(pages) => Some(*pages),
                    _ => None,
                });
                Answer::Reclaimed(PageCount::new(pages.unwrap_or(0).into()))
            }
            Question::LockKiller => {
                let alone = self.take("lock", |reply| match reply {
                    Reply::Locked(alone) => Some(*alone),
                    _ => None,
                });
                if alone.unwrap_or(true) { Answer::Locked } else { Answer::Busy }
            }
            Question::Kill => {
                let killed = self.take("kill", |reply| match reply {
                    Reply::Killed(killed) => Some(*killed),
                    _ => None,
                });
                if killed.unwrap_or(false) { Answer::Killed } else { Answer::Nobody }
            }
            Question::Flip(_) => {
                let pages = self.take("flip", |reply| match reply {
                    Reply::Flipped(pages) => Some(*pages),
                    _ => None,
                });
                Answer::Flipped(PageCount::new(pages.unwrap_or(0).into()))
            }
            _ => {
                let _ = self.take("rest", |_| None::<()>);
                Answer::Rested
            }
        }
    }

    /// The questions in the order in which each was first asked, with how often: `reclaim*16,lock,kill`.
    pub(super) fn asked(&self) -> Option<String> {
        let one =
            |(word, times): &(&str, usize)| if *times == 1 { (*word).to_owned() } else { format!("{word}*{times}") };
        let all: Vec<String> = self.asked.iter().map(one).collect();
        (!all.is_empty()).then(|| all.join(","))
    }
}
