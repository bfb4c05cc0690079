//! The two kinds of server that a lab can have.

use serde::{Deserialize, Serialize};

/// What the databases and the pool of a lab are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flavor {
    /// PostgreSQL and pgpool-II.
    #[default]
    Postgres,
    /// The stand-in for KingbaseES V8R3: see `docs/stand-in.md`.
    Kingbase,
}

/// What one of them calls its things.
pub(crate) struct Names {
    /// The server's program.
    pub(crate) server: &'static str,
    /// The program that starts and stops it.
    pub(crate) ctl: &'static str,
    /// Its configuration, in the data directory.
    pub(crate) conf: &'static str,
    /// Who may log in, there, too.
    pub(crate) hba: &'static str,
    /// How they log in.
    pub(crate) login: &'static str,
    /// The pool's program, and its configuration.
    pub(crate) pool: &'static str,
    pub(crate) pool_conf: &'static str,
}

impl Flavor {
    /// What a host's database calls itself to the others: V8R3's installer counts from 1.
    pub fn application_name(self, number: u8) -> String {
        match self {
            Self::Postgres => format!("node{number}"),
            Self::Kingbase => format!("node{}", number - 100),
        }
    }

    pub(crate) fn names(self) -> &'static Names {
        match self {
            Self::Postgres => &Names {
                server: "postgres",
                ctl: "pg_ctl",
                conf: "postgresql.conf",
                hba: "pg_hba.conf",
                login: "scram-sha-256",
                pool: "pgpool",
                pool_conf: "pgpool.conf",
            },
            // 9.6 knows nothing better than md5.
            Self::Kingbase => &Names {
                server: "kingbase",
                ctl: "sys_ctl",
                conf: "kingbase.conf",
                hba: "sys_hba.conf",
                login: "md5",
                pool: "kingbasecluster",
                pool_conf: "kingbasecluster.conf",
            },
        }
    }
}
