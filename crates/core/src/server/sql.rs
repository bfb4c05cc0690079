//! SQL sessions with one server, or with the pool to ask it about itself.
//!
//! Simple query protocol only. A server that is frozen (SIGSTOP, hung disk) accepts the
//! connection in the kernel and then says nothing, so no timeout of the protocol helps: each
//! session lives in a thread of its own, and a caller waits for it no longer than its deadline.

use super::tls::{Attempt, Unreached, Wanted, Way};
use super::wire::{DROPPED, Messages, Watched};
use crate::config::{Config, RequireAuth, Secret};
use crate::deadline::Deadline;
use crate::flavor::{Flavor, POSTGRES};
use crate::terminal::printable;
use crate::workers;
use futures_util::StreamExt as _;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// The server cancels any statement of ours after this long, whatever became of us.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings that our sessions bring along, so that none of the server's, of the database's or of
/// the role's decides whether a failover works. Only those that 9.6 has already and that any role
/// may set: a server ends a login that asks for another one. They come before what `ALTER SYSTEM`,
/// `ALTER DATABASE` and `ALTER ROLE` have set.
const SETTINGS: [(&str, &str); 11] = [
    // A standby refuses every statement of a serializable transaction.
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    // Waits until no other transaction can disturb it, however long that is.
    ("default_transaction_deferrable", "off"),
    // Our changes must not wait for the standby that has just died.
    ("synchronous_commit", "local"),
    ("lock_timeout", "0"),
    // Between two statements of ours minutes can pass.
    ("idle_in_transaction_session_timeout", "0"),
    // A role that becomes another one at its login has lost what it may do.
    ("role", "none"),
    ("row_security", "on"),
    ("client_min_messages", "error"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
];

/// And those that only some servers have, or only a superuser may set. Each is set where that is
/// possible, and nowhere is an error of it in the server's log. `lc_messages`: the log of a failover
/// is read by people who do not know the server's language, and its encoding may be another.
const SETTINGS_WHERE_POSSIBLE: &str = "SELECT set_config(name, value, false) FROM (VALUES ('lc_messages', 'C'), \
     ('idle_session_timeout', '0'), ('transaction_timeout', '0')) AS ours (name, value) \
     WHERE current_setting(name, true) <> value \
     AND (name <> 'lc_messages' OR current_setting('is_superuser') = 'on')";

/// Rows of an answer. The largest of ours has one for each setting of a server.
const MOST_ROWS: usize = 10_000;
/// Characters of a cell that a table shows.
const CELL_WIDTH: usize = 100;

/// Where a server listens, and as whom to log in.
#[derive(Clone, Debug)]
pub struct Target {
    host: IpAddr,
    port: u16,
    user: String,
    password: Secret,
    database: String,
    /// Settings for the server.
    options: Option<String>,
    require_auth: RequireAuth,
    way: Wanted,
}

/// Why a session or a statement failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("SQL on {server}: {failure}")]
pub struct SqlError {
    /// `address:port`.
    pub server: String,
    /// What happened; callers branch on it.
    pub failure: SqlFailure,
}

/// The kinds of failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlFailure {
    /// No connection.
    #[error("no connection: {0}")]
    Connection(String),
    /// A connection, and no TLS over it.
    #[error("no connection: {0} (KB_SSLMODE)")]
    NoTls(String),
    /// It took the connection and dropped it without a word.
    #[error("no connection: connection closed")]
    Dropped,
    /// The server does not let us in.
    #[error(
        "login refused: {0} (check KB_USER, KB_PASS and KB_DATANAME, and the server's hba file)"
    )]
    Login(String),
    /// It did not answer within so much time.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// It answered with an error.
    #[error("{message} (SQLSTATE {code})")]
    Server {
        /// SQLSTATE.
        code: String,
        /// Its message.
        message: String,
    },
    /// It answered with something that was not asked for.
    #[error("unexpected answer to \"{statement}\": {found}")]
    Unexpected {
        /// What was asked.
        statement: String,
        /// What came.
        found: String,
    },
}

/// One row: its values as text, `None` for NULL.
pub type Row = Vec<Option<String>>;

/// The answer to a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// A value for each column in each row.
    pub rows: Vec<Row>,
}

