//! The way to a server: encrypted or not, as libpq's `sslmode` has it. What is asked of the server first is
//! our own (`SSLRequest`), so that every byte that it answers later is looked at in the clear.

use super::wire::DROPPED;
use crate::config::{Config, SslMode};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslMode as Modes, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

/// Asks for TLS: a length of 8, and the number that stands where a version would.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// One attempt to reach a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Without TLS.
    Plain,
    /// With TLS where the server has it.
    Offered,
    /// With TLS, or not at all.
    Tls,
}

/// What is asked of the way to a server.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    mode: SslMode,
    root: Option<PathBuf>,
    /// Who it must be, by its certificate.
    address: IpAddr,
    name: Option<String>,
}

impl Wanted {
    pub(super) fn new(config: &Config, address: IpAddr) -> Self {
        Self {
            mode: config.kb_sslmode,
            root: config.kb_sslrootcert.clone(),
            address,
            name: config.node_name_of(address).map(str::to_owned),
        }
    }

    #[cfg(test)]
    pub(super) fn mode(mode: SslMode, address: IpAddr) -> Self {
        Self {
            mode,
            root: None,
            address,
            name: None,
        }
    }

    /// The same on another host, which need not be a node's.
    pub(super) fn at(self, address: IpAddr) -> Self {
        Self {
            address,
            name: None,
            ..self
        }
    }

    /// One after the other, until one lets us in.
    pub(super) fn attempts(&self) -> &'static [Attempt] {
        match self.mode {
            SslMode::Disable => &[Attempt::Plain],
            SslMode::Allow => &[Attempt::Plain, Attempt::Tls],
            SslMode::Prefer => &[Attempt::Offered, Attempt::Plain],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Attempt::Tls],
        }
    }

    /// Goes it, over a connection that is open.
    ///
    /// # Errors
    /// The server has no TLS, where it must have it; or it is not who it should be.
    pub(super) async fn go(
        &self,
        attempt: Attempt,
        mut stream: TcpStream,
    ) -> Result<Way, Unreached> {
        if attempt == Attempt::Plain {
            return Ok(Way::Plain(stream));
        }
        let answer = async {
            stream.write_all(&SSL_REQUEST).await?;
            stream.read_u8().await
        };
        let answer = answer.await.map_err(|error| match attempt {
            // A pool without a node that is up says so only to who does not ask for TLS.
            Attempt::Offered if DROPPED.contains(&error.kind()) => {
                Unreached::NoTls("the server ended it".to_owned())
            }
            _ => Unreached::Io(error),
        })?;
        match answer {
            b'S' => self.handshake(stream).await,
            b'N' if attempt == Attempt::Offered => Ok(Way::Plain(stream)),
            b'N' => Err(Unreached::NoTls(format!(
                "it has no TLS, and KB_SSLMODE={} wants it",
                self.mode
            ))),
            other => Err(Unreached::NoTls(format!(
                "it does not know TLS (it answers {:?})",
                char::from(other)
            ))),
        }
    }

    async fn handshake(&self, stream: TcpStream) -> Result<Way, Unreached> {
        let failed = |why: String| Unreached::NoTls(format!("TLS failed: {why}"));
        let ssl = self.ssl().map_err(failed)?;
        let mut stream = SslStream::new(ssl, stream).map_err(|error| failed(error.to_string()))?;
        if let Err(error) = Pin::new(&mut stream).connect().await {
            let unverified = stream.ssl().verify_result();
            return Err(failed(match error.io_error() {
                Some(io) if DROPPED.contains(&io.kind()) => "the server ended it".to_owned(),
                _ if unverified != openssl::x509::X509VerifyResult::OK => {
                    format!("its certificate is not good: {}", unverified.error_string())
                }
                _ => error.to_string(),
            }));
        }
        if self.mode == SslMode::VerifyFull {
            let is_it = stream
                .ssl()
                .peer_certificate()
                .is_some_and(|it| self.is_of(&it));
            if !is_it {
                let name = self.name.as_deref();
                let or_name = name.map_or(String::new(), |name| format!(" nor {name}"));
                return Err(failed(format!(
                    "its certificate is neither for {}{or_name}",
                    self.address
                )));
            }
        }
        Ok(Way::Tls(Box::new(stream)))
    }

    fn ssl(&self) -> Result<Ssl, String> {
        let text = |error: openssl::error::ErrorStack| error.to_string();
        let mut context = SslContext::builder(SslMethod::tls_client()).map_err(text)?;
        // As libpq.
        context
            .set_min_proto_version(Some(SslVersion::TLS1_2))
            .map_err(text)?;
        context.set_mode(Modes::AUTO_RETRY | Modes::ACCEPT_MOVING_WRITE_BUFFER);
        let verifies = matches!(self.mode, SslMode::VerifyCa | SslMode::VerifyFull);
        match &self.root {
            // As libpq, which does that for `require`, too.
            Some(root) if verifies || self.mode == SslMode::Require => {
                context.set_ca_file(root).map_err(|error| {
                    format!(
                        "KB_SSLROOTCERT={} cannot be used: {}",
                        root.display(),
                        first_reason(&error)
                    )
                })?;
                context.set_verify(SslVerifyMode::PEER);
            }
            None if verifies => return Err("KB_SSLROOTCERT is not set".to_owned()),
            _ => context.set_verify(SslVerifyMode::NONE),
        }
        Ssl::new(&context.build()).map_err(text)
    }

    /// Whether a certificate is for this host: by its address, or by its node's name.
    fn is_of(&self, certificate: &X509) -> bool {
        let address = match self.address {
            IpAddr::V4(it) => it.octets().to_vec(),
            IpAddr::V6(it) => it.octets().to_vec(),
        };
        let is_name = |dns: &str| {
            let name = self.name.as_deref();
            name.is_some_and(|name| dns.eq_ignore_ascii_case(name))
        };
        let names = certificate.subject_alt_names();
        names
            .into_iter()
            .flatten()
            .any(|it| it.ipaddress() == Some(&address) || it.dnsname().is_some_and(is_name))
    }
}

fn first_reason(error: &openssl::error::ErrorStack) -> String {
    let reasons = error.errors().iter().filter_map(|it| it.reason());
    let reason = reasons.map(str::to_owned).next();
    reason.unwrap_or_else(|| error.to_string())
}

/// Why there is no way.
#[derive(Debug)]
pub(super) enum Unreached {
    /// Of the connection.
    Io(io::Error),
    /// No TLS, or a wrong one.
    NoTls(String),
}

/// A connection, encrypted or not.
pub(super) enum Way {
    Plain(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
}

impl AsyncRead for Way {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Way {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests;
