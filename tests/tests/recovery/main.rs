//! `network_rewind`: what became of a host comes back by itself. On the real thing; needs root.

mod bad_input;
mod circle;
mod contract;
mod disks;
mod diverged;
mod promotion;
mod scene;
mod started;
mod three_hosts;
mod times;
