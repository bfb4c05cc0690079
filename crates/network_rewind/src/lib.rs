//! The command line of `network_rewind`, a library of its own: the manual is made from it, too.

pub mod cli;
