//! Recorded rollback.
//!
//! Effects return plain receipts; a path pushes them and, on error, [`attempt`] runs them backwards. Nothing happens on drop:
//! the point of no return is the line that calls [`UndoLog::commit`].

/// The effects of an attempt so far, newest last. Holds at most `N`; a path has a fixed number of steps.
#[derive(Debug)]
pub struct UndoLog<U, const N: usize> {
    steps: [Option<U>; N],
    len: usize,
}

impl<U, const N: usize> UndoLog<U, N> {
    const fn new() -> Self {
        Self { steps: [const { None }; N], len: 0 }
    }

    /// Records an effect.
    ///
    /// # Panics
    /// Past `N` effects, which is a mistake of the path and not of its input.
    pub fn push(&mut self, step: U) {
        assert!(self.len < N, "an attempt has more effects than its log");
        self.steps[self.len] = Some(step);
        self.len += 1;
    }

    /// The point of no return: what was recorded stays done. Gives each receipt to `keep`, oldest first.
    pub fn commit(&mut self, mut keep: impl FnMut(U)) {
        for step in &mut self.steps[..self.len] {
            if let Some(step) = step.take() {
                keep(step);
            }
        }
        self.len = 0;
    }

    fn pop(&mut self) -> Option<U> {
        self.len = self.len.checked_sub(1)?;
        self.steps[self.len].take()
    }
}

/// Runs `body`; if it fails, runs `undo` over what it recorded, newest first.
///
/// # Errors
/// The error of `body`, after the rollback.
pub fn attempt<P, U, T, E, const N: usize>(
    p: &mut P,
    undo: impl Fn(&mut P, U),
    body: impl FnOnce(&mut P, &mut UndoLog<U, N>) -> Result<T, E>,
) -> Result<T, E> {
    let mut log = UndoLog::new();
    let result = body(p, &mut log);
    if result.is_err() {
        while let Some(step) = log.pop() {
            undo(p, step);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_backwards_on_error_only() {
        let mut seen = alloc::vec::Vec::new();
        let failed: Result<(), ()> = attempt(
            &mut seen,
            |seen, n| seen.push(n),
            |_, log: &mut UndoLog<i32, 3>| {
                log.push(1);
                log.push(2);
                Err(())
            },
        );
        assert_eq!((failed, seen.as_slice()), (Err(()), &[2, 1][..]));

        let mut seen = alloc::vec::Vec::new();
        let done: Result<(), ()> = attempt(
            &mut seen,
            |seen: &mut alloc::vec::Vec<i32>, n| seen.push(n),
            |_, log: &mut UndoLog<i32, 3>| {
                log.push(1);
                Ok(())
            },
        );
        assert_eq!((done, seen.len()), (Ok(()), 0));
    }
}
