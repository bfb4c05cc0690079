//! libpq's connection strings, as in `primary_conninfo`: `host=a port=1` or `postgresql://a:1`.
//!
//! They are read as libpq reads them, oddities included, and a host is changed where it stands:
//! what else is in the string (a password, a passfile) may look like it, and stays.

#[cfg(test)]
mod against_libpq;

use crate::config::{Config, SslMode};
use std::fmt::Write as _;
use std::ops::Range;

/// A text that libpq would not take. Nothing of it is shown: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConninfo {
    /// `host` instead of `host=a`.
    #[error("a connection string has a keyword without \"=\" and a value")]
    NoEquals,
    /// `=a`.
    #[error("a connection string has a value without a keyword")]
    NoKeyword,
    /// `host='a`.
    #[error("a connection string has a single quote ' that is not closed")]
    OpenQuote,
    /// `postgresql://[::1`, `postgresql://[]`, `postgresql://[::1]x`.
    #[error("a connection URI has no complete IPv6 address between [ and ]")]
    BadBrackets,
    /// `%4`, `%zz`, `%00`, or bytes that are no UTF-8.
    #[error("a connection URI has a % that two hexadecimal digits of a character do not follow")]
    BadPercent,
    /// `?host=a=b`.
    #[error("a connection URI has a second \"=\" in one parameter (write %3D in a value)")]
    SecondEquals,
    /// A byte 0, which ends a string for libpq.
    #[error("a connection string has a zero byte")]
    Nul,
}

/// How a value stands in the string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Bare,
    Quoted,
    /// Before the `?` of a URI, where an IPv6 address needs brackets.
    Authority,
    Query,
}

/// One keyword with its value.
struct Field {
    keyword: String,
    value: String,
    /// The bytes to replace for another value, quotes and brackets included.
    span: Range<usize>,
    place: Place,
}

/// A connection string taken apart.
#[derive(Default)]
struct Parsed {
    fields: Vec<Field>,
    /// A URI's second and further hosts with their ports: no bytes where there are none.
    more_hosts: Range<usize>,
    /// In a URI, where a host belongs that has none.
    host_at: Option<usize>,
}

impl Parsed {
    /// The last one counts.
    fn get(&self, keyword: &str) -> Option<&str> {
        let last = self.fields.iter().rfind(|f| f.keyword == keyword);
        last.map(|f| f.value.as_str())
    }

    /// As `get`, but an empty value is none: so it is with a host.
    fn named(&self, keyword: &str) -> Option<&str> {
        self.get(keyword).filter(|value| !value.is_empty())
    }
}

/// The value of `keyword`; of several the last, as libpq has it.
pub fn get(conninfo: &str, keyword: &str) -> Result<Option<String>, BadConninfo> {
    Ok(parse(conninfo)?.get(keyword).map(str::to_owned))
}

/// The server that is named: `hostaddr`, to which libpq connects where both are there, else `host`.
/// Of a list the first.
pub fn host(conninfo: &str) -> Result<Option<String>, BadConninfo> {
    let parsed = parse(conninfo)?;
    let host = parsed.named("hostaddr").or_else(|| parsed.named("host"));
    let first = host.map(|list| list.split(',').next().unwrap_or_default());
    Ok(first.map(str::to_owned))
}

/// `conninfo` with another host and every other byte as it was. A list of hosts stays one, with this
/// one at its head, and with their ports.
pub fn with_host(conninfo: &str, host: &str) -> Result<String, BadConninfo> {
    let parsed = parse(conninfo)?;
    // libpq takes a name for no hostaddr, and an empty one for none.
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let edits = match Hosts::list(&parsed).filter(|_| is_address) {
        Some(hosts) => hosts.with_first(host).edits(&parsed),
        None => edits_for_one(conninfo, &parsed, host, is_address),
    };
    Ok(edited(conninfo, &parsed, edits))
}

/// `conninfo` with only this host, of a list too: with the first of their ports.
pub fn with_only_host(conninfo: &str, host: &str) -> Result<String, BadConninfo> {
    let parsed = parse(conninfo)?;
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let edits = edits_for_one(conninfo, &parsed, host, is_address);
    Ok(edited(conninfo, &parsed, edits))
}