impl Table {
    /// The same with only those of `columns` that it has, in its own order.
    #[must_use]
    pub fn only(&self, columns: &[&str]) -> Self {
        let kept = |at: &usize| columns.contains(&self.columns[*at].as_str());
        let kept: Vec<usize> = (0..self.columns.len()).filter(kept).collect();
        let cells = |row: &Row| {
            kept.iter()
                .map(|at| row.get(*at).cloned().flatten())
                .collect()
        };
        Self {
            columns: kept.iter().map(|at| self.columns[*at].clone()).collect(),
            rows: self.rows.iter().map(cells).collect(),
        }
    }
}

impl fmt::Display for Table {
    /// As the server's client prints it (headings in the middle, text to the left), without blanks
    /// at the ends of lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever answers decides what is in it.
        let shown = |text: &str| printable(text).chars().take(CELL_WIDTH).collect::<String>();
        let cell = |row: &Row, at: usize| {
            let cell = row.get(at).and_then(Option::as_deref);
            shown(cell.unwrap_or_default())
        };
        let columns: Vec<(usize, String, usize)> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, name)| {
                let name = shown(name);
                let cells = self.rows.iter().map(|row| cell(row, at).chars().count());
                let width = cells.fold(name.chars().count(), usize::max);
                (at, name, width)
            })
            .collect();
        let line = |between: &str, show: &dyn Fn(usize, &str, usize) -> String| {
            let cells = columns
                .iter()
                .map(|(at, name, width)| show(*at, name, *width));
            let line = cells.collect::<Vec<_>>().join(between);
            line.trim_end().to_owned()
        };
        let headings = line("|", &|_, name, width| format!(" {name:^width$} "));
        let rule = line("+", &|_, _, width| "-".repeat(width + 2));
        writeln!(f, "{headings}\n{rule}")?;
        for row in &self.rows {
            let cells = line("|", &|at, _, width| format!(" {:width$} ", cell(row, at)));
            writeln!(f, "{cells}")?;
        }
        match self.rows.len() {
            1 => f.write_str("(1 row)"),
            rows => write!(f, "({rows} rows)"),
        }
    }
}

impl Target {
    /// The server of the host with address `host`.
    pub fn new(config: &Config, host: IpAddr) -> Self {
        Self {
            host,
            port: config.kb_port,
            user: config.kb_user.clone(),
            password: config.kb_pass.clone(),
            database: config.kb_dataname.clone(),
            // Without a flavor nothing else works either.
            options: Some(options(Flavor::of(config).unwrap_or(&POSTGRES))),
            require_auth: config.kb_require_auth.clone(),
            way: Wanted::new(config, host),
        }
    }

    /// The pool. It passes settings on to the databases, which have no part in what we ask.
    pub fn pool(config: &Config) -> Self {
        Self {
            port: config.kb_pool_port,
            options: None,
            ..Self::new(config, config.kb_pool_vip)
        }
    }

    /// The same login on another host.
    pub fn at(&self, host: IpAddr) -> Self {
        Self {
            host,
            way: self.way.clone().at(host),
            ..self.clone()
        }
    }

    /// The line of the log for a statement, as the scripts' SQL client was called; `gaps` are the
    /// blanks before `dbname` and before `-c`, of which the scripts had one to three.
    pub fn log_line(&self, client: &str, gaps: [&str; 2], statement: &str) -> String {
        let [before_database, before_command] = gaps;
        format!(
            "{client} \"port={} user={}{before_database}dbname={} connect_timeout=10\"\
             {before_command}-c \"{statement}\"",
            self.port, self.user, self.database
        )
    }

    /// `address:port`.
    pub fn server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn error(&self, failure: SqlFailure) -> SqlError {
        SqlError {
            server: self.server(),
            failure,
        }
    }

    /// Connects and logs in; `answer` counts the bytes of the server's answers. With what is said in the
    /// end of a connection that breaks off.
    async fn connect(&self, answer: &Arc<AtomicUsize>) -> Result<Connected, SqlFailure> {
        let mut before = None;
        for attempt in self.way.attempts() {
            match self.connect_by(*attempt, answer).await {
                Err(failure) if may_go_better(&failure) => {
                    before = Some(both(before, failure));
                }
                result => return result,
            }
        }
        Err(before.unwrap_or(SqlFailure::Dropped))
    }

