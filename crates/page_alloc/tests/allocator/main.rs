//! The page allocator as an isolated instance: every state is built as it stands, one step is run, and everything is looked at.

mod common;
mod compaction;
mod context;
mod contig;
mod drift;
mod fast_model;
mod fast_path;
mod hotplug;
mod many;
mod page_owner;
mod pages;
mod placed;
mod quick;
mod reporting;
mod slow_model;
mod slow_path;
mod slow_steps;
mod unmapped;