/// `conninfo` that leads nowhere: its host is `nobody`, which is none. A list of hosts stays as it is, behind an
/// address that libpq cannot read, until [`released`].
pub fn held(conninfo: &str, nobody: &str) -> Result<String, BadConninfo> {
    let parsed = parse(conninfo)?;
    let lists = Hosts::list(&parsed);
    if lists.is_none_or(|hosts| !hosts.addresses.is_empty()) {
        return with_only_host(conninfo, nobody);
    }
    let between = match (parsed.host_at, conninfo.contains('?')) {
        (None, _) => ' ',
        (Some(_), false) => '?',
        (Some(_), true) => '&',
    };
    let place = match between {
        ' ' => Place::Bare,
        _ => Place::Query,
    };
    Ok(format!(
        "{conninfo}{between}hostaddr={}",
        written(nobody, place)
    ))
}

/// `conninfo` without what [`held`] has added to a list.
pub fn released<'a>(conninfo: &'a str, nobody: &str) -> &'a str {
    let ends = [(" ", Place::Bare), ("?", Place::Query), ("&", Place::Query)];
    let mut rests = ends.iter().filter_map(|(between, place)| {
        let end = format!("{between}hostaddr={}", written(nobody, *place));
        conninfo.strip_suffix(&end)
    });
    rests.next().unwrap_or(conninfo)
}

/// A part of the string, and what belongs in its place.
type Edit = (Range<usize>, String);

fn edits_for_one(conninfo: &str, parsed: &Parsed, host: &str, is_address: bool) -> Vec<Edit> {
    let hostaddr = if is_address { host } else { "" };
    let mut edits = vec![(parsed.more_hosts.clone(), String::new())];
    for field in &parsed.fields {
        let value = match field.keyword.as_str() {
            "host" => host,
            "hostaddr" => hostaddr,
            // Before the ? of a URI the span is that of the first port, which stays.
            "port" if field.place != Place::Authority => {
                field.value.split(',').next().unwrap_or_default()
            }
            _ => continue,
        };
        if value != field.value {
            edits.push((field.span.clone(), written(value, field.place)));
        }
    }
    let has_hostaddr = is_address && parsed.get("hostaddr").is_some();
    if parsed.get("host").is_none() && !has_hostaddr {
        edits.push(match parsed.host_at {
            Some(at) => (at..at, written(host, Place::Authority)),
            None if conninfo.is_empty() => (0..0, build(&[("host", host)])),
            None => (0..0, build(&[("host", host)]) + " "),
        });
    }
    edits
}

fn edited(conninfo: &str, parsed: &Parsed, mut edits: Vec<Edit>) -> String {
    // From the back, so that the positions before stay right.
    edits.sort_by_key(|(span, _)| (span.start, span.end));
    let mut changed = conninfo.to_owned();
    for (span, text) in edits.into_iter().rev() {
        changed.replace_range(span, &text);
    }
    match parsed.host_at {
        Some(at) if conninfo[..at].ends_with("//") => without_user(changed, at),
        _ => changed,
    }
}

/// A URI that has no user has none still: an @ in a value ends one where no / stands before it any more.
fn without_user(uri: String, start: usize) -> String {
    let end = find(&uri, start, |c| c == '@' || c == '/');
    match uri[end..].starts_with('@') {
        true => format!("{}{}", &uri[..start], uri[start..].replace('@', "%40")),
        false => uri,
    }
}

/// Several hosts of one connection string, tried in this order.
struct Hosts {
    /// Empty: there are only addresses.
    names: Vec<String>,
    /// Empty: there are only names.
    addresses: Vec<String>,
    /// One for each, or one for all, or none.
    ports: Vec<String>,
}

