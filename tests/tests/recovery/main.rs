//! `network_rewind`: what became of a host comes back by itself. On the real thing; needs root.

mod broken;
mod circle;
mod contract;
mod copied;
mod diverged;
mod drill;
mod killed;
mod own_files;
mod rows;
mod scene;
mod three_hosts;
mod times;
