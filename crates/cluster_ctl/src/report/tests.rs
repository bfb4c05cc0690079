//! Reports of the logs in `tests/fixtures/logs`.

use super::*;
use std::path::Path;

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/logs")
}

fn told(names: &[&str]) -> Report {
    let files: Vec<_> = names.iter().map(|it| fixtures().join(it)).collect();
    report(&read_files(&files, Window::ALL))
}

/// Each line of the text of a report with its blanks as one.
fn lines(report: &Report) -> String {
    let page = text::page(report, Language::of("en"));
    let words: Vec<&str> = page.split_whitespace().collect();
    words.join(" ")
}

const SEED: [&str; 3] = ["seed/cluster.log", "seed/failover.log", "seed/recovery.log"];

/// The case study's own findings.
#[test]
fn the_seeds_logs_tell_the_seeds_story() {
    let report = told(&SEED);
    let text = lines(&report);
    println!("{}", text::page(&report, Language::of("en")));
    for finding in [
        "Failover of 192.168.1.101 node101: 2022-08-30 15:38:09 to 15:39:33, 84 s",
        "clients waited: 84 s",
        "promoted: 192.168.1.102 node102 (15:39:32)",
        "run by: 192.168.1.102 node102",
        "15:38:08 192.168.1.101 last heartbeat of 192.168.1.101",
        "15:38:09 192.168.1.102 the pool on 192.168.1.101 said that it is shutting down",
        "15:38:09 192.168.1.102 the pools have lost their leader",
        "15:38:10 192.168.1.102 the database said that it is shutting down",
        "15:38:14 192.168.1.102 the pool on 192.168.1.102 makes itself the leader",
        "15:38:18 192.168.1.102 the pool on 192.168.1.102 became the leader",
        "15:38:21 192.168.1.102 the pool on 192.168.1.102 has the cluster VIP 192.168.1.201",
        "15:39:20 192.168.1.102 check 10 of the database failed, the last one",
        "no connection to the database on 192.168.1.101: No route to host",
        "15:39:23 192.168.1.102 the pool set node 0 down",
        "15:39:23 192.168.1.102 failover command, by 192.168.1.102: its pool has been the leader since 15:38:18",
        "15:38:13 70 s tries of the check until the node is down (10 times)",
        "set by: health_check_max_retries, health_check_retry_delay, connect_timeout",
        "15:39:23 10 s the failover command",
        "15:39:23 2 s is the network here? (trust IP)",
        "15:39:25 4 s the old primary is stopped, or found dead",
        "15:39:29 2 s the database VIP moves",
        "15:39:31 1 s promotion",
        "15:39:32 1 s checkpoint on the new primary",
        "15:39:32 192.168.1.102 commits wait for no standby any more (sync to async)",
        "15:39:33 192.168.1.102 the failover is over, clients are let in again",
        "With all of that it would have been about 10 s, in place of 84 s.",
        "ok writers: one, as far as the logs tell: 192.168.1.101 was shutting down at 15:38:09",
        "ok lost: no acknowledged row, as far as the logs tell",
        "ok refused: nothing",
        "ok redundancy: back at 16:42:45",
        "Recovery of 192.168.1.101 node101: 2022-08-30 16:42:01 to 16:42:45, 44 s",
        "after the failover of: 192.168.1.101 node101 (15:38:09)",
        "10 of 10 looks whether 192.168.1.101 streams, in vain: its database was down",
        "16:42:03 31 s looks whether a dead database streams (10 times)",
        "16:42:34 5 s rewind",
        "16:42:41 3 s the primary is made synchronous again",
        "16:42:44 1 s the pool gets the node back",
        "ok redundancy: the recovery went well",
        "the clocks of the logs agree",
    ] {
        assert!(text.contains(finding), "{finding}\n{text}");
    }
}

#[test]
fn no_line_of_a_report_is_wider_than_a_terminal() {
    let report = told(&SEED);
    for code in ["en", "zh"] {
        let page = text::page(&report, Language::of(code));
        let widest = page.lines().map(textwrap::core::display_width).max();
        // A path is not broken.
        assert!(widest.is_some_and(|it| it <= 130), "{widest:?}");
        assert!(page.lines().count() > 50);
    }
}

