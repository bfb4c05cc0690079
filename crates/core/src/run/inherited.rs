//! What the pool leaves us with, and how to be rid of it.
//!
//! pgpool-II runs `failover_command` with `system()` from a process that blocks SIGTERM, ignores
//! or handles other signals, and holds listening sockets without close-on-exec. A child of ours
//! that kept one of those sockets (a database server above all) would stop the pool from ever
//! starting again on its port.

mod descriptors;
mod signals;

/// First thing in every `main`, before there is a second thread: unblocks all signals, gives them
/// their default action (an ignored SIGCHLD would hide how children ended) and closes every
/// descriptor from 3 up. Missing standard descriptors were opened on `/dev/null` by Rust's
/// runtime, which also ignores SIGPIPE.
pub fn shed() {
    signals::restore();
    descriptors::close_from(3);
}
