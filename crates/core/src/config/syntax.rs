//! The syntax of `HAmodule.conf`: text in, assignments with their line numbers out.
//!
//! The file was written for a shell, so a value is read as a shell would read it, up to the point
//! where the shell would start to execute something: `$` and backquotes are ordinary characters
//! inside quotes, and no variable is looked up. Errors never show what the line holds, because
//! it may be a password.

use std::iter::Peekable;
use std::str::Chars;

/// A longer value is a mistake: no path, list or password of a cluster gets anywhere near it.
const MAX_VALUE_BYTES: usize = 4096;

const OPEN_SINGLE_QUOTE: &str = "a single quote ' is not closed on its line";
const OPEN_DOUBLE_QUOTE: &str = "a double quote \" is not closed on its line";
const OPEN_LIST: &str = "a list ( ... ) is not closed on its line";
const OPEN_BACKSLASH: &str = "a backslash at the end; expected a value that ends on its line";
const NEEDS_QUOTES: &str =
    "one of & | < > ( ) ` ; outside quotes; expected quotes around such a value";
const TEXT_AFTER_VALUE: &str =
    "text after the value; expected quotes around a value with blanks, and none after the =";
const BLANKS_BEFORE_EQUALS: &str = "blanks before the =; expected KEY=value";
const NO_ASSIGNMENT: &str =
    "not an assignment; expected KEY=value (the file is read, not executed)";
const TOO_LONG: &str = "the value is absurdly long; expected at most 4096 bytes";
const NUL_BYTE: &str = "a NUL byte; expected plain text in UTF-8";
const NOT_UTF8: &str = "not UTF-8; expected plain text in UTF-8";

/// What stands to the right of the `=`, quotes taken off.
#[cfg_attr(test, derive(Debug))]
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// `value`, `"value"` or `'value'`.
    Text(String),
    /// `(a "b c" d)`.
    List(Vec<String>),
}

impl Value {
    /// An empty value is how a key is left unset in a shell file.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::List(words) => words.is_empty(),
        }
    }

    /// As one text.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::List(words) => words.join(" "),
        }
    }
}

/// One line that is neither blank nor a comment.
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: usize,
    /// Unknown when the line is no assignment at all.
    pub(super) key: Option<String>,
    /// The value, or what is wrong with the line.
    pub(super) value: Result<Value, &'static str>,
}

/// Turns the bytes of the file into text. The error is the line where that fails and why.
///
/// A comment may be in any encoding, on a line of its own or after a value: many of these files carry
/// Chinese comments in GBK.
pub(super) fn decode(bytes: &[u8]) -> Result<String, (usize, &'static str)> {
    let mut text = String::with_capacity(bytes.len());
    for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1..) {
        if !line.trim_ascii_start().starts_with(b"#") {
            let read =
                std::str::from_utf8(line).or_else(|_| std::str::from_utf8(before_comment(line)));
            text += read.map_err(|_| (number, NOT_UTF8))?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// The line up to a comment after its value: up to a `#` after a blank, outside quotes.
fn before_comment(line: &[u8]) -> &[u8] {
    let (mut quote, mut escaped, mut after_blank) = (None, false, false);
    for (at, &byte) in line.iter().enumerate() {
        let is_blank = quote.is_none() && !escaped && byte.is_ascii_whitespace();
        match (quote, byte) {
            _ if escaped => escaped = false,
            (None | Some(b'"'), b'\\') => escaped = true,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            (None, b'#') if after_blank => return &line[..at],
            _ => {}
        }
        after_blank = is_blank;
    }
    line
}

/// All assignments of `text` in their order, and all lines that should have been one.
pub(super) fn parse(text: &str) -> Vec<Line> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.split('\n')
        .zip(1..)
        .filter_map(|(line, number)| {
            let line = line.strip_suffix('\r').unwrap_or(line);
            let line = line.trim_matches(BLANKS);
            if line.is_empty() || line.starts_with('#') {
                return None;
            }
            let (key, value) = assignment(line);
            let key = key.map(str::to_owned);
            Some(Line { number, key, value })
        })
        .collect()
}

const BLANKS: [char; 2] = [' ', '\t'];

fn assignment(line: &str) -> (Option<&str>, Result<Value, &'static str>) {
    let line = line
        .strip_prefix("export")
        .filter(|rest| rest.starts_with(BLANKS))
        .map_or(line, |rest| rest.trim_start_matches(BLANKS));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (key, rest) = line.split_at(line.find(|c| !is_name(c)).unwrap_or(line.len()));
    if key.is_empty() || key.starts_with(|c: char| c.is_ascii_digit()) {
        return (None, Err(NO_ASSIGNMENT));
    }
    if line.contains('\0') {
        return (None, Err(NUL_BYTE));
    }
    match rest.strip_prefix('=') {
        Some(rest) if rest.len() > MAX_VALUE_BYTES => (Some(key), Err(TOO_LONG)),
        Some(rest) => (Some(key), value(rest)),
        None if rest.trim_start_matches(BLANKS).starts_with('=') => {
            (Some(key), Err(BLANKS_BEFORE_EQUALS))
        }
        None => (None, Err(NO_ASSIGNMENT)),
    }
}

fn value(text: &str) -> Result<Value, &'static str> {
    let mut chars = text.chars().peekable();
    let value = if chars.next_if_eq(&'(').is_some() {
        Value::List(list(&mut chars)?)
    } else {
        Value::Text(word(&mut chars)?)
    };
    // To a shell a ';' here is the end of the command, as the end of the line is.
    chars.next_if_eq(&';');
    let rest: String = chars.collect();
    let comment = rest.trim_start_matches(BLANKS);
    let blank_before = comment.len() < rest.len();
    if comment.is_empty() || (blank_before && comment.starts_with('#')) {
        Ok(value)
    } else {
        Err(TEXT_AFTER_VALUE)
    }
}

