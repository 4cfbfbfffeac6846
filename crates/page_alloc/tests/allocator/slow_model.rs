//! The slow path against its rules written down once more: as a story told from top to bottom, with words for rights and loops where
//! the library has states. Both are given the same random answers, and must ask the same questions.

use crate::common::Dice;
use std::collections::BTreeSet;

use page_alloc::{
    Compacted, Compactor, Context, Cpusets, Defrag, Fate, IoScope, Killer, Nodes, PageRequest, Pin, Priority, Progress,
    Rules, SlowPath, Standing, Step, Task, TaskSite,
};
use policy::Topology;
use units::{GfpFlags, NodeId, Nodemask, Order, PageCount};
use zone::{AllocFlags, Level};

/// What the story knows of a request.
struct World {
    wishes: BTreeSet<&'static str>,
    order: u8,
    movable: bool,
    task: Task,
    rules: Rules,
    low_zone_only: bool,
}

/// Why the story ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    Fail,
    /// Enough was compared.
    Cut,
}

type Rights = BTreeSet<&'static str>;
type Asking<'a> = &'a mut dyn FnMut(String) -> Option<Progress>;

/// What comes after a part of the story.
enum Then {
    Round,
    NoPage,
    Restart,
}

impl World {
    fn wishes(&self, wish: &str) -> bool {
        self.wishes.contains(wish)
    }

    fn costly(&self) -> bool {
        self.order >= 4
    }

    fn compacts(&self) -> bool {
        self.rules.compaction == Compactor::Built && self.wishes("io")
    }

    /// Row by row: who has the wish, and what he gets for it.
    fn first_rights(&self) -> Rights {
        let waits = self.wishes("direct");
        let spares = self.wishes("nomemalloc");
        let high = self.wishes("high");
        let rows = [
            ("cpuset", waits || !high),
            ("kswapd", self.wishes("kswapd")),
            ("min-reserve", high || waits && self.task.site == TaskSite::RealTime),
            ("non-block", !waits && !spares),
            ("highatomic", !waits && !spares && high && self.order > 0),
            ("cma", self.movable && self.rules.grouping == zone::Grouping::ByMobility),
            ("nofragment", self.rules.defrag == Defrag::On && waits),
        ];
        rows.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }

    /// Who may have reserves, and which.
    fn reserve(&self) -> Option<&'static str> {
        let (interrupt, soft) = (self.task.site == TaskSite::Interrupt, self.task.site == TaskSite::SoftInterrupt);
        let rows = [
            (self.wishes("nomemalloc"), None),
            (self.wishes("memalloc"), Some("no-watermarks")),
            (interrupt, None),
            (self.task.standing == Standing::Reclaimer, Some("no-watermarks")),
            (self.task.standing == Standing::Victim && !soft, Some("oom")),
        ];
        rows.into_iter().find(|(holds, _)| *holds).and_then(|(_, right)| right)
    }
}

fn name_of(level: &str, rights: &Rights, all: bool) -> String {
    let rights: Vec<_> = rights.iter().copied().collect();
    format!("try {level} {} {}", rights.join("+"), if all { "all" } else { "asked" })
}

struct Story<'a> {
    world: &'a World,
    ask: Asking<'a>,
    rights: Rights,
    everywhere: bool,
    fruitless: u32,
    successes: u32,
    /// 0 is the hardest.
    hardness: u8,
    compacted: Compacted,
}

