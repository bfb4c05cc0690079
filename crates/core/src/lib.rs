//! core

pub mod config;
