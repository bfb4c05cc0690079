//! What the client library of 9.6 takes as a connection string.

use anyhow::{Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Its keywords.
const KEYWORDS: [&str; 26] = [
    "authtype",
    "service",
    "user",
    "password",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "client_encoding",
    "tty",
    "options",
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "sslmode",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslrootcert",
    "sslcrl",
    "requirepeer",
    "krbsrvname",
];

/// Refuses one that 9.6 refuses: a keyword of a later version, several hosts.
pub fn check(text: &str) -> Result<()> {
    if is_uri(text) {
        return Ok(());
    }
    for (keyword, value) in pairs(text)? {
        ensure!(
            KEYWORDS.contains(&&*keyword),
            "invalid connection option \"{keyword}\""
        );
        let is_list = matches!(&*keyword, "host" | "hostaddr" | "port") && value.contains(',');
        ensure!(
            !is_list,
            "could not translate host name \"{value}\" to address"
        );
    }
    Ok(())
}

/// What V8R3's WAL receiver makes of one: its password is base64. Any other is refused by the primary.
pub fn with_decoded_password(text: &str) -> Result<String> {
    if is_uri(text) {
        return Ok(text.to_owned());
    }
    let decoded = |value: String| {
        let bytes = BASE64.decode(&value).ok();
        bytes
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .unwrap_or_else(|| format!("{value} is no base64"))
    };
    let quoted = |value: &str| value.replace('\\', r"\\").replace('\'', r"\'");
    let words = pairs(text)?.into_iter().map(|(keyword, value)| {
        let value = match &*keyword {
            "password" => decoded(value),
            _ => value,
        };
        format!("{keyword}='{}'", quoted(&value))
    });
    Ok(words.collect::<Vec<_>>().join(" "))
}

fn is_uri(text: &str) -> bool {
    text.starts_with("postgresql://") || text.starts_with("postgres://")
}

fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let Some((keyword, value)) = rest.split_once('=') else {
            bail!("missing \"=\" after \"{rest}\" in connection info string");
        };
        let (value, after) = take_value(value.trim_start())?;
        found.push((keyword.trim().to_owned(), value));
        rest = after.trim_start();
    }
    Ok(found)
}

fn take_value(text: &str) -> Result<(String, &str)> {
    let quoted = text.starts_with('\'');
    let mut chars = text.char_indices();
    if quoted {
        chars.next();
    }
    let mut value = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            c if c.is_ascii_whitespace() && !quoted => return Ok((value, &text[at..])),
            c => value.push(c),
        }
    }
    ensure!(
        !quoted,
        "unterminated quoted string in connection info string"
    );
    Ok((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_9_6_knows() {
        for good in [
            "",
            "host=192.168.1.101 port = 54321 user=U password='it\\'s tcp_user_timeout=1'",
            r"application_name=a\ b keepalives_idle=10",
            "postgresql://u@h/d",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "tcp_user_timeout=20000",
            "host=a passfile=/p",
            "host=a,b",
            "target_session_attrs=read-write",
            "host",
            "password='x",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_base64() {
        for (text, expected) in [
            (
                "user=u password=aXQncw== port=1",
                r"user='u' password='it\'s' port='1'",
            ),
            ("password=clear!", "password='clear! is no base64'"),
            ("postgresql://u:p@h/d", "postgresql://u:p@h/d"),
            ("", ""),
        ] {
            assert_eq!(with_decoded_password(text).unwrap(), expected, "{text}");
        }
    }
}
