//! `cluster_ctl` on the real thing; needs root.

mod hardened;
mod harmless;
mod history;
mod pause;
mod scene;
mod show;
mod status;
mod what_if;
mod wrong;
