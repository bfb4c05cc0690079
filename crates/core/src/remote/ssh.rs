//! Other hosts, over ssh.
//!
//! Everything is polled against our own deadline: libssh2's timeout is per call, and a frozen
//! host answers the TCP stack and nothing else.

use crate::config::{Config, SshHostKeys};
use crate::deadline::Deadline;
use crate::known_hosts::{self, KnownKeys, Verdict};
use crate::process::{Cmd, Output, RunError, Stream};
use crate::users::SystemUser;
use crate::workers;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ssh2::{BlockDirections, Channel, ErrorCode, MethodType, Session};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// libssh2's "would block".
const EAGAIN: ErrorCode = ErrorCode::Session(-37);
/// For a command that has said all that was wanted to end.
const LINGER: Duration = Duration::from_millis(100);
/// How long to wait for a socket before the deadline is looked at again.
const TICK: Duration = Duration::from_millis(100);

const REFUSED: &str = "connection refused: is sshd running?";
const NO_KEY: &str = "no key in ~/.ssh, and SSH_KEY_FILE is not set";

/// Where to log in, as whom, and what to trust.
#[derive(Clone, Debug)]
pub struct Login {
    address: IpAddr,
    port: u16,
    user: String,
    keys: Vec<PathBuf>,
    known_hosts: PathBuf,
    host_keys: SshHostKeys,
    connect_timeout: Duration,
    /// Write down the key of a host that is new.
    remembers: bool,
    /// As whom else, where this user is refused.
    instead: Option<Box<Self>>,
}

impl Login {
    /// `user` on the host with `address`, with the keys and known hosts of the user that we are.
    pub fn new(config: &Config, address: IpAddr, user: &str, us: &SystemUser) -> Self {
        let dot_ssh = us.home.join(".ssh");
        let keys = match &config.ssh_key_file {
            Some(file) => vec![file.clone()],
            None => ["id_ed25519", "id_ecdsa", "id_rsa"]
                .map(|name| dot_ssh.join(name))
                .into_iter()
                .filter(|key| key.exists())
                .collect(),
        };
        Self {
            address,
            port: config.ssh_port,
            user: user.to_owned(),
            keys,
            known_hosts: dot_ssh.join("known_hosts"),
            host_keys: config.ssh_host_keys,
            connect_timeout: config.connecttimeout,
            remembers: true,
            instead: None,
        }
    }

    /// The same, and where its user is refused that of `other`, with that one's keys. What is known of hosts
    /// stays in one place.
    #[must_use]
    pub fn or_as(self, other: Self) -> Self {
        let other = Self {
            known_hosts: self.known_hosts.clone(),
            ..other
        };
        Self {
            instead: Some(Box::new(other)),
            ..self
        }
    }

    /// The same, and the key of a host that is new is not written down: nothing is changed by it.
    #[must_use]
    pub fn forgetting(self) -> Self {
        Self {
            remembers: false,
            instead: self.instead.map(|other| Box::new(other.forgetting())),
            ..self
        }
    }

    /// Why a login is sure to fail, as far as that is known without one: nobody listens, or there is
    /// no key.
    pub fn is_hopeless(&self, deadline: Deadline) -> Option<RunError> {
        if self.has_no_key() {
            return Some(self.failed(NO_KEY));
        }
        let address = SocketAddr::new(self.address, self.port);
        match TcpStream::connect_timeout(&address, deadline.remaining()) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Some(self.failed(REFUSED)),
            _ => None,
        }
    }

    fn has_no_key(&self) -> bool {
        self.keys.is_empty() && std::env::var_os("SSH_AUTH_SOCK").is_none()
    }

    fn failed(&self, why: impl Into<String>) -> RunError {
        RunError::Unreachable {
            host: format!("{}@{}:{}", self.user, self.address, self.port),
            why: why.into(),
        }
    }
}

/// How long after a deadline a call of the library is given up that has not looked at it.
const SLACK: Duration = Duration::from_millis(200);

/// Closes `socket` after `deadline`, unless what is returned is gone by then. The library stays in one call
/// for as long as the other side goes on sending, and looks at no deadline there.
fn watch(socket: &TcpStream, deadline: Deadline) -> io::Result<Sender<()>> {
    let socket = socket.try_clone()?;
    let (working, ended) = channel();
    workers::start(move || {
        let limit = deadline.remaining() + SLACK;
        if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    });
    Ok(working)
}

