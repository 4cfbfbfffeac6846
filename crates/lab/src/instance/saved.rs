//! An instance as text: its machine, and what a scenario calls what is in it.

use std::collections::{BTreeMap, BTreeSet};

use hugefolio::{BlockId, CgroupId, MountId, Name, Pfn};
use serde::{Deserialize, Serialize};

use super::actor::ActorState;
use super::cgroups::NamedGroup;
use super::segments::Segments;
use super::{ACTORS, Instance};
use crate::machine_state::{BadMachine, SavedMachine};
use crate::op::Actor;

/// What a scenario calls processes, mappings, files, mounts, groups and segments.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedNames {
    #[serde(default)]
    pub(super) actors: BTreeMap<u16, ActorState>,
    #[serde(default)]
    pub(super) mounts: Vec<(String, Option<MountId>)>,
    #[serde(default)]
    pub(super) groups: Vec<NamedGroup>,
    #[serde(default)]
    pub(super) made: Vec<CgroupId>,
    #[serde(default)]
    pub(super) tried: BTreeSet<String>,
    #[serde(default)]
    pub(super) segments: Segments,
    #[serde(default)]
    pub(super) slots: Vec<String>,
    #[serde(default)]
    pub(super) blocks: BTreeMap<String, BlockId>,
    /// Pins of guest memory by name.
    #[serde(default)]
    pub(super) guest_pins: BTreeMap<String, Pfn>,
}

impl SavedNames {
    /// Every place where an object of the machine is meant.
    pub(crate) fn objects(&mut self) -> Vec<Name<'_>> {
        let mut all: Vec<Name<'_>> = self.made.iter_mut().map(Name::from).collect();
        for actor in self.actors.values_mut() {
            all.push(Name::from(&mut actor.pid));
            all.extend(actor.views.values_mut().map(|view| Name::from(&mut view.file)));
        }
        all.extend(self.mounts.iter_mut().filter_map(|(_, id)| id.as_mut().map(Name::from)));
        all.extend(self.groups.iter_mut().filter_map(|group| group.id.as_mut().map(Name::from)));
        all.extend(self.segments.objects());
        all.extend(self.blocks.values_mut().map(Name::from));
        all
    }

    /// Does every process that is named exist, once?
    fn check(&self, instance: &Instance) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for (number, actor) in &self.actors {
            let alive = instance.machine.processes().any(|(pid, _)| pid == actor.pid);
            if *number >= ACTORS || !alive || !seen.insert(actor.pid) {
                return Err(format!("a{number} is no process of the machine, or another one is the same"));
            }
        }
        Ok(())
    }
}

impl Instance {
    /// The machine as it stands, with the names that were given.
    #[must_use]
    pub fn saved(&self) -> SavedMachine {
        let names = SavedNames {
            actors: self.actors.clone(),
            mounts: self.mounts.clone(),
            groups: self.groups.clone(),
            made: self.made.clone(),
            tried: self.tried.clone(),
            segments: self.segments.clone(),
            slots: self.slots.clone(),
            blocks: self.blocks.clone(),
            guest_pins: self.guest_pins.clone(),
        };
        SavedMachine::with_names(&self.machine, names)
    }

    /// Did the scenario describe memory of its own? That is no part of a saved machine.
    #[must_use]
    pub const fn has_described_memory(&self) -> bool {
        self.pages.is_some()
    }

    /// The processes that have names.
    pub fn started(&self) -> impl Iterator<Item = Actor> {
        self.actors.keys().map(|&number| Actor::new(number))
    }

    /// An instance that goes on from there. A scenario that begins with it must not describe a machine of its own.
    ///
    /// # Errors
    /// The machine cannot be, or a name means nothing in it.
    pub fn resumed(saved: &SavedMachine) -> Result<Self, BadMachine> {
        let mut instance = Self::of(saved.build()?);
        let names = saved.names.clone();
        names.check(&instance).map_err(BadMachine::Names)?;
        let SavedNames { actors, mounts, groups, made, tried, segments, slots, blocks, guest_pins } = names;
        (instance.actors, instance.mounts, instance.groups, instance.made) = (actors, mounts, groups, made);
        (instance.tried, instance.segments, instance.slots) = (tried, segments, slots);
        instance.blocks = blocks;
        instance.guest_pins = guest_pins;
        instance.begins = super::Begins::AsItIs;
        Ok(instance)
    }
}