    async fn connect_by(
        &self,
        attempt: Attempt,
        answer: &Arc<AtomicUsize>,
    ) -> Result<Connected, SqlFailure> {
        let connection = |error: io::Error| match DROPPED.contains(&error.kind()) {
            true => SqlFailure::Dropped,
            false => SqlFailure::Connection(error.to_string()),
        };
        let stream = TcpStream::connect((self.host, self.port)).await;
        let stream = stream.map_err(connection)?;
        let _ = stream.set_nodelay(true);
        let way: Way = self
            .way
            .go(attempt, stream)
            .await
            .map_err(|why| match why {
                Unreached::Io(error) => connection(error),
                Unreached::NoTls(why) => SqlFailure::NoTls(why),
            })?;
        let messages = Messages::new(self.require_auth.clone(), Arc::clone(answer));
        let mut login = tokio_postgres::Config::new();
        if let Some(options) = &self.options {
            login.options(options);
        }
        let login = login
            .user(&self.user)
            .password(self.password.expose())
            .dbname(&self.database)
            .application_name("failover-tools");
        let connected = login.connect_raw(Watched::new(way, messages), NoTls);
        let (client, connection) = connected.await.map_err(|error| failure(&error))?;
        // It ends with the client.
        let connection = tokio::spawn(connection);
        if self.options.is_some() {
            // A server that does not take it goes on as it is set up.
            let _ = client.simple_query(SETTINGS_WHERE_POSSIBLE).await;
        }
        Ok((client, connection))
    }

    /// A session, from its login on, for as long as somebody asks.
    async fn serve(
        &self,
        given: Duration,
        opened: Sender<Result<(), SqlFailure>>,
        questions: Receiver<Question>,
    ) {
        let answer = Arc::default();
        let login = timeout(given, self.connect(&answer)).await;
        let (client, connection) = match login.unwrap_or(Err(SqlFailure::Silent(given))) {
            Ok((client, connection)) => (client, connection),
            Err(failure) => return drop(opened.send(Err(failure))),
        };
        let _ = opened.send(Ok(()));
        // A caller that stopped waiting dropped its end: nobody to tell.
        while let Ok((statement, answer_to)) = questions.recv() {
            answer.store(0, Ordering::Relaxed);
            let result = query(&client, &statement).await;
            if result != Err(SqlFailure::Dropped) {
                let _ = answer_to.send(result);
                continue;
            }
            // Who waits for an answer hears that there is no connection any more; why, only it knows.
            drop(client);
            let failure = match connection.await {
                Ok(Err(error)) => failure(&error),
                _ => SqlFailure::Dropped,
            };
            return drop(answer_to.send(Err(failure)));
        }
    }
}

/// A session's client, and how its connection ends.
type Connected = (Client, JoinHandle<Result<(), tokio_postgres::Error>>);

/// Whether another attempt may go better: there was no TLS with it, or the server lets nobody in this way.
fn may_go_better(failure: &SqlFailure) -> bool {
    matches!(failure, SqlFailure::NoTls(_) | SqlFailure::Login(_))
}

/// What is said of two attempts that both failed: a server may let one in with TLS only, and another without.
fn both(before: Option<SqlFailure>, now: SqlFailure) -> SqlFailure {
    match (before, now) {
        (Some(SqlFailure::Login(first)), SqlFailure::Login(now)) if first != now => {
            SqlFailure::Login(format!("{first}; {now}"))
        }
        (_, now) => now,
    }
}

/// [`SETTINGS`] and the like for the first message to a server.
fn options(names: &Flavor) -> String {
    let timeout = STATEMENT_TIMEOUT.as_millis().to_string();
    let more = [
        ("statement_timeout", timeout.as_str()),
        // No function of a user's in the place of the server's.
        ("search_path", names.search_path),
    ];
    let all = SETTINGS.into_iter().chain(more);
    let all = all.map(|(name, value)| format!("-c {name}={}", value.replace(' ', r"\ ")));
    all.collect::<Vec<_>>().join(" ")
}

/// One statement, and where its answer goes.
type Question = (String, Sender<Result<Table, SqlFailure>>);

/// An open session. Closed when dropped.
#[derive(Debug)]
pub struct Session {
    target: Target,
    questions: Sender<Question>,
}

