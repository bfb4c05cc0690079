//! The network as this host sees it: addresses, neighbours, ping, signs of life, the database VIP.
//!
//! Does not log in anywhere, and does not decide who is dead. Uses `host` and what that uses; `server`,
//! `remote` and all above them may use it.

pub mod arp;
pub mod life;
pub mod listeners;
pub(crate) mod packet;
pub mod ping;
pub mod route;
pub mod vip;
