//! `cluster_ctl` on the real thing; needs root.

mod harmless;
mod pause;
mod scene;
mod show;
mod wrong;
