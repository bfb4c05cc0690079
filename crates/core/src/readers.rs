//! All that reads what others wrote, each reader under one name, with what must hold whatever it reads. For
//! `fuzz/` and for the property tests beside it; no tool has it.
//!
//! A reader that is new here needs a target in `fuzz/`, by its name.

use crate::config::{Config, RequireAuth};
use crate::conninfo;
use crate::history::History;
use crate::instance::{
    ControlData, in_pid_file, is_stuck, is_wal_receiver, parse_stat, version_number,
};
use crate::journal::Message;
use crate::known_hosts::KnownKeys;
use crate::logs::{Today, Window, read_log};
use crate::lsn::Lsn;
use crate::net::packet::Packet;
use crate::net::{arp, listeners, ping, route};
use crate::peer;
use crate::pool;
use crate::process::{owner_in, pending_signals};
use crate::server::wire::Messages;
use crate::settings;
use crate::state::{Holder, State, holder_in};
use crate::supervisor::unit_in;
use crate::terminal::foreign;
use failover_rules::facts::report::{FenceReport, PromoteReport};
use failover_rules::facts::status::Status;
use failover_rules::report::report;
use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// Something that reads what others wrote.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Its name here, and that of its target in `fuzz/`.
    pub name: &'static str,
    /// Reads the bytes, and panics where something does not hold that must.
    pub read: fn(&[u8]),
    /// What is usually read.
    pub samples: &'static [&'static str],
}

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 101));

/// All of them.
pub const READERS: [Reader; 16] = [
    reader(
        "ha_module_conf",
        ha_module_conf,
        &[
            include_str!("../../../etc/HAmodule.conf"),
            "A=(b 'c d')\nexport B=\"\\$x\" # y\n",
        ],
    ),
    reader(
        "conninfo",
        connection,
        &[
            "user=u password='a b\\'c' host=10.0.0.1,10.0.0.2 port=1,2 application_name=node1",
            "postgresql://u:p%20w@[::1]:5,h:6/db?host=/tmp&hostaddr=10.0.0.1",
        ],
    ),
    reader(
        "settings",
        setting,
        &[
            "# c\nport = 5432 # c\nprimary_conninfo = 'a ''b\\'' \\x'\ninclude 'x'\nwork_mem 4MB\r\n",
        ],
    ),
    reader("control_data", control_data, &[CONTROL_DATA]),
    reader(
        "pid_file",
        pid_file,
        &["1234\n/data\n1700000000\n54321\n/tmp\n*\n 5432001 3\nready   \n"],
    ),
    reader(
        "known_hosts",
        known_hosts,
        &[
            "192.168.1.1?1,!*.2 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== x\n@revoked * ssh-rsa AAAA\n",
            "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-rsa AAAAB3==\n",
        ],
    ),
    reader("pool_rows", pool_rows, &[POOL_ROWS]),
    reader(
        "proc",
        proc_files,
        &[
            "12 (a) b) c) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 777 1 1",
            "Name:\tx\nState:\tD (disk sleep)\nUid:\t0\t26\t0\t0\nSigPnd:\t0\nShdPnd:\t0000000000000100\n",
            "0::/system.slice/postgresql@15-main.service\n1:name=systemd:/user.slice\n",
        ],
    ),
    reader(
        "proc_net",
        proc_net,
        &[
            "sl local\n 0: 0100007F:D431 00000000:0000 0A 0:0 0:0 0 1001 0 19 1\n",
            "IP address HW type Flags HW address\n10.9.0.2 0x1 0x2 02:00:00:00:00:01 * eth0\n",
            "1: FLOCK  ADVISORY  WRITE 812 08:01:7 0 EOF\n1: -> FLOCK ADVISORY WRITE 813 08:01:7 0 EOF\n",
            "Iface Destination Gateway\neth0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n",
        ],
    ),
    reader(
        "programs",
        programs,
        &[
            "64 bytes from 192.168.1.101: icmp_seq=1 ttl=64 time=0.2 ms\n2 packets transmitted, 0 received",
            "postgres: main: walreceiver streaming 0/3000148",
            "9.6.24\n",
            "492499249\n",
        ],
    ),
    reader(
        "arp",
        arp_packet,
        &["\0\u{1}\u{8}\0\u{6}\u{4}\0\u{1}123456\u{1}\u{2}\u{3}\u{4}123456\u{1}\u{2}\u{3}\u{4}pad"],
    ),
    reader(
        "history",
        history,
        &["1\t0/3000000\tno recovery target specified\n2\t0/5000000\tx\n# c\n\n4\t1/0\n"],
    ),
    reader(
        "step_answer",
        step_answer,
        &[
            "hello {\"line\":\"a {\\\"line\\\":1}\"}{\"failed\":\"why\"}",
            "{\"answer\":{\"running\":true,\"in_recovery\":true,\"timeline\":3,\"received\":\"0/3000148\",\"macs\":[]}}",
        ],
    ),
    reader(
        "state",
        state,
        &[
            "{\"paused\":null,\"recovery\":{\"primary\":\"10.0.0.1\",\"stage\":\"rewinding\"},\"timeline\":3}",
        ],
    ),
    reader(
        "wire",
        wire,
        &[
            "R\0\0\0\u{8}\0\0\0\u{a}Z\0\0\0\u{5}I",
            "R\0\0\0\u{8}\0\0\0\u{3}",
        ],
    ),
    reader(
        "logs",
        any_log,
        &[
            include_str!("../../../tests/fixtures/logs/seed/cluster.log"),
            include_str!("../../../tests/fixtures/logs/seed/failover.log"),
            include_str!("../../../tests/fixtures/logs/seed/recovery.log"),
            "{\"run\":\"r\",\"step\":\"fence\",\"host\":\"10.0.0.1\",\"outcome\":\"done\",\"detail\":\"\",\"started\":\"2022-08-30T15:39:23.100+08:00\",\"milliseconds\":3}\n",
            "2022-08-30 15:38:09.123 UTC [12] LOG:  database system is shut down\n",
        ],
    ),
];

