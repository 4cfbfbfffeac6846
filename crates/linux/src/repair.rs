//! Undoes what known defects of Linux 6.18 leave behind: reservations that nobody holds, or that are owed to nobody. Each of two defects
//! undoes the work of the other.

use lab::op::Op;

use crate::Running;
use crate::pools;

/// How often to try.
const MOST_ROUNDS: usize = 8;
/// The most pages of a repair.
const MOST_PAGES: i64 = crate::bounds::PAGES_2M as i64;

impl Running {
    /// Brings the counters of the 2 MiB pool back to zero; what was done, if anything.
    pub(crate) fn repair(&mut self) -> Result<Option<String>, String> {
        let mut done = None;
        for _ in 0..MOST_ROUNDS {
            pools::empty();
            let resv = pools::counters().m2.resv;
            if resv == 0 {
                break;
            }
            done.get_or_insert_with(|| format!("{resv} reservations of 2 MiB pages had no holder and were taken back"));
            let pages = resv.signum() * resv.abs().min(MOST_PAGES / 2 - 2);
            let script = if pages > 0 { take_back(pages) } else { bring_back(-pages) };
            for line in script {
                let op: Op = line.parse().map_err(|error| format!("{line}: {error}"))?;
                self.run(&op);
            }
            self.tear_down();
        }
        pools::empty();
        if pools::are_empty() {
            Ok(done)
        } else {
            Err(pools::in_use().unwrap_or_else(|| "the pools do not empty".into()))
        }
    }
}

/// A mount with both limits gives its minimum back twice after a reservation that fails.
fn take_back(pages: i64) -> Vec<String> {
    let mib = |pages: i64| format!("{}M", pages * 2);
    vec![
        format!("set_nr {}", 2 * pages),
        format!("mount repair size={} min_size={}", mib(4 * pages), mib(pages)),
        "a0 spawn".to_owned(),
        "a0 open f repair/f creat".to_owned(),
        format!("a0 ftruncate f {}", mib(4 * pages)),
        format!("a0 mmap A {} shared file=f", mib(3 * pages)),
        "a0 exit".to_owned(),
        "unlink repair/f".to_owned(),
        "umount repair".to_owned(),
    ]
}

/// A private mapping of which a part moves forgets the reservations of the rest.
fn bring_back(pages: i64) -> Vec<String> {
    vec![
        format!("set_nr {}", pages + 3),
        "a0 spawn".to_owned(),
        format!("a0 mmap A {}M private,anon", (pages + 1) * 2),
        "a0 mremap A 2M 2M maymove,fixed to=B".to_owned(),
        "a0 exit".to_owned(),
    ]
}