/// A login on another host.
pub struct Ssh {
    session: Session,
    socket: TcpStream,
    login: Login,
}

/// `LIBSSH2_ERROR_KEX_FAILURE`.
const KEX_FAILURE: i32 = -5;

/// Whether the private key in `file` is encrypted.
fn has_passphrase(file: &Path) -> bool {
    is_encrypted(&std::fs::read_to_string(file).unwrap_or_default())
}

/// The older forms say it in a header, OpenSSH's own in the name of its cipher.
fn is_encrypted(key: &str) -> bool {
    if key.contains("ENCRYPTED") {
        return true;
    }
    let body: String = key
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let Ok(bytes) = BASE64.decode(body.trim()) else {
        return false;
    };
    // After the magic the length of the name, four bytes, then the name.
    let cipher = bytes.strip_prefix(b"openssh-key-v1\0");
    cipher.is_some_and(|rest| !rest.starts_with(b"\0\0\0\x04none"))
}

impl Ssh {
    /// Connects, checks the host's key, logs in. Every failure is [`RunError::Unreachable`].
    pub fn connect(login: &Login, deadline: Deadline) -> Result<Self, RunError> {
        let Some(instead) = &login.instead else {
            return Self::log_in(login, deadline).map_err(|(error, _)| error);
        };
        let refused = match login.has_no_key() {
            true => login.failed(NO_KEY),
            false => match Self::log_in(login, deadline) {
                Err((error, true)) => error,
                other => return other.map_err(|(error, _)| error),
            },
        };
        // No sshd lets another user come over the same connection.
        Self::log_in(instead, deadline).map_err(|(error, _)| match refused {
            RunError::Unreachable { host, why } => RunError::Unreachable {
                host,
                why: format!("{why}; {error}"),
            },
            other => other,
        })
    }

    /// Why the host, which was reached and is who it should be, lets that user not in. `None`: it does, or that
    /// was not seen in time.
    pub fn refused(login: &Login, deadline: Deadline) -> Option<RunError> {
        match Self::log_in(login, deadline) {
            Err((error, true)) => Some(error),
            _ => None,
        }
    }

    /// As one user. A failure, and whether the host was reached and is who it should be, and refused that user.
    fn log_in(login: &Login, deadline: Deadline) -> Result<Self, (RunError, bool)> {
        let ssh = Self::open(login, deadline).map_err(|error| (error, false))?;
        match ssh.authenticate(deadline) {
            Ok(()) => Ok(ssh),
            Err(error) => Err((error, !deadline.passed())),
        }
    }

    /// Connects, and checks the host's key.
    fn open(login: &Login, deadline: Deadline) -> Result<Self, RunError> {
        let deadline = deadline.at_most(login.connect_timeout);
        let given = deadline.remaining();
        let address = SocketAddr::new(login.address, login.port);
        if given.is_zero() {
            return Err(login.failed("no time left to connect"));
        }
        let socket = TcpStream::connect_timeout(&address, given).map_err(|e| {
            login.failed(match e.kind() {
                io::ErrorKind::TimedOut => {
                    format!("no connection within {} ms", given.as_millis())
                }
                io::ErrorKind::ConnectionRefused => REFUSED.into(),
                _ => e.to_string(),
            })
        })?;
        let _working = watch(&socket, deadline).map_err(|e| login.failed(e.to_string()))?;
        let known = Self::known_keys(login)?;
        let prepared = || -> Result<(Session, TcpStream), String> {
            let _ = socket.set_nodelay(true);
            socket.set_nonblocking(true).map_err(|e| e.to_string())?;
            let own = socket.try_clone().map_err(|e| e.to_string())?;
            let mut session = Session::new().map_err(|e| e.message().to_owned())?;
            session.set_tcp_stream(socket);
            session.set_blocking(false);
            session
                .method_pref(MethodType::HostKey, &known.preference())
                .map_err(|e| e.message().to_owned())?;
            Ok((session, own))
        };
        let (session, socket) = prepared().map_err(|why| login.failed(why))?;
        let mut ssh = Self {
            session,
            socket,
            login: login.clone(),
        };
        ssh.handshake(deadline)?;
        ssh.check_host_key(&known)?;
        Ok(ssh)
    }

