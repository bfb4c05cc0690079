//! The command line of `failover_stream`, a library of its own: the manual is made from it, too.

pub mod args;
