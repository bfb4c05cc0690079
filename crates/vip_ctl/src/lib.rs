//! The command line of `vip_ctl`, a library of its own: the manual is made from it, too.

pub mod cli;