impl Hosts {
    /// `None`: there is at most one, or libpq would not take them.
    fn list(parsed: &Parsed) -> Option<Self> {
        let list = |keyword| -> Vec<String> {
            let value = parsed.named(keyword).unwrap_or_default();
            let all = value.split(',').map(str::to_owned);
            all.filter(|_| !value.is_empty()).collect()
        };
        let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
        let count = names.len().max(addresses.len());
        let fits = |other: &[String]| other.is_empty() || other.len() == count;
        let all_fit = fits(&names) && fits(&addresses) && (fits(&ports) || ports.len() == 1);
        (count > 1 && all_fit).then_some(Self {
            names,
            addresses,
            ports,
        })
    }

    /// With the server at `address` as the first to be tried.
    fn with_first(mut self, address: &str) -> Self {
        let each_port = self.ports.len() > 1;
        let known = [&self.addresses, &self.names]
            .iter()
            .find_map(|list| list.iter().position(|it| it == address));
        let first = |list: &mut Vec<String>, new: String| match known {
            _ if list.is_empty() => {}
            Some(at) => list[..=at].rotate_right(1),
            None => list.insert(0, new),
        };
        first(&mut self.names, address.to_owned());
        first(&mut self.addresses, address.to_owned());
        if each_port {
            let port = self.ports[0].clone();
            first(&mut self.ports, port);
        }
        self
    }

    fn edits(&self, parsed: &Parsed) -> Vec<Edit> {
        let mut edits = Vec::new();
        let mut in_authority = false;
        for field in &parsed.fields {
            let list = match field.keyword.as_str() {
                "host" => &self.names,
                "hostaddr" => &self.addresses,
                "port" => &self.ports,
                _ => continue,
            };
            in_authority |= field.place == Place::Authority;
            if field.place != Place::Authority && list.join(",") != field.value {
                let text = match field.place {
                    Place::Query => {
                        let each = list.iter().map(|it| written(it, Place::Query));
                        each.collect::<Vec<_>>().join(",")
                    }
                    place => written(&list.join(","), place),
                };
                edits.push((field.span.clone(), text));
            }
        }
        if let Some(at) = parsed.host_at.filter(|_| in_authority) {
            edits.push((at..parsed.more_hosts.end, self.authority()));
        }
        edits
    }

    /// As it stands before the `?` of a URI.
    fn authority(&self) -> String {
        let host = |(at, name): (usize, &String)| {
            let host = written(name, Place::Authority);
            match self.ports.get(at).filter(|port| !port.is_empty()) {
                Some(port) => format!("{host}:{}", written(port, Place::Authority)),
                None => host,
            }
        };
        let all: Vec<String> = self.names.iter().enumerate().map(host).collect();
        all.join(",")
    }
}

/// All keywords with their values, each once, as libpq has them.
pub fn pairs(conninfo: &str) -> Result<Vec<(String, String)>, BadConninfo> {
    let parsed = parse(conninfo)?;
    let mut pairs: Vec<(String, String)> = Vec::new();
    for field in parsed.fields {
        // A URI's may be JDBC's.
        let pair = match (field.keyword.as_str(), field.value.as_str()) {
            ("ssl", "true") => ("sslmode".to_owned(), "require".to_owned()),
            _ => (field.keyword, field.value),
        };
        match pairs.iter_mut().find(|(keyword, _)| *keyword == pair.0) {
            Some((_, value)) => *value = pair.1,
            None => pairs.push(pair),
        }
    }
    Ok(pairs)
}

/// A connection string of these keywords and values, in this order.
pub fn build(pairs: &[(&str, &str)]) -> String {
    let words: Vec<String> = pairs
        .iter()
        .map(|(keyword, value)| format!("{keyword}={}", written(value, Place::Bare)))
        .collect();
    words.join(" ")
}

/// The same for the server's own programs, which encrypt their sessions as the tools do; nothing is added where
/// that is so anyway.
pub fn build_with_tls(pairs: &[(&str, &str)], config: &Config) -> String {
    let mode = config.kb_sslmode.to_string();
    let root = config.kb_sslrootcert.as_ref();
    let root = root.map(|it| it.display().to_string());
    let mode = (config.kb_sslmode != SslMode::Prefer).then_some(mode.as_str());
    let tls = [("sslmode", mode), ("sslrootcert", root.as_deref())];
    let tls = tls
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    build(&pairs.iter().copied().chain(tls).collect::<Vec<_>>())
}

