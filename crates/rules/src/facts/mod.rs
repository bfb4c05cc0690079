//! What can be seen of a cluster, as plain data. That something did not answer is data, too.

pub mod cluster;
pub mod history;
pub mod host;
pub mod left;
pub mod lsn;
pub mod mac;
pub mod policy;
pub mod pool;
pub mod report;
pub mod run;
pub mod standby;
pub mod status;
pub mod view;