    fn known_keys(login: &Login) -> Result<KnownKeys, RunError> {
        if login.host_keys == SshHostKeys::Off {
            return Ok(KnownKeys::default());
        }
        let files = [
            login.known_hosts.as_path(),
            Path::new("/etc/ssh/ssh_known_hosts"),
        ];
        KnownKeys::read(&files, login.address, login.port).map_err(|e| {
            login.failed(format!(
                "known hosts in {} cannot be read: {e}",
                login.known_hosts.display()
            ))
        })
    }

    fn handshake(&mut self, deadline: Deadline) -> Result<(), RunError> {
        loop {
            match self.session.handshake() {
                Ok(()) => return Ok(()),
                Err(e) if e.code() == EAGAIN || deadline.passed() => {
                    self.wait(deadline, "ssh handshake")?;
                }
                Err(e) if e.code() == ErrorCode::Session(KEX_FAILURE) => {
                    return Err(self.login.failed(self.nothing_in_common()));
                }
                Err(e) => return Err(self.login.failed(format!("handshake: {}", e.message()))),
            }
        }
    }

    /// The host takes only what the library that we speak ssh with does not know.
    fn nothing_in_common(&self) -> String {
        let known = |kind| {
            self.session
                .supported_algs(kind)
                .unwrap_or_default()
                .join(",")
        };
        format!(
            "no key exchange, host key or cipher in common: its sshd must allow one of KexAlgorithms {}, of \
             HostKeyAlgorithms {} and of Ciphers {} (sshd_config there)",
            known(MethodType::Kex),
            known(MethodType::HostKey),
            known(MethodType::CryptCs)
        )
    }

    fn check_host_key(&self, known: &KnownKeys) -> Result<(), RunError> {
        let Some((key, _)) = self.session.host_key() else {
            return Err(self.login.failed("the host showed no key"));
        };
        let file = self.login.known_hosts.display();
        match (self.login.host_keys, known.verdict(key)) {
            (SshHostKeys::Off, _) | (_, Verdict::Known) => Ok(()),
            (_, Verdict::Changed) => Err(self.login.failed(format!(
                "its host key is not the one in {file}: if the host was set up anew, remove its \
                 old key there (ssh-keygen -R {}), else somebody answers in its place",
                self.login.address
            ))),
            (SshHostKeys::Strict, Verdict::Unknown) => Err(self.login.failed(format!(
                "its host key is not in {file}, and SSH_HOST_KEYS is strict: log in once by hand"
            ))),
            (SshHostKeys::AcceptNew, Verdict::Unknown) => {
                // Not remembered (a read-only home) is no reason not to go on: the next run
                // meets it as new again.
                if self.login.remembers {
                    let _ = known_hosts::add(
                        &self.login.known_hosts,
                        self.login.address,
                        self.login.port,
                        key,
                    );
                }
                Ok(())
            }
        }
    }

    fn authenticate(&self, deadline: Deadline) -> Result<(), RunError> {
        let user = self.login.user.as_str();
        let mut tried = Vec::new();
        for key in &self.login.keys {
            let attempt = self.retry(deadline, "ssh login", || {
                self.session.userauth_pubkey_file(user, None, key, None)
            })?;
            match attempt {
                Ok(()) => return Ok(()),
                Err(_) if has_passphrase(key) => tried.push(format!(
                    "{}: the key has a passphrase, and nobody is there to type it: make one without \
                     (ssh-keygen -p), or name another in SSH_KEY_FILE",
                    key.display()
                )),
                Err(why) => tried.push(format!("{}: {why}", key.display())),
            }
        }
        if std::env::var_os("SSH_AUTH_SOCK").is_some() {
            let attempt =
                self.retry(deadline, "ssh login", || self.session.userauth_agent(user))?;
            match attempt {
                Ok(()) => return Ok(()),
                Err(why) => tried.push(format!("agent: {why}")),
            }
        }
        if tried.is_empty() {
            tried.push(NO_KEY.to_owned());
        }
        Err(self
            .login
            .failed(format!("login refused ({})", tried.join("; "))))
    }

    /// Runs `cmd` there and waits for it. Any exit code is `Ok`.
    pub fn run(&self, cmd: &Cmd, deadline: Deadline) -> Result<Output, RunError> {
        self.run_lines(cmd, deadline, |_, _| ControlFlow::Continue(()))
    }