/// The words up to the `)`, which is consumed.
fn list(chars: &mut Peekable<Chars<'_>>) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    loop {
        while chars.next_if(|c| BLANKS.contains(c)).is_some() {}
        match chars.peek() {
            // A comment would hide the `)`.
            None | Some('#') => return Err(OPEN_LIST),
            Some(')') => {
                chars.next();
                return Ok(words);
            }
            Some(';') => return Err(NEEDS_QUOTES),
            Some(_) => words.push(word(chars)?),
        }
    }
}

/// One word of the shell: quoted and bare pieces without a blank between them. What ends it stays
/// in `chars`.
fn word(chars: &mut Peekable<Chars<'_>>) -> Result<String, &'static str> {
    let mut word = String::new();
    while let Some(c) = chars.next_if(|c| !matches!(c, ' ' | '\t' | ';' | ')')) {
        match c {
            '\'' => loop {
                match chars.next().ok_or(OPEN_SINGLE_QUOTE)? {
                    '\'' => break,
                    c => word.push(c),
                }
            },
            '"' => loop {
                match chars.next().ok_or(OPEN_DOUBLE_QUOTE)? {
                    '"' => break,
                    '\\' => match chars.next().ok_or(OPEN_DOUBLE_QUOTE)? {
                        c @ ('"' | '\\' | '$' | '`') => word.push(c),
                        c => word.extend(['\\', c]),
                    },
                    c => word.push(c),
                }
            },
            '\\' => word.push(chars.next().ok_or(OPEN_BACKSLASH)?),
            '&' | '|' | '<' | '>' | '(' | '`' => return Err(NEEDS_QUOTES),
            c => word.push(c),
        }
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Result<Value, &'static str> {
        Ok(Value::Text(value.to_owned()))
    }

    fn list(words: &[&str]) -> Result<Value, &'static str> {
        Ok(Value::List(words.iter().map(|&w| w.to_owned()).collect()))
    }

    /// The only line of `source`.
    fn one(source: &str) -> (Option<String>, Result<Value, &'static str>) {
        let mut lines = parse(source);
        assert_eq!(lines.len(), 1, "{source:?} -> {lines:?}");
        let line = lines.remove(0);
        (line.key, line.value)
    }

    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        for (source, expected) in [
            ("K=value", text("value")),
            ("K=", text("")),
            ("K=\"\"", text("")),
            ("K=\"a b\"", text("a b")),
            ("K='a b'", text("a b")),
            ("  K=v  ", text("v")),
            ("\tK=v\t", text("v")),
            ("export K=v", text("v")),
            ("export\t K=v", text("v")),
            ("K=v\r", text("v")),
            ("K=\"v\"\r", text("v")),
            ("K=v;", text("v")),
            ("K=\"v\"; # why", text("v")),
            // Comments.
            ("K=v # why", text("v")),
            ("K=v\t#why", text("v")),
            ("K= # nothing", text("")),
            ("K=a#b", text("a#b")),
            ("K=#b", text("#b")),
            ("K=\"a # b\" # why", text("a # b")),
            // Pieces and escapes.
            ("K=a\"b c\"'d e'f", text("ab cd ef")),
            (r#"K="\"\\\$\`""#, text("\"\\$`")),
            (r#"K="C:\dir\n""#, text(r"C:\dir\n")),
            (r#"K='\"\\$x'"#, text(r#"\"\\$x"#)),
            (r"K=a\ b\#\;\'", text("a b#;'")),
            ("K=a=b==", text("a=b==")),
            ("K=\"密码 中文\"", text("密码 中文")),
            // Code is data.
            ("K=\"$(reboot)\"", text("$(reboot)")),
            ("K='`reboot`'", text("`reboot`")),
            ("K=${KB_PATH}/x", text("${KB_PATH}/x")),
            ("K=\"; rm -rf /\"", text("; rm -rf /")),
            // Lists.
            ("K=(a b c)", list(&["a", "b", "c"])),
            ("K=( a\tb )", list(&["a", "b"])),
            ("K=(a 'b c' \"d\") # why", list(&["a", "b c", "d"])),
            ("K=()", list(&[])),
            ("K=(a '' b)", list(&["a", "", "b"])),
            ("K=(a);", list(&["a"])),
            ("K=(a b)\r", list(&["a", "b"])),
            ("K=\"(a b c)\"", text("(a b c)")),
        ] {
            assert_eq!(one(source), (Some("K".to_owned()), expected), "{source:?}");
        }
    }

    #[test]
    fn each_wrong_line_has_its_own_words() {
        let long = format!("K={}", "x".repeat(MAX_VALUE_BYTES + 1));
        for (source, key, expected) in [
            ("K=\"abc", Some("K"), OPEN_DOUBLE_QUOTE),
            ("K=\"abc\\", Some("K"), OPEN_DOUBLE_QUOTE),
            ("K='abc", Some("K"), OPEN_SINGLE_QUOTE),
            ("K=(a b", Some("K"), OPEN_LIST),
            ("K=(a # b)", Some("K"), OPEN_LIST),
            ("K=(a 'b)", Some("K"), OPEN_SINGLE_QUOTE),
            ("K=abc\\", Some("K"), OPEN_BACKSLASH),
            ("K=a b", Some("K"), TEXT_AFTER_VALUE),
            ("K= a", Some("K"), TEXT_AFTER_VALUE),
            ("K=a;b", Some("K"), TEXT_AFTER_VALUE),
            ("K='a'# b", Some("K"), TEXT_AFTER_VALUE),
            ("K=(a b)c", Some("K"), TEXT_AFTER_VALUE),
            ("K=a)", Some("K"), TEXT_AFTER_VALUE),
            ("K=$(reboot)", Some("K"), NEEDS_QUOTES),
            ("K=`reboot`", Some("K"), NEEDS_QUOTES),
            ("K=a|b", Some("K"), NEEDS_QUOTES),
            ("K=(a;b)", Some("K"), NEEDS_QUOTES),
            ("K=(a (b))", Some("K"), NEEDS_QUOTES),
            ("K = a", Some("K"), BLANKS_BEFORE_EQUALS),
            ("K\0=a", None, NUL_BYTE),
            ("K=\"a\0b\"", None, NUL_BYTE),
            ("reboot", None, NO_ASSIGNMENT),
            ("export", None, NO_ASSIGNMENT),
            ("export K", None, NO_ASSIGNMENT),
            (". /etc/profile", None, NO_ASSIGNMENT),
            ("1K=a", None, NO_ASSIGNMENT),
            ("K-L=a", None, NO_ASSIGNMENT),
            ("K+=(a)", None, NO_ASSIGNMENT),
            ("K[0]=a", None, NO_ASSIGNMENT),
            ("密=a", None, NO_ASSIGNMENT),
            ("=a", None, NO_ASSIGNMENT),
            (&long, Some("K"), TOO_LONG),
        ] {
            let expected = (key.map(str::to_owned), Err(expected));
            assert_eq!(one(source), expected, "{source:?}");
        }
    }

    #[test]
    fn lines_keep_their_numbers() {
        let source = "\u{feff}# first\r\n\r\nA=1\r\n  # B=2\n\nA=3\nend";
        let numbers: Vec<_> = parse(source).iter().map(|line| line.number).collect();
        assert_eq!(numbers, [3, 6, 7]);
        assert_eq!(one("\u{feff}A=1").0.as_deref(), Some("A"));
    }

    #[test]
    fn a_comment_may_be_in_any_encoding_but_a_value_may_not() {
        let gbk = b"\xd6\xd0\xce\xc4";
        let comment = [b"A=1\n # ", gbk.as_slice(), b"\nB=2"].concat();
        let lines = parse(&decode(&comment).expect("a comment"));
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1].number, 3);

        let value = [b"A=1\nB=", gbk.as_slice()].concat();
        assert_eq!(decode(&value), Err((2, NOT_UTF8)));

        for before in ["A=1", "A=\"a # b\"", "A='x \\'", "A=a\\ b", "A=(a b)"] {
            let line = [before.as_bytes(), b" # ", gbk.as_slice(), b"\nB=2"].concat();
            let lines = parse(&decode(&line).expect(before));
            assert_eq!(lines.len(), 2, "{before}");
            assert_eq!(lines[0].value, one(before).1, "{before}");
        }
        for value in ["A=1#", "A=\"a #", "A='a # ", "A=a\\ #"] {
            let line = [value.as_bytes(), gbk.as_slice()].concat();
            assert_eq!(decode(&line), Err((1, NOT_UTF8)), "{value}");
        }
    }
}
