//! `kingbasecluster`, and `pgpool` of another version: pgpool-II behind a relay that shows the columns of
//! `show pool_nodes` which that one has.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};

use crate::preload::{dying_with_us, exec};
use crate::ways::Ways;

/// Where the pool listens itself, beside its port.
const BEHIND: u16 = 10_000;
/// Runs it in the foreground (`-n`), or tells a running one to stop.
pub fn run(args: &[OsString], ways: Ways) -> Result<ExitCode> {
    let mut words = args.iter();
    words
        .find(|arg| *arg == "-f")
        .context("-f CONFIGURATION is missing")?;
    let file = words.next().context("-f needs a file")?;
    let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let port = port(&text)?;
    // Beside it lie files that the pool looks for there.
    let ours = Path::new(file).with_extension("pgpool");
    let text: String = text.lines().map(of_today).collect();
    fs::write(&ours, format!("{text}port = {}\n", port + BEHIND))?;
    let mut command = Command::new("/usr/sbin/pgpool");
    command.args(args.iter().map(|arg| match arg == file {
        true => ours.as_os_str(),
        false => arg,
    }));
    if !args.iter().any(|arg| arg == "-n") {
        return exec(&mut command);
    }
    let mut pool = dying_with_us(&mut command).spawn().context("pgpool")?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).context("listen")?;
    let ways = Arc::new(ways);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let ways = Arc::clone(&ways);
            thread::spawn(move || relay(client, port + BEHIND, &ways));
        }
    });
    // Our listening socket ends with the pool.
    let code = pool.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// A line of the configuration, with the names that pgpool-II 4.3 has for those of 3.6 and the fork.
fn of_today(line: &str) -> String {
    const NAMES: [(&str, &str); 2] = [
        ("fail_over_on_backend_error", "failover_on_backend_error"),
        ("follow_master_command", "follow_primary_command"),
    ];
    let key = line.split('=').next().unwrap_or_default().trim();
    if key == "failover_command" {
        // The fork calls the old primary's host %O.
        return format!("{}\n", line.replace("%O", "%N"));
    }
    match NAMES.iter().find(|(then, _)| *then == key) {
        Some((then, now)) => format!("{}\n", line.replacen(then, now, 1)),
        None => format!("{line}\n"),
    }
}

fn port(text: &str) -> Result<u16> {
    let mut values = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "port").then(|| value.trim().trim_matches('\''))
    });
    Ok(values.next_back().context("no port is set")?.parse()?)
}

/// One connection; an error of either side ends it.
fn relay(client: TcpStream, port: u16, ways: &Ways) -> io::Result<()> {
    let pool = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    for stream in [&client, &pool] {
        stream.set_nodelay(true)?;
    }
    let (mut from_client, mut to_pool) = (client.try_clone()?, pool.try_clone()?);
    start(&mut from_client, &mut to_pool)?;
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_pool);
        let _ = to_pool.shutdown(Shutdown::Write);
    });
    let result = answers(BufReader::new(pool), &client, ways);
    let _ = client.shutdown(Shutdown::Both);
    result
}