    /// Like [`Ssh::run`]; its lines are handed over as they come. On `Break` all that was wanted is
    /// there, and the command gets only a moment to end: a disk that hangs may keep it from that.
    /// It is not killed when the time is up: what we run there has a deadline of its own.
    pub fn run_lines(
        &self,
        cmd: &Cmd,
        deadline: Deadline,
        mut on_line: impl FnMut(Stream, &str) -> ControlFlow<()>,
    ) -> Result<Output, RunError> {
        let given = deadline.remaining();
        let failed = |why: String| self.login.failed(why);
        let _working = watch(&self.socket, deadline).map_err(|e| failed(e.to_string()))?;
        let late = |error: RunError| match error {
            RunError::TimedOut { .. } => RunError::TimedOut {
                command: format!("{cmd} on {}", self.login.address),
                given,
            },
            other => other,
        };
        let open = || self.session.channel_session();
        let mut channel = self
            .retry(deadline, "", open)
            .map_err(late)?
            .map_err(failed)?;
        self.retry(deadline, "", || channel.exec(&cmd.shell_line()))
            .map_err(late)?
            .map_err(failed)?;
        let mut rest = cmd.input();
        while !rest.is_empty() {
            match channel.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(deadline, "").map_err(late)?;
                }
                Err(e) => return Err(failed(e.to_string())),
            }
        }
        self.retry(deadline, "", || channel.send_eof())
            .map_err(late)?
            .map_err(failed)?;

        let mut out = Lines::default();
        let mut err = Lines::default();
        let satisfied = Cell::new(false);
        let mut on_line = |stream, line: &str| {
            if on_line(stream, line).is_break() {
                satisfied.set(true);
            }
        };
        let mut deadline = deadline;
        loop {
            // Asked before reading: what comes after the answer is read in the next round.
            let ended = channel.eof();
            let read = out
                .drain(&mut channel.stream(0), Stream::Stdout, &mut on_line)
                .and_then(|a| {
                    let b = err.drain(&mut channel.stderr(), Stream::Stderr, &mut on_line)?;
                    Ok(a || b)
                });
            if satisfied.take() {
                deadline = deadline.at_most(LINGER);
            }
            match read {
                // Reading one stream may have queued something on the other.
                Ok(true) if !deadline.passed() => {}
                Ok(_) if ended => break,
                Ok(_) if channel.eof() => {}
                Ok(_) => self.wait(deadline, "").map_err(late)?,
                Err(e) => return Err(failed(e.to_string())),
            }
        }
        // Its last line may have no end.
        out.last_line(Stream::Stdout, &mut on_line);
        err.last_line(Stream::Stderr, &mut on_line);
        if satisfied.take() {
            deadline = deadline.at_most(LINGER);
        }
        let code = self.exit_code(&mut channel, deadline).map_err(late)?;
        Ok(Output {
            code,
            stdout: out.finish(),
            stderr: err.finish(),
        })
    }

    /// The exit code comes with the close, after the end of the output.
    fn exit_code(&self, channel: &mut Channel, deadline: Deadline) -> Result<i32, RunError> {
        self.retry(deadline, "", || channel.wait_close())?
            .map_err(|why| self.login.failed(why))?;
        let signalled = channel
            .exit_signal()
            .is_ok_and(|signal| signal.exit_signal.is_some());
        if signalled {
            return Ok(128);
        }
        channel
            .exit_status()
            .map_err(|e| self.login.failed(e.message()))
    }

    /// Calls `attempt` until it does not block. The inner result is libssh2's answer.
    fn retry<T>(
        &self,
        deadline: Deadline,
        what: &str,
        mut attempt: impl FnMut() -> Result<T, ssh2::Error>,
    ) -> Result<Result<T, String>, RunError> {
        loop {
            match attempt() {
                Ok(value) => return Ok(Ok(value)),
                Err(e) if e.code() == EAGAIN => self.wait(deadline, what)?,
                Err(e) => return Ok(Err(e.message().to_owned())),
            }
        }
    }

    /// Waits until the socket is ready for what libssh2 waits for.
    fn wait(&self, deadline: Deadline, what: &str) -> Result<(), RunError> {
        let left = deadline.remaining();
        if left.is_zero() {
            return Err(match what {
                "" => RunError::TimedOut {
                    command: String::new(),
                    given: Duration::ZERO,
                },
                what => self.login.failed(format!("{what} not done in time")),
            });
        }
        let events = match self.session.block_directions() {
            BlockDirections::Outbound => PollFlags::POLLOUT,
            BlockDirections::Both => PollFlags::POLLIN | PollFlags::POLLOUT,
            BlockDirections::Inbound | BlockDirections::None => PollFlags::POLLIN,
        };
        let timeout = PollTimeout::try_from(left.min(TICK)).unwrap_or(PollTimeout::ZERO);
        // Whatever poll says, the next attempt finds out.
        let _ = poll(&mut [PollFd::new(self.socket.as_fd(), events)], timeout);
        Ok(())
    }
}