impl Session {
    /// Connects and logs in. Its transactions do not wait for a standby.
    pub fn open(target: &Target, deadline: Deadline) -> Result<Self, SqlError> {
        let given = deadline.remaining().max(Duration::from_millis(1));
        let (questions, inbox) = channel::<Question>();
        let (opened_to, opened) = channel();
        let seat = target.clone();
        workers::start(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(seat.serve(given, opened_to, inbox)),
                Err(error) => {
                    let _ = opened_to.send(Err(SqlFailure::Connection(error.to_string())));
                }
            }
        });
        wait(&opened, deadline, given).map_err(|failure| target.error(failure))?;
        Ok(Self {
            target: target.clone(),
            questions,
        })
    }

    /// The rows of one statement.
    pub fn query(&self, statement: &str, deadline: Deadline) -> Result<Vec<Row>, SqlError> {
        self.table(statement, deadline).map(|table| table.rows)
    }

    /// The rows of one statement, and the names of their columns.
    pub fn table(&self, statement: &str, deadline: Deadline) -> Result<Table, SqlError> {
        let given = deadline.remaining();
        let (answer_to, answer) = channel();
        let _ = self.questions.send((statement.to_owned(), answer_to));
        wait(&answer, deadline, given).map_err(|failure| self.target.error(failure))
    }

    /// The row of a statement that has exactly one, of `N` columns.
    pub fn row<const N: usize>(
        &self,
        statement: &str,
        deadline: Deadline,
    ) -> Result<[Option<String>; N], SqlError> {
        let mut rows = self.query(statement, deadline)?;
        match (rows.pop(), rows.is_empty()) {
            (Some(row), true) => row
                .try_into()
                .map_err(|row: Row| self.unexpected(statement, format!("{} columns", row.len()))),
            (row, _) => Err(self.unexpected(
                statement,
                format!("{} rows", rows.len() + usize::from(row.is_some())),
            )),
        }
    }

    /// The one value of a statement that has one.
    pub fn value(&self, statement: &str, deadline: Deadline) -> Result<Option<String>, SqlError> {
        self.row::<1>(statement, deadline).map(|[value]| value)
    }

    /// The one value of a statement that gives true or false.
    pub fn truth(&self, statement: &str, deadline: Deadline) -> Result<bool, SqlError> {
        let value = self.value(statement, deadline)?;
        self.as_truth(statement, value)
    }

    /// `value`, from the answer to `statement`, as true or false.
    pub fn as_truth(&self, statement: &str, value: Option<String>) -> Result<bool, SqlError> {
        let truth = value.as_deref().and_then(truth);
        truth.ok_or_else(|| self.unexpected(statement, format!("{value:?}")))
    }

    fn unexpected(&self, statement: &str, found: String) -> SqlError {
        self.target.error(SqlFailure::Unexpected {
            statement: statement.to_owned(),
            found,
        })
    }
}

/// A boolean as text: PostgreSQL has one letter for it, and later releases of the fork are seen with
/// the word.
fn truth(text: &str) -> Option<bool> {
    match text {
        "t" | "true" => Some(true),
        "f" | "false" => Some(false),
        _ => None,
    }
}