fn written(value: &str, place: Place) -> String {
    match place {
        Place::Bare if is_plain(value) => value.to_owned(),
        Place::Bare | Place::Quoted => {
            format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
        }
        Place::Authority if value.contains(':') => format!("[{}]", percent_encoded(value)),
        Place::Authority | Place::Query => percent_encoded(value),
    }
}

/// What is a blank outside ASCII depends on the server's locale: so only ASCII goes without quotes.
fn is_plain(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && c != '\'' && c != '\\';
    !value.is_empty() && value.chars().all(plain)
}

fn percent_encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn parse(text: &str) -> Result<Parsed, BadConninfo> {
    if text.contains('\0') {
        return Err(BadConninfo::Nul);
    }
    match ["postgresql://", "postgres://"]
        .iter()
        .find(|prefix| text.starts_with(**prefix))
    {
        Some(prefix) => parse_uri(text, prefix.len()),
        None => parse_keywords(text),
    }
}

/// `isspace()` of C.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

/// The first place from `from` on where `wanted` holds, else the end.
fn find(text: &str, from: usize, wanted: impl Fn(char) -> bool) -> usize {
    text[from..].find(wanted).map_or(text.len(), |at| from + at)
}

fn parse_keywords(text: &str) -> Result<Parsed, BadConninfo> {
    let skip_blanks = |at| find(text, at, |c| !is_blank(c));
    let mut parsed = Parsed::default();
    let mut at = skip_blanks(0);
    while at < text.len() {
        let end = find(text, at, |c| c == '=' || is_blank(c));
        let keyword = text[at..end].to_owned();
        let equals = skip_blanks(end);
        if !text[equals..].starts_with('=') {
            return Err(BadConninfo::NoEquals);
        }
        if keyword.is_empty() {
            return Err(BadConninfo::NoKeyword);
        }
        // Blanks after the = are skipped even where another keyword follows: "host= port=1" names
        // the host "port=1".
        let start = skip_blanks(equals + 1);
        let (value, len, place) = keyword_value(&text[start..])?;
        parsed.fields.push(Field {
            keyword,
            value,
            span: start..start + len,
            place,
        });
        at = skip_blanks(start + len);
    }
    Ok(parsed)
}

/// The value that `text` begins with, and its length there.
fn keyword_value(text: &str) -> Result<(String, usize, Place), BadConninfo> {
    let mut chars = text.char_indices();
    let quoted = text.starts_with('\'');
    if quoted {
        chars.next();
    }
    let mut value = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            // A backslash at the very end stands for nothing.
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            '\'' if quoted => return Ok((value, at + 1, Place::Quoted)),
            c if !quoted && is_blank(c) => return Ok((value, at, Place::Bare)),
            c => value.push(c),
        }
    }
    if quoted {
        return Err(BadConninfo::OpenQuote);
    }
    Ok((value, text.len(), Place::Bare))
}

fn parse_uri(text: &str, start: usize) -> Result<Parsed, BadConninfo> {
    let mut parsed = Parsed::default();
    let at = uri_user(text, start, &mut parsed)?;
    parsed.host_at = Some(at);
    let mut at = uri_hosts(text, at, &mut parsed)?;
    if text[at..].starts_with('/') {
        let end = find(text, at + 1, |c| c == '?');
        parsed.add_authority("dbname", text, at + 1..end)?;
        at = end;
    }
    // Here is the ? or the end.
    uri_query(text, at + 1, &mut parsed)?;
    Ok(parsed)
}

impl Parsed {
    fn add(&mut self, keyword: &str, value: String, span: Range<usize>, place: Place) {
        self.fields.push(Field {
            keyword: keyword.to_owned(),
            value,
            span,
            place,
        });
    }

    /// A part before the ?. An empty one is as good as none to libpq.
    fn add_authority(
        &mut self,
        keyword: &str,
        text: &str,
        span: Range<usize>,
    ) -> Result<(), BadConninfo> {
        let value = decoded(&text[span.clone()])?;
        if !value.is_empty() {
            self.add(keyword, value, span, Place::Authority);
        }
        Ok(())
    }
}

