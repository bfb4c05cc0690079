//! What the project ships beside its programs, used as it is: the samples of `etc/` by the tools, the
//! pool, cron and logrotate, and the manual by its reader.

#![allow(
    clippy::print_stderr,
    reason = "the harness keeps what a test prints, and shows it where that one fails"
)]

mod cluster;
mod debian;
mod log_lines;
mod pool_keys;
mod rotation;
mod running_pair;
mod settings;
