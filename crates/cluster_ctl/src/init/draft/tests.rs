use super::super::look::ServerFacts;
use super::*;
use failover_core::flavor::{KINGBASE, POSTGRES};
use failover_core::running::Running;
use failover_core::users::SystemUser;

fn standby(last: u8, name: &str) -> Standby {
    Standby {
        address: Ipv4Addr::new(192, 168, 1, last),
        name: name.to_owned(),
        sync: "async".to_owned(),
        slot: String::new(),
    }
}

fn seen() -> Seen {
    Seen {
        server: Running {
            flavor: &POSTGRES,
            data: "/srv/pg data".into(),
            programs: "/usr/pgsql-15/bin".into(),
            user: SystemUser::current().unwrap(),
            port: 5433,
            socket: None,
            unit: None,
        },
        facts: ServerFacts {
            version: "15.14".to_owned(),
            user: "postgres".to_owned(),
            hba_file: "/srv/pg data/pg_hba.conf".to_owned(),
            encryption: "scram-sha-256".to_owned(),
            sync_names: String::new(),
            rewinds: false,
            own_name: String::new(),
        },
        standbys: vec![standby(102, "15/main"), standby(103, "node9")],
        address: Ipv4Addr::new(192, 168, 1, 101),
        device: "bond0.100".to_owned(),
        prefix: 24,
        gateway: Some(Ipv4Addr::new(192, 168, 1, 1)),
        host_name: "Db-1".to_owned(),
        pool: None,
        no_pool: Some("none".to_owned()),
        tools: "/root/tools".into(),
    }
}

/// What a person would put in the place of the marks.
fn filled_in(text: &str) -> String {
    [
        ("@KB_PASS@", "MTIz"),
        ("@PCP_PASS@", "MTIz"),
        ("@KB_VIP@", "192.168.1.200/24"),
        ("@KB_POOL_VIP@", "192.168.1.201"),
        ("@KB_GATEWAY_IP@", "192.168.1.1"),
        ("@POOL_CHECK_PASSWORD@", "Secret-3"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (mark, value)| {
        text.replace(mark, value)
    })
}

fn configs(draft: &Draft) -> Vec<Config> {
    let files = draft.files.iter();
    let files = files.filter(|(path, _)| path.ends_with("HAmodule.conf"));
    files
        .map(|(path, text)| Config::parse(path, filled_in(text).as_bytes()).unwrap())
        .collect()
}

fn file<'a>(draft: &'a Draft, path: &str) -> &'a str {
    let mut files = draft.files.iter();
    &files.find(|(it, _)| it == Path::new(path)).unwrap().1
}

#[test]
fn every_host_has_a_configuration_of_its_own_that_is_right_once_filled_in() {
    let draft = draft(&seen());
    let names: Vec<&str> = draft.nodes.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["node101", "node102", "node9"]);
    let configs = configs(&draft);
    assert_eq!(configs.len(), 3);
    for (config, node) in configs.iter().zip(&draft.nodes) {
        assert_eq!(config.kb_localhost_ip, node.address);
        assert_eq!(config.node_name, node.name);
        assert_eq!(config.kb_all_ip.len(), 3);
        assert_eq!(config.kb_data_path, Path::new("/srv/pg data"));
        assert_eq!(config.kb_path, Path::new("/opt/failover-tools/db/bin"));
        assert_eq!(config.dev.as_deref(), Some("bond0.100"));
        assert_eq!((config.kb_port, config.sync_flag), (5433, false));
        assert!(!config.auto_primary_recovery);
    }
    assert_eq!(file(&draft, "node9/pgpool_node_id"), "2\n");
}

#[test]
fn each_mark_is_explained_and_stands_in_a_file() {
    for with_gateway in [true, false] {
        let mut seen = seen();
        if !with_gateway {
            seen.gateway = None;
        }
        let draft = draft(&seen);
        let all: String = draft.files.iter().map(|(_, text)| text.as_str()).collect();
        for (mark, _) in &draft.to_fill_in {
            assert!(all.contains(mark), "{mark}");
        }
        let marks = |text: &str| {
            text.split('@')
                .filter(|it| it.starts_with("KB_") || it.starts_with("PCP_"))
                .count()
        };
        assert_eq!(marks(&filled_in(&all)), 0);
        let explained = draft
            .to_fill_in
            .iter()
            .any(|(mark, _)| *mark == "@KB_GATEWAY_IP@");
        assert_eq!(explained, !with_gateway);
    }
}

#[test]
fn the_pools_lines_name_each_key_once_and_these_hosts_only() {
    let mut seen = seen();
    seen.pool = Some(PoolFile {
        settings: BTreeMap::from([
            ("port".to_owned(), "9876".to_owned()),
            ("delegate_ip".to_owned(), "192.168.1.9".to_owned()),
        ]),
        version: "pgpool-II version 4.5.1".to_owned(),
        pcp_users: vec!["admin".to_owned()],
        ..PoolFile::default()
    });
    let draft = draft(&seen);
    let lines = file(&draft, "node101/pgpool.conf.add");
    let mut keys: Vec<&str> = lines
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(" = ").unwrap().0)
        .collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), all, "{lines}");
    for line in [
        "port = 9876",
        "delegate_ip = '192.168.1.9'",
        "backend_hostname2 = '192.168.1.103'",
        "backend_port2 = 5433",
        "trusted_servers = '192.168.1.1'",
        "enable_consensus_with_half_votes = off",
        "use_watchdog = on",
    ] {
        assert!(lines.lines().any(|it| it == line), "{line} in {lines}");
    }
    assert!(
        lines.contains(
            "failover_command = '/opt/failover-tools/kingbasecluster/bin/failover_stream "
        )
    );
    assert_eq!(configs(&draft)[0].pcp_user, "admin");
    let hba = file(&draft, "node102/pg_hba.conf.add");
    assert!(
        hba.contains("host replication postgres 192.168.1.103/32 scram-sha-256"),
        "{hba}"
    );
    let cron = file(&draft, "node102/failover-tools.cron");
    assert!(
        cron.contains(" /opt/failover-tools/db/bin/network_rewind >"),
        "{cron}"
    );
}

#[test]
fn a_vendors_cluster_has_its_own_places() {
    let mut seen = seen();
    seen.server.flavor = &KINGBASE;
    seen.server.programs = "/data/ha/db/bin".into();
    seen.server.data = "/data/ha/db/data".into();
    seen.facts.sync_names = "1 (node102)".to_owned();
    let draft = draft(&seen);
    let config = &configs(&draft)[1];
    assert_eq!(config.kb_path, Path::new("/data/ha/db/bin"));
    assert_eq!(
        config.cluster_bin_path,
        Path::new("/data/ha/kingbasecluster/bin")
    );
    assert_eq!(config.kb_pool_ips.len(), 3);
    assert!(config.sync_flag && config.auto_primary_recovery);
    let lines = file(&draft, "node101/kingbasecluster.conf.add");
    assert!(
        lines.contains("'/data/ha/kingbasecluster/bin/failover_stream "),
        "{lines}"
    );
    assert!(
        draft
            .files
            .iter()
            .all(|(path, _)| !path.ends_with("pgpool_node_id"))
    );
}

#[test]
fn what_was_taken_is_told() {
    let told = draft(&seen()).to_look_at.join("\n");
    for part in [
        "node102, node9: DEV, KB_PORT and KB_DATA_PATH are those of this host",
        "the router of the default route, 192.168.1.1",
        "SYNC_FLAG=off",
        "192.168.1.102 streams as \"15/main\" by no slot",
        "wal_log_hints is off",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
}
