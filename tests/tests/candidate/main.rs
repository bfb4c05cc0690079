//! A failover that comes through, whatever the standby is like: what a candidate may be busy with, refuse,
//! or lack. On the real thing; needs root.

mod archive;
mod detach;
mod given_up;
mod late_fence;
mod no_alter;
mod no_session;
mod pools;
mod router;
mod scene;
mod sessions;
mod synchronous;
mod told;