/// Logs of the forms that others have published, each with what is told of it.
#[test]
fn published_forms_of_pools_logs_are_read_without_a_line_misunderstood() {
    for (name, findings, strange) in [
        (
            "4.5-primary-down.log",
            &[
                "Failover of server01: 2024-03-13 11:32:31.990 to 11:32:33.150, 1.16 s",
                "11:32:32.017 4.5-primary-dow~ the pools agree",
                "the pool found its new primary: node 1",
            ][..],
            0,
        ),
        (
            "4.2-container.log",
            &[
                "Failover of ha-postgresql-0.ha-postgresql-headless: 2021-11-24 02:40:10 to 02:40:21, 11 s",
                "no connection to the database on ha-postgresql-0.ha-postgresql-headless: Connection refused",
                "02:40:14 7 s the pool looks for its primary",
            ],
            1,
        ),
        (
            "4.0-no-failover.log",
            &["the logs tell of no failover and no recovery"],
            0,
        ),
        (
            "3.7-syslog.log",
            &[
                "Failover of ser.example: 2017-12-25 16:41:24 to 16:41:26, 2 s",
                "run by: bak.example",
                "failover command, by bak.example: its pool holds the lock",
            ],
            0,
        ),
        ("4.6-no-time.log", &["lines have no time, left out"], 0),
        (
            "4.6-quarantine.log",
            &["the logs tell of no failover and no recovery"],
            0,
        ),
        (
            "4.4-standby-down.log",
            &["Standby down of 172.30.237.5: 2023-08-18 20:05:40.300 to 20:05:45.988, 5.68 s"],
            0,
        ),
        (
            "4.4-no-primary.log",
            &["the pool found no primary", "promoted: nobody was promoted"],
            0,
        ),
        (
            "4.6-terminal.log",
            &["Failover of pg1: 2025-08-19 16:58:01.718 to 16:58:03.741, 2.02 s"],
            3,
        ),
        (
            "docker-utc.log",
            &["of pg-1: 2022-06-07 03:11:39.396 to 03:11:44.800"],
            0,
        ),
    ] {
        let report = told(&[&format!("published/{name}")]);
        let text = lines(&report).replace(
            &format!("{}/published/{name}", fixtures().display()),
            "published",
        );
        for finding in findings {
            assert!(text.contains(finding), "{name}: {finding}\n{text}");
        }
        assert_eq!(report.sources[0].0.strange, strange, "{name}\n{text}");
    }
}

/// A directory of this test's own, with these files.
fn written(name: &str, files: &[(&str, Vec<u8>)]) -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("report-{name}-{}", std::process::id()));
    for (file, bytes) in files {
        let path = directory.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    directory
}

fn seed(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join("seed").join(name)).unwrap()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// What is told of a directory, which is removed.
fn of(directory: &std::path::Path) -> (Report, String) {
    let report = report(&read_files(&[directory.to_owned()], Window::ALL));
    let text = lines(&report);
    for code in ["en", "zh"] {
        assert!(html::page(&report, Language::of(code)).ends_with("</html>\n"));
        assert!(machine::object(&report, Language::of(code)).is_object());
    }
    std::fs::remove_dir_all(directory).unwrap();
    (report, text)
}

const WHOLE: &str = "Failover of 192.168.1.101 node101: 2022-08-30 15:38:09 to 15:39:33, 84 s";

#[test]
fn rotated_and_packed_logs_of_hosts_are_one_story() {
    let pool = seed("cluster.log");
    let half = pool
        .iter()
        .take(4_000)
        .rposition(|it| *it == b'\n')
        .unwrap()
        + 1;
    let directory = written(
        "rotated",
        &[
            ("node102/cluster.log.2.gz", packed(&pool[..half])),
            ("node102/cluster.log.1", pool[half..].to_vec()),
            ("node102/cluster.log", Vec::new()),
            ("node102/failover.log", seed("failover.log")),
            (
                "node101/logs/recovery.log.gz",
                packed(&seed("recovery.log")),
            ),
        ],
    );
    let (report, text) = of(&directory);
    assert!(text.contains(WHOLE), "{text}");
    assert!(text.contains("Recovery of 192.168.1.101 node101"), "{text}");
    assert_eq!(report.sources.len(), 3);
}

