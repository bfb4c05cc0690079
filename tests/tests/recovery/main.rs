//! `network_rewind`: what became of a host comes back by itself. On the real thing; needs root.

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
mod killed;
mod kingbase;
mod left;
mod login;
mod oddities;
mod own_files;
mod promotion;
mod rows;
mod scene;
mod settings;
mod started;
mod three_hosts;
mod unit;
mod whole;
