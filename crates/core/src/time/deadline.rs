//! Time limits. A [`Deadline`] is made once from a budget and passed down by value; a callee may
//! shorten it and can never lengthen it.

use std::time::{Duration, Instant};

/// A moment after which an action is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// `budget` from now.
    pub fn after(budget: Duration) -> Self {
        // A budget beyond what `Instant` holds (a configured number of seconds may be absurd) is
        // a day: nothing here waits that long.
        let now = Instant::now();
        Self(
            now.checked_add(budget)
                .unwrap_or(now + Duration::from_secs(86_400)),
        )
    }

    /// This deadline, or `budget` from now where that is sooner.
    pub fn at_most(self, budget: Duration) -> Self {
        self.min(Self::after(budget))
    }

    /// What is left; zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// Looks at once and then every `interval` until `look` gives a value; one last look is taken
    /// at the deadline itself. `None`: it never did.
    pub fn poll<T>(self, interval: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            let last = self.passed();
            if let Some(found) = look() {
                return Some(found);
            }
            if last {
                return None;
            }
            self.pause(interval);
        }
    }

    /// Waits for `interval`, or until the deadline where that is sooner. For the pause between
    /// two looks at a condition, never for the hope that something is over by then.
    #[allow(clippy::disallowed_methods, reason = "the one place that sleeps")]
    pub fn pause(self, interval: Duration) {
        std::thread::sleep(interval.min(self.remaining()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callee_can_only_shorten() {
        let short = Deadline::after(Duration::from_millis(10));
        assert_eq!(short.at_most(Duration::from_secs(9)), short);
        assert!(short.at_most(Duration::ZERO) < short);
    }

    #[test]
    fn polls_until_found_and_looks_a_last_time_when_over() {
        let mut looks = 0;
        let found = Deadline::after(Duration::from_secs(5)).poll(Duration::from_millis(1), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found, Some(3));

        let mut looks = 0;
        let none: Option<()> = Deadline::after(Duration::ZERO).poll(Duration::from_secs(9), || {
            looks += 1;
            None
        });
        assert_eq!((none, looks), (None, 1));
    }

    #[test]
    fn an_absurd_budget_is_no_panic() {
        assert!(!Deadline::after(Duration::MAX).passed());
    }
}