/// User and password, if there are any; where the hosts begin.
fn uri_user(text: &str, start: usize, parsed: &mut Parsed) -> Result<usize, BadConninfo> {
    let user_end = find(text, start, |c| c == '@' || c == '/');
    if !text[user_end..].starts_with('@') {
        return Ok(start);
    }
    let colon = find(text, start, |c| c == ':' || c == '@');
    parsed.add_authority("user", text, start..colon)?;
    let password = (colon + 1).min(user_end)..user_end;
    parsed.add_authority("password", text, password)?;
    Ok(user_end + 1)
}

/// Hosts and ports, each as one list; where they end.
fn uri_hosts(text: &str, start: usize, parsed: &mut Parsed) -> Result<usize, BadConninfo> {
    let mut at = start;
    let (mut hosts, mut ports) = (String::new(), String::new());
    let mut first = None;
    loop {
        let (host, end) = uri_host(text, at)?;
        let mut port = end..end;
        if text[end..].starts_with(':') {
            port = end + 1..find(text, end + 1, |c| matches!(c, '/' | '?' | ','));
        }
        hosts += host;
        ports += &text[port.clone()];
        first.get_or_insert((at..end, port.clone()));
        at = port.end;
        if !text[at..].starts_with(',') {
            break;
        }
        at += 1;
        hosts.push(',');
        ports.push(',');
    }
    let (first_host, first_port) = first.unwrap_or_default();
    parsed.more_hosts = first_port.end..at;
    if !hosts.is_empty() {
        parsed.add("host", decoded(&hosts)?, first_host, Place::Authority);
    }
    if !ports.is_empty() {
        parsed.add("port", decoded(&ports)?, first_port, Place::Authority);
    }
    Ok(at)
}

/// The settings after the ?.
fn uri_query(text: &str, start: usize, parsed: &mut Parsed) -> Result<(), BadConninfo> {
    let mut at = start;
    while at < text.len() {
        let end = find(text, at, |c| c == '&');
        let (keyword, value) = text[at..end].split_once('=').ok_or(BadConninfo::NoEquals)?;
        if keyword.is_empty() {
            return Err(BadConninfo::NoKeyword);
        }
        if value.contains('=') {
            return Err(BadConninfo::SecondEquals);
        }
        let span = end - value.len()..end;
        parsed.add(&decoded(keyword)?, decoded(value)?, span, Place::Query);
        at = end + 1;
    }
    Ok(())
}

/// The host at `at`, without brackets, and where it ends, with them.
fn uri_host(text: &str, at: usize) -> Result<(&str, usize), BadConninfo> {
    let ends_host = |c| matches!(c, ':' | '/' | '?' | ',');
    let Some(inner) = text[at..].strip_prefix('[') else {
        let end = find(text, at, ends_host);
        return Ok((&text[at..end], end));
    };
    match inner.split_once(']') {
        Some((host, rest))
            if !host.is_empty() && (rest.is_empty() || rest.starts_with(ends_host)) =>
        {
            Ok((host, text.len() - rest.len()))
        }
        _ => Err(BadConninfo::BadBrackets),
    }
}