impl Story<'_> {
    fn ask(&mut self, what: &str) -> Result<Progress, End> {
        match (self.ask)(what.to_owned()) {
            Some(Progress::Taken) => Err(End::Done),
            Some(progress) => Ok(progress),
            None => Err(End::Cut),
        }
    }

    fn says_yes(&mut self, what: &str) -> Result<bool, End> {
        Ok(self.ask(what)? == Progress::Yes)
    }

    fn look(&mut self) -> Result<(), End> {
        let name = name_of("min", &self.rights.clone(), self.everywhere);
        self.ask(&name).map(|_| ())
    }

    fn look_with(&mut self, level: &str, rights: &[&'static str]) -> Result<(), End> {
        let name = name_of(level, &rights.iter().copied().collect(), self.everywhere);
        self.ask(&name).map(|_| ())
    }

    fn wake(&mut self) -> Result<(), End> {
        if self.world.wishes("kswapd") { self.ask("wake").map(|_| ()) } else { Ok(()) }
    }

    fn compact(&mut self) -> Result<(), End> {
        let priority = ["full", "light", "async"][usize::from(self.hardness)];
        self.compact_at(priority)
    }

    fn compact_at(&mut self, priority: &str) -> Result<(), End> {
        self.compacted = match self.ask(&format!("compact {priority}"))? {
            Progress::Compacted(result) => result,
            _ => Compacted::Failure,
        };
        if self.compacted == Compacted::Skipped { Ok(()) } else { self.look() }
    }

    fn tell(&mut self) -> End {
        loop {
            match self.chapter() {
                Ok(()) => (),
                Err(end) => return end,
            }
        }
    }

    /// From a start to the next one.
    fn chapter(&mut self) -> Result<(), End> {
        (self.fruitless, self.successes, self.hardness) = (0, 0, 1);
        (self.compacted, self.everywhere, self.rights) = (Compacted::Skipped, false, self.world.first_rights());
        let mut then = self.opening()?;
        loop {
            then = match then {
                Then::Restart => return Ok(()),
                Then::Round => self.round()?,
                Then::NoPage => {
                    if self.says_yes("recheck")? {
                        return Ok(());
                    }
                    if !(self.world.wishes("nofail") && self.world.wishes("direct")) {
                        return Err(End::Fail);
                    }
                    self.look_with("min", &["cpuset", "min-reserve"])?;
                    self.look_with("min", &["min-reserve"])?;
                    Then::Round
                }
            };
        }
    }

    fn opening(&mut self) -> Result<Then, End> {
        if !self.says_yes("begin")? {
            return Ok(Then::NoPage);
        }
        self.wake()?;
        self.look()?;
        let world = self.world;
        let quick = world.wishes("direct") && world.compacts() && world.reserve().is_none();
        if !quick || !(world.costly() || world.order > 0 && !world.movable) {
            return Ok(Then::Round);
        }
        self.compact_at("async")?;
        if world.costly() && world.wishes("noretry") {
            let vain = self.compacted == Compacted::Skipped || self.compacted == Compacted::Deferred;
            if vain || world.wishes("thisnode") {
                return Ok(Then::NoPage);
            }
            self.hardness = 2;
        }
        Ok(Then::Round)
    }

    fn round(&mut self) -> Result<Then, End> {
        if self.says_yes("recheck")? {
            return Ok(Then::Restart);
        }
        self.wake()?;
        let world = self.world;
        if let Some(reserve) = world.reserve() {
            self.rights.retain(|right| ["kswapd", "cma"].contains(right));
            self.rights.insert(reserve);
        }
        self.everywhere |= world.reserve().is_some() || !self.rights.contains("cpuset");
        self.look()?;
        if !world.wishes("direct") || world.task.standing == Standing::Reclaimer {
            return Ok(Then::NoPage);
        }
        let pages = if let Progress::Reclaimed(pages) = self.ask("reclaim")? { pages.get() } else { 0 };
        if pages > 0 {
            self.look()?;
            self.ask("drain")?;
            self.look()?;
        }
        if world.order > 0 && world.compacts() {
            self.compact()?;
        }
        let insists = world.compacts() && world.wishes("mayfail");
        if world.wishes("noretry") || world.costly() && !insists {
            return Ok(Then::NoPage);
        }
        self.fruitless = if pages > 0 && !world.costly() { 0 } else { self.fruitless + 1 };
        if self.fruitless <= 16 {
            let hope = self.says_yes("could reclaim")?;
            self.ask("rest")?;
            if hope {
                return Ok(Then::Round);
            }
        }
        if self.says_yes("unreserve")? || pages > 0 && self.compaction_has_hope()? {
            return Ok(Then::Round);
        }
        if self.rights.contains("nofragment") {
            self.rights.remove("nofragment");
            return Ok(Then::Round);
        }
        if self.says_yes("recheck")? {
            return Ok(Then::Restart);
        }
        self.killing()
    }

    fn compaction_has_hope(&mut self) -> Result<bool, End> {
        let world = self.world;
        if world.order == 0 || !world.compacts() || world.task.fate == Fate::Ends {
            return Ok(false);
        }
        if self.compacted == Compacted::Skipped {
            return self.says_yes("could compact");
        }
        if self.compacted == Compacted::Success {
            self.successes += 1;
            if self.successes <= if world.costly() { 4 } else { 16 } {
                return Ok(true);
            }
        }
        let hardest = u8::from(world.costly());
        if self.hardness <= hardest {
            return Ok(false);
        }
        self.hardness -= 1;
        self.successes = 0;
        Ok(true)
    }

    fn killing(&mut self) -> Result<Then, End> {
        let world = self.world;
        let mut progress = true;
        if self.says_yes("lock")? {
            self.look_with("high", &["cpuset"])?;
            let spared = [
                world.costly(),
                world.wishes("mayfail"),
                world.wishes("thisnode"),
                world.low_zone_only,
                world.rules.killer == Killer::Suspended,
                world.task.fate == Fate::DumpsCore,
            ];
            progress = !spared.contains(&true);
            if progress {
                progress = self.says_yes("kill")?;
                if world.wishes("nofail") {
                    progress = true;
                    self.look_with("min", &["cpuset", "no-watermarks"])?;
                    self.look_with("min", &["no-watermarks"])?;
                }
            }
        } else {
            self.ask("rest")?;
        }
        let had_its_share = self.rights.contains("oom") || world.wishes("nomemalloc");
        if !progress || world.task.standing == Standing::Victim && had_its_share {
            return Ok(Then::NoPage);
        }
        self.fruitless = 0;
        Ok(Then::Round)
    }
}

