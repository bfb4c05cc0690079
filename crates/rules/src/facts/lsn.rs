//! WAL positions and timelines, as numbers.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A WAL position (LSN) in bytes, written `16/B374D848` as the server does.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(pub u64);

/// A timeline id: 1 after initdb, one more with each promotion.
pub type Timeline = u32;

/// A text that is no WAL position.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("found \"{0}\", expected a WAL position such as 16/B374D848")]
pub struct BadLsn(String);

impl Lsn {
    /// Bytes from `earlier` to this position; 0 where that is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The name of the WAL file of segment `number`, of `size` bytes each.
pub fn segment_name(timeline: Timeline, number: u64, size: u64) -> String {
    let per_id = (1u64 << 32) / size;
    format!(
        "{timeline:08X}{:08X}{:08X}",
        number / per_id,
        number % per_id
    )
}

/// Which segment the WAL file `name` has, of `size` bytes each, if it is one.
pub fn segment_number(name: &str, size: u64) -> Option<u64> {
    let digits = name
        .get(..24)
        .filter(|it| it.bytes().all(|b| b.is_ascii_hexdigit()))?;
    if name.len() > 24 && name.get(24..) != Some(".partial") {
        return None;
    }
    let half = |from: usize| u64::from_str_radix(digits.get(from..from + 8)?, 16).ok();
    Some(half(8)? * ((1u64 << 32) / size) + half(16)?)
}

impl FromStr for Lsn {
    type Err = BadLsn;

    fn from_str(text: &str) -> Result<Self, BadLsn> {
        let bad = || BadLsn(text.to_owned());
        let (high, low) = text.trim().split_once('/').ok_or_else(bad)?;
        let half = |digits: &str| {
            if digits.starts_with('+') {
                return Err(bad());
            }
            u32::from_str_radix(digits, 16).map_err(|_| bad())
        };
        Ok(Self(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

impl TryFrom<String> for Lsn {
    type Error = BadLsn;

    fn try_from(text: String) -> Result<Self, BadLsn> {
        text.parse()
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_server_writes() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF", "0/66000028"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
        assert!("1/0".parse::<Lsn>().unwrap() > "0/FFFFFFFF".parse().unwrap());
        for text in [
            "",
            "/",
            "0",
            "0/",
            "g/0",
            "0/100000000",
            "-1/0",
            "+1/0",
            "0/0/0",
        ] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }

    #[test]
    fn segments_have_names() {
        const SIZE: u64 = 16 << 20;
        for (name, number) in [
            ("000000010000000000000066", Some(0x66)),
            ("0000000F0000000100000000", Some(0x100)),
            ("000000010000000000000066.partial", Some(0x66)),
            ("000000010000000000000066.00000028.backup", None),
            ("00000002.history", None),
            ("archive_status", None),
            ("", None),
        ] {
            assert_eq!(segment_number(name, SIZE), number, "{name}");
        }
        assert_eq!(segment_name(15, 0x166, SIZE), "0000000F0000000100000066");
        assert_eq!(segment_name(1, 3, 1 << 30), "000000010000000000000003");
        assert_eq!(segment_number("000000010000000100000002", 1 << 30), Some(6));
    }
}
