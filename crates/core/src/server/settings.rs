//! The text of a server's configuration file: `postgresql.conf`, `postgresql.auto.conf`, and 9.6's
//! `recovery.conf`, which has the same syntax (the server's `guc-file.l`).
//!
//! A change touches one value and no other byte: the comments are an operator's. Included files
//! are looked into by [`crate::configuration`].

#[cfg(test)]
mod against_server;

use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

/// To the server a carriage return is a blank.
const BLANKS: [char; 3] = [' ', '\t', '\r'];

/// One `name = value`, as places in the text.
struct Assignment {
    name: Range<usize>,
    /// Quotes included.
    value: Range<usize>,
}

/// A byte that is no UTF-8 is this character plus its value in a [`text`]: private ones, the last
/// that there are.
const FOREIGN: u32 = 0x10_FF00;

/// The text of a file in whatever encoding its comments are: bytes that are no UTF-8 are kept as
/// characters that mean nothing, of which [`bytes`] makes the same bytes again.
pub fn text(bytes: &[u8]) -> String {
    let foreign = |byte: &u8| char::from_u32(FOREIGN + u32::from(*byte));
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if u32::from(c) < FOREIGN {
                text.push(c);
            } else {
                text.extend(
                    c.encode_utf8(&mut [0; 4])
                        .as_bytes()
                        .iter()
                        .filter_map(foreign),
                );
            }
        }
        text.extend(chunk.invalid().iter().filter_map(foreign));
    }
    text
}

/// The text of a file of settings, if it is there; see [`text`].
pub fn read(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(text(&bytes))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("failed to read {}", path.display())),
    }
}

/// The file of a [`text`].
pub fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u32::from(c).checked_sub(FOREIGN).map(u8::try_from) {
            Some(Ok(byte)) => bytes.push(byte),
            _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// What the server reads for `name`: the last assignment counts.
pub fn value(text: &str, name: &str) -> Option<String> {
    let last = assignments(text, name).last()?;
    Some(unquoted(&text[last.value]))
}

/// Every name with its value, in their order.
pub fn all(text: &str) -> impl Iterator<Item = (&str, String)> {
    text.split('\n').filter_map(|line| {
        let found = assignment(line)?;
        Some((&line[found.name], unquoted(&line[found.value])))
    })
}

/// `text` with `value` for `name`: in the last assignment where there is one, else in a new line at
/// the end.
pub fn set(text: &str, name: &str, value: &str) -> String {
    let mut changed = text.to_owned();
    let Some(last) = assignments(text, name).last() else {
        let end_of_line = if text.contains("\r\n") { "\r\n" } else { "\n" };
        if !text.is_empty() && !text.ends_with('\n') {
            changed += end_of_line;
        }
        return changed + name + " = " + &quoted(value) + end_of_line;
    };
    let old = &text[last.value.clone()];
    // A bare value that the server does not take (1.2.3.4, *) is not left, even when it is right.
    if unquoted(old) != value || !is_token(old) {
        changed.replace_range(last.value, &quoted(value));
    }
    changed
}

/// `text` with a `#` before every assignment of `name`.
pub fn comment_out(text: &str, name: &str) -> String {
    let mut changed = text.to_owned();
    let places: Vec<usize> = assignments(text, name).map(|a| a.name.start).collect();
    for place in places.into_iter().rev() {
        changed.insert(place, '#');
    }
    changed
}

fn assignments(text: &str, name: &str) -> impl Iterator<Item = Assignment> {
    let mut start = 0;
    text.split('\n').filter_map(move |line| {
        let here = start;
        start += line.len() + 1;
        let found = assignment(line)?;
        line[found.name.clone()]
            .eq_ignore_ascii_case(name)
            .then(|| Assignment {
                name: here + found.name.start..here + found.name.end,
                value: here + found.value.start..here + found.value.end,
            })
    })
}

/// The assignment that `line` is; a line with which the server could do nothing is none.
fn assignment(line: &str) -> Option<Assignment> {
    let skip_blanks = |at: usize| line.len() - line[at..].trim_start_matches(BLANKS).len();
    let start = skip_blanks(0);
    let rest = &line[start..];
    let len = rest.find(|c| !is_of_name(c) && c != '.');
    let end = len.map_or(line.len(), |len| start + len);
    let mut at = skip_blanks(end);
    if line[at..].starts_with('=') {
        at = skip_blanks(at + 1);
    } else if at == end && !line[at..].starts_with('\'') {
        return None;
    }
    let value = at..at + value_len(&line[at..])?;
    let rest = &line[skip_blanks(value.end)..];
    let is_one = end > start && !value.is_empty() && (rest.is_empty() || rest.starts_with('#'));
    is_one.then_some(Assignment {
        name: start..end,
        value,
    })
}

/// Any byte above ASCII is a letter to the server.
fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}

