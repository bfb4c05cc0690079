//! SQL with a time limit on every call. Simple protocol only, like the tools and the pool.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::layout::{DATABASE, DATABASE_PORT, SQL_PASSWORD, SQL_USER};

/// What a query returned: names of the columns, and rows of text (NULL is the empty text).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Column names.
    pub columns: Vec<String>,
    /// One text per column in each row.
    pub rows: Vec<Vec<String>>,
}

impl fmt::Display for Table {
    /// As `psql -At` prints it: columns separated by `|`, one row a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, row) in self.rows.iter().enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{}", row.join("|"))?;
        }
        Ok(())
    }
}

/// Who logs in to the databases of a lab, and to the pool before them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Login {
    /// Port of every database.
    pub(crate) port: u16,
    user: &'static str,
    password: &'static str,
    database: &'static str,
}

impl Login {
    /// The databases that the lab makes itself.
    pub(crate) const OWN: Self = Self {
        port: DATABASE_PORT,
        user: SQL_USER,
        password: SQL_PASSWORD,
        database: DATABASE,
    };
    /// Those of Debian's packages, as docs/install.md sets them up.
    pub(crate) const DEBIAN: Self = Self {
        port: 5432,
        user: "postgres",
        password: "Secret-1",
        database: "postgres",
    };
}

/// One connection. Dropping it closes the socket, whatever the server is doing.
pub(crate) struct Session {
    client: Client,
    runtime: Runtime,
}

impl Session {
    /// Connects to a database from the network of the calling thread.
    pub(crate) fn connect(login: &Login, host: Ipv4Addr, limit: Duration) -> Result<Self> {
        Self::connect_to(login, host, login.port, limit)
    }

    /// The same, on the port of a pool.
    pub(crate) fn connect_to(
        login: &Login,
        host: Ipv4Addr,
        port: u16,
        limit: Duration,
    ) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut config = Config::new();
        config
            .host(host.to_string())
            .port(port)
            .user(login.user)
            .password(login.password)
            .dbname(login.database)
            .application_name("lab");
        if port == login.port {
            // The stand-in for V8R3 hides PostgreSQL's own names from everybody else. And a lab looks
            // whatever the test has set for others.
            config.options(
                "-c search_path=public -c default_transaction_isolation=read\\ committed \
                  -c default_transaction_read_only=off -c default_transaction_deferrable=off \
                  -c role=none -c statement_timeout=0 -c lock_timeout=0 -c client_min_messages=error",
            );
        }
        let client = runtime
            .block_on(async {
                let connecting = timeout(limit, config.connect(NoTls)).await;
                let (client, connection) =
                    connecting.map_err(|_| anyhow!("no answer within {limit:?}"))??;
                tokio::spawn(connection);
                anyhow::Ok(client)
            })
            .with_context(|| format!("connect to {host}:{port}"))?;
        Ok(Self { client, runtime })
    }

    /// Runs one or more statements; the result is that of the last one with rows.
    /// After an `Err` because of the time limit the session is of no more use.
    pub(crate) fn query(&mut self, sql: &str, limit: Duration) -> Result<Table> {
        let messages = self
            .runtime
            .block_on(async { timeout(limit, self.client.simple_query(sql)).await })
            .map_err(|_| anyhow!("{sql:?}: no answer within {limit:?}"))?
            .with_context(|| format!("{sql:?}"))?;
        let mut table = Table::default();
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    table.columns = columns.iter().map(|c| c.name().to_owned()).collect();
                    table.rows.clear();
                }
                SimpleQueryMessage::Row(row) => table.rows.push(
                    (0..row.len())
                        .map(|column| row.get(column).unwrap_or_default().to_owned())
                        .collect(),
                ),
                _ => {}
            }
        }
        Ok(table)
    }
}