const RIGHTS: [(AllocFlags, &str); 9] = [
    (AllocFlags::NO_WATERMARKS, "no-watermarks"),
    (AllocFlags::OOM, "oom"),
    (AllocFlags::NON_BLOCK, "non-block"),
    (AllocFlags::MIN_RESERVE, "min-reserve"),
    (AllocFlags::CPUSET, "cpuset"),
    (AllocFlags::CMA, "cma"),
    (AllocFlags::NOFRAGMENT, "nofragment"),
    (AllocFlags::HIGHATOMIC, "highatomic"),
    (AllocFlags::KSWAPD, "kswapd"),
];

fn name(step: Step) -> String {
    let plain = match step {
        Step::Try(attempt) => {
            let level = if attempt.level() == Level::High { "high" } else { "min" };
            let rights = RIGHTS.into_iter().filter(|(right, _)| attempt.flags().contains(*right));
            return name_of(level, &rights.map(|(_, name)| name).collect(), attempt.nodes() == Nodes::All);
        }
        Step::Compact(Priority::SyncFull) => "compact full",
        Step::Compact(Priority::SyncLight) => "compact light",
        Step::Compact(Priority::Async) => "compact async",
        Step::Begin => "begin",
        Step::Wake => "wake",
        Step::Reclaim => "reclaim",
        Step::Drain => "drain",
        Step::CouldReclaim => "could reclaim",
        Step::Rest => "rest",
        Step::CouldCompact => "could compact",
        Step::Unreserve => "unreserve",
        Step::Recheck => "recheck",
        Step::LockKiller => "lock",
        Step::Kill => "kill",
        Step::Done => "done",
        Step::Fail => "fail",
    };
    plain.to_owned()
}

const WISHES: [(GfpFlags, &str); 10] = [
    (GfpFlags::HIGH, "high"),
    (GfpFlags::IO, "io"),
    (GfpFlags::DIRECT_RECLAIM, "direct"),
    (GfpFlags::KSWAPD_RECLAIM, "kswapd"),
    (GfpFlags::NORETRY, "noretry"),
    (GfpFlags::RETRY_MAYFAIL, "mayfail"),
    (GfpFlags::NOFAIL, "nofail"),
    (GfpFlags::MEMALLOC, "memalloc"),
    (GfpFlags::NOMEMALLOC, "nomemalloc"),
    (GfpFlags::THISNODE, "thisnode"),
];

