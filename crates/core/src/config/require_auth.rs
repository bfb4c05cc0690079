//! `KB_REQUIRE_AUTH`: by which methods a server may let us in, as libpq's `require_auth`.

use std::fmt;
use std::str::FromStr;

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// The password as it is.
    Password,
    /// A hash of it.
    Md5,
    /// Neither side shows it.
    ScramSha256,
    /// GSSAPI, with encryption or without.
    Gss,
    /// SSPI.
    Sspi,
    /// The server lets us in without a question.
    None,
}

const NAMES: [(AuthMethod, &str); 6] = [
    (AuthMethod::Password, "password"),
    (AuthMethod::Md5, "md5"),
    (AuthMethod::ScramSha256, "scram-sha-256"),
    (AuthMethod::Gss, "gss"),
    (AuthMethod::Sspi, "sspi"),
    (AuthMethod::None, "none"),
];

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(method, _)| method == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

/// Those that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequireAuth {
    listed: Vec<AuthMethod>,
    /// The list is of those that are not.
    negated: bool,
}

impl RequireAuth {
    /// Whether a server may ask for it.
    pub fn allows(&self, method: AuthMethod) -> bool {
        self.listed.contains(&method) != self.negated
    }
}

impl fmt::Display for RequireAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, method) in self.listed.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let sign = if self.negated { "!" } else { "" };
            write!(f, "{comma}{sign}{method}")?;
        }
        Ok(())
    }
}

impl FromStr for RequireAuth {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        let negated = words.iter().all(|word| word.starts_with('!'));
        let method = |word: &&str| {
            let name = if negated { &word[1..] } else { word };
            let found = NAMES.iter().find(|(_, known)| *known == name);
            found.map(|(method, _)| *method).ok_or(())
        };
        Ok(Self {
            listed: words.iter().map(method).collect::<Result<_, ()>>()?,
            negated,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_of_the_allowed_or_of_the_others() {
        let all = NAMES.map(|(method, _)| method);
        let allowed = |text: &str| {
            let parsed: RequireAuth = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text.replace(' ', ""));
            all.iter()
                .copied()
                .filter(|it| parsed.allows(*it))
                .collect::<Vec<_>>()
        };
        use AuthMethod::{Gss, Md5, None, ScramSha256, Sspi};
        assert_eq!(allowed("!password"), [Md5, ScramSha256, Gss, Sspi, None]);
        assert_eq!(allowed("!password, !none,!md5"), [ScramSha256, Gss, Sspi]);
        assert_eq!(allowed("scram-sha-256"), [ScramSha256]);
        assert_eq!(allowed("md5,scram-sha-256"), [Md5, ScramSha256]);
        for wrong in [
            "",
            "!",
            "scram",
            "md5,!none",
            "!md5,none",
            "md5,,",
            "PASSWORD",
        ] {
            assert!(wrong.parse::<RequireAuth>().is_err(), "{wrong}");
        }
    }
}
