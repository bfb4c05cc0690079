//! A password that cannot be printed by accident.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// `base64` pads its output; whoever shortened it by hand often dropped the `=`.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A password. `Debug` and `Display` print `****`.
///
/// The form in the file is kept too: it is as good as the password to whoever finds it in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    encoded: String,
    plain: String,
}

impl Secret {
    /// Decodes base64, with or without padding. `None` if it is none, or not a password: no
    /// UTF-8, or with a NUL, which neither the database nor the pool could take.
    ///
    /// Line ends after the password do not belong to it: they come from an `echo` without `-n`,
    /// and the scripts lost them too, in `$(... | base64 -d)`.
    pub(crate) fn decode(encoded: &str) -> Option<Self> {
        let plain = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
        let plain = plain.trim_end_matches('\n');
        (!plain.contains('\0')).then(|| Self {
            encoded: encoded.to_owned(),
            plain: plain.to_owned(),
        })
    }

    /// The password itself, possibly empty; for the login and nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.plain
    }

    /// The base64 form as a program writes it, whatever stands in the file.
    pub(crate) fn to_base64(&self) -> String {
        BASE64.encode(&self.plain)
    }

    /// The base64 form, as it stands in the file; to hide it in a log.
    #[must_use]
    pub fn encoded(&self) -> &str {
        &self.encoded
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_password_survives_its_encoding() {
        for plain in [
            "",
            "123456",
            "a b  c",
            "$HOME $(reboot) `x`",
            r#"'single' "double" \back\\slash"#,
            "==a=b=",
            "密码 中文",
            " blank ",
        ] {
            let padded = base64::prelude::BASE64_STANDARD.encode(plain);
            for encoded in [padded.as_str(), padded.trim_end_matches('=')] {
                let secret = Secret::decode(encoded).expect(plain);
                assert_eq!(secret.expose(), plain);
                assert_eq!(secret.encoded(), encoded);
            }
        }
    }

    #[test]
    fn the_line_end_of_echo_is_no_part_of_the_password() {
        let secret = Secret::decode("MTIzNDU2Cg==").expect("123456 and a line end");
        assert_eq!(secret.expose(), "123456");
        assert_eq!(secret.encoded(), "MTIzNDU2Cg==");
    }

    #[test]
    fn what_is_no_password_is_none() {
        // Not base64, a bad length, a blank, Latin-1 bytes, a NUL.
        for encoded in ["!!!!", "abcde", "MTIz NDU2", "6fE=", "YQBi", "====", "密码"] {
            assert_eq!(Secret::decode(encoded), None, "{encoded}");
        }
    }

    #[test]
    fn it_prints_as_stars() {
        let secret = Secret::decode("MTIzNDU2");
        assert_eq!(format!("{secret:?}"), "Some(****)");
        assert_eq!(secret.map(|s| s.to_string()).as_deref(), Some("****"));
    }
}
