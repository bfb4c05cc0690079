//! The command line of `attach_node`, a library of its own: the manual is made from it, too.

pub mod cli;
