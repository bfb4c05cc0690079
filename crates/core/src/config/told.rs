//! A value of the configuration as text, to be compared with another host's and shown to a person.

use super::{
    Cidr, DbFlavor, FailoverCandidate, FailoverQuorum, GatewayLostAction, PromoteWithoutFence,
    RequireAuth, RewindFallback, Secret, SshHostKeys, SslMode, SyncDegrade,
};
use std::fmt::Debug;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What takes the place of a secret.
pub(super) type Digest<'a> = &'a dyn Fn(&str) -> String;

/// A value that can be told.
pub(super) trait Told {
    /// As text; of a secret what `digest` makes of it.
    fn told(&self, digest: Digest<'_>) -> String;
}

macro_rules! as_displayed {
    ($($type:ty)+) => { $(impl Told for $type {
        fn told(&self, _: Digest<'_>) -> String {
            self.to_string()
        }
    })+ };
}

macro_rules! by_name {
    ($($type:ty)+) => { $(impl Told for $type {
        fn told(&self, _: Digest<'_>) -> String {
            words(self)
        }
    })+ };
}

as_displayed!(IpAddr String u16 u32 u64 Cidr RequireAuth SslMode);
by_name!(DbFlavor FailoverCandidate FailoverQuorum GatewayLostAction PromoteWithoutFence);
by_name!(RewindFallback SshHostKeys SyncDegrade);

/// `AcceptNew` as `accept-new`, as the file has it.
fn words(name: &impl Debug) -> String {
    let mut text = String::new();
    for letter in format!("{name:?}").chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

impl Told for bool {
    fn told(&self, _: Digest<'_>) -> String {
        u8::from(*self).to_string()
    }
}

impl Told for PathBuf {
    fn told(&self, _: Digest<'_>) -> String {
        self.display().to_string()
    }
}

impl Told for Duration {
    fn told(&self, _: Digest<'_>) -> String {
        match self.subsec_millis() {
            0 => format!("{} s", self.as_secs()),
            _ => format!("{} ms", self.as_millis()),
        }
    }
}

impl Told for Secret {
    fn told(&self, digest: Digest<'_>) -> String {
        digest(self.expose())
    }
}

impl<T: Told> Told for Option<T> {
    fn told(&self, digest: Digest<'_>) -> String {
        self.as_ref()
            .map_or_else(|| "not set".to_owned(), |value| value.told(digest))
    }
}

impl<T: Told> Told for Vec<T> {
    fn told(&self, digest: Digest<'_>) -> String {
        let all: Vec<String> = self.iter().map(|value| value.told(digest)).collect();
        all.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_as_the_file_has_them() {
        let none = |_: &str| String::new();
        assert_eq!(SshHostKeys::AcceptNew.told(&none), "accept-new");
        assert_eq!(Duration::from_millis(500).told(&none), "500 ms");
        assert_eq!(Duration::from_secs(8).told(&none), "8 s");
        assert_eq!(None::<String>.told(&none), "not set");
        assert_eq!(vec![7u16, 8].told(&none), "7 8");
    }
}