/// Length of the value that `text` begins with; none when its quote is not closed.
fn value_len(text: &str) -> Option<usize> {
    let Some(inner) = text.strip_prefix('\'') else {
        let ends = |c| BLANKS.contains(&c) || matches!(c, '#' | '\'' | '=');
        return Some(text.find(ends).unwrap_or(text.len()));
    };
    let mut chars = inner.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next()?;
            }
            '\'' if chars.next_if(|&(_, c)| c == '\'').is_none() => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Whether the server takes `value` as it is written: quoted, a word, or a number.
fn is_token(value: &str) -> bool {
    let is_word = |c| is_of_name(c) || matches!(c, '-' | '.' | ':' | '/');
    if value.starts_with(|c: char| is_of_name(c) && !c.is_ascii_digit()) {
        return value.chars().all(is_word);
    }
    let all = |text: &str, wanted: fn(&char) -> bool| text.chars().all(|c| wanted(&c));
    let number = value.strip_prefix(['-', '+']).unwrap_or(value);
    let digits_end = number.trim_start_matches(|c: char| c.is_ascii_digit());
    let has_digits = digits_end.len() < number.len();
    let hex = number.strip_prefix("0x").filter(|hex| !hex.is_empty());
    let is_integer = has_digits && all(digits_end, char::is_ascii_alphabetic)
        || hex.is_some_and(|hex| {
            hex.starts_with(|c: char| c.is_ascii_hexdigit())
                && all(
                    hex.trim_start_matches(|c: char| c.is_ascii_hexdigit()),
                    char::is_ascii_alphabetic,
                )
        });
    let is_real = digits_end
        .strip_prefix('.')
        .is_some_and(|fraction| all(fraction, char::is_ascii_digit));
    value.starts_with('\'') || is_integer || is_real
}

/// What the server makes of a value: `GUC_scanstr()`.
fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\''));
    let Some(inner) = inner else {
        return value.to_owned();
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.bytes().peekable();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'\\' => match rest.next() {
                Some(b'b') => 8,
                Some(b'f') => 12,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(first @ b'0'..=b'7') => {
                    let mut octal = first - b'0';
                    for _ in 0..2 {
                        let Some(digit) = rest.next_if(|byte| (b'0'..=b'7').contains(byte)) else {
                            break;
                        };
                        // Of \777 the server keeps the low 8 bits.
                        octal = octal << 3 | (digit - b'0');
                    }
                    octal
                }
                Some(other) => other,
                None => break,
            },
            b'\'' => rest.next().unwrap_or(b'\''),
            other => other,
        };
        bytes.push(byte);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A value as the server reads it back. It must stay in its line.
