//! Things that are wrong in a cluster, each brought about on real hosts: `check` names every one of them with
//! what to do, and finds nothing once that is done.

use anyhow::{Context as _, Result, ensure};
use lab::layout::{DATA, DB_BIN, DB_ETC, HOME, LOG, POOL_BIN, POOL_ETC, R3HA, SQL_PASSWORD};
use lab::{Lab, Node};

use crate::scene::{Finding, SHORT, ctl, findings, looked, three_hosts, wait_until_green};

/// Something that is wrong: what `check` has to call it, the node it has to name (0: none), and where and how
/// it is brought about and mended.
struct Wrong {
    code: &'static str,
    names: u8,
    on: u8,
    breaks: &'static str,
    mends: &'static str,
}

const fn wrong(
    code: &'static str,
    names: u8,
    on: u8,
    breaks: &'static str,
    mends: &'static str,
) -> Wrong {
    Wrong {
        code,
        names,
        on,
        breaks,
        mends,
    }
}

/// A shell with short names for what every case does: settings of the tools (`conf`) and of the server
/// (`set`), SQL (`sql`), lines of the hba file (`hba`).
const SHELL: &str = r#"
set -e
keep() { [ -e "$1.kept" ] || cp -a "$1" "$1.kept"; }
back() { mv -f "$1.kept" "$1"; }
conf() { for etc in $ETC $POOL; do keep $etc/HAmodule.conf; printf '%s\n' "$1" >>$etc/HAmodule.conf; done; }
unconf() { for etc in $ETC $POOL; do [ ! -e $etc/HAmodule.conf.kept ] || back $etc/HAmodule.conf; done; }
sql() { PGPASSWORD=$(cat /root/sql-password) psql -X -q -A -t -v ON_ERROR_STOP=1 -h 127.0.0.1 -p 54321 -U SUPERMANAGER_V8ADMIN postgres -c "$1"; }
reload() { kill -HUP "$(head -1 $DATA/postmaster.pid)"; }
set_() { keep $DATA/postgresql.auto.conf; sql "alter system set $1 = '$2'" >/dev/null; reload; }
unset_() { sql "alter system reset $1" >/dev/null; reload; rm -f $DATA/postgresql.auto.conf.kept; }
hba() { keep $DATA/pg_hba.conf; { printf '%s\n' "$1"; cat $DATA/pg_hba.conf.kept; } >$DATA/pg_hba.conf; reload; }
unhba() { back $DATA/pg_hba.conf; reload; }
"#;

fn sh(node: &Node, script: &str) -> Result<String> {
    let names = format!(
        "ETC={DB_ETC} POOL={POOL_ETC} DATA={DATA} BIN={DB_BIN} POOLBIN={POOL_BIN} LOG={LOG} HOME={HOME} R3HA={R3HA}"
    );
    // Other labs' tests look for a password in the arguments of every process.
    node.write("/root/sql-password", SQL_PASSWORD, 0o600, 0)?;
    let script = format!("{names}\n{SHELL}\n{script}");
    node.run(&["bash", "-c", &script], SHORT)?.success()
}

/// What is wrong at the same time, and must not hide each other.
type Batch = &'static [Wrong];

/// The files of the tools, and what they name.
const FILES: Batch = &[
    wrong(
        "config-note",
        101,
        101,
        "chmod o+r $ETC/HAmodule.conf",
        "chmod o-r $ETC/HAmodule.conf",
    ),
    wrong("config-note", 102, 102, "conf SYNC_FLG=1", "unconf"),
    wrong("config", 103, 103, "conf DEV=eth7", "unconf"),
    wrong("vip-impossible", 103, 103, ":", ":"),
    wrong(
        "keys-differ FAILOVER_TIMEOUT",
        102,
        102,
        "conf FAILOVER_TIMEOUT=20",
        ":",
    ),
    wrong(
        "keys-differ KB_PASS",
        103,
        103,
        "conf KB_PASS=$(printf other | base64)",
        ":",
    ),
    wrong(
        "keys-differ KB_GATEWAY_IP",
        103,
        103,
        "conf KB_GATEWAY_IP=192.168.1.2",
        ":",
    ),
    wrong("keys-differ SYNC_FLAG", 102, 102, "conf SYNC_FLAG=0", ":"),
    wrong("server-silent", 103, 103, ":", ":"),
];