fn decoded(text: &str) -> Result<String, BadConninfo> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let [high, low, tail @ ..] = rest else {
            return Err(BadConninfo::BadPercent);
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let byte = digit(*high)
            .zip(digit(*low))
            .and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        match byte {
            None | Some(0) => return Err(BadConninfo::BadPercent),
            Some(byte) => bytes.push(byte),
        }
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| BadConninfo::BadPercent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_libpq_connects_to() {
        for (conninfo, expected) in [
            ("", None),
            ("  ", None),
            ("user=u", None),
            ("host=''", None),
            ("host=a", Some("a")),
            ("host = a port=1", Some("a")),
            ("host=\ta\nport=1", Some("a")),
            ("host=a host=b", Some("b")),
            ("host=a hostaddr=10.0.0.1", Some("10.0.0.1")),
            ("hostaddr=10.0.0.1 host=a", Some("10.0.0.1")),
            ("hostaddr='' host=a", Some("a")),
            ("host='a b'user=u", Some("a b")),
            (r"host='va\'l\\ue'", Some(r"va'l\ue")),
            (r"host=va\'l\ ue\\ user=u", Some(r"va'l ue\")),
            (r"host=a\", Some("a")),
            ("host=a'b'", Some("a'b'")),
            ("host=a,b port=1,2", Some("a")),
            ("host= port=1", Some("port=1")),
            ("password='host=x' host=a", Some("a")),
            ("HOST=b", None),
            ("host=主机", Some("主机")),
            ("postgresql://", None),
            ("postgres://a", Some("a")),
            ("postgresql:///db?host=a", Some("a")),
            ("postgresql://b/db?host=a", Some("a")),
            ("postgresql://b/?hostaddr=10.0.0.1&", Some("10.0.0.1")),
            ("postgresql://u:p@a:5433/db?x=y", Some("a")),
            (
                "postgresql://u:p%40@[fe80::1%25eth0]:5433",
                Some("fe80::1%eth0"),
            ),
            ("postgresql://%2Ftmp", Some("/tmp")),
            ("postgresql://a:1,[::1]:2/db", Some("a")),
            ("postgresql://a?user=b/c@d", Some("a")),
            // libpq looks for the @ beyond a ?, up to the first /.
            ("postgresql://a?user=b@d", Some("d")),
        ] {
            assert_eq!(
                host(conninfo),
                Ok(expected.map(str::to_owned)),
                "{conninfo}"
            );
        }
    }

    #[test]
    fn every_keyword_can_be_asked_for() {
        for (conninfo, keyword, expected) in [
            ("user=u password='p q'", "password", Some("p q")),
            ("user=u", "password", None),
            ("password=''", "password", Some("")),
            ("postgresql://u:p%3A:q@a:1/d", "user", Some("u")),
            ("postgresql://u:p%3A:q@a:1/d", "password", Some("p::q")),
            ("postgresql://u:p%3A:q@a:1/d", "port", Some("1")),
            ("postgresql://u:p%3A:q@a:1/d", "dbname", Some("d")),
            ("postgresql://u@a:1,b", "port", Some("1,")),
            ("postgresql://u@a", "password", None),
            ("postgresql://:@a", "user", None),
            (
                "postgresql://a/?application%5Fname=%E4%B8%AD",
                "application_name",
                Some("中"),
            ),
        ] {
            let found = get(conninfo, keyword);
            assert_eq!(found, Ok(expected.map(str::to_owned)), "{conninfo}");
        }
    }

    #[test]
    fn of_several_values_the_last_counts() {
        for (conninfo, expected) in [
            ("", &[][..]),
            (
                "host=a user='u v' host=b",
                &[("host", "b"), ("user", "u v")][..],
            ),
            (
                "postgresql://u:p@a:1/d?ssl=true",
                &[
                    ("user", "u"),
                    ("password", "p"),
                    ("host", "a"),
                    ("port", "1"),
                    ("dbname", "d"),
                    ("sslmode", "require"),
                ],
            ),
        ] {
            let found = pairs(conninfo).unwrap();
            let found: Vec<(&str, &str)> = found
                .iter()
                .map(|(keyword, value)| (keyword.as_str(), value.as_str()))
                .collect();
            assert_eq!(found, expected, "{conninfo}");
        }
    }

    #[test]
    fn another_host_changes_nothing_else() {
        for (conninfo, new, expected) in [
            ("", "b", "host=b"),
            ("user=u", "b", "host=b user=u"),
            (" user=u\n", "b", "host=b  user=u\n"),
            ("host=a", "b", "host=b"),
            ("host=b ", "b", "host=b "),
            ("host='b'", "b", "host='b'"),
            ("host='a'port=1", "b", "host='b'port=1"),
            ("user=u host= ", "b", "user=u host= b"),
            ("host = a\tport =  1", "b", "host = b\tport =  1"),
            ("host=a user=u host=c", "b", "host=b user=u host=b"),
            ("host=a,c port=1,2", "b", "host=b port=1"),
            ("host=a,c port=,2", "b", "host=b port=''"),
            ("port='1,2' host='a,b'", "b", "port='1' host='b'"),
            ("host=a", "/tmp/a b", "host='/tmp/a b'"),
            ("host=a", r"o'x\", r"host='o\'x\\'"),
            (
                "host=10.0.0.1 hostaddr=10.0.0.1",
                "10.0.0.2",
                "host=10.0.0.2 hostaddr=10.0.0.2",
            ),
            ("hostaddr=10.0.0.1", "10.0.0.2", "hostaddr=10.0.0.2"),
            ("hostaddr=10.0.0.1", "b", "host=b hostaddr=''"),
            ("hostaddr=''", "::1", "hostaddr='::1'"),
            (
                r"user=u password='10.0.0.1 host=10.0.0.1' host=10.0.0.1 application_name=10.0.0.1 passfile=/h/10.0.0.1",
                "10.0.0.11",
                r"user=u password='10.0.0.1 host=10.0.0.1' host=10.0.0.11 application_name=10.0.0.1 passfile=/h/10.0.0.1",
            ),
            (
                r"password=\'host=a\  host=a",
                "b",
                r"password=\'host=a\  host=b",
            ),
            ("postgresql://", "b", "postgresql://b"),
            ("postgresql://u@/db", "b", "postgresql://u@b/db"),
            ("postgresql://:1/db", "::1", "postgresql://[::1]:1/db"),
            ("postgresql://a", "/tmp", "postgresql://%2Ftmp"),
            ("postgresql://[::1]:1", "b", "postgresql://b:1"),
            ("postgresql://[::1]:1", "::1", "postgresql://[::1]:1"),
            ("postgresql://a:1,c:2/db", "b", "postgresql://b:1/db"),
            ("postgresql://a,c:2?x=y", "b", "postgresql://b?x=y"),
            ("postgresql://,c/db", "b", "postgresql://b/db"),
            ("postgresql://b,c/db", "b", "postgresql://b/db"),
            (
                "postgresql:///db?host=a,c&port=1,2",
                "b",
                "postgresql:///db?host=b&port=1",
            ),
            (
                "postgresql://a/db?host=a&hostaddr=10.0.0.1&host=c",
                "::1",
                "postgresql://[::1]/db?host=::1&hostaddr=::1&host=::1",
            ),
            (
                "postgresql://10.0.0.1:10.0.0.1@10.0.0.1:1/10.0.0.1?passfile=10.0.0.1",
                "10.0.0.2",
                "postgresql://10.0.0.1:10.0.0.1@10.0.0.2:1/10.0.0.1?passfile=10.0.0.1",
            ),
        ] {
            let whole = Ok(expected.to_owned());
            assert_eq!(with_host(conninfo, new), whole, "{conninfo}");
            assert_eq!(with_host(expected, new), whole, "again");
            assert_eq!(host(expected), Ok(Some(new.to_owned())), "{expected}");
        }
    }

    #[test]
    fn a_list_gets_another_head() {
        for (conninfo, new, expected) in [
            (
                "host=a,c port=1,2 target_session_attrs=read-write",
                "10.0.0.2",
                "host=10.0.0.2,a,c port=1,1,2 target_session_attrs=read-write",
            ),
            ("host=a,c port=1", "::1", "host=::1,a,c port=1"),
            ("host=a,c port=,2", "::1", "host=::1,a,c port=,,2"),
            (
                "port='1,2' host='10.0.0.1,10.0.0.2'",
                "10.0.0.2",
                "port='2,1' host='10.0.0.2,10.0.0.1'",
            ),
            (
                "host=a,b,c hostaddr=10.0.0.1,10.0.0.2,10.0.0.3 port=1,2,3",
                "10.0.0.3",
                "host=c,a,b hostaddr=10.0.0.3,10.0.0.1,10.0.0.2 port=3,1,2",
            ),
            // libpq refuses as many as these, whichever is the first.
            ("host=a,c port=1,2,3", "::1", "host=::1 port=1"),
            (
                "postgresql://a:1,10.0.0.2:2/db?x=y",
                "10.0.0.2",
                "postgresql://10.0.0.2:2,a:1/db?x=y",
            ),
            ("postgresql://a,c/db", "::1", "postgresql://[::1],a,c/db"),
            (
                "postgresql://u:p@a:1,c/db",
                "10.0.0.2",
                "postgresql://u:p@10.0.0.2:1,a:1,c/db",
            ),
            (
                "postgresql:///db?host=a,c&port=1,2",
                "10.0.0.2",
                "postgresql:///db?host=10.0.0.2,a,c&port=1,1,2",
            ),
        ] {
            let whole = Ok(expected.to_owned());
            assert_eq!(with_host(conninfo, new), whole, "{conninfo}");
            assert_eq!(with_host(expected, new), whole, "again");
            assert_eq!(host(expected), Ok(Some(new.to_owned())), "{expected}");
        }
    }

    #[test]
    fn a_list_is_held_and_released_as_it_was() {
        for list in [
            "host=a,b port=1,2",
            "host='10.0.0.1,b' ",
            "postgresql://a,b/db",
            "postgresql:///db?host=a,b",
        ] {
            let held = held(list, "/nobody").unwrap();
            assert_eq!(host(&held), Ok(Some("/nobody".to_owned())), "{held}");
            assert_eq!(released(&held, "/nobody"), list);
            assert_eq!(released(list, "/nobody"), list);
        }
        for (one, expected) in [
            ("host=a port=1", "host=/nobody port=1"),
            (
                "host=a,b hostaddr=10.0.0.1,10.0.0.2",
                "host=/nobody hostaddr=''",
            ),
        ] {
            assert_eq!(held(one, "/nobody").as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_built_is_read_back() {
        let values = [
            "", "a", "a b", "'", "\\", "a\\", "a'b\\'c", "a=b", "\n", "中 文", "\u{a0}", "host=x",
        ];
        for value in values {
            let conninfo = build(&[("password", value), ("host", "a")]);
            assert_eq!(get(&conninfo, "password"), Ok(Some(value.to_owned())));
            assert_eq!(host(&conninfo), Ok(Some("a".to_owned())));
        }
        let pairs = [("host", "10.0.0.1"), ("password", "a b"), ("port", "")];
        assert_eq!(build(&pairs), "host=10.0.0.1 password='a b' port=''");
    }

    #[test]
    fn a_bad_string_is_not_shown() {
        for (conninfo, expected) in [
            ("secret", BadConninfo::NoEquals),
            ("host=a secret", BadConninfo::NoEquals),
            ("password = 'secret", BadConninfo::OpenQuote),
            (r"password='secret\'", BadConninfo::OpenQuote),
            ("=secret", BadConninfo::NoKeyword),
            ("postgresql://u:secret@[::1", BadConninfo::BadBrackets),
            ("postgresql://u:secret@[]", BadConninfo::BadBrackets),
            ("postgresql://u:secret@[::1]a", BadConninfo::BadBrackets),
            ("postgresql://u:secret@[::1]:5,\0", BadConninfo::Nul),
            ("postgresql://u:secret%@a", BadConninfo::BadPercent),
            ("postgresql://u:secret%4@a", BadConninfo::BadPercent),
            ("postgresql://u:secret%+4@a", BadConninfo::BadPercent),
            ("postgresql://u:secret%00@a", BadConninfo::BadPercent),
            ("postgresql://u:secret%ff@a", BadConninfo::BadPercent),
            ("postgresql://u:%é@a", BadConninfo::BadPercent),
            ("postgresql://a?secret", BadConninfo::NoEquals),
            ("postgresql://a?=secret", BadConninfo::NoKeyword),
            (
                "postgresql://a?password=secret=b",
                BadConninfo::SecondEquals,
            ),
        ] {
            assert_eq!(host(conninfo), Err(expected), "{conninfo}");
            assert_eq!(with_host(conninfo, "b"), Err(expected), "{conninfo}");
            let shown = format!("{expected} {expected:?}");
            assert!(!shown.contains("secret") && !shown.contains('\n'));
        }
    }
}
