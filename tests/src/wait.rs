//! Waiting for conditions: the only place of the lab that sleeps.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Looks every 10 ms until `look` returns `Ok`, at most for `limit`.
///
/// An `Err` from `look` means "not yet" and says what was seen instead
/// (`ensure!(lag == 0, "lag is {lag}")` reads well here).
///
/// # Errors
/// When the limit has passed; the text names `what` and the last thing seen.
pub fn wait_for<T>(what: &str, limit: Duration, look: impl FnMut() -> Result<T>) -> Result<T> {
    look_each(Duration::from_millis(10), what, limit, look)
}

/// [`wait_for`], looking only every `pause`: for what takes long, and costs something to look at.
pub(crate) fn look_each<T>(
    pause: Duration,
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut seen = None;
    poll(pause, limit, || match look() {
        Ok(value) => Some(value),
        Err(error) => {
            seen = Some(error);
            None
        }
    })
    .ok_or_else(|| {
        let seen = seen.unwrap_or_else(|| anyhow!("nothing seen"));
        seen.context(format!("waited {limit:?} in vain for {what}"))
    })
}

/// Moments as fractions of a time, the same ones each time: Knuth's generator.
pub fn moments(count: usize, time: Duration) -> impl Iterator<Item = Duration> {
    let mut seed = 20_220_830_u64;
    (0..count).map(move |_| {
        seed = next(seed);
        let per_mille = u32::try_from((seed >> 33) % 1000).unwrap_or_default();
        time * per_mille / 1000
    })
}

/// The next number of Knuth's generator; its upper half is the good one.
pub(crate) fn next(seed: u64) -> u64 {
    seed.wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
}

/// Looks every `pause` until `look` returns a value; `None` when `limit` has passed.
/// Looks at least once, and once more when the limit is over.
#[allow(
    clippy::disallowed_methods,
    reason = "the lab's one sleep: between two looks at a condition"
)]
pub(crate) fn poll<T>(
    pause: Duration,
    limit: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        // Asked before looking, so that the last look comes after the limit.
        let over = Instant::now() >= end;
        if let Some(value) = look() {
            return Some(value);
        }
        if over {
            return None;
        }
        std::thread::sleep(pause);
    }
}