const PATHS: Batch = &[
    wrong(
        "config no pcp_attach_node",
        102,
        102,
        "mv $POOLBIN/pcp_attach_node $POOLBIN/kept",
        "mv $POOLBIN/kept $POOLBIN/pcp_attach_node",
    ),
    wrong(
        "config KB_ETC_PATH",
        103,
        103,
        "conf KB_ETC_PATH=/nowhere",
        "unconf",
    ),
    wrong(
        "config FAILOVER_LOG_DIR",
        102,
        102,
        "conf FAILOVER_LOG_DIR=/nowhere/failover.log",
        "unconf",
    ),
    wrong(
        "config EVENT_LOG",
        101,
        101,
        "conf EVENT_LOG=/nowhere/events",
        "unconf",
    ),
    wrong(
        "config MOUNT_POINT_DIR_LIST",
        103,
        103,
        "conf MOUNT_POINT_DIR_LIST=/nowhere",
        "unconf",
    ),
    wrong(
        "config pg_rewind",
        101,
        101,
        "mv $BIN/pg_rewind $BIN/kept",
        "mv $BIN/kept $BIN/pg_rewind",
    ),
    wrong(
        "config KB_SSLROOTCERT",
        102,
        102,
        "conf KB_SSLROOTCERT=/nowhere",
        "unconf",
    ),
    wrong(
        "config ping",
        103,
        103,
        "mv /bin/ping /bin/ping.kept",
        "mv /bin/ping.kept /bin/ping",
    ),
];

/// The tools themselves.
const TOOLS: Batch = &[
    wrong(
        "no-tools cannot be run",
        103,
        103,
        "mv $BIN/failover_stream $BIN/kept",
        "mv $BIN/kept $BIN/failover_stream",
    ),
    wrong("no-tools KB_PORT", 102, 102, "conf KB_PORT=many", "unconf"),
];

const IDENTITY: Batch = &[
    wrong(
        "no-tools KB_LOCALHOST_IP",
        103,
        103,
        "conf KB_LOCALHOST_IP=192.168.1.102; conf NODE_NAME=node102",
        "unconf",
    ),
    wrong(
        "tools-differ",
        102,
        102,
        "other_version",
        "mv $BIN/kept $BIN/failover_stream",
    ),
];

const LOGINS: Batch = &[
    wrong(
        "host-unreachable refused",
        103,
        103,
        "pkill -x sshd",
        "/usr/sbin/sshd -E /var/log/sshd.log",
    ),
    wrong(
        "ssh login refused",
        102,
        102,
        "for home in /root /home/kingbase; do mv $home/.ssh/id_ed25519 $home/.ssh/kept; done",
        "for home in /root /home/kingbase; do mv $home/.ssh/kept $home/.ssh/id_ed25519; done",
    ),
];

const HBA: Batch = &[
    wrong(
        "sql-login",
        103,
        102,
        "hba 'host all all 192.168.1.103/32 reject'",
        "unhba",
    ),
    wrong(
        "replication-login",
        102,
        103,
        "hba 'host replication all 192.168.1.102/32 reject'",
        "unhba",
    ),
    wrong(
        "replication-login",
        103,
        101,
        "hba 'host replication all 192.168.1.103/32 reject'",
        "unhba",
    ),
];

const SSH_KEYS: Batch = &[
    wrong(
        "ssh host key",
        103,
        103,
        "keep /root/.ssh/known_hosts; sed -i '/102/s/ssh-ed25519 .*/ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVYYGrVqUmzOOyyVkjBzmnDqQ3oOQn7tDgKKR6Vs6cX/' /root/.ssh/known_hosts",
        "back /root/.ssh/known_hosts",
    ),
    wrong("bad-line", 103, 103, "hba 'host all all nonsense'", "unhba"),
    wrong(
        "bad-line",
        102,
        102,
        "keep $DATA/postgresql.conf; echo \"no_such_setting = 1\" >>$DATA/postgresql.conf; reload",
        "back $DATA/postgresql.conf; reload",
    ),
];

