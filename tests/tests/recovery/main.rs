//! `network_rewind`: what became of a host comes back by itself. On the real thing; needs root.

#![allow(
    clippy::print_stderr,
    reason = "the harness keeps what a test prints, and shows it where that one fails"
)]

mod apart;
mod archive;
mod bad_input;
mod broken;
mod by_hand;
mod contract;
mod copied;
mod disks;
mod diverged;
mod drill;
mod full;
mod given_up;
mod json;
mod killed;
mod kingbase;
mod left;
mod login;
mod newer;
mod oddities;
mod own_files;
mod promotion;
mod rows;
mod scene;
mod settings;
mod started;
mod terminal;
mod three_hosts;
mod timer;
mod tls;
mod unit;
mod whole;
