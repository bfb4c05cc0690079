//! A line of a pool or a server: what stands before its level, the level, and its text.

use memchr::memchr_iter;

/// Before the text of a line no prefix is longer.
const LONGEST_PREFIX: usize = 400;

/// Names of levels, in the languages that servers are known to speak.
const LEVELS: [&[u8]; 27] = [
    b"LOG",
    b"ERROR",
    b"DETAIL",
    b"HINT",
    b"FATAL",
    b"WARNING",
    b"PANIC",
    b"NOTICE",
    b"INFO",
    b"CONTEXT",
    b"STATEMENT",
    b"LOCATION",
    b"QUERY",
    b"DEBUG",
    b"DEBUG1",
    b"DEBUG2",
    b"DEBUG3",
    b"DEBUG4",
    b"DEBUG5",
    "日志".as_bytes(),
    "错误".as_bytes(),
    "致命错误".as_bytes(),
    "警告".as_bytes(),
    "注意".as_bytes(),
    "详细信息".as_bytes(),
    "提示".as_bytes(),
    "语句".as_bytes(),
];

/// A line in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// What stands before the level.
    pub prefix: &'a [u8],
    /// The level.
    pub level: &'a [u8],
    /// The text.
    pub text: &'a [u8],
}

/// `None`: it has no level, and continues the line before it, or is another program's.
pub fn parts(line: &[u8]) -> Option<Line<'_>> {
    let head = line.get(..LONGEST_PREFIX).unwrap_or(line);
    for colon in memchr_iter(b':', head) {
        if !matches!(line.get(colon + 1), None | Some(b' ')) {
            continue;
        }
        let before = &line[..colon];
        let last = before.last().copied().unwrap_or_default();
        if !last.is_ascii_uppercase() && !last.is_ascii_digit() && last.is_ascii() {
            continue;
        }
        let found = LEVELS.iter().filter(|level| before.ends_with(level));
        let Some(level) = found.max_by_key(|level| level.len()) else {
            continue;
        };
        let prefix = &before[..before.len() - level.len()];
        // `CATALOG:` is none.
        if prefix
            .last()
            .is_some_and(|it| it.is_ascii_alphanumeric() || *it == b'_')
        {
            continue;
        }
        let text = line.get(colon + 1..).unwrap_or_default();
        return Some(Line {
            prefix,
            level: &before[prefix.len()..],
            text: text.trim_ascii(),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_parts_a_line() {
        for (line, prefix, level, text) in [
            (
                "2022-08-30 15:38:06: pid 1: LOG:  a: b",
                "2022-08-30 15:38:06: pid 1: ",
                "LOG",
                "a: b",
            ),
            (
                "< 2017-12-25 CST >LOG:  x",
                "< 2017-12-25 CST >",
                "LOG",
                "x",
            ),
            (
                " watchdog pid 709: DETAIL: y",
                " watchdog pid 709: ",
                "DETAIL",
                "y",
            ),
            ("[1] 致命错误:  z", "[1] ", "致命错误", "z"),
        ] {
            let found = parts(line.as_bytes()).unwrap();
            assert_eq!(found.prefix, prefix.as_bytes());
            assert_eq!(found.level, level.as_bytes());
            assert_eq!(found.text, text.as_bytes());
        }
        for line in ["", "No route to host\"", "CATALOG:  x", "LOG", "a:b"] {
            assert_eq!(parts(line.as_bytes()), None, "{line}");
        }
    }
}