fn request(dice: &mut Dice) -> (PageRequest, Rules) {
    let bases = [GfpFlags::KERNEL, GfpFlags::ATOMIC, GfpFlags::NOWAIT, GfpFlags::HIGHUSER_MOVABLE, GfpFlags::NOIO];
    let mut gfp = dice.pick(&bases);
    for (wish, _) in WISHES {
        if dice.roll(8) == 0 {
            gfp |= wish;
        }
    }
    let efforts = [GfpFlags::NORETRY, GfpFlags::RETRY_MAYFAIL, GfpFlags::NOFAIL];
    gfp = gfp.difference(efforts[0] | efforts[1] | efforts[2]);
    gfp |= dice.pick(&[GfpFlags::empty(), efforts[0], efforts[1], efforts[2]]);
    gfp |= dice.pick(&[GfpFlags::empty(), GfpFlags::empty(), GfpFlags::RECLAIMABLE, GfpFlags::DMA32]);
    if gfp.contains(GfpFlags::MOVABLE) {
        gfp = gfp.difference(GfpFlags::RECLAIMABLE | GfpFlags::DMA32);
    }
    let task = Task {
        site: dice.pick(&[
            TaskSite::Task,
            TaskSite::Task,
            TaskSite::RealTime,
            TaskSite::SoftInterrupt,
            TaskSite::Interrupt,
        ]),
        standing: dice.pick(&[Standing::Ordinary, Standing::Ordinary, Standing::Reclaimer, Standing::Victim]),
        fate: dice.pick(&[Fate::Lives, Fate::Lives, Fate::Ends, Fate::DumpsCore]),
        scope: dice.pick(&[IoScope::All, IoScope::All, IoScope::NoFs, IoScope::NoIo]),
        pin: dice.pick(&[Pin::Short, Pin::Short, Pin::Long]),
        ..Task::default()
    };
    let rules = Rules {
        cpusets: dice.pick(&[Cpusets::Off, Cpusets::On]),
        grouping: dice.pick(&[zone::Grouping::ByMobility, zone::Grouping::ByMobility, zone::Grouping::Off]),
        compaction: dice.pick(&[Compactor::Built, Compactor::Built, Compactor::Absent]),
        defrag: dice.pick(&[Defrag::Off, Defrag::On]),
        killer: dice.pick(&[Killer::Works, Killer::Works, Killer::Suspended]),
        ..Rules::default()
    };
    let order = dice.pick(&[0, 0, 1, 2, 3, 4, 9, 10]);
    (PageRequest { task, ..PageRequest::new(Order::new(order), gfp, NodeId::new(0)) }, rules)
}

fn world(context: &Context, request: &PageRequest, rules: Rules) -> World {
    let gfp = context.gfp();
    World {
        wishes: WISHES.into_iter().filter(|(wish, _)| gfp.contains(*wish)).map(|(_, name)| name).collect(),
        order: request.order.get(),
        movable: gfp.contains(GfpFlags::MOVABLE),
        task: request.task,
        rules,
        low_zone_only: gfp.contains(GfpFlags::DMA32),
    }
}

const RESULTS: [Compacted; 4] = [Compacted::Skipped, Compacted::Deferred, Compacted::Success, Compacted::Failure];

fn answer(question: &str, dice: &mut Dice, hope: u64, mood: Compacted) -> Progress {
    match question.split(' ').next() {
        Some("try") if dice.roll(90) == 0 => Progress::Taken,
        Some("compact") if dice.roll(60) == 0 => Progress::Taken,
        Some("compact") if dice.roll(20) > 0 => Progress::Compacted(mood),
        Some("compact") => Progress::Compacted(dice.pick(&RESULTS)),
        Some("reclaim") => Progress::Reclaimed(PageCount::new(dice.roll(4))),
        Some("recheck") if dice.roll(30) == 0 => Progress::Yes,
        Some("begin" | "lock") if dice.roll(10) > 0 => Progress::Yes,
        Some("could" | "unreserve" | "kill") if dice.roll(10) < hope => Progress::Yes,
        _ => Progress::None,
    }
}

#[test]
fn every_step_is_that_of_the_story() {
    let topology = Topology::new(Nodemask::first(1), |_, _| 10).expect("a node");
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut ends = [0u32; 3];
    for round in 0..20_000u32 {
        let (request, rules) = request(&mut dice);
        // What contradicts itself never gets so far.
        let Ok(context) = Context::new(&request, &rules, &topology) else { continue };
        let world = world(&context, &request, rules);
        let (hope, mood) = (dice.roll(11), dice.pick(&RESULTS));
        let mut path = SlowPath::new(context, rules);
        let mut progress = Progress::None;
        let mut asked = 0;
        let mut ask = |question: String| {
            let step = name(path.step(progress));
            assert_eq!(step, question, "question {asked} of {request:?} under {rules:?} in round {round}");
            progress = answer(&question, &mut dice, hope, mood);
            asked += 1;
            (asked < 300).then_some(progress)
        };
        let mut story = Story {
            world: &world,
            ask: &mut ask,
            rights: Rights::new(),
            everywhere: false,
            fruitless: 0,
            successes: 0,
            hardness: 1,
            compacted: Compacted::Skipped,
        };
        let end = story.tell();
        match end {
            End::Done => assert_eq!(name(path.step(progress)), "done"),
            End::Fail => assert_eq!(name(path.step(progress)), "fail"),
            End::Cut => (),
        }
        ends[match end {
            End::Done => 0,
            End::Fail => 1,
            End::Cut => 2,
        }] += 1;
    }
    assert!(ends.iter().all(|&n| n > 500), "all ends are met: {ends:?}");
}
