//! `network_rewind`: what became of a host comes back by itself. On the real thing; needs root.

mod circle;
mod contract;
mod diverged;
mod rows;
mod scene;
mod three_hosts;
mod times;
