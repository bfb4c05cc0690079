//! The command line of `rw_check`, a library of its own: the manual is made from it, too.

pub mod cli;