const CONTROL_DATA: &str = "pg_control version number:            1300
Database cluster state:               in production
Latest checkpoint location:           0/3000148
Latest checkpoint's REDO location:    0/3000110
Latest checkpoint's TimeLineID:       2
Minimum recovery ending location:     0/0
Min recovery ending loc's timeline:   0
wal_log_hints setting:                on
Bytes per WAL segment:                16777216
Data page checksum version:           0
";

const POOL_ROWS: &str = " node_id |   hostname    | port  | status | role    | replication_delay
---------+---------------+-------+--------+---------+-------------------
 0       | 192.168.1.101 | 54321 | up     | primary | 0
 1       | 192.168.1.102 | 54321 | down   | standby | 4096
(2 rows)
";

const fn reader(name: &'static str, read: fn(&[u8]), samples: &'static [&'static str]) -> Reader {
    Reader {
        name,
        read,
        samples,
    }
}

/// Has the reader of this name read something; for a target of the fuzzer.
pub fn read(name: &str, bytes: &[u8]) {
    let found = READERS.iter().find(|it| it.name == name);
    assert!(found.is_some(), "no reader is called {name}");
    found.into_iter().for_each(|it| (it.read)(bytes));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What is said of a line is one line, is not long, and gives no word of a line that may hold a password.
fn ha_module_conf(bytes: &[u8]) {
    if let Err(error) = Config::parse(Path::new("HAmodule.conf"), bytes) {
        for finding in &error.errors {
            let said = finding.to_string();
            assert!(!said.contains('\n') && said.len() < 2_000, "{said}");
        }
    }
}

/// A string that can be read has the host that it is given, and all else as before.
fn connection(bytes: &[u8]) {
    let before = text(bytes);
    let _ = conninfo::host(&before);
    let user = conninfo::get(&before, "user");
    if let Ok(after) = conninfo::with_host(&before, "10.9.8.7") {
        let host = conninfo::host(&after);
        assert!(
            matches!(&host, Ok(Some(host)) if host == "10.9.8.7"),
            "{before:?} became {after:?}, with the host {host:?}"
        );
        let after = conninfo::get(&after, "user");
        assert_eq!(user.ok(), after.ok(), "the user of {before:?}");
    }
    let built = conninfo::build(&[("password", &before)]);
    // A NUL ends a string of C.
    if !before.contains('\0') {
        let read = conninfo::get(&built, "password");
        assert_eq!(read.ok().flatten().as_deref(), Some(before.as_str()));
    }
}

/// Not a byte is lost, what is set is read, and what is commented out is not.
fn setting(bytes: &[u8]) {
    const NAME: &str = "primary_conninfo";
    const VALUE: &str = "host=10.9.8.7 password='it''s \\ 密'";
    let before = settings::text(bytes);
    assert_eq!(settings::bytes(&before), bytes);
    let count = settings::all(&before).count();
    assert!(count <= before.lines().count() + 1);
    let set = settings::set(&before, NAME, VALUE);
    assert_eq!(
        settings::value(&set, NAME).as_deref(),
        Some(VALUE),
        "{set:?}"
    );
    assert_eq!(settings::set(&set, NAME, VALUE), set);
    let gone = settings::comment_out(&set, NAME);
    assert_eq!(settings::value(&gone, NAME), None, "{gone:?}");
    let longer = gone.len() - set.len();
    assert!(longer <= count + 1, "{longer} bytes more");
}

fn control_data(bytes: &[u8]) {
    if let Some(data) = ControlData::parse(&text(bytes)) {
        // It is divided by.
        assert!(data.segment_size >= 1 << 20);
        let _ = (data.is_clean(), data.is_clean_primary());
    }
}

fn pid_file(bytes: &[u8]) {
    let text = text(bytes);
    for line in 0..4 {
        let _ = in_pid_file::<i32>(&text, line);
        let _ = in_pid_file::<i64>(&text, line);
    }
}

fn known_hosts(bytes: &[u8]) {
    let mut known = KnownKeys::default();
    known.parse(&text(bytes), "192.168.1.101");
    known.parse(&text(bytes), "[192.168.1.101]:2222");
    let _ = known.verdict(bytes);
    assert_eq!(known.preference().split(',').count(), 7);
}

fn pool_rows(bytes: &[u8]) {
    let text = text(bytes);
    let nodes = pool::parse_table(&text);
    assert!(nodes.len() <= text.lines().count());
    for node in nodes {
        let _ = (
            node.is(HOST, Some("node101")),
            node.is_up(),
            node.to_string(),
        );
    }
}

/// Of any process, whoever started it under whatever name.
fn proc_files(bytes: &[u8]) {
    let text = text(bytes);
    let _ = parse_stat(1, &text);
    let _ = (owner_in(&text), pending_signals(&text), is_stuck(&text));
    let _ = unit_in(&text);
}

fn proc_net(bytes: &[u8]) {
    let text = text(bytes);
    assert!(listeners::listening(&text, 0xd431).count() <= text.lines().count());
    let mac = arp::neighbor(&text, Ipv4Addr::new(10, 9, 0, 2));
    assert!(mac.is_none_or(|it| it.0 != [0; 6]));
    let gateway = route::gateway_in(&text);
    assert!(gateway.is_none_or(|it| !it.is_unspecified()));
    let holder = holder_in(&text, 7);
    assert!(!matches!(holder, Holder::Process(process) if process < 0));
}

/// The server's, and those of the system.
fn programs(bytes: &[u8]) {
    let text = text(bytes);
    let _ = (ping::is_answer(&text, HOST), ping::packets_sent(&text));
    let _ = (version_number(&text), is_wal_receiver(&text));
    let clean = foreign(&text, 100);
    assert!(!clean.chars().any(char::is_control), "{clean:?}");
    assert!(clean.chars().count() <= 100 + 50);
}

fn arp_packet(bytes: &[u8]) {
    if let Some(packet) = Packet::read(bytes) {
        assert_eq!(packet.bytes(), bytes[..packet.bytes().len()]);
    }
}

fn history(bytes: &[u8]) {
    let text = text(bytes);
    let first = History::first(1);
    for timeline in [1, 2, 5, u32::MAX] {
        let Ok(history) = History::parse(timeline, &text) else {
            continue;
        };
        assert_eq!(history.timeline(), timeline);
        assert_eq!(history.fork_with(&history), None);
        let _ = (
            history.begins(),
            history.fork_with(&first),
            first.fork_with(&history),
        );
        for at in [0, 1 << 24, u64::MAX] {
            let _ = (history.of_segment(Lsn(at)), history.standing(2, Lsn(at)));
        }
    }
    let _ = (text.parse::<Lsn>(), crate::history::timeline_of(&text));
}

/// Of another host: its own copy of the tools, or whatever its login says.
fn step_answer(bytes: &[u8]) {
    let text = text(bytes);
    for message in peer::messages(&text) {
        if let Message::Answer(value) = message {
            let _ = peer::read::<Status>(value.clone(), HOST);
            let _ = peer::read::<FenceReport>(value.clone(), HOST);
            let _ = peer::read::<PromoteReport>(value, HOST);
        }
    }
    if let Ok(status) = serde_json::from_str::<Status>(&text) {
        let _ = (
            status.position(),
            status.has_streamed(),
            status.was_primary(),
        );
    }
}

/// What is read is written again as the same.
fn state(bytes: &[u8]) {
    if let Ok(state) = serde_json::from_slice::<State>(bytes) {
        let again = serde_json::to_vec(&state).map(|it| serde_json::from_slice::<State>(&it));
        assert!(matches!(again, Ok(Ok(again)) if again == state));
    }
}

/// Whatever is not let through, however its bytes are cut.
fn wire(bytes: &[u8]) {
    let Ok(require) = "scram-sha-256".parse::<RequireAuth>() else {
        return;
    };
    let messages = || Messages::new(require.clone(), Arc::new(AtomicUsize::new(0)));
    let whole = messages().look(bytes);
    let mut cut = messages();
    let mut parts = bytes.chunks(3);
    let parts = parts.try_for_each(|part| cut.look(part));
    assert_eq!(whole.is_ok(), parts.is_ok());
}

/// Whatever is in it, a report can be made of it, and each line is counted once.
fn any_log(bytes: &[u8]) {
    let today = Today {
        year: 2022,
        month: 8,
    };
    for name in [
        "failover.log",
        "recovery.log",
        "pgpool.log",
        "postgresql.csv",
    ] {
        let logs = read_log(name, None, Cursor::new(bytes.to_vec()), today, Window::ALL);
        assert_eq!(logs.sources.len(), 1);
        let source = &logs.sources[0];
        assert!(source.plain + source.strange <= source.lines, "{source:?}");
        let told = report(&logs);
        let backwards = told.stories.iter().find(|it| it.to < it.from);
        assert!(backwards.is_none(), "{backwards:?}");
    }
}

#[cfg(test)]
mod tests;