#[test]
fn what_is_wrong_with_a_file_is_a_sentence_and_the_rest_is_read() {
    let pool = seed("cluster.log");
    let mut torn = packed(&seed("recovery.log"));
    torn.truncate(torn.len() - 20);
    let noise: Vec<u8> = (0..60_000_u32)
        .map(|it| (it.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let directory = written(
        "flaws",
        &[
            ("cluster.log", [&pool[..], &noise[..]].concat()),
            ("failover.log", seed("failover.log")),
            ("recovery.log.gz", torn),
            ("noise.log", noise.clone()),
            ("old.log.xz", b"\xfd7zXZ\0\0\0".to_vec()),
            ("readme.log", b"nothing of a log\n".to_vec()),
            ("picture.png", noise.clone()),
            (
                "other/pgpool.log",
                std::fs::read(fixtures().join("published/4.5-primary-down.log")).unwrap(),
            ),
        ],
    );
    let (report, text) = of(&directory);
    for sentence in [
        WHOLE,
        "recovery.log: it breaks off within its compressed data",
        "noise.log: it is no text, left out",
        "old.log: it is compressed with xz, which is not read: unpack it",
        "readme.log: not a log that is known, left out",
        "pgpool.log: it names no host that the other logs know: another cluster's, left out",
        "lines were not understood",
    ] {
        assert!(text.contains(sentence), "{sentence}\n{text}");
    }
    assert!(!text.contains("picture"), "{text}");
    assert!(!text.contains("server01"), "{text}");
    assert!(report.stories.len() <= 2);
}

/// The script's log from a host in China, the pool's from a container that runs by UTC.
#[test]
fn logs_in_two_time_zones_are_one_story() {
    let pool = String::from_utf8(seed("cluster.log")).unwrap();
    let pool = pool.replace("2022-08-30 15:", "2022-08-30 07:");
    let directory = written(
        "zones",
        &[
            ("cluster.log", pool.into_bytes()),
            ("failover.log", seed("failover.log")),
        ],
    );
    let (_, text) = of(&directory);
    assert!(
        text.contains("2022-08-30 07:38:09 to 07:39:33, 84 s"),
        "{text}"
    );
    assert!(
        text.contains("it is in another time zone, 8 h away"),
        "{text}"
    );
}

/// Cut anywhere, there is a report and no panic.
#[test]
fn a_log_may_end_anywhere() {
    for name in SEED {
        let bytes = std::fs::read(fixtures().join(name)).unwrap();
        for end in (0..bytes.len()).step_by(97) {
            let today = Today {
                year: 2022,
                month: 8,
            };
            let part = std::io::Cursor::new(bytes[..end].to_vec());
            let logs = failover_core::logs::read_log(name, None, part, today, Window::ALL);
            let told = report(&logs);
            let page = text::page(&told, Language::of("zh"));
            assert!(page.lines().count() >= 1, "{name} to {end}");
        }
    }
}

#[test]
fn what_a_log_says_is_no_markup_and_no_order_to_a_terminal() {
    let evil = "2022-08-30 15:39:23: pid 1: LOG:  starting degeneration. shutdown host <script>x\u{1b}[2J(1)\n\
                2022-08-30 15:39:24: pid 1: LOG:  failover: set new primary node: 1\n\
                2022-08-30 15:39:25: pid 1: LOG:  failover done. shutdown host <script>x\u{1b}[2J(1)\n";
    let directory = written("evil", &[("pgpool.log", evil.into())]);
    let report = report(&read_files(std::slice::from_ref(&directory), Window::ALL));
    let page = html::page(&report, Language::of("en"));
    assert!(page.contains("&lt;script&gt;x"), "{page}");
    assert!(!page.contains("<script") && !page.contains('\u{1b}'));
    assert!(!text::page(&report, Language::of("en")).contains('\u{1b}'));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_time_is_asked_for_as_it_is_written_in_a_log() {
    assert_eq!(moment("2022-08-30"), Some(1_661_817_600_000));
    assert_eq!(moment("2022-08-30 15:38"), Some(1_661_873_880_000));
    assert_eq!(moment("2022-08-30 15:38:09"), Some(1_661_873_889_000));
    for wrong in ["", "yesterday", "2022-13-30", "15:38", "2022-08-30 15:3"] {
        assert_eq!(moment(wrong), None, "{wrong}");
    }
}

/// Lines of `events.jsonl`: step, host, outcome, detail, second of 14:36 and milliseconds it took.
fn events(run: &str, steps: &[(&str, &str, &str, &str, f64, u64)]) -> Vec<u8> {
    let lines = steps.iter().map(|(step, host, outcome, detail, at, took)| {
        let event = serde_json::json!({
            "run": run, "step": step, "host": host, "outcome": outcome, "detail": detail,
            "started": format!("2026-11-25T14:36:{at:06.3}+08:00"), "milliseconds": took,
        });
        format!("{event}\n")
    });
    lines.collect::<String>().into_bytes()
}

const ONE: &str = "192.168.1.101";
const TWO: &str = "192.168.1.102";

const OUR_POOL: &str = "2026-11-25 14:36:20.100: health_check0 pid 7: LOG:  health check retrying on DB node: 0 (round:1)\n\
        2026-11-25 14:36:26.000: health_check0 pid 7: LOG:  received degenerate backend request for node_id: 0 from pid [7]\n\
        2026-11-25 14:36:26.050: main pid 1: LOG:  starting degeneration. shutdown host 192.168.1.101(5432)\n\
        2026-11-25 14:36:26.100: main pid 1: LOG:  execute command: failover_stream\n\
        2026-11-25 14:36:27.300: main pid 1: LOG:  find_primary_node_repeatedly: waiting for finding a primary node\n\
        2026-11-25 14:36:27.350: main pid 1: LOG:  failover: set new primary node: 1\n\
        2026-11-25 14:36:27.400: main pid 1: LOG:  failover done. shutdown host 192.168.1.101(5432)\n";
const OUR_SCRIPT: &str = "-----------------2026-11-25 14:36:26 failover beging---------------------------------------\n\
        ----failover-stats is %H = hostname of the new master node [192.168.1.102], %P = old primary node id [0], %d = node id[0], %h = host name [192.168.1.101], %O = old primary host[192.168.1.101] %m = new master node id [1], %M = old master node id [0], %D = database cluster path [/data].\n\
        ping trust ip 192.168.1.1 success\n\
        \u{20}2026-11-25 14:36:26 del old primary VIP on 192.168.1.101\n\
        2026-11-25 14:36:27 old primary 192.168.1.101 is unreachable: no sign of life from 192.168.1.101 within 500 ms\n\
        2026-11-25 14:36:27 add VIP on 192.168.1.102\n\
        2026-11-25 14:36:27 promote begin...let 192.168.1.102 become master\n\
        2026-11-25 14:36:27 after execute promote , postgres status is ok.\n\
        -----------------2026-11-25 14:36:27 failover end---------------------------------------\n";

/// Our own logs: times to the millisecond, the steps of the run, its name.
#[test]
fn our_own_logs_tell_it_to_the_millisecond() {
    let failover = events(
        "20261125T143626120-99",
        &[
            ("trust-ip", TWO, "done", "answers", 26.12, 10),
            ("fence", TWO, "done", "unreachable", 26.13, 520),
            ("promote.promote", TWO, "done", "out of recovery", 26.7, 250),
            ("promote.async", TWO, "done", "emptied", 26.95, 40),
            (
                "promote",
                TWO,
                "done",
                "192.168.1.102 is primary",
                26.66,
                450,
            ),
        ],
    );
    let recovery = events(
        "20261125T143650000-5",
        &[
            ("decide", ONE, "done", "it is recovered", 50.0, 1),
            ("recover.rewind", ONE, "done", "rewound", 51.0, 2_500),
            ("recover.start", ONE, "done", "started", 53.5, 700),
            ("recover.attach", ONE, "done", "attached", 54.2, 900),
            ("recover.done", ONE, "done", "", 55.1, 6),
        ],
    );
    let directory = written(
        "ours",
        &[
            ("node102/cluster.log", OUR_POOL.into()),
            ("node102/failover.log", OUR_SCRIPT.into()),
            ("node102/events.jsonl", failover),
            ("node101/events.jsonl", recovery),
        ],
    );
    let (report, text) = of(&directory);
    for finding in [
        "Failover of 192.168.1.101: 2026-11-25 14:36:20.100 to 14:36:27.400, 7.30 s",
        "promoted: 192.168.1.102 (14:36:26.950)",
        "run: 20261125T143626120-99",
        "14:36:26.130 0.52 s the old primary is stopped, or found dead",
        "14:36:26.700 0.25 s step promote.promote",
        "the old primary is unreachable: no sign of life from 192.168.1.101",
        "ok lost: no acknowledged row",
        "Recovery of 192.168.1.101: 2026-11-25 14:36:50 to 14:36:55.106, 5.10 s",
        "14:36:51 2.50 s rewind",
        "after the failover of: 192.168.1.101 (14:36:20.100)",
        "ok redundancy: back at 14:36:55.106, after 35.0 s",
        "the clocks of the logs agree",
    ] {
        assert!(text.contains(finding), "{finding}\n{text}");
    }
    assert_eq!(report.stories.len(), 2);
    assert_eq!(report.stories[1].cause, Some(0));
}
