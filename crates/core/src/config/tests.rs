//! The reader as a whole: what a file becomes, and what is said about a wrong one.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;

const KINGBASE: &str = include_str!("../../../../etc/HAmodule.conf");
const POSTGRES: &str = include_str!("../../../../etc/HAmodule.postgres.conf");
const PATH: &str = "/x/HAmodule.conf";

/// Every key that is required, and no other.
const REQUIRED: &str = "\
KB_LOCALHOST_IP=192.168.1.101
KB_ALL_IP=(192.168.1.101 192.168.1.102)
NODE_NAME=node101
ALL_NODE_NAME=(node101 node102)
KB_GATEWAY_IP=192.168.1.1
KB_POOL_VIP=192.168.1.201
PCP_USER=kingbase
PCP_PASS=MTIzNDU2
KB_USER=SUPERMANAGER_V8ADMIN
KB_PASS=cXdlcnR5
KB_DATANAME=TEST
KB_PATH=/r3/db/bin
KB_ETC_PATH=/r3/db/etc
KB_DATA_PATH=/r3/db/data
CLUSTER_BIN_PATH=/r3/kingbasecluster/bin
FAILOVER_LOG_DIR=/r3/log/failover.log
RECOVERY_LOG_DIR=/r3/log/recovery.log
";
const NEXT_LINE: usize = 18;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new(PATH), text.as_bytes())
}

/// The configuration with `lines` after the required ones, where they override them.
fn with(lines: &str) -> Config {
    parse(&format!("{REQUIRED}{lines}\n")).expect(lines)
}

