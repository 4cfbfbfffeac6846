//! The answer as people read it.

use std::collections::BTreeMap;
use std::fmt;

use page_alloc::Source;

use super::{Candidate, Holder, Mend, Obstacle, Verdict, Why};

/// How many blocks of one kind are named one by one.
const NAMED: usize = 5;

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, windows, free, movable, candidates } = self;
        let pages = wanted.order.pages().get();
        writeln!(f, "{windows} windows of {pages} pages: {free} free, {movable} that can be had")?;
        if candidates.is_empty() {
            writeln!(f, "no zone that may be used has frames of any")?;
        }
        candidates.iter().try_for_each(|candidate| write!(f, "{candidate}"))
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = &self.window;
        let lent = if window.source == Source::Cma { ", lent" } else { "" };
        let (start, end, zone) = (window.start.get(), window.end().get(), window.zone);
        writeln!(f, "{start}..{end} of {} {}{lent}: {}", zone.node, zone.kind, self.verdict)?;
        let mut kinds: BTreeMap<(&str, String), Vec<&Obstacle>> = BTreeMap::new();
        for obstacle in &self.obstacles {
            kinds.entry((obstacle.mend.name(), obstacle.holder.kind())).or_default().push(obstacle);
        }
        for ((mend, kind), all) in kinds {
            let pages: u64 = all.iter().map(|obstacle| obstacle.order.pages().get()).sum();
            let named = all.iter().take(NAMED).map(|obstacle| obstacle.to_string());
            let more = if all.len() > NAMED { ", ..." } else { "" };
            let named: Vec<String> = named.collect();
            writeln!(f, "  {mend}: {} of {kind}, {pages} pages: {}{more}", all.len(), named.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("free"),
            Self::ByMoving { blocks, pages } => write!(f, "had by moving {blocks} blocks, {} pages", pages.get()),
            Self::NoRoom { pages, room } => {
                write!(f, "{} pages would have to be moved, and there is room for {}", pages.get(), room.get())
            }
            Self::Stays { blocks: 1 } => f.write_str("1 block stays"),
            Self::Stays { blocks } => write!(f, "{blocks} blocks stay"),
        }
    }
}

impl Holder {
    /// A word for the kind of owner.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Block(_) => "block",
            Self::Pool { refs: 0, .. } => "free-huge-page",
            Self::Pool { home: Some(_), .. } => "mapped-or-cached-huge-page",
            Self::Pool { .. } => "huge-page",
            Self::Leaving => "leaving",
            Self::Processor => "processor",
            Self::Boot => "boot",
            Self::Broken => "broken-memory",
            Self::Nowhere => "hole",
            Self::LentArea => "part-of-an-area",
            Self::NotLent => "not-lent",
            Self::Asked { .. } => "watched-block",
            Self::Unknown => "unknown",
        }
    }

    /// What kind of owner that is.
    fn kind(&self) -> String {
        match self {
            Self::Block(_) => "held blocks".into(),
            Self::Pool { size, refs: 0, .. } => format!("the free pages of {size}"),
            Self::Pool { size, home: Some(_), .. } => format!("the pages of {size} that files and areas have"),
            Self::Pool { size, .. } => format!("the pages of {size} in use"),
            Self::Leaving => "what has left its pool and waits for its descriptors".into(),
            Self::Processor => "processors' lists".into(),
            Self::Boot => "what boot kept".into(),
            Self::Broken => "broken memory".into(),
            Self::Nowhere => "frames that are not there".into(),
            Self::LentArea => "an area that begins or ends here".into(),
            Self::NotLent => "memory that is not lent, and only lent memory is taken".into(),
            Self::Asked { .. } => "watched blocks".into(),
            Self::Unknown => "blocks of unknown owners".into(),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pfn.get())?;
        if self.order.get() > 0 {
            write!(f, "+{}", self.order.pages().get())?;
        }
        match (&self.holder, self.mend) {
            (Holder::Asked { pid, comm }, _) => write!(f, " ({comm}:{pid})"),
            (_, Mend::Unpin { pins }) => write!(f, " ({pins} pins)"),
            _ => Ok(()),
        }
    }
}
