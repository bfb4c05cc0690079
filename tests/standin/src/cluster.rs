//! `kingbasecluster`: pgpool-II behind a relay that shows the nine columns of `show pool_nodes` that
//! 3.6 has.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Context, Result};

use crate::preload::{dying_with_us, exec};

/// Where the pool listens itself, beside its port.
const BEHIND: u16 = 10_000;
/// 3.6's columns.
const COLUMNS: [&str; 9] = [
    "node_id",
    "hostname",
    "port",
    "status",
    "lb_weight",
    "role",
    "select_cnt",
    "load_balance_node",
    "replication_delay",
];

/// Runs it in the foreground (`-n`), or tells a running one to stop.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let mut words = args.iter();
    words
        .find(|arg| *arg == "-f")
        .context("-f CONFIGURATION is missing")?;
    let file = words.next().context("-f needs a file")?;
    let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let port = port(&text)?;
    // Beside it lie files that the pool looks for there.
    let ours = Path::new(file).with_extension("pgpool");
    // The fork calls the old primary's host %O.
    let text: String = text
        .lines()
        .map(
            |line| match line.trim_start().starts_with("failover_command") {
                true => format!("{}\n", line.replace("%O", "%N")),
                false => format!("{line}\n"),
            },
        )
        .collect();
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
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || relay(client, port + BEHIND));
        }
    });
    // Our listening socket ends with the pool.
    let code = pool.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn port(text: &str) -> Result<u16> {
    let mut values = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "port").then(|| value.trim().trim_matches('\''))
    });
    Ok(values.next_back().context("no port is set")?.parse()?)
}

/// One connection; an error of either side ends it.
fn relay(client: TcpStream, port: u16) -> io::Result<()> {
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
    let result = answers(BufReader::new(pool), &client);
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

/// The pool's messages; of a table of nodes only the columns that 3.6 has.
fn answers(mut pool: impl Read, mut client: &TcpStream) -> io::Result<()> {
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
                kept = fields.as_deref().and_then(chosen);
                kept.as_ref()
                    .zip(fields)
                    .map(|(kept, fields)| select(&fields, kept))
            }
            b'D' => kept
                .as_ref()
                .zip(values(&body))
                .map(|(kept, fields)| select(&fields, kept)),
            _ => None,
        };
        let body = shorter.unwrap_or(body);
        let mut message = vec![head[0]];
        message.extend((body.len() as u32 + 4).to_be_bytes());
        message.extend(body);
        client.write_all(&message)?;
    }
}

/// The places of 3.6's columns, if these are the pool's nodes.
fn chosen(fields: &[&[u8]]) -> Option<Vec<usize>> {
    let place = |name: &&str| {
        let is_it = |field: &&[u8]| {
            field
                .strip_prefix(name.as_bytes())
                .is_some_and(|it| it[0] == 0)
        };
        fields.iter().position(is_it)
    };
    COLUMNS.iter().map(place).collect()
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
}