/// What is said about `lines` after the required ones; they start in line `NEXT_LINE`.
fn error_of(lines: &str) -> String {
    let error = parse(&format!("{REQUIRED}{lines}\n")).expect_err(lines);
    error.to_string()
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

#[test]
fn defaults_are_those_of_the_specification() {
    assert_eq!(REQUIRED.lines().count() + 1, NEXT_LINE);
    let config = with("");
    let expected = Config {
        path: PATH.into(),
        only_roots: false,
        kb_localhost_ip: ip("192.168.1.101"),
        kb_all_ip: vec![ip("192.168.1.101"), ip("192.168.1.102")],
        node_name: "node101".into(),
        all_node_name: vec!["node101".into(), "node102".into()],
        kb_gateway_ip: vec![ip("192.168.1.1")],
        ping_times: 3,
        kb_vip: None,
        dev: None,
        cmd_ip_path: None,
        cmd_arping_path: None,
        kb_pool_vip: ip("192.168.1.201"),
        kb_pool_port: 9999,
        kb_pool_pcp_port: 9898,
        kb_pool_ips: vec![ip("192.168.1.101"), ip("192.168.1.102")],
        pcp_user: "kingbase".into(),
        pcp_pass: Secret::decode("MTIzNDU2").expect("base64"),
        cluster_bin_path: "/r3/kingbasecluster/bin".into(),
        cluster_lib_path: None,
        kb_pool_execute_sys_user: "root".into(),
        kb_user: "SUPERMANAGER_V8ADMIN".into(),
        kb_pass: Secret::decode("cXdlcnR5").expect("base64"),
        kb_dataname: "TEST".into(),
        kb_port: 54321,
        kb_require_auth: "!password".parse().expect("methods"),
        kb_sslmode: SslMode::Prefer,
        kb_sslrootcert: None,
        kb_path: "/r3/db/bin".into(),
        kb_etc_path: "/r3/db/etc".into(),
        kb_data_path: "/r3/db/data".into(),
        kb_config_path: None,
        db_service: None,
        kb_ld_path: None,
        kb_execute_sys_user: "kingbase".into(),
        db_flavor: None,
        sync_flag: true,
        sync_degrade: SyncDegrade::Always,
        data_size_diff: 16,
        failover_candidate: FailoverCandidate::Best,
        failover_quorum: FailoverQuorum::Majority,
        max_failover_lag: None,
        promote_without_fence: PromoteWithoutFence::Unreachable,
        probe_timeout: Duration::from_millis(500),
        failover_timeout: Duration::from_secs(8),
        promote_timeout: Duration::from_secs(90),
        checkpoint_wait: Duration::from_secs(1),
        auto_primary_recovery: false,
        max_available_level: false,
        rewind_fallback: RewindFallback::None,
        gateway_lost_action: GatewayLostAction::Isolated,
        health_check_max_retries: 3,
        health_check_retry_delay: Duration::from_secs(3),
        use_check_disk: true,
        mount_point_dir_list: vec!["/r3/db/data".into()],
        mount_check_max_retries: 6,
        connecttimeout: Duration::from_secs(10),
        ssh_port: 22,
        ssh_key_file: None,
        ssh_host_keys: SshHostKeys::AcceptNew,
        failover_log_dir: "/r3/log/failover.log".into(),
        recovery_log_dir: "/r3/log/recovery.log".into(),
        kb_cluster_status: None,
        state_dir: "/r3/log".into(),
        event_log: "/r3/log/events.jsonl".into(),
    };
    assert_eq!(config, expected);
}

#[test]
fn an_empty_value_is_an_unset_one() {
    let mut empty = String::new();
    for key in KEYS.iter().filter(|key| key.default.is_some()) {
        empty += &format!("{}=\"\"\n", key.name.replace("IPn", "IP1"));
    }
    assert_eq!(with(&empty), with(""));
}

#[test]
fn every_kind_of_value_is_read() {
    let config = with(
        "\
KB_LOCALHOST_IP=10.0.0.1
KB_ALL_IP=\"(10.0.0.1, 10.0.0.2,10.0.0.3 )\"
ALL_NODE_NAME='node101 node102,node103'
KB_GATEWAY_IP=10.0.0.253,10.0.0.254
KB_VIP=10.0.0.200/16
DEV=bond0.100
KB_POOL_IP10=10.0.1.10
KB_POOL_IP2=10.0.1.2
KB_POOL_IP1=
KB_PORT=05432
DB_FLAVOR=Postgres
SSH_HOST_KEYS=off
SSH_KEY_FILE=/root/.ssh/id_ed25519
PROMOTE_WITHOUT_FENCE=NEVER
SYNC_DEGRADE=never
FAILOVER_CANDIDATE=given
FAILOVER_QUORUM=none
GATEWAY_LOST_ACTION=always
REWIND_FALLBACK=basebackup
MAX_FAILOVER_LAG=0
CHECKPOINT_WAIT=0
PROBE_TIMEOUT=4000
MOUNT_POINT_DIR_LIST=(/r3/db/data '/mnt/w a l')
STATE_DIR=/var/lib/x/
EVENT_LOG=/var/log/x",
    );
    let two_lists = (
        config.kb_all_ip.clone(),
        config.all_node_name.iter().map(String::as_str).collect(),
    );
    let expected: (Vec<IpAddr>, Vec<&str>) = (
        vec![ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3")],
        vec!["node101", "node102", "node103"],
    );
    assert_eq!(two_lists, expected);
    assert_eq!(config.kb_gateway_ip, [ip("10.0.0.253"), ip("10.0.0.254")]);
    assert_eq!(config.kb_vip, "10.0.0.200/16".parse().ok());
    assert_eq!(config.dev.as_deref(), Some("bond0.100"));
    assert_eq!(config.kb_pool_ips, [ip("10.0.1.2"), ip("10.0.1.10")]);
    assert_eq!(config.kb_port, 5432);
    assert_eq!(config.db_flavor, Some(DbFlavor::Postgres));
    assert_eq!(config.ssh_host_keys, SshHostKeys::Off);
    assert_eq!(config.ssh_key_file, Some("/root/.ssh/id_ed25519".into()));
    assert_eq!(config.promote_without_fence, PromoteWithoutFence::Never);
    assert_eq!(config.sync_degrade, SyncDegrade::Never);
    assert_eq!(config.failover_candidate, FailoverCandidate::Given);
    assert_eq!(config.failover_quorum, FailoverQuorum::None);
    assert_eq!(config.gateway_lost_action, GatewayLostAction::Always);
    assert_eq!(config.rewind_fallback, RewindFallback::Basebackup);
    assert_eq!(config.max_failover_lag, Some(0));
    assert_eq!(config.checkpoint_wait, Duration::ZERO);
    assert_eq!(config.probe_timeout, Duration::from_secs(4));
    assert_eq!(
        config.mount_point_dir_list,
        [Path::new("/r3/db/data"), Path::new("/mnt/w a l")]
    );
    assert_eq!(config.state_dir, Path::new("/var/lib/x"));
    assert_eq!(config.event_log, Path::new("/var/log/x"));
    // The events go where the state goes.
    assert_eq!(with("STATE_DIR=/s").event_log, Path::new("/s/events.jsonl"));
}

#[test]
fn a_switch_has_many_words() {
    for (word, on) in [
        ("1", true),
        ("ON", true),
        ("True", true),
        ("yes", true),
        ("0", false),
        ("off", false),
        ("FALSE", false),
        ("No", false),
    ] {
        assert_eq!(with(&format!("SYNC_FLAG={word}")).sync_flag, on, "{word}");
    }
}

/// Lines with a wrong value, and what is said of each.
const WRONG_VALUES: [(&str, &str); 28] = [
    (
        "KB_PORT=5432a",
        "KB_PORT: found \"5432a\", expected a port number (1 to 65535)",
    ),
    (
        "KB_PORT=0",
        "KB_PORT: found \"0\", expected a port number (1 to 65535)",
    ),
    (
        "KB_PORT=+5432",
        "KB_PORT: found \"+5432\", expected a port number (1 to 65535)",
    ),
    (
        "KB_PORT=65536",
        "KB_PORT: found \"65536\", expected a port number (1 to 65535)",
    ),
    (
        "KB_PORT=(1 2)",
        "KB_PORT: found \"(1 2)\", expected a port number (1 to 65535)",
    ),
    (
        "KB_PORT='\x1b[31m\t\u{a0}'",
        "KB_PORT: found \"\\u{1b}[31m\\t\\u{a0}\", expected a port number (1 to 65535)",
    ),
    (
        "KB_PORT=$PORT",
        "KB_PORT: found \"$PORT\", expected a port number (1 to 65535); \
             variables, commands and ~ are not expanded",
    ),
    (
        "KB_PATH=\"${R3HA}/db/bin\"",
        "KB_PATH: found \"${R3HA}/db/bin\", expected an absolute path; \
             variables, commands and ~ are not expanded",
    ),
    (
        "KB_PATH=\"/home/`whoami`/bin\"",
        "KB_PATH: found \"/home/`whoami`/bin\", expected an absolute path; \
             variables, commands and ~ are not expanded",
    ),
    (
        "SSH_KEY_FILE=~/.ssh/id_rsa",
        "SSH_KEY_FILE: found \"~/.ssh/id_rsa\", expected the absolute path of a file; \
             variables, commands and ~ are not expanded",
    ),
    (
        "KB_PATH=db/bin",
        "KB_PATH: found \"db/bin\", expected an absolute path",
    ),
    (
        "RECOVERY_LOG_DIR=/r3/log/",
        "RECOVERY_LOG_DIR: found \"/r3/log/\", expected the absolute path of a file",
    ),
    (
        "KB_ALL_IP=(192.168.1.101 192.168.1.1o2)",
        "KB_ALL_IP: found \"192.168.1.1o2\", expected IP addresses, separated by blanks or \
             commas",
    ),
    (
        "KB_ALL_IP=\"( )\"",
        "KB_ALL_IP: found \"\", expected IP addresses, separated by blanks or commas",
    ),
    (
        "KB_LOCALHOST_IP=node101",
        "KB_LOCALHOST_IP: found \"node101\", expected an IP address",
    ),
    (
        "KB_POOL_IP2=pool2",
        "KB_POOL_IP2: found \"pool2\", expected an IP address",
    ),
    (
        "KB_VIP=192.168.1.200",
        "KB_VIP: found \"192.168.1.200\", expected an IPv4 address with its prefix length, \
             such as 192.168.1.200/24",
    ),
    (
        "DEV=a/b",
        "DEV: found \"a/b\", expected the name of a network device: 1 to 15 characters, no \
             blank, '/' or ':'",
    ),
    (
        "NODE_NAME=\"$(hostname)\"",
        "NODE_NAME: found \"$(hostname)\", expected 1 to 58 lower-case letters, digits and \
             '_', not starting with a digit; variables, commands and ~ are not expanded",
    ),
    (
        "KB_EXECUTE_SYS_USER='-l root'",
        "KB_EXECUTE_SYS_USER: found \"-l root\", expected a system user: 1 to 32 letters, \
             digits, '_', '-' or '.', not starting with '-' or '.'",
    ),
    (
        "SYNC_FLAG=2",
        "SYNC_FLAG: found \"2\", expected 1 or 0, on or off, true or false, yes or no",
    ),
    (
        "CONNECTTIMEOUT=10s",
        "CONNECTTIMEOUT: found \"10s\", expected a number of seconds from 1 to 86400",
    ),
    (
        "MAX_FAILOVER_LAG=-2",
        "MAX_FAILOVER_LAG: found \"-2\", expected a number of MB from 0 to 1000000000, or \
             -1 for any",
    ),
    (
        "DB_FLAVOR=oracle",
        "DB_FLAVOR: found \"oracle\", expected kingbase or postgres",
    ),
    (
        "PCP_PASS='123 456'",
        "PCP_PASS: found ****, expected the password in base64, as \
             `echo -n PASSWORD | base64` prints it",
    ),
    (
        "KB_PASS=(a b)",
        "KB_PASS: found ****, expected the password in base64, as \
             `echo -n PASSWORD | base64` prints it",
    ),
    (
        "KB_PATH=\"/r3",
        "KB_PATH: a double quote \" is not closed on its line",
    ),
    (
        "if [ -f /x ]; then",
        "not an assignment; expected KEY=value (the file is read, not executed)",
    ),
];

#[test]
fn a_wrong_value_is_named_with_what_is_expected() {
    for (line, expected) in WRONG_VALUES {
        assert_eq!(error_of(line), format!("{PATH}:{NEXT_LINE}: {expected}"));
    }
    let long = error_of(&format!("KB_PORT={}", "密".repeat(100)));
    assert!(
        long.contains(&format!("\"{}\"...", "密".repeat(60))),
        "{long}"
    );
}

#[test]
fn other_names_and_devices_are_wrong_too() {
    let long = "x".repeat(59);
    for wrong in ["Node101", "node-101", "1node", "node 1", "节点", &long] {
        assert!(error_of(&format!("NODE_NAME='{wrong}'")).contains("NODE_NAME: found"));
    }
    for wrong in ["..", "abcdefghijklmnop", "eth 0", "eth0:1", "$(x)", "网"] {
        assert!(error_of(&format!("DEV='{wrong}'")).contains("DEV: found"));
    }
}

#[test]
fn a_missing_key_is_named_with_its_meaning() {
    for key in KEYS.iter().filter(|key| key.default.is_none()) {
        let is_it = |line: &&str| line.starts_with(&format!("{}=", key.name));
        let rest: Vec<_> = REQUIRED.lines().filter(|line| !is_it(line)).collect();
        let error = parse(&rest.join("\n")).expect_err(key.name).to_string();
        let expected = format!(
            "{PATH}: {}: not set, but required: {}",
            key.name, key.meaning
        );
        assert_eq!(error, expected);
    }
    assert_eq!(
        parse("").expect_err("empty").errors.len(),
        KEYS.iter().filter(|key| key.default.is_none()).count()
    );
    // An empty one is there, but no address.
    assert_eq!(
        error_of("KB_POOL_VIP="),
        format!(
            "{PATH}:{NEXT_LINE}: KB_POOL_VIP: not set, but required: The cluster VIP, by which \
             the pool is reached. It belongs to the pool."
        )
    );
}

#[test]
fn the_first_of_several_errors_is_shown_and_the_others_are_counted() {
    assert_eq!(
        error_of("SSH_PORT=x\nKB_PORT=y\nPING_TIMES=z"),
        format!(
            "{PATH}:{NEXT_LINE}: SSH_PORT: found \"x\", expected a port number (1 to 65535) \
             (and 2 more; see --check-config)"
        )
    );
    // What hangs on a wrong value is not an error of its own.
    assert_eq!(
        error_of("RECOVERY_LOG_DIR=log"),
        format!(
            "{PATH}:{NEXT_LINE}: RECOVERY_LOG_DIR: found \"log\", expected the absolute path of \
             a file"
        )
    );
}

#[test]
fn a_host_may_have_only_a_pool() {
    let pools = "KB_POOL_IP1=192.168.1.101\nKB_POOL_IP2=192.168.1.102\nKB_POOL_IP3=192.168.1.109";
    let only_pool = format!("KB_LOCALHOST_IP=192.168.1.109\nNODE_NAME=third\n{pools}");
    let config = with(&only_pool);
    assert!(!config.has_database());
    let others: Vec<IpAddr> = config.other_hosts().collect();
    assert_eq!(others, config.kb_all_ip);
    assert!(with(pools).has_database());
}

#[test]
fn keys_have_to_fit_each_other() {
    for (lines, expected) in [
        (
            "KB_LOCALHOST_IP=127.0.0.1\nKB_ALL_IP=(127.0.0.1 192.168.1.102)",
            "KB_LOCALHOST_IP: found 127.0.0.1, expected an address by which the other hosts know \
             this one",
        ),
        (
            "KB_LOCALHOST_IP=192.168.1.109",
            "KB_LOCALHOST_IP: found 192.168.1.109, expected one of the addresses of KB_ALL_IP (or of \
             the KB_POOL_IPn, on a host that has only a pool)",
        ),
        (
            "KB_LOCALHOST_IP=192.168.1.109\nKB_POOL_IP1=192.168.1.101\nKB_POOL_IP2=192.168.1.102",
            "KB_LOCALHOST_IP: found 192.168.1.109, expected one of the addresses of KB_ALL_IP (or of \
             the KB_POOL_IPn, on a host that has only a pool)",
        ),
        (
            "NODE_NAME=node109",
            "NODE_NAME: found \"node109\", expected one of the names of ALL_NODE_NAME",
        ),
        (
            "NODE_NAME=node102",
            "NODE_NAME: found \"node102\", expected \"node101\": the name in ALL_NODE_NAME that \
             stands where KB_LOCALHOST_IP stands in KB_ALL_IP",
        ),
        (
            "ALL_NODE_NAME=(node101 node102 node103)",
            "ALL_NODE_NAME: found 3 names, expected 2: one for each address of KB_ALL_IP, in the \
             same order",
        ),
        (
            "ALL_NODE_NAME=(node101 node101)",
            "ALL_NODE_NAME: found \"node101\" twice, expected each name once",
        ),
        (
            "KB_ALL_IP=(192.168.1.101 192.168.1.101)",
            "KB_ALL_IP: found 192.168.1.101 twice, expected each address once",
        ),
        (
            "KB_VIP=192.168.1.201/24; \nDEV=eth0",
            "KB_VIP: found 192.168.1.201/24, expected an address that is not in KB_POOL_VIP too",
        ),
        (
            "KB_VIP=192.168.1.102/24\nDEV=eth0",
            "KB_VIP: found 192.168.1.102/24, expected an address that is not in KB_ALL_IP too",
        ),
        (
            "PROBE_TIMEOUT=4001",
            "PROBE_TIMEOUT: found 4001 ms, expected at most half of FAILOVER_TIMEOUT, which is \
             8 s",
        ),
    ] {
        assert_eq!(error_of(lines), format!("{PATH}:{NEXT_LINE}: {expected}"));
    }
    assert_eq!(
        error_of("KB_VIP=192.168.1.200/24"),
        format!("{PATH}: DEV: not set, but KB_VIP is; expected the network device that carries it")
    );
}

#[test]
fn code_in_a_value_is_text() {
    let config = with("KB_USER=\"$(reboot)\"\nPCP_USER='`reboot`'\nKB_DATANAME=\"; rm -rf /\"");
    assert_eq!(config.kb_user, "$(reboot)");
    assert_eq!(config.pcp_user, "`reboot`");
    assert_eq!(config.kb_dataname, "; rm -rf /");
}

#[test]
fn any_password_is_read() {
    for password in [
        "p$w $(reboot) `x`",
        "it's \"quoted\" \\ and\\\\more",
        "a=b==",
        " blanks  ",
        "密码",
        "#",
    ] {
        let encoded = BASE64_STANDARD.encode(password);
        for form in [&encoded, encoded.trim_end_matches('=')] {
            for quote in ["", "'", "\""] {
                let config = with(&format!("KB_PASS={quote}{form}{quote}"));
                assert_eq!(config.kb_pass.expose(), password);
                assert_eq!(config.kb_pass.encoded(), form);
            }
        }
    }
    assert_eq!(with("KB_PASS=\"\"").kb_pass.expose(), "");
}

#[test]
fn secrets_are_listed_longest_first_and_once() {
    let encode = |text: &str| BASE64_STANDARD.encode(text);
    let config = with(&format!("PCP_PASS={}", encode("123456789")));
    assert_eq!(
        config.secrets(),
        [
            encode("123456789").as_str(),
            "123456789",
            "cXdlcnR5",
            "qwerty"
        ]
    );
    assert_eq!(with("PCP_PASS=''").secrets(), ["cXdlcnR5", "qwerty"]);
    assert_eq!(with("PCP_PASS=cXdlcnR5").secrets(), ["cXdlcnR5", "qwerty"]);
}

#[test]
fn no_password_is_ever_shown() {
    let plain = "TOPSECRETMARKER";
    let encoded = BASE64_STANDARD.encode(plain);
    let base = format!("{REQUIRED}PCP_PASS={encoded}\nKB_PASS={encoded}\n");
    let shows = |text: &str| text.contains(plain) || text.contains(&encoded);
    let config = parse(&base).expect("a right password");
    assert!(!shows(&format!("{config:?} {config:#?}")));

    let all_wrong = ["", "$(x)", "(a b)", "\0", "\"", "x/y:z ", "-1"];
    for key in KEYS {
        for wrong in all_wrong {
            assert!(!said_about(
                &format!("{base}{}='{wrong}'\n", key.name),
                shows
            ));
            assert!(!said_about(&format!("{base}{}={wrong}\n", key.name), shows));
        }
    }
    // A wrong password, in each way a line or a value can be wrong.
    for secret in [plain, &encoded] {
        for line in [
            "PASS=@#",
            "PASS='@",
            "PASS=\"@",
            "PASS=(@ b)",
            "PASS=(@",
            "PASS = @",
            "PASS= @",
            "PASS=@ @",
            "PASS @",
            "PASS:@",
            "PASS=@\\",
            "PASS=$(@)",
            "PASS=`@`",
            "PASS=@\0",
            "PASS='@'x",
            "PASS=@-",
            "PASS='~@'",
            "PASS+=@",
            "PASS[0]=@",
            "X=@",
            "OTHER_PASS=@",
        ] {
            for key in ["PCP_", "KB_"] {
                let line = line.replace('@', secret);
                assert!(
                    !said_about(&format!("{base}{key}{line}\n"), shows),
                    "{line}"
                );
            }
        }
    }
}

/// Whether anything that is said about this file `shows` what it must not.
fn said_about(text: &str, shows: impl Fn(&str) -> bool) -> bool {
    let (_, findings) = read(Path::new(PATH), text.as_bytes());
    let error = parse(text).err();
    shows(&format!("{findings:?} {error:?}"))
        || findings.iter().any(|finding| shows(&finding.to_string()))
        || error.is_some_and(|error| shows(&error.to_string()))
}

#[test]
fn a_slip_is_told_and_the_vendors_keys_are_known() {
    let said = |line: &str| {
        let text = format!("{REQUIRED}{line}\n");
        let (_, findings) = read(Path::new(PATH), text.as_bytes());
        findings
            .into_iter()
            .map(|finding| finding.text)
            .collect::<Vec<_>>()
    };
    for (line, meant) in [
        ("SYNC_FLG=1", "SYNC_FLAG"),
        ("SYNCFLAG=1", "SYNC_FLAG"),
        ("AUTO_PRIMARY_RECOVRY=1", "AUTO_PRIMARY_RECOVERY"),
        ("kb_gateway_ip=1", "KB_GATEWAY_IP"),
    ] {
        let text = format!("unknown key, not used by these tools: did you mean {meant}?");
        assert_eq!(said(line), [text], "{line}");
    }
    assert_eq!(said("MAIL_TO=x"), ["unknown key, not used by these tools"]);
    for line in [
        "POOL_RESTART=1",
        "ES_PASS=x",
        "KB_VIRTUAL_IP=x",
        "KINGBASECLUSTERSOCKET4=x",
    ] {
        assert!(said(line).is_empty(), "{line}");
    }
}

#[test]
fn forms_that_the_vendors_comments_show_are_taken() {
    let config = with("KB_POOL_VIP=\"192.168.1.201/24\"\nALL_NODE_NAME=\"1 (node101,node102)\"\n");
    assert_eq!(config.kb_pool_vip, ip("192.168.1.201"));
    assert_eq!(config.all_node_name, ["node101", "node102"]);
    assert!(parse(&format!("{REQUIRED}KB_POOL_VIP=192.168.1.201/240\n")).is_err());
}

#[test]
fn notes_are_no_errors() {
    let text =
        format!("{REQUIRED}KB_HOSTNAME=x\nKB_PORT=x\nKB_PORT=1\nKB_GATEWAY_IP=192.168.1.201");
    assert_eq!(parse(&text).expect("notes only").kb_port, 1);
    let notes: Vec<String> = read(Path::new(PATH), text.as_bytes())
        .1
        .iter()
        .inspect(|finding| assert_eq!(finding.severity, Severity::Note))
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        notes,
        [
            format!("{PATH}:5: KB_GATEWAY_IP: set again in line 21, which counts"),
            format!("{PATH}:18: KB_HOSTNAME: unknown key, not used by these tools"),
            format!("{PATH}:19: KB_PORT: set again in line 20, which counts"),
            format!(
                "{PATH}:21: KB_GATEWAY_IP: 192.168.1.201 may be on this host itself, and then \
                 answers without a network; better the gateway"
            ),
        ]
    );
}

#[test]
fn a_file_from_another_system_is_read() {
    let dos = format!("\u{feff}{}", KINGBASE.replace('\n', "\r\n"));
    assert_eq!(parse(&dos), parse(KINGBASE));
    let gbk = [b"# \xd6\xd0\xce\xc4\r\n", KINGBASE.as_bytes()].concat();
    assert_eq!(Config::parse(Path::new(PATH), &gbk), parse(KINGBASE));

    let value = [REQUIRED.as_bytes(), b"KB_USER=\xd6\xd0\nKB_PORT=x"].concat();
    let error = Config::parse(Path::new(PATH), &value).expect_err("GBK");
    assert_eq!(
        error.to_string(),
        format!("{PATH}:{NEXT_LINE}: not UTF-8; expected plain text in UTF-8")
    );
}

#[test]
fn nodes_are_found_by_address() {
    let config = with("");
    let (here, there) = (ip("192.168.1.101"), ip("192.168.1.102"));
    assert_eq!(config.node_name_of(here), Some("node101"));
    assert_eq!(config.slot_name_of(there).as_deref(), Some("slot_node102"));
    assert_eq!(config.node_name_of(ip("192.168.1.103")), None);
    assert_eq!(config.slot_name_of(ip("192.168.1.103")), None);
    assert_eq!(config.other_hosts().collect::<Vec<_>>(), [there]);
}

#[test]
fn nothing_that_is_read_panics() {
    // A linear congruential generator: the same mutations in every run.
    let mut state: u64 = 20220830;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        ((state >> 33) as usize) % below
    };
    let pieces: [&[u8]; 16] = [
        b"\0",
        b"\"",
        b"'",
        b"\\",
        b"(",
        b")",
        b"#",
        b"\n",
        b"\r",
        b"=",
        b"$(",
        b"\xd6",
        b" ",
        b"-",
        b"99999999999999999999999",
        "密".as_bytes(),
    ];
    for sample in [KINGBASE, POSTGRES] {
        for _ in 0..3000 {
            let mut bytes = sample.as_bytes().to_vec();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                let end = (at + random(40)).min(bytes.len());
                match random(3) {
                    0 => drop(bytes.drain(at..end)),
                    1 => drop(bytes.splice(at..at, pieces[random(16)].iter().copied())),
                    _ => bytes[at] = random(256) as u8,
                }
            }
            let (config, findings) = read(Path::new(PATH), &bytes);
            let errors = findings.iter().filter(|f| f.severity == Severity::Error);
            assert!(config.is_some() || errors.count() > 0, "{findings:?}");
            for finding in findings {
                let line = finding.to_string();
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
}

#[test]
fn the_samples_are_right() {
    for (sample, flavor, hosts) in [(KINGBASE, None, 2), (POSTGRES, Some(DbFlavor::Postgres), 3)] {
        let (config, findings) = read(Path::new(PATH), sample.as_bytes());
        assert_eq!(findings, []);
        let config = config.expect("no error");
        assert_eq!(config.db_flavor, flavor);
        assert_eq!(config.kb_all_ip.len(), hosts);
        assert_eq!(config.kb_vip, "192.168.1.200/24".parse().ok());
    }
    // What the first one has commented out are the defaults.
    let is_key = |rest: &str| rest.starts_with(|c: char| c.is_ascii_uppercase());
    let mut uncommented = String::new();
    for line in KINGBASE.lines() {
        let rest = line.strip_prefix('#').filter(|rest| is_key(rest));
        uncommented += rest.unwrap_or(line);
        uncommented.push('\n');
    }
    let mut config = parse(&uncommented).expect("right values");
    assert_eq!(config.db_flavor.take(), Some(DbFlavor::Kingbase));
    assert!(config.ssh_key_file.take().is_some());
    assert_eq!(Ok(config), parse(KINGBASE));
    for key in KEYS {
        let name = key.name.replace("IPn", "IP1");
        assert!(uncommented.contains(&format!("\n{name}=")), "{name}");
    }
}

#[test]
fn the_pool_samples_call_the_tool_with_its_arguments() {
    let named = "failover_stream --new-primary-host=\"%H\" --old-primary-id=\"%P\" --failed-node-id=\"%d\" \
                 --failed-node-host=\"%h\" --old-primary-host=\"%N\" --new-primary-id=\"%m\" \
                 --old-main-id=\"%M\" --data-dir=\"%D\"'";
    let positional = "/failover_stream \"%H\" \"%P\" \"%d\" \"%h\" \"%O\" \"%m\" \"%M\" \"%D\"'";
    for (sample, command) in [
        (include_str!("../../../../etc/pgpool.conf.sample"), named),
        (
            include_str!("../../../../etc/kingbasecluster.conf.sample"),
            positional,
        ),
    ] {
        let line = sample
            .lines()
            .find(|line| line.starts_with("failover_command = '"));
        assert!(line.expect("failover_command").ends_with(command));
    }
}

/// Where they are empty, pgpool-II's checks may find none in `pool_passwd` as a pool starts.
#[test]
fn the_pool_sample_has_the_passwords_of_the_checks() {
    let sample = include_str!("../../../../etc/pgpool.conf.sample");
    for check in ["health_check", "sr_check"] {
        let mut lines = sample.lines();
        let line = lines.find_map(|line| line.strip_prefix(&format!("{check}_password = '")));
        assert!(line.is_some_and(|rest| rest.len() > 1), "{check}");
    }
}

/// The manual cannot lag behind the table: the row of each key is written here.
#[test]
fn the_manual_has_the_row_of_every_key() {
    let manual = include_str!("../../../../docs/configuration.md");
    let mut missing = String::new();
    for key in KEYS {
        let default = key.default.unwrap_or("required");
        let row = format!(
            "| `{}` | {} | {default} | {} |\n",
            key.name,
            key.meaning,
            key.accepted.replace('|', "\\|")
        );
        if !manual.contains(&row) {
            missing += &row;
        }
    }
    assert!(
        missing.is_empty(),
        "docs/configuration.md lacks:\n{missing}"
    );
    let is_key = |rest: &str| rest.starts_with(|c: char| c.is_ascii_uppercase());
    let rows = manual
        .lines()
        .filter(|line| line.strip_prefix("| `").is_some_and(is_key));
    assert_eq!(rows.count(), KEYS.len(), "a key that does not exist");
    let names: BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(names.len(), KEYS.len(), "a key twice");
}

/// A directory of its own for a test, gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("config-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a scratch directory");
        Self(dir)
    }

    fn file(&self, contents: &[u8]) -> PathBuf {
        let path = self.0.join("HAmodule.conf");
        fs::write(&path, contents).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_is_found_loaded_and_checked() {
    let scratch = Scratch::new("load");
    let path = scratch.file(KINGBASE.as_bytes());
    assert_eq!(Config::find(Some(&path)), Ok(path.clone()));
    assert_eq!(Config::load(&path).expect("the sample").path, path);
    assert_eq!(Config::check(&path), []);
    let link = scratch.0.join("link");
    symlink(&path, &link).expect("a link");
    assert_eq!(Config::find(Some(&link)), Ok(link));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
    let said: Vec<_> = Config::check(&path)
        .iter()
        .map(Finding::to_string)
        .collect();
    let note = format!(
        "{}: mode 644 lets every user of this host at the passwords; better chmod o=",
        path.display()
    );
    assert_eq!(said, [note]);
}

#[test]
fn a_script_reads_a_value_as_it_is_written() {
    let scratch = Scratch::new("written");
    let more =
        "ALL_NODE_NAME=(node101  \"node102\")\nKB_PORT=1\nKB_PORT='54321' # last\nCMD_IP_PATH=\n";
    let path = scratch.file(format!("{KINGBASE}\n{more}").as_bytes());
    let written = |key| Config::written(&path, key).expect("the sample");
    for (key, expected) in [
        ("KB_PORT", Some("54321")),
        ("KB_ALL_IP", Some("(192.168.1.101 192.168.1.102)")),
        ("ALL_NODE_NAME", Some("node101 node102")),
        ("KB_PASS", Some("MTIzNDU2")),
        ("CMD_IP_PATH", None),
        ("NO_SUCH_KEY", None),
    ] {
        assert_eq!(written(key).as_deref(), expected, "{key}");
    }
    // Of a file that is wrong nothing is told.
    let path = scratch.file(b"KB_PORT=54321\n");
    assert!(Config::written(&path, "KB_PORT").is_err());
}

#[test]
fn a_file_that_cannot_be_read_is_one_clear_line() {
    let scratch = Scratch::new("unreadable");
    let fifo = scratch.0.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    for (path, expected) in [
        (
            scratch.0.join("none"),
            "no such file; name the configuration with --config FILE",
        ),
        (
            scratch.0.clone(),
            "not a regular file; name the configuration with --config FILE",
        ),
        (
            fifo.clone(),
            "not a regular file; name the configuration with --config FILE",
        ),
        (
            fifo.join("x"),
            "cannot be read: Not a directory (os error 20); name the configuration with --config \
             FILE",
        ),
    ] {
        let expected = format!("{}: {expected}", path.display());
        for error in [Config::find(Some(&path)).err(), Config::load(&path).err()] {
            assert_eq!(error.map(|e| e.to_string()), Some(expected.clone()));
        }
        assert_eq!(Config::check(&path)[0].to_string(), expected);
    }
    // Root may read everything, so this one is only what would be said.
    assert_eq!(
        unreadable(Path::new(PATH), &io::ErrorKind::PermissionDenied.into()).to_string(),
        format!(
            "{PATH}: permission denied; check its owner and mode, and those of the directories \
             above it"
        )
    );
    let large = scratch.file(&vec![b'#'; MAX_FILE_BYTES as usize + 1]);
    assert_eq!(
        Config::load(&large).expect_err("too large").to_string(),
        format!(
            "{}: larger than 1 MiB, so not a HAmodule.conf; name the right one with --config FILE",
            large.display()
        )
    );
}

#[test]
fn without_an_option_the_file_is_beside_the_program() {
    let program = std::env::current_exe().expect("this program");
    let path = program
        .ancestors()
        .nth(2)
        .map(|dir| dir.join("etc/HAmodule.conf"));
    let error = Config::find(None).expect_err("not installed").to_string();
    assert_eq!(
        Some(error),
        path.map(|path| format!(
            "{}: no such file; name the configuration with --config FILE",
            path.display()
        ))
    );
}
