//! Threads for what may never come back: a call into a disk that hangs, a server that is frozen.

use crate::deadline::Deadline;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// Runs `work` beside us. Where no thread can be had, `work` is dropped with all that it holds:
/// whoever waits at the other end of its channel sees that end closed.
pub fn start(work: impl FnOnce() + Send + 'static) {
    let _ = thread::Builder::new().spawn(work);
}

/// Has all threads share their memory. Ours wait nearly all the time, so they need not be kept apart
/// from each other, and to map an arena for each costs more than the allocations in it. To be called
/// before there is a second thread.
pub fn share_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the allocator's; there is one thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Work that goes on beside us.
#[derive(Debug)]
pub struct Pending<T>(Receiver<T>);

impl<T> Pending<T> {
    /// What the work gives, if it does so before `deadline`; else it is left behind.
    pub fn within(self, deadline: Deadline) -> Option<T> {
        self.0.recv_timeout(deadline.remaining()).ok()
    }
}

/// Begins `work` beside us, for whoever asks for its end later.
pub fn begin<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Pending<T> {
    let (done, result) = channel();
    start(move || {
        let _ = done.send(work());
    });
    Pending(result)
}

/// What `work` gives for each of `items`, side by side and in their order, as far as it does so before
/// `deadline`.
pub fn side_by_side<T: Send + 'static, R: Send + 'static>(
    items: impl IntoIterator<Item = T>,
    deadline: Deadline,
    work: impl Fn(T) -> R + Clone + Send + 'static,
) -> Vec<Option<R>> {
    let begun = items.into_iter().map(|item| {
        let work = work.clone();
        begin(move || work(item))
    });
    let begun: Vec<Pending<R>> = begun.collect();
    let ended = begun.into_iter().map(|it| it.within(deadline));
    ended.collect()
}

/// What `work` gives, if it does so before `deadline`; else it is left behind.
pub fn within<T: Send + 'static>(
    deadline: Deadline,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    begin(work).within(deadline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    #[test]
    fn what_hangs_is_left_behind() {
        assert_eq!(
            within(Deadline::after(Duration::from_secs(9)), || 7),
            Some(7)
        );
        let (keep, hung) = channel::<()>();
        let result = within(Deadline::after(Duration::from_millis(20)), move || {
            hung.recv()
        });
        assert_eq!(result, None);
        drop(keep);
    }

    #[test]
    fn side_by_side_keeps_their_order_and_leaves_out_what_is_late() {
        let (keep, hung) = channel::<()>();
        let hung = Arc::new(Mutex::new(hung));
        let deadline = Deadline::after(Duration::from_millis(200));
        let given = side_by_side([3, 1, 2], deadline, move |item| {
            if item == 1 {
                let _ = hung.lock().map(|it| it.recv());
            }
            item * 10
        });
        assert_eq!(given, [Some(30), None, Some(20)]);
        drop(keep);
    }
}
