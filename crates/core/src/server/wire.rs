//! What a server sends, or whoever answers in its place: looked at before anything is done with it. A
//! password is not given to whoever merely asks for it, and no answer is larger than we want one.

use crate::config::{AuthMethod, RequireAuth};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of one message: a row, a notice, an error.
pub(super) const MESSAGE_LIMIT: usize = 1 << 20;
/// Bytes of all that comes for one statement. The largest answer that we ask for has some ten kB.
pub(super) const ANSWER_LIMIT: usize = 4 << 20;

/// How a connection ends that its other side has closed.
pub(super) const DROPPED: [io::ErrorKind; 3] = [
    io::ErrorKind::UnexpectedEof,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::BrokenPipe,
];

/// The parts of the protocol that matter here: a type, a length that counts itself, and, of a message
/// about the login, what the server wants.
#[derive(Debug)]
pub(crate) struct Messages {
    require: RequireAuth,
    /// Bytes since the last statement, shared with whoever asks.
    answer: Arc<AtomicUsize>,
    head: Vec<u8>,
    /// Bytes of the body that are still to come.
    body: usize,
    /// A method was asked for.
    challenged: bool,
}

/// `R`: a message about the login.
const AUTHENTICATION: u8 = b'R';

impl Messages {
    pub(crate) fn new(require: RequireAuth, answer: Arc<AtomicUsize>) -> Self {
        Self {
            require,
            answer,
            head: Vec::new(),
            body: 0,
            challenged: false,
        }
    }

    /// Looks at the next bytes, however they are cut.
    ///
    /// # Errors
    /// Why nothing of them may reach the client.
    pub(crate) fn look(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        let before = self.answer.fetch_add(bytes.len(), Ordering::Relaxed);
        if before + bytes.len() > ANSWER_LIMIT {
            return Err(format!("an answer of more than {} MB", ANSWER_LIMIT >> 20));
        }
        while let Some((first, rest)) = bytes.split_first() {
            if self.body > 0 {
                let skipped = self.body.min(bytes.len());
                self.body -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head.push(*first);
            bytes = rest;
            self.head_grew()?;
        }
        Ok(())
    }

    fn head_grew(&mut self) -> Result<(), String> {
        let number = |at: usize| {
            let bytes = self.head.get(at..)?.first_chunk::<4>()?;
            Some(u32::from_be_bytes(*bytes) as usize)
        };
        let Some(length) = number(1) else {
            return Ok(());
        };
        if !(4..=MESSAGE_LIMIT).contains(&length) {
            return Err(format!("a message of {length} bytes"));
        }
        let is_login = self.head[0] == AUTHENTICATION && length >= 8;
        let wanted = number(5);
        if is_login && wanted.is_none() {
            return Ok(());
        }
        self.body = length + 1 - self.head.len();
        self.head.clear();
        match wanted.filter(|_| is_login) {
            Some(wanted) => self.may_ask_for(wanted),
            None => Ok(()),
        }
    }

    fn may_ask_for(&mut self, wanted: usize) -> Result<(), String> {
        let method = match wanted {
            0 if self.challenged => return Ok(()),
            0 => AuthMethod::None,
            3 => AuthMethod::Password,
            5 => AuthMethod::Md5,
            7 => AuthMethod::Gss,
            9 => AuthMethod::Sspi,
            10 => AuthMethod::ScramSha256,
            // Of a login that is under way; others the client does not know.
            _ => return Ok(()),
        };
        self.challenged = true;
        if self.require.allows(method) {
            return Ok(());
        }
        let what = match method {
            AuthMethod::Password => "it asks for the password in clear".to_owned(),
            AuthMethod::None => "it lets us in without asking for a password".to_owned(),
            method => format!("it asks for {method}"),
        };
        Err(format!(
            "{what}, which KB_REQUIRE_AUTH={} does not allow: is it the server?",
            self.require
        ))
    }
}

/// A connection of which every byte that comes in is looked at.
pub(super) struct Watched<S> {
    stream: S,
    messages: Messages,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, messages: Messages) -> Self {
        Self { stream, messages }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = read
            && let Err(why) = self.messages.look(&buffer.filled()[before..])
        {
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(require: &str) -> Messages {
        Messages::new(require.parse().unwrap(), Arc::default())
    }

    fn login(wanted: u32) -> Vec<u8> {
        [&b"R\0\0\0\x08"[..], &wanted.to_be_bytes()].concat()
    }

    /// However a message is cut, and whatever came before it.
    #[test]
    fn a_password_in_clear_is_refused_before_the_client_can_see_the_question() {
        let notice = b"N\0\0\0\x09R\0\0\0\x03";
        for before in [&b""[..], notice] {
            let all = [before, &login(3)].concat();
            for cut in 1..all.len() {
                let mut messages = messages("!password");
                let first = messages.look(&all[..cut]);
                assert_eq!(first, Ok(()), "{cut}");
                let why = messages.look(&all[cut..]).unwrap_err();
                assert!(why.contains("KB_REQUIRE_AUTH=!password"), "{why}");
            }
        }
        assert_eq!(messages("password").look(&login(3)), Ok(()));
    }

    #[test]
    fn methods_are_told_by_their_numbers() {
        for (require, sent, allowed) in [
            ("!password", vec![0], true),
            ("!password", vec![5, 0], true),
            ("!password", vec![10, 11, 12, 0], true),
            ("scram-sha-256", vec![10, 11, 12, 0], true),
            ("scram-sha-256", vec![5], false),
            // Whoever answers in its place knows no password, and asks for none.
            ("scram-sha-256", vec![0], false),
            ("scram-sha-256,none", vec![0], true),
            ("!none", vec![0], false),
            ("none", vec![3], false),
        ] {
            let mut messages = messages(require);
            let all: Vec<u8> = sent.iter().flat_map(|wanted| login(*wanted)).collect();
            assert_eq!(messages.look(&all).is_ok(), allowed, "{require} {sent:?}");
        }
    }

    #[test]
    fn no_message_and_no_answer_without_end() {
        for length in [0, 3, 0x7fff_ffff, u32::MAX] {
            let head = [&b"D"[..], &length.to_be_bytes()].concat();
            assert!(messages("none").look(&head).is_err(), "{length}");
        }
        let mut messages = messages("none");
        let row = [&b"D\0\x0f\0\0"[..], &vec![0; (15 << 16) - 4]].concat();
        let mut sent = 0;
        while messages.look(&row).is_ok() {
            sent += row.len();
            assert!(sent <= ANSWER_LIMIT);
        }
        // Each statement has an answer of its own.
        messages.answer.store(0, Ordering::Relaxed);
        assert_eq!(messages.look(b"Z\0\0\0\x05I"), Ok(()));
    }
}
