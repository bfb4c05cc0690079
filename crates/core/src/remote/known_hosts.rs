//! OpenSSH's `known_hosts` files: which keys a host is known by.
//!
//! libssh2 can compare a key with such a file, but it cannot say which *types* of key the file
//! has for a host, and so negotiates any type: a known host then shows a key of another type and
//! looks changed. (Names may be hashed, as Debian does by default.)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The keys that a host is known by.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KnownKeys {
    /// Key type (`ssh-ed25519`) and key, in the wire format.
    keys: Vec<(String, Vec<u8>)>,
    revoked: Vec<Vec<u8>>,
}

/// What a host's key is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one that is known.
    Known,
    /// The host is not known at all.
    Unknown,
    /// The host is known by another key, or this one was revoked.
    Changed,
}

impl KnownKeys {
    /// The keys of `host` (port `port`) in `files`; a file that is not there has none.
    pub fn read(files: &[&Path], host: IpAddr, port: u16) -> io::Result<Self> {
        let mut known = Self::default();
        for file in files {
            match fs::read(file) {
                Ok(bytes) => known.parse(&String::from_utf8_lossy(&bytes), &entry_name(host, port)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(known)
    }

    pub(crate) fn parse(&mut self, text: &str, name: &str) {
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace().peekable();
            let revoked = words.next_if_eq(&"@revoked").is_some();
            let (Some(hosts), Some(kind), Some(key)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            // Comments, and certificate authorities, which libssh2 cannot use.
            if hosts.starts_with(['#', '@']) || !names(hosts, name) {
                continue;
            }
            let Ok(key) = BASE64.decode(key) else {
                continue;
            };
            if revoked {
                self.revoked.push(key);
            } else {
                self.keys.push((kind.to_owned(), key));
            }
        }
    }

    /// What `key` (wire format) is.
    pub fn verdict(&self, key: &[u8]) -> Verdict {
        if self.revoked.iter().any(|revoked| revoked == key) {
            Verdict::Changed
        } else if self.keys.iter().any(|(_, known)| known == key) {
            Verdict::Known
        } else if self.keys.is_empty() {
            Verdict::Unknown
        } else {
            Verdict::Changed
        }
    }

    /// The signature algorithms to negotiate, the ones that the known keys can make first.
    pub fn preference(&self) -> String {
        const ALL: [&str; 7] = [
            "ssh-ed25519",
            "ecdsa-sha2-nistp256",
            "ecdsa-sha2-nistp384",
            "ecdsa-sha2-nistp521",
            "rsa-sha2-512",
            "rsa-sha2-256",
            "ssh-rsa",
        ];
        let is_known = |algorithm: &str| {
            let kind = if algorithm.starts_with("rsa-") {
                "ssh-rsa"
            } else {
                algorithm
            };
            self.keys.iter().any(|(known, _)| known == kind)
        };
        let (known, other): (Vec<_>, Vec<_>) = ALL.into_iter().partition(|a| is_known(a));
        [known, other].concat().join(",")
    }
}

/// Adds `key` for a host that was not known. The line goes in with one write, so that several
/// hosts met at the same moment do not mix.
pub fn add(file: &Path, host: IpAddr, port: u16, key: &[u8]) -> io::Result<()> {
    if let Some(directory) = file.parent().filter(|directory| !directory.exists()) {
        DirBuilder::new().mode(0o700).create(directory)?;
    }
    let kind = key_type(key).ok_or(io::ErrorKind::InvalidData)?;
    let line = format!("{} {kind} {}\n", entry_name(host, port), BASE64.encode(key));
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file)?
        .write_all(line.as_bytes())
}

/// The type that a key in wire format names first: a length and so many bytes.
fn key_type(key: &[u8]) -> Option<&str> {
    let (length, rest) = key.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    std::str::from_utf8(rest.get(..length)?).ok()
}

fn entry_name(host: IpAddr, port: u16) -> String {
    if port == 22 {
        host.to_string()
    } else {
        format!("[{host}]:{port}")
    }
}

/// Whether the first field of a line, patterns with commas between them, names the host `name`. One that
/// begins with `!` and fits takes the host out, wherever it stands.
fn names(patterns: &str, name: &str) -> bool {
    let mut named = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if fits(pattern, name) => return false,
            Some(_) => {}
            None => named |= is_hash_of(pattern, name) || fits(pattern, name),
        }
    }
    named
}

