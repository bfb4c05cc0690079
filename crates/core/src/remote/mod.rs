//! Other hosts: logins over ssh, known hosts, orders to a host's own copy of the tools and their answers.
//!
//! Does not know what an order does. Uses `run`, `host` and what those use; `this_host`, `steps` and the
//! tools may use it.

pub mod known_hosts;
pub mod peer;
pub mod ssh;
