//! `failover_stream` against what goes wrong around it: hosts half dead, frozen or gone, runs that
//! are killed, input that makes no sense. On the real thing; needs root.

mod calling;
mod convergence;
mod fenced;
mod fencing;
mod frozen;
mod held;
mod identity;
mod input;
mod odd_peers;
mod scene;
mod settings;
mod ssh;
mod standbys;
mod strangers;
mod timelines;