/// The servers' settings.
const SETTINGS: Batch = &[
    wrong(
        "full_page_writes",
        101,
        101,
        "set_ full_page_writes off",
        "unset_ full_page_writes",
    ),
    wrong("fsync", 102, 102, "set_ fsync off", "unset_ fsync"),
    wrong(
        "synchronous_commit",
        101,
        101,
        "set_ synchronous_commit local",
        "unset_ synchronous_commit",
    ),
    wrong(
        "default_transaction_read_only",
        103,
        103,
        "set_ default_transaction_read_only on",
        "unset_ default_transaction_read_only",
    ),
    wrong(
        "restart_after_crash",
        103,
        103,
        "set_ restart_after_crash off",
        "unset_ restart_after_crash",
    ),
    wrong(
        "zero_damaged_pages",
        102,
        102,
        "set_ zero_damaged_pages on",
        "unset_ zero_damaged_pages",
    ),
    wrong(
        "recovery_min_apply_delay",
        102,
        102,
        "set_ recovery_min_apply_delay 1min",
        "unset_ recovery_min_apply_delay",
    ),
    wrong(
        "max_slot_wal_keep_size",
        101,
        101,
        "set_ max_slot_wal_keep_size 64MB",
        "unset_ max_slot_wal_keep_size",
    ),
    wrong(
        "pending-restart max_connections",
        102,
        102,
        "set_ max_connections 300",
        "unset_ max_connections",
    ),
    wrong(
        "replay-paused",
        103,
        103,
        "sql 'select pg_wal_replay_pause()'",
        "sql 'select pg_wal_replay_resume()'",
    ),
    wrong(
        "idle-slot",
        101,
        101,
        "sql \"select pg_create_physical_replication_slot('slot_node109', true)\"",
        "sql \"select pg_drop_replication_slot('slot_node109')\"",
    ),
];

const COMMITS: Batch = &[
    wrong(
        "commits-hang",
        101,
        101,
        "set_ synchronous_standby_names 'nobody'",
        "back $DATA/postgresql.auto.conf; reload",
    ),
    wrong("foreign-standby nobody", 101, 101, ":", ":"),
];

const ASYNCHRONOUS: Batch = &[
    wrong(
        "asynchronous",
        101,
        101,
        "set_ synchronous_standby_names ''",
        "back $DATA/postgresql.auto.conf; reload",
    ),
    wrong(
        "vip-misplaced",
        102,
        102,
        "ip addr add 192.168.1.200/24 dev enp0s3",
        "ip addr del 192.168.1.200/24 dev enp0s3",
    ),
    wrong(
        "cluster-vip-twice",
        0,
        103,
        "ip addr add 192.168.1.201/24 dev enp0s3",
        "ip addr del 192.168.1.201/24 dev enp0s3",
    ),
];

/// The standbys.
const STANDBYS: Batch = &[
    wrong(
        "application_name",
        103,
        103,
        "set_conninfo application_name=other",
        "back $DATA/postgresql.auto.conf; reload",
    ),
    wrong(
        "follows-another node103",
        102,
        102,
        "set_conninfo host=192.168.1.103",
        "back $DATA/postgresql.auto.conf; reload",
    ),
    wrong("not-streaming", 102, 102, ":", ":"),
];

const SLOTS: Batch = &[
    wrong(
        "no-slot",
        103,
        103,
        "set_ primary_slot_name ''",
        "back $DATA/postgresql.auto.conf; reload",
    ),
    wrong(
        "slot-missing slot_x",
        102,
        102,
        "set_ primary_slot_name slot_x",
        "back $DATA/postgresql.auto.conf; reload",
    ),
    wrong(
        "vip-missing",
        101,
        101,
        "ip addr del 192.168.1.200/24 dev enp0s3",
        "ip addr add 192.168.1.200/24 dev enp0s3 label enp0s3:2",
    ),
];

const RESTARTED: Batch = &[
    wrong(
        "timeline",
        103,
        103,
        "set_ recovery_target_timeline current; restart",
        "back $DATA/postgresql.auto.conf; restart",
    ),
    wrong(
        "wal_log_hints",
        102,
        102,
        "set_ wal_log_hints off; restart",
        "back $DATA/postgresql.auto.conf; restart",
    ),
    wrong(
        "max_replication_slots",
        103,
        103,
        "set_ max_replication_slots 1; restart",
        ":",
    ),
];

const DOWN: Batch = &[wrong(
    "server-down",
    103,
    103,
    "su kingbase -c \"$BIN/pg_ctl -D $DATA -m fast -w stop\" >/dev/null",
    "su kingbase -c \"$BIN/pg_ctl -D $DATA -w -l $LOG/database.log start\" >/dev/null",
)];