/// Whether `name` fits `pattern`, in which `*` stands for any text and `?` for one character, whether it is
/// in capitals or not. In time of the product of both lengths.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where the last `*` stood, and where what follows it was tried last.
    let mut star = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&name[seen]) => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((stood, tried)) = star else {
                    return false;
                };
                star = Some((stood, tried + 1));
                (at, seen) = (stood + 1, tried + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Whether `text` is `|1|salt|HMAC-SHA1(salt, name)`.
fn is_hash_of(text: &str, name: &str) -> bool {
    let Some(hashed) = text.strip_prefix("|1|") else {
        return false;
    };
    let decoded = hashed
        .split_once('|')
        .and_then(|(salt, hash)| Some((BASE64.decode(salt).ok()?, BASE64.decode(hash).ok()?)));
    decoded.is_some_and(|(salt, hash)| {
        Hmac::<Sha1>::new_from_slice(&salt)
            .is_ok_and(|hmac| hmac.chain_update(name).verify_slice(&hash).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::Deadline;
    use crate::process::{Cmd, run};
    use std::time::Duration;

    const HOST: &str = "192.168.1.101";
    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJ1vYyQkzX1aZ1b4eUqkzYw3mS4bLq1r4n5m0cQdX0aB";

    fn known(text: &str, port: u16) -> KnownKeys {
        let mut known = KnownKeys::default();
        known.parse(text, &entry_name(HOST.parse().unwrap(), port));
        known
    }

    #[test]
    fn plain_lists_ports_comments_and_revoked() {
        let key = BASE64.decode(KEY).unwrap();
        let text = format!("# c\nnode1,{HOST} ssh-ed25519 {KEY} comment\n");
        assert_eq!(known(&text, 22).verdict(&key), Verdict::Known);
        assert_eq!(known(&text, 22).verdict(b"other"), Verdict::Changed);
        assert_eq!(known(&text, 2222).verdict(&key), Verdict::Unknown);
        let text = format!("192.168.1.10 ssh-ed25519 {KEY}\n[{HOST}]:2222 ssh-ed25519 {KEY}");
        assert_eq!(known(&text, 22).verdict(&key), Verdict::Unknown);
        assert_eq!(known(&text, 2222).verdict(&key), Verdict::Known);
        let text = format!("{HOST} ssh-ed25519 {KEY}\n@revoked {HOST} ssh-ed25519 {KEY}\n");
        assert_eq!(known(&text, 22).verdict(&key), Verdict::Changed);
        assert_eq!(
            known("junk\n\n@ @\n|1|x y z\n|1|x|y a b\n", 22),
            KnownKeys::default()
        );
    }

    /// As ssh itself understands them.
    #[test]
    fn patterns_name_the_hosts_that_they_name_to_ssh() {
        let dir = std::env::temp_dir().join(format!("patterns-{}", crate::clock::run_name()));
        fs::create_dir(&dir).unwrap();
        let file = dir.join("known_hosts");
        let hosts = [
            ("192.168.1.101", 22),
            ("192.168.1.101", 2222),
            ("10.0.0.1", 22),
        ];
        let mut both = [0, 0];
        for patterns in [
            "*",
            "192.168.1.*",
            "192.168.1.10?",
            "192.168.1.1??,10.*",
            "*,!192.168.1.101",
            "!192.168.1.101,*",
            "!10.*",
            "!*,*",
            "[192.168.1.*]:2222",
            "*:2222",
            "*.1.1*1",
            "*?*?*.101*",
            "1*9*2*x",
            "??.0.0.1",
            "192.168.1.101?",
            "192.168.1.101*,",
            "node101,192.168.1.10",
        ] {
            fs::write(&file, format!("{patterns} ssh-ed25519 {KEY}\n")).unwrap();
            for (host, port) in hosts {
                let name = entry_name(host.parse().unwrap(), port);
                let find = Cmd::new("/usr/bin/ssh-keygen")
                    .args(["-F", &name, "-f"])
                    .arg(&file);
                let to_ssh = run(&find, Deadline::after(Duration::from_secs(10))).unwrap();
                let named = names(patterns, &name);
                assert_eq!(named, to_ssh.code == 0, "{patterns} {name}");
                both[usize::from(named)] += 1;
            }
        }
        assert!(both.iter().all(|count| *count > 10), "{both:?}");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_key_is_revoked_and_changed_by_a_pattern() {
        let key = BASE64.decode(KEY).unwrap();
        let other = BASE64.encode(b"another key");
        let verdict = |text: &str| known(text, 22).verdict(&key);
        assert_eq!(
            verdict(&format!("192.168.1.* ssh-ed25519 {KEY}")),
            Verdict::Known
        );
        assert_eq!(
            verdict(&format!("192.168.1.* ssh-ed25519 {other}")),
            Verdict::Changed
        );
        let revoked = format!("{HOST} ssh-ed25519 {KEY}\n@revoked * ssh-ed25519 {KEY}");
        assert_eq!(verdict(&revoked), Verdict::Changed);
        assert_eq!(
            verdict(&format!("*,!{HOST} ssh-ed25519 {other}")),
            Verdict::Unknown
        );
    }

    /// A file of a stranger's must not hold a failover up.
    #[test]
    fn a_pattern_of_many_stars_takes_no_time() {
        let pattern = "*1".repeat(20_000);
        assert!(!fits(&pattern, &"1".repeat(200)));
    }

    #[test]
    fn the_known_type_is_asked_for_first() {
        let text = format!("{HOST} ecdsa-sha2-nistp256 {KEY}\n{HOST} ssh-rsa {KEY}");
        let preference = known(&text, 22).preference();
        assert!(
            preference.starts_with("ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256,ssh-rsa,"),
            "{preference}"
        );
    }

    #[test]
    fn reads_what_ssh_keygen_hashed_and_what_it_added_itself() {
        let dir = std::env::temp_dir().join(format!("known-{}", crate::clock::run_name()));
        let file = dir.join("known_hosts");
        let (host, key) = (HOST.parse().unwrap(), BASE64.decode(KEY).unwrap());
        add(&file, host, 22, &key).unwrap();
        add(&file, host, 2222, &key).unwrap();
        let hash = Cmd::new("/usr/bin/ssh-keygen")
            .arg("-H")
            .arg("-f")
            .arg(&file);
        run(&hash, Deadline::after(Duration::from_secs(10)))
            .and_then(|out| out.checked(&hash))
            .unwrap();
        assert!(!fs::read_to_string(&file).unwrap().contains(HOST));
        for port in [22, 2222] {
            let known = KnownKeys::read(&[&file, Path::new("/no/such")], host, port).unwrap();
            assert_eq!(known.verdict(&key), Verdict::Known);
        }
        let known = KnownKeys::read(&[&file], "192.168.1.10".parse().unwrap(), 22).unwrap();
        assert_eq!(known.verdict(&key), Verdict::Unknown);
        fs::remove_dir_all(&dir).unwrap();
    }
}