/// The first message has no type. A wish for encryption is refused, as a pool without it does: its
/// answer would have no form of a message.
fn start(client: &mut TcpStream, pool: &mut TcpStream) -> io::Result<()> {
    const SSL: u32 = 80_877_103;
    const GSS: u32 = 80_877_104;
    loop {
        let mut head = [0; 8];
        client.read_exact(&mut head)?;
        let code = number(&head[4..]);
        if code == SSL || code == GSS {
            client.write_all(b"N")?;
            continue;
        }
        let length = number(&head[..4]).clamp(8, 10_000) as usize;
        let mut message = head.to_vec();
        message.resize(length, 0);
        client.read_exact(&mut message[8..])?;
        return pool.write_all(&message);
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// The pool's messages; of a table of nodes only the columns that this version has.
fn answers(mut pool: impl Read, mut client: &TcpStream, ways: &Ways) -> io::Result<()> {
    let mut kept: Option<Vec<usize>> = None;
    loop {
        let mut head = [0; 5];
        pool.read_exact(&mut head)?;
        let length = (number(&head[1..]).max(4) - 4) as usize;
        let mut body = vec![0; length];
        pool.read_exact(&mut body)?;
        let shorter = match head[0] {
            b'T' => {
                let fields = descriptions(&body);
                kept = fields
                    .as_deref()
                    .and_then(|fields| chosen(fields, &ways.columns));
                kept.as_ref()
                    .zip(fields)
                    .map(|(kept, fields)| select(&fields, kept))
            }
            b'D' => kept
                .as_ref()
                .zip(values(&body))
                .map(|(kept, fields)| shown(&fields, kept, ways)),
            _ => None,
        };
        let body = shorter.unwrap_or(body);
        let mut message = vec![head[0]];
        message.extend((body.len() as u32 + 4).to_be_bytes());
        message.extend(body);
        client.write_all(&message)?;
    }
}

/// The places of these columns, if `fields` are those of the pool's nodes.
fn chosen(fields: &[&[u8]], columns: &[&str]) -> Option<Vec<usize>> {
    let place = |name: &&str| {
        let is_it = |field: &&[u8]| {
            field
                .strip_prefix(name.as_bytes())
                .is_some_and(|it| it[0] == 0)
        };
        fields.iter().position(is_it)
    };
    columns.iter().map(place).collect()
}

/// A node: the fields that this version has, each with its length first, and a standby's delay as it shows it.
fn shown(fields: &[&[u8]], kept: &[usize], ways: &Ways) -> Vec<u8> {
    let place = |name: &str| {
        let at = ways.columns.iter().position(|column| *column == name)?;
        kept.get(at).copied()
    };
    let text = |place: Option<usize>| fields.get(place?)?.get(4..);
    let delay = place("replication_delay");
    let changed = match (text(place("role")), text(delay)) {
        (Some(b"standby"), Some(bytes)) => ways.delay(bytes),
        _ => return select(fields, kept),
    };
    let mut value = (changed.len() as u32).to_be_bytes().to_vec();
    value.extend(changed);
    let mut fields = fields.to_vec();
    if let Some(field) = delay.and_then(|place| fields.get_mut(place)) {
        *field = &value;
    }
    select(&fields, kept)
}

fn select(fields: &[&[u8]], kept: &[usize]) -> Vec<u8> {
    let mut body = (kept.len() as u16).to_be_bytes().to_vec();
    for place in kept {
        body.extend(fields.get(*place).copied().unwrap_or(&[0xff; 4]));
    }
    body
}

/// The fields of a row description, each with its name first.
fn descriptions(body: &[u8]) -> Option<Vec<&[u8]>> {
    cut(body, |rest| {
        Some(rest.iter().position(|byte| *byte == 0)? + 1 + 18)
    })
}

/// The fields of a row, each with its length first: -1 is NULL.
fn values(body: &[u8]) -> Option<Vec<&[u8]>> {
    cut(body, |rest| {
        let length = number(rest.get(..4)?).cast_signed();
        Some(4 + usize::try_from(length).unwrap_or(0))
    })
}

fn cut(body: &[u8], length: impl Fn(&[u8]) -> Option<usize>) -> Option<Vec<&[u8]>> {
    let (count, mut rest) = body.split_at_checked(2)?;
    let mut fields = Vec::new();
    for _ in 0..number(count) {
        let (field, after) = rest.split_at_checked(length(rest)?)?;
        fields.push(field);
        rest = after;
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_that_counts_is_the_last() {
        assert_eq!(
            port("port = 1\n# port = 2\nport = '9999'\npcp_port = 3\n").unwrap(),
            9999
        );
        assert!(port("pcp_port = 3").is_err());
    }

    #[test]
    fn a_row_keeps_the_chosen_fields() {
        let row = b"\0\x03\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x02bc";
        let fields = values(row).unwrap();
        assert_eq!(
            select(&fields, &[2, 1]),
            b"\0\x02\0\0\0\x02bc\xff\xff\xff\xff"
        );
        assert_eq!(values(b"\0\x01\0\0\0\x09a"), None);
    }

    #[test]
    fn a_standbys_delay_is_shown_as_the_version_does() {
        let ways = Ways {
            columns: vec!["role", "replication_delay"],
            in_seconds: true,
            ..Ways::kingbase()
        };
        let field = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
        for (role, expected) in [("standby", "0.000000 second"), ("primary", "0")] {
            let (role, delay) = (field(role), field("0"));
            let body = shown(&[&delay, &role], &[1, 0], &ways);
            let wanted = [&[0, 2][..], &role, &field(expected)].concat();
            assert_eq!(body, wanted);
        }
    }
}
