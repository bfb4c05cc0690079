//! What the project ships beside its programs, used as it is: the samples of `etc/` by the tools, the
//! pool, cron and logrotate, and the manual by its reader.

mod cluster;
mod debian;
mod log_lines;
mod pool_keys;
mod rotation;
mod settings;
