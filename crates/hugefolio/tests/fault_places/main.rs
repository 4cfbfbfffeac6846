//! Every place in the code that can fail is made to fail, by operations on a machine of two nodes with groups whose memory is accounted; and
//! every public operation of a machine is among them, or provably asks for nothing that could fail.
//!
//! After each failure a recount finds nothing wrong, and the machine is as it was before the operation. Where an operation goes step by step
//! and keeps the steps that it finished, the table says so, and what stays is looked at. The places are read off the source, so that a new one
//! is missed here until an operation reaches it; so are the operations.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod calls;
mod operations;
mod public;
mod quiet;
mod scene;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hugefolio::{Admin, Calls, HugeCount, Site};

use calls::CALLS;
use operations::OPERATIONS;
use scene::{M2, Scene, scene, seen};

/// What is left of an operation that failed.
#[derive(Clone, Copy)]
pub(crate) enum Leaves {
    /// Nothing.
    Nothing,
    /// The steps that it finished before, or what the function looks at: it says whether that is all.
    Steps(fn(&mut Scene) -> bool),
    /// It does not fail, but does something else: the owner takes its page from others, a failure that cannot be noted costs a folio.
    OtherWay,
}

/// An operation on the usual scene.
type Operation = (&'static str, Leaves, fn(&mut Scene) -> bool);

/// One that needs something made beforehand.
type Prepared = (&'static str, Leaves, fn() -> Scene, fn(&mut Scene) -> bool);

/// A place in the code: the site and the line that asks.
type Place = (String, u32);

/// Fails every attempt of an operation in turn, and of what undoes it then, if that is asked for; which places refused.
fn fail_each_attempt(
    &(name, leaves, prepare, operation): &Prepared,
    then: Option<Site>,
    reached: &mut BTreeMap<Place, Site>,
) -> u64 {
    for k in 0.. {
        let mut scene = prepare();
        let before = seen(&scene);
        match then {
            Some(site) => scene.machine.faults().fail_nth_then(k, site),
            None => scene.machine.faults().fail_nth(None, k),
        }
        let succeeded = operation(&mut scene);
        let plan = scene.machine.faults();
        let refused = plan.last_refused();
        plan.clear();
        let at = refused.map_or(String::new(), |at| format!("{:?} at {}", at.site, at.place));
        scene.machine.validate().unwrap_or_else(|broken| panic!("{name}, failing {at}: {broken}"));
        let Some(refused) = refused else {
            assert!(succeeded, "{name}: nothing was refused, yet it failed");
            return k;
        };
        reached.insert((refused.place.file().to_owned(), refused.place.line()), refused.site);
        if !succeeded {
            match leaves {
                Leaves::Nothing => assert_eq!(seen(&scene), before, "{name}, failing {at}"),
                Leaves::Steps(all) => assert!(all(&mut scene), "{name}, failing {at}, leaves {}", seen(&scene)),
                Leaves::OtherWay => (),
            }
        }
        scene.machine.exit(scene.child);
        scene.machine.exit(scene.parent);
        scene.machine.validate().unwrap_or_else(|broken| panic!("{name}, failing {at}, and exit: {broken}"));
        let memory = scene.machine.read_file("/sys/fs/cgroup/g/memory.current").unwrap();
        // What the file still holds is charged; nothing else is left.
        let cached = scene.machine.pool(M2).unwrap();
        let used = M2.total(HugeCount::new(cached.nr.get() - cached.free.get()));
        assert!(memory.trim().parse::<u64>().unwrap() <= used.get(), "{name}, failing {at}: {memory} of {used}");
        assert!(k < 1000, "{name} never ends");
    }
    unreachable!("the loop returns")
}

/// Both tables.
fn all() -> impl Iterator<Item = Prepared> {
    let usual = OPERATIONS.iter().map(|&(name, leaves, run)| (name, leaves, scene as fn() -> Scene, run));
    usual.chain(CALLS.iter().copied())
}

/// Every line of the rooms that asks the fault plan.
fn places_in_source() -> BTreeSet<Place> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let rooms = std::fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = rooms.map(|room| room.join("src")).collect();
    let mut places = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let file = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                let asks = text.lines().zip(1..).filter(|(line, _)| line.contains(".refused(Site::"));
                places.extend(asks.map(|(_, line)| (file.clone(), line)));
            }
        }
    }
    places
}

#[test]
fn every_place_that_can_fail_is_made_to_fail() {
    let mut reached = BTreeMap::new();
    let mut attempts = BTreeMap::new();
    for operation in all() {
        attempts.insert(operation.0, fail_each_attempt(&operation, None, &mut reached));
    }
    // A page that nobody promised got its entry in the map, and then no node in the cache. The entry had to be taken out again, but to
    // look for it was refused a descriptor that only a new entry needs, and the map went on promising a page that had gone back
    // as nobody's. What really cannot be taken out, as a region would have to be split, stays promised with the page.
    let in_vain = all().find(|of| of.0 == "a page in vain").unwrap();
    fail_each_attempt(&in_vain, Some(Site::RegionDescriptor), &mut reached);
    let there: BTreeSet<Place> = reached.keys().cloned().collect();
    let missed: Vec<Place> = places_in_source().difference(&there).cloned().collect();
    assert!(missed.is_empty(), "no operation reaches {missed:?}; {attempts:?}");
    let sites: BTreeSet<&str> = reached.values().map(|site| site_name(*site)).collect();
    let all: BTreeSet<&str> = Site::ALL.into_iter().map(site_name).collect();
    assert_eq!(all.difference(&sites).count(), 0, "{sites:?}");
    // These have nothing that can fail; all others have.
    let none: Vec<_> = attempts.iter().filter(|(_, attempts)| **attempts == 0).map(|(name, _)| *name).collect();
    assert_eq!(none, ["dissolve", "shrink"], "{attempts:?}");
    assert_eq!(attempts["grow"], 4, "one block for each page");
}

fn site_name(site: Site) -> &'static str {
    match site {
        Site::RegionDescriptor => "RegionDescriptor",
        Site::TablePage => "TablePage",
        Site::CacheNode => "CacheNode",
        Site::VmemmapPage => "VmemmapPage",
        Site::Charge => "Charge",
        Site::MemoryCharge => "MemoryCharge",
        Site::Frame => "Frame",
        Site::RawPoison => "RawPoison",
        Site::Attributes => "Attributes",
        Site::Move => "Move",
        _ => "a site without a name here",
    }
}
