//! Makes a failing sequence of operations short: what is not needed for the failure goes.

use crate::op::Op;

/// The parts of a sequence that still fail, by delta debugging: pieces of halving size are left out for as long as the rest
/// fails. The result fails; leaving out any one operation more lets it pass, unless `most_tries` calls of `fails` were not
/// enough. A sequence that does not fail comes back as it is.
pub fn shrink(ops: &[Op], most_tries: usize, mut fails: impl FnMut(&[Op]) -> bool) -> Vec<Op> {
    let mut kept = ops.to_vec();
    let mut tries = 0;
    let mut still_fails = |candidate: &[Op]| {
        tries += 1;
        (tries <= most_tries).then(|| fails(candidate))
    };
    if still_fails(&kept) != Some(true) {
        return kept;
    }
    let mut size = kept.len().div_ceil(2);
    while size > 0 {
        let mut shrunk = false;
        // Later operations first: what follows a failure is never needed.
        let mut end = kept.len();
        while end > 0 {
            let start = end.saturating_sub(size);
            let candidate: Vec<Op> = kept[..start].iter().chain(&kept[end..]).cloned().collect();
            match still_fails(&candidate) {
                None => return kept,
                Some(true) => {
                    kept = candidate;
                    shrunk = true;
                }
                Some(false) => {}
            }
            end = start;
        }
        // Single operations are tried until none can go: one that goes may let another go.
        if size > 1 || !shrunk {
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: i64) -> Vec<Op> {
        (0..count).map(|n| format!("set_nr {n}").parse().expect("a number can be set")).collect()
    }

    fn holds(ops: &[Op], n: i64) -> bool {
        ops.contains(&numbered(n + 1)[usize::try_from(n).expect("a small number")])
    }

    #[test]
    fn only_what_the_failure_needs_is_left() {
        let ops = numbered(100);
        let fails = |ops: &[Op]| holds(ops, 3) && holds(ops, 50) && holds(ops, 97);
        assert_eq!(shrink(&ops, 10_000, fails), [3, 50, 97].map(|n| ops[n].clone()));
    }

    #[test]
    fn operations_that_only_go_one_after_the_other_go() {
        // 5 can go only when 6 has gone, which is tried before; 6 only when 5 has not.
        let fails = |ops: &[Op]| holds(ops, 1) && (holds(ops, 5) || !holds(ops, 6));
        assert_eq!(shrink(&numbered(20), 10_000, fails).len(), 1);
    }

    #[test]
    fn a_bound_on_tries_and_a_passing_sequence_are_respected() {
        let mut calls = 0;
        let short = shrink(&numbered(64), 10, |ops| {
            calls += 1;
            holds(ops, 40)
        });
        assert!(calls == 10 && (1..64).contains(&short.len()), "{calls} calls, {} left", short.len());
        assert_eq!(shrink(&numbered(5), 100, |_| false).len(), 5);
        assert!(shrink(&[], 100, |_| true).is_empty());
    }
}
