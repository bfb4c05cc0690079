//! `KB_SSLMODE`: whether a session is encrypted, and what the server's certificate is looked at for, as
//! libpq's `sslmode`.

use std::fmt;

/// How much TLS there must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// None.
    Disable,
    /// Where the server lets nobody in without.
    Allow,
    /// Where the server has it.
    Prefer,
    /// Always. Where there are certificates to believe, as `VerifyCa`.
    Require,
    /// Always, by a certificate that is believed.
    VerifyCa,
    /// The same, and it is for this host.
    VerifyFull,
}

/// By name.
pub(super) const SSL_MODES: [(SslMode, &str); 6] = [
    (SslMode::Disable, "disable"),
    (SslMode::Allow, "allow"),
    (SslMode::Prefer, "prefer"),
    (SslMode::Require, "require"),
    (SslMode::VerifyCa, "verify-ca"),
    (SslMode::VerifyFull, "verify-full"),
];

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = SSL_MODES.iter().find(|(mode, _)| mode == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}