/// What is left behind, and who looks.
const MARKS: Batch = &[
    wrong(
        "paused",
        103,
        103,
        "su kingbase -c \"$BIN/network_rewind --pause disk\"",
        "su kingbase -c \"$BIN/network_rewind --resume\"",
    ),
    wrong(
        "not-scheduled",
        102,
        102,
        "mv /etc/cron.d/failover-tools /root/kept; touch -d '1 hour ago' $LOG/recovery.log",
        "mv /root/kept /etc/cron.d/failover-tools",
    ),
    wrong(
        "schedule-idle",
        101,
        101,
        "touch -d '1 hour ago' $LOG/recovery.log",
        ":",
    ),
];

const STATE: Batch = &[
    wrong(
        "state",
        101,
        101,
        "keep_state; echo nonsense >$LOG/network_rewind.json",
        "back $LOG/network_rewind.json",
    ),
    wrong(
        "undecided",
        102,
        102,
        "keep_state; echo '{\"undecided\":\"2026-01-01 00:00:00\"}' >$LOG/network_rewind.json",
        "back $LOG/network_rewind.json",
    ),
    wrong(
        "self-fenced",
        103,
        103,
        "keep_state; echo '{\"self_fenced\":\"2026-01-01 00:00:00\",\"fenced\":{\"since\":\"2026-01-01 00:00:00\",\"at\":1,\"run\":\"x\",\"lasts\":1}}' >$LOG/network_rewind.json",
        "back $LOG/network_rewind.json",
    ),
    wrong("fenced", 103, 103, ":", ":"),
];

/// The pools. One that is started anew needs seconds until it has joined the others.
const POOLS: Batch = &[wrong("pool-silent", 103, 103, "pool_stops", "pool_starts")];

const POOL_SETTINGS: Batch = &[
    wrong(
        "failover_command",
        103,
        103,
        "keep $POOL/pgpool.conf; printf \"%s\\n\" \"failover_command = '/bin/true'\" \"follow_primary_command = '/bin/true'\" \"failback_command = '/bin/true'\" 'auto_failback = on' 'failover_on_backend_error = on' 'health_check_period = 0' 'detach_false_primary = on' >>$POOL/pgpool.conf; pool_stops; pool_starts",
        "back $POOL/pgpool.conf; pool_stops; pool_starts",
    ),
    wrong("follow_primary_command", 103, 103, ":", ":"),
    wrong("failback_command", 103, 103, ":", ":"),
    wrong("auto_failback", 103, 103, ":", ":"),
    wrong("failover_on_backend_error", 103, 103, ":", ":"),
    wrong("health_check_period", 103, 103, ":", ":"),
    wrong("detach_false_primary", 103, 103, ":", ":"),
    wrong("pool-settings-differ health_check_period", 0, 103, ":", ":"),
];

const PLACEHOLDERS: Batch = &[wrong(
    "placeholders",
    103,
    103,
    "keep $POOL/pgpool.conf; echo \"failover_command = '$POOLBIN/failover_stream %d %h'\" >>$POOL/pgpool.conf; pool_stops; pool_starts",
    "back $POOL/pgpool.conf; pool_stops; pool_starts",
)];

/// On all hosts alike: nothing differs, and it is wrong all the same.
const EVERYWHERE: [(&str, &str); 3] = [
    ("pcp", "PCP_PASS=b3RoZXI="),
    ("server-silent", "KB_PASS=b3RoZXI="),
    ("pool-silent", "KB_POOL_PORT=9990"),
];

const MORE_SHELL: &str = r#"
restart() { su kingbase -c "$BIN/pg_ctl -D $DATA -m fast -w -l $LOG/database.log restart" >/dev/null; }
set_conninfo() {
    keep $DATA/postgresql.auto.conf
    info=$(sql "select current_setting('primary_conninfo')" | sed "s/ *${1%%=*}=[^ ]*//")
    printf '%s\n' "primary_conninfo = '$(printf %s "$info $1" | sed "s/'/''/g")'" >>$DATA/postgresql.auto.conf
    reload
}
keep_state() { [ -e $LOG/network_rewind.json ] || echo '{}' >$LOG/network_rewind.json; keep $LOG/network_rewind.json; }
other_version() {
    mv $BIN/failover_stream $BIN/kept
    cat >$BIN/failover_stream <<END
#!/bin/sh
$BIN/kept "\$@" | sed 's/"version":"/&9/'
END
    chmod 755 $BIN/failover_stream
}
pool_stops() { $POOLBIN/pgpool -f $POOL/pgpool.conf -m fast stop >/dev/null 2>&1 || pkill -x pgpool || :; }
pool_starts() { setsid $POOLBIN/pgpool -n -f $POOL/pgpool.conf -F $POOL/pcp.conf -a $POOL/pool_hba.conf >>$LOG/cluster.log 2>&1 </dev/null & }
"#;