/// Quotes a string for a statement (`standard_conforming_strings` or not).
pub fn quote(text: &str) -> String {
    if text.contains('\\') {
        format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

fn wait<T>(
    answer: &Receiver<Result<T, SqlFailure>>,
    deadline: Deadline,
    given: Duration,
) -> Result<T, SqlFailure> {
    match answer.recv_timeout(deadline.remaining()) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(SqlFailure::Silent(given)),
        Err(RecvTimeoutError::Disconnected) => {
            Err(SqlFailure::Connection("the session broke off".to_owned()))
        }
    }
}

async fn query(client: &Client, statement: &str) -> Result<Table, SqlFailure> {
    let unexpected = |found: String| SqlFailure::Unexpected {
        statement: statement.to_owned(),
        found,
    };
    let answer = client.simple_query_raw(statement).await;
    let mut messages = pin!(answer.map_err(|error| failure(&error))?);
    let mut table = Table::default();
    while let Some(message) = messages.next().await {
        match message.map_err(|error| failure(&error))? {
            SimpleQueryMessage::RowDescription(columns) => {
                table.columns = columns.iter().map(|it| it.name().to_owned()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                let cell = |at| Ok(row.try_get(at)?.map(str::to_owned));
                let cells: Result<Row, tokio_postgres::Error> = (0..row.len()).map(cell).collect();
                table
                    .rows
                    .push(cells.map_err(|_| unexpected("a value that is no text".to_owned()))?);
            }
            _ => {}
        }
        if table.rows.len() > MOST_ROWS {
            return Err(unexpected(format!("more than {MOST_ROWS} rows")));
        }
    }
    Ok(table)
}

fn failure(error: &tokio_postgres::Error) -> SqlFailure {
    if let Some(db) = error.as_db_error() {
        let message = db.message().to_owned();
        let code = db.code();
        let login = [
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            SqlState::INVALID_CATALOG_NAME,
        ];
        // The pool has no code of its own for it, and puts the method before it ("md5").
        if login.contains(code) || message.ends_with("authentication failed") {
            return SqlFailure::Login(message);
        }
        return SqlFailure::Server {
            code: code.code().to_owned(),
            message,
        };
    }
    // "error connecting to server" alone says nothing: its cause does.
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>()
            && DROPPED.contains(&io.kind())
        {
            return SqlFailure::Dropped;
        }
        text = inner.to_string();
        cause = inner.source();
    }
    match error.is_closed() {
        true => SqlFailure::Dropped,
        false => SqlFailure::Connection(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SslMode;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn quotes_end_nothing() {
        assert_eq!(quote("slot_node101"), "'slot_node101'");
        assert_eq!(quote("a'b"), "'a''b'");
        assert_eq!(quote(r"a\'b"), r" E'a\\''b'");
    }

    #[test]
    fn a_boolean_is_a_letter_or_a_word() {
        for (text, expected) in [
            ("t", Some(true)),
            ("true", Some(true)),
            ("f", Some(false)),
            ("false", Some(false)),
            ("", None),
            ("1", None),
        ] {
            assert_eq!(truth(text), expected, "{text}");
        }
    }

    #[test]
    fn a_table_looks_as_the_client_prints_it() {
        let row = |cells: [&str; 3]| cells.map(|cell| Some(cell.to_owned())).to_vec();
        let mut table = Table {
            columns: ["id", "hostname", "state"].map(str::to_owned).to_vec(),
            rows: vec![row(["0", "192.168.1.101", "up"]), row(["1", "db2", ""])],
        };
        assert_eq!(
            table.to_string(),
            " id |   hostname    | state\n\
             ----+---------------+-------\n \
             0  | 192.168.1.101 | up\n \
             1  | db2           |\n\
             (2 rows)"
        );
        table.rows.truncate(1);
        assert!(table.to_string().ends_with("(1 row)"));
    }

    #[test]
    fn the_settings_are_options_of_a_login() {
        let all = options(&POSTGRES);
        assert!(all.starts_with(r"-c default_transaction_isolation=read\ committed -c "));
        assert!(all.ends_with(" -c statement_timeout=10000 -c search_path=pg_catalog"));
        // A blank that is not escaped ends an option.
        let plain = all.replace(r"\ ", "");
        for option in plain.split("-c ").skip(1) {
            assert_eq!(option.trim_end().matches(' ').count(), 0, "{option}");
            assert_eq!(option.matches('=').count(), 1, "{option}");
        }
    }

    fn target(listener: &TcpListener) -> Target {
        Target {
            host: "127.0.0.1".parse().unwrap(),
            port: listener.local_addr().unwrap().port(),
            user: "u".into(),
            password: Secret::decode("").unwrap(),
            database: "d".into(),
            options: None,
            require_auth: "!password".parse().unwrap(),
            way: Wanted::mode(SslMode::Disable, "127.0.0.1".parse().unwrap()),
        }
    }

    #[test]
    fn a_server_that_takes_a_connection_and_closes_it_has_dropped_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = target(&listener);
        // With the client's first words unread, and read.
        for read in [0, 8] {
            let server = listener.try_clone().unwrap();
            let closer = std::thread::spawn(move || {
                let (mut client, _) = server.accept().unwrap();
                client.read_exact(&mut vec![0; read]).unwrap();
            });
            let deadline = Deadline::after(Duration::from_secs(5));
            let error = Session::open(&target, deadline).unwrap_err();
            assert_eq!(error.failure, SqlFailure::Dropped);
            closer.join().unwrap();
        }
    }

    #[test]
    fn a_server_that_only_accepts_is_silent() {
        let frozen = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = target(&frozen);
        let deadline = Deadline::after(Duration::from_millis(100));
        let error = Session::open(&target, deadline).unwrap_err();
        assert!(matches!(error.failure, SqlFailure::Silent(_)), "{error}");
        drop(frozen);
        let deadline = Deadline::after(Duration::from_secs(5));
        let error = Session::open(&target, deadline).unwrap_err();
        assert!(
            matches!(error.failure, SqlFailure::Connection(_)),
            "{error}"
        );
        assert!(error.to_string().contains("refused"), "{error}");
    }

    /// A server that lets everybody in, and then answers with `answer`, again and again until nobody listens.
    fn server(login: Vec<u8>, answer: Vec<u8>) -> (Target, std::thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target {
            password: Secret::decode("c2VjcmV0NzY1").unwrap(),
            ..target(&listener)
        };
        let serves = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut heard = vec![0; 4096];
            let length = client.read(&mut heard).unwrap();
            heard.truncate(length);
            client.write_all(&login).unwrap();
            let mut question = vec![0; 4096];
            let length = client.read(&mut question).unwrap_or(0);
            heard.extend(&question[..length]);
            if length > 0 && question[0] == b'Q' {
                while client.write_all(&answer).is_ok() {}
            }
            heard
        });
        (target, serves)
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    fn welcome() -> Vec<u8> {
        [message(b'R', &[0; 4]), message(b'Z', b"I")].concat()
    }

    #[test]
    fn nobody_gets_the_password_in_clear_by_asking_for_it() {
        let (target, serves) = server(message(b'R', &[0, 0, 0, 3]), Vec::new());
        let deadline = Deadline::after(Duration::from_secs(5));
        let error = Session::open(&target, deadline).unwrap_err().to_string();
        assert!(
            error.contains("it asks for the password in clear"),
            "{error}"
        );
        let heard = serves.join().unwrap();
        let heard = String::from_utf8_lossy(&heard);
        assert!(
            heard.contains("failover-tools") && !heard.contains("secret765"),
            "{heard}"
        );
        // Where a person has allowed it, it is given.
        let (target, serves) = server(message(b'R', &[0, 0, 0, 3]), Vec::new());
        let target = Target {
            require_auth: "password".parse().unwrap(),
            ..target
        };
        assert!(Session::open(&target, Deadline::after(Duration::from_millis(500))).is_err());
        assert!(String::from_utf8_lossy(&serves.join().unwrap()).contains("secret765"));
    }

    /// Each ends at once and in one line, however much comes.
    #[test]
    fn odd_answers_are_errors_and_end() {
        let columns = [&b"\0\x01"[..], b"name\0", &[0; 18]].concat();
        let columns = message(b'T', &columns);
        let row = |cell: &[u8]| {
            let length = u32::try_from(cell.len()).unwrap().to_be_bytes();
            [
                &columns[..],
                &message(b'D', &[&b"\0\x01"[..], &length, cell].concat()),
            ]
            .concat()
        };
        let end = [message(b'C', b"SHOW\0"), message(b'Z', b"I")].concat();
        let notice = message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mx\0\0");
        for (answer, why) in [
            (row(b"small"), "rows"),
            (row(&vec![b'x'; 100_000]), "an answer of more than 4 MB"),
            (
                [row(b"\xff\xfe"), end.clone()].concat(),
                "a value that is no text",
            ),
            (message(b'D', b"\0\x01\0\0\0\x01x"), ""),
            (
                b"D\x7f\xff\xff\xff".to_vec(),
                "a message of 2147483647 bytes",
            ),
            (notice, "an answer of more than 4 MB"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "a message of"),
        ] {
            let (target, serves) = server(welcome(), answer);
            let deadline = Deadline::after(Duration::from_secs(20));
            let session = Session::open(&target, deadline).unwrap();
            let error = session.table("show pool_nodes", deadline).unwrap_err();
            assert!(!matches!(error.failure, SqlFailure::Silent(_)), "{error}");
            assert!(error.to_string().contains(why), "{why}: {error}");
            drop(session);
            serves.join().unwrap();
        }
        // A cell wider than what can be formatted, within the limits: it is cut.
        let (target, serves) = server(welcome(), [row(&vec![b'x'; 70_000]), end].concat());
        let deadline = Deadline::after(Duration::from_secs(20));
        let session = Session::open(&target, deadline).unwrap();
        let table = session.table("show pool_nodes", deadline).unwrap();
        assert!(table.to_string().len() < 1000);
        drop(session);
        serves.join().unwrap();
    }

    #[test]
    fn a_cell_begins_no_line_of_the_log() {
        let table = Table {
            columns: vec!["a\nb".to_owned()],
            rows: vec![vec![Some(
                "x\n2026-08-30 15:39:32 promoted\u{1b}[2J".to_owned(),
            )]],
        };
        let text = table.to_string();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