/// Output kept of one command, per stream; the rest is read and dropped.
const OUTPUT_LIMIT: usize = 1 << 20;

/// Collects one stream and cuts it into lines.
#[derive(Default)]
struct Lines {
    text: String,
    partial: Vec<u8>,
}

impl Lines {
    fn drain(
        &mut self,
        stream: &mut impl Read,
        which: Stream,
        on_line: &mut impl FnMut(Stream, &str),
    ) -> io::Result<bool> {
        let mut chunk = [0; 8192];
        let n = match stream.read(&mut chunk) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(e) => return Err(e),
        };
        if self.text.len() + self.partial.len() < OUTPUT_LIMIT {
            self.partial.extend_from_slice(&chunk[..n]);
            while let Some(end) = self.partial.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                on_line(which, line.trim_end());
                self.text.push_str(&line);
            }
        }
        Ok(n > 0)
    }

    /// Hands over what came after the last end of a line.
    fn last_line(&self, which: Stream, on_line: &mut impl FnMut(Stream, &str)) {
        if !self.partial.is_empty() {
            on_line(which, String::from_utf8_lossy(&self.partial).trim_end());
        }
    }

    fn finish(mut self) -> String {
        self.text.push_str(&String::from_utf8_lossy(&self.partial));
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Whoever answers in the place of a host may send for ever.
    #[test]
    fn a_host_that_never_stops_is_given_up_in_time() {
        // A packet that is to be ignored, as one may be sent at any time.
        let ignore = b"\0\0\0\x0c\x06\x02\0\0\0\0\0\0\0\0\0\0";
        for (greeting, forever) in [
            (&b""[..], &b"welcome to this host\r\n"[..]),
            (b"", b"x"),
            (b"SSH-2.0-x\r\n", &ignore[..]),
            (b"", b""),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let login = Login {
                address: [127, 0, 0, 1].into(),
                port: listener.local_addr().unwrap().port(),
                user: "nobody".to_owned(),
                keys: Vec::new(),
                known_hosts: "/nonexistent/known_hosts".into(),
                host_keys: SshHostKeys::Off,
                connect_timeout: Duration::from_secs(10),
                remembers: true,
                instead: None,
            };
            let sender = std::thread::spawn(move || {
                let (mut client, _) = listener.accept().unwrap();
                // Nobody may be left who would close it with a word.
                client
                    .set_write_timeout(Some(Duration::from_secs(1)))
                    .unwrap();
                client.write_all(greeting).unwrap();
                let much = forever.repeat(1000);
                if much.is_empty() {
                    // Says nothing, until the other side closes.
                    let _ = client.read_to_end(&mut Vec::new());
                }
                while !much.is_empty() && client.write_all(&much).is_ok() {}
            });
            let started = std::time::Instant::now();
            let result = Ssh::connect(&login, Deadline::after(Duration::from_millis(300)));
            let error = result.map(drop).unwrap_err().to_string();
            assert!(started.elapsed() < Duration::from_secs(3), "{error}");
            assert!(error.contains("failed: "), "{error}");
            sender.join().unwrap();
        }
    }

    #[test]
    fn a_last_line_without_an_end_is_a_line_too() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        let mut text: &[u8] = b"one\r\ntwo";
        let mut on_line = |_: Stream, line: &str| seen.push(line.to_owned());
        assert!(
            lines
                .drain(&mut text, Stream::Stdout, &mut on_line)
                .unwrap()
        );
        lines.last_line(Stream::Stdout, &mut on_line);
        assert_eq!(seen, ["one", "two"]);
        assert_eq!(lines.finish(), "one\r\ntwo");
    }
}