/// `code`, or `code` and a word of its sentence.
fn is_named(found: &[Finding], case: &Wrong) -> bool {
    let (code, word) = case.code.split_once(' ').unwrap_or((case.code, ""));
    let node = (case.names > 0).then(|| format!("node{}", case.names));
    found.iter().any(|it| {
        it.code == code
            && it.text.contains(word)
            && (node.is_none() || it.node == node)
            && !it.todo.is_empty()
    })
}

fn check(lab: &Lab) -> Result<(Option<i32>, Vec<Finding>)> {
    let run = ctl(lab.node(101), "root", &["check", "--json"])?;
    Ok((run.code, findings(&run)?))
}

fn play(lab: &Lab, batch: Batch) -> Result<()> {
    for case in batch {
        let script = format!("{MORE_SHELL}\n{}", case.breaks);
        sh(lab.node(case.on), &script)
            .with_context(|| format!("{} is brought about", case.code))?;
    }
    let named = lab::wait_for("check to name all of them", SHORT, || {
        let (code, found) = check(lab)?;
        let missing = batch.iter().filter(|case| !is_named(&found, case));
        let missing: Vec<&str> = missing.map(|case| case.code).collect();
        ensure!(
            missing.is_empty(),
            "not named: {missing:?}; found {found:#?}"
        );
        let fails = found.iter().any(|it| it.level == "fail");
        ensure!(code == Some(i32::from(fails)), "exit {code:?}: {found:?}");
        Ok(())
    });
    for case in batch.iter().rev() {
        let script = format!("{MORE_SHELL}\n{}", case.mends);
        sh(lab.node(case.on), &script).with_context(|| format!("{} is mended", case.code))?;
    }
    let mended = wait_until_green(lab).with_context(|| format!("after {}", batch[0].code));
    named.and(mended)
}

/// All of them, and then what went wrong in any.
fn play_all(lab: &Lab, batches: &[Batch]) -> Result<()> {
    let wrong: Vec<String> = batches
        .iter()
        .filter_map(|batch| play(lab, batch).err())
        .map(|error| format!("{error:#}"))
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}

/// Nobody but the cases changes anything meanwhile.
fn without_cron(lab: &Lab) -> Result<()> {
    lab.nodes().iter().try_for_each(Node::stop_cron)
}

fn all_of(name: &str, batches: &[Batch]) -> Result<()> {
    Lab::with(three_hosts(name), |lab| {
        without_cron(lab)?;
        wait_until_green(lab)?;
        play_all(lab, batches)
    })
}

#[test]
fn files_and_logins() -> Result<()> {
    all_of(
        "cluster-files",
        &[
            FILES, PATHS, TOOLS, IDENTITY, LOGINS, HBA, SSH_KEYS, MARKS, STATE,
        ],
    )
}

#[test]
fn servers_and_standbys() -> Result<()> {
    all_of(
        "cluster-servers",
        &[
            SETTINGS,
            COMMITS,
            ASYNCHRONOUS,
            STANDBYS,
            SLOTS,
            RESTARTED,
            DOWN,
        ],
    )
}

#[test]
fn pools() -> Result<()> {
    Lab::with(three_hosts("cluster-pools"), |lab| {
        without_cron(lab)?;
        wait_until_green(lab)?;
        play_all(lab, &[POOLS, POOL_SETTINGS, PLACEHOLDERS])?;
        for (code, line) in EVERYWHERE {
            for node in lab.nodes() {
                sh(node, &format!("conf {line}"))?;
            }
            looked(lab)?;
            let (exit, found) = check(lab)?;
            ensure!(
                exit == Some(1) && found.iter().any(|it| it.code == code),
                "{code}: {found:#?}"
            );
            for node in lab.nodes() {
                sh(node, "unconf")?;
            }
            wait_until_green(lab)?;
        }
        Ok(())
    })
}