fn quoted(value: &str) -> String {
    let inner = value
        .replace('\\', "\\\\")
        .replace('\'', "''")
        .replace('\n', "\\n")
        .replace('\r', "\\r");
    format!("'{inner}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_another_encoding_stays_as_it_is() {
        let gbk = b"# \xb1\xb8\xbf\xe2\nport = 1 # \xff\n";
        let last = "\u{10ffff}\u{10ff00}\u{10feff}".as_bytes();
        for file in [
            &b"port = 1\n"[..],
            "# \u{fffd} \u{5907}\n".as_bytes(),
            gbk,
            last,
            b"\xe5\x90",
        ] {
            assert_eq!(bytes(&text(file)), file);
        }
        let changed = set(&text(gbk), "port", "2");
        assert_eq!(bytes(&changed), b"# \xb1\xb8\xbf\xe2\nport = '2' # \xff\n");
    }

    #[test]
    fn values_are_read_as_the_server_reads_them() {
        for (text, expected) in [
            ("", None),
            ("n = 1", Some("1")),
            ("n 1", Some("1")),
            ("n=1", Some("1")),
            ("n'a b'", Some("a b")),
            ("\t N\t=\tv \r\n", Some("v")),
            ("n = 16MB# why", Some("16MB")),
            ("n = -1 # why", Some("-1")),
            ("n = '# no' # why", Some("# no")),
            ("n = ''", Some("")),
            ("n = 'it''s \\'it\\' \\\\'", Some("it's 'it' \\")),
            (
                r"n = '\b\f\n\r\t\x\101\1012\7'",
                Some("\u{8}\u{c}\n\r\txAA2\u{7}"),
            ),
            (r"n = '\344\270\255文'", Some("中文")),
            ("n = 中文", Some("中文")),
            ("n = 1\nn = 2\n#n = 3\nm = 4\nnn = 5\nx.n = 6", Some("2")),
            ("x.n = 1", None),
            (" # n = 1", None),
            ("include 'n'\ninclude_dir = 'n'", None),
            // What the server refuses is no assignment.
            ("n", None),
            ("n =", None),
            ("n = # 1", None),
            ("n = 1 2", None),
            ("n = = 1", None),
            ("n = 'a", None),
            ("n = 'a\\'", None),
            ("n = 'a''", None),
            ("n = 'a'b", None),
            ("n = a'b'", None),
            ("n = 'a\nn = b'", None),
            ("= n", None),
            ("n-m = 1", None),
        ] {
            let found = value(text, "n");
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
        assert_eq!(value("X.n = 1", "x.N").as_deref(), Some("1"));
    }

    #[test]
    fn one_value_is_changed_and_nothing_else() {
        for (text, new, expected) in [
            ("", "v", "n = 'v'\n"),
            ("m = 1", "v", "m = 1\nn = 'v'\n"),
            ("m = 1\r\n", "v", "m = 1\r\nn = 'v'\r\n"),
            ("#n = v\n", "v", "#n = v\nn = 'v'\n"),
            ("n = 'a\n", "v", "n = 'a\nn = 'v'\n"),
            ("n = 1", "v", "n = 'v'"),
            ("N 1# why\nm=2", "v", "N 'v'# why\nm=2"),
            ("\tn='a''b' \t# 'why'\r\nm", "v", "\tn='v' \t# 'why'\r\nm"),
            ("n = 1\nn = 2\nm = 3\n", "v", "n = 1\nn = 'v'\nm = 3\n"),
            ("n = v\nn = 2\n", "v", "n = v\nn = 'v'\n"),
            ("n = *\n", "*", "n = '*'\n"),
            ("n = 10.0.0.1\n", "10.0.0.1", "n = '10.0.0.1'\n"),
            ("n = 1e5\n", "1e5", "n = '1e5'\n"),
        ] {
            assert_eq!(set(text, "n", new), expected, "{text:?}");
            assert_eq!(set(expected, "n", new), expected, "again");
        }
        for value in [
            "v", "a-b.c:/d", "_", "16MB", "0", "+1", "-1.5", ".5", "0x1F", "0xkB", "0.",
        ] {
            let text = format!("n={value} # why\r\n");
            assert_eq!(set(&text, "n", value), text);
        }
    }

    #[test]
    fn what_is_set_is_read_back() {
        for nasty in [
            "",
            " ",
            "a b",
            "'",
            "''",
            "\\",
            "\\'",
            "a\\",
            "$1 ${x} $(y) `z`",
            "\"q\"",
            "# no comment",
            "a=b",
            "密码 中文",
            "two\nlines\r\n",
            "\t",
            "\\n\\101",
            "host=10.0.0.1 password='it''s' user=u",
            r"host=a password='va\'l\\ue'",
            "1 (node1, node2)",
            "\u{1}\u{7f}\u{a0}",
        ] {
            for text in ["", "m = 1", "n = old # why\n", "n 'o''ld'\r\nm = 2\r\n"] {
                let changed = set(text, "N", nasty);
                assert_eq!(value(&changed, "n").as_deref(), Some(nasty), "{changed:?}");
                assert_eq!(set(&changed, "n", nasty), changed, "again");
                assert_eq!(changed.lines().count(), set(text, "n", "v").lines().count());
            }
        }
    }

    #[test]
    fn all_assignments_are_commented_out_once() {
        let text = "n = 1\r\n  N 'a'# why\n#n = 2\n # n = 3\nm = 'n = 4'\nn = 'open\nn=5";
        let expected = "#n = 1\r\n  #N 'a'# why\n#n = 2\n # n = 3\nm = 'n = 4'\nn = 'open\n#n=5";
        assert_eq!(comment_out(text, "n"), expected);
        assert_eq!(comment_out(expected, "n"), expected);
        assert_eq!(value(expected, "n"), None);
    }
}
