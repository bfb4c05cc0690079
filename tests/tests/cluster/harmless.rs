//! `show` and `check` change nothing: not on a host, not in a database, not in a pool.

use anyhow::{Result, ensure};
use lab::layout::{DB_BIN, PRIMARY_DOWN};
use lab::{Lab, Node};

use crate::scene::{SHORT, ctl, looked, three_hosts};

/// Every file's name, size, mode, owner and content in the directories that the tools, the server and ssh
/// write to. What the server, the pool and sshd write by themselves is left out.
const LOOK: &str = r"
cd /
find home root etc var/spool/cron -xdev \( -name 'pg_stat*' -o -name pg_wal -o -name '*.log' -o -name pg_xact \
    -o -name pg_subtrans -o -name pg_multixact -o -name pg_logical -o -name base -o -name global \
    -o -name pg_replslot -o -name pgpool_status -o -name .bash_history \) -prune -o -type f -print0 |
    sort -z | xargs -0 sha256sum
find home root etc -xdev \( -name 'pg_stat_tmp' -o -name 'pgsql_tmp*' \) -prune -o -printf '%p %m %U %G %y\n' |
    grep -v pg_wal | sort
ip -o -4 addr show | sed 's/valid_lft.*//'
";

fn state(node: &Node) -> Result<String> {
    let files = node.run(&["sh", "-c", LOOK], SHORT)?.success()?;
    let settings = "select string_agg(name || '=' || setting, ',' order by name) from pg_settings \
                    where name not like '%application_name%'";
    let slots =
        "select string_agg(slot_name || active, ',' order by slot_name) from pg_replication_slots";
    let users = "select string_agg(rolname || coalesce(rolpassword, ''), ',' order by rolname) from pg_authid";
    let server = [settings, slots, users].map(|sql| node.psql(sql));
    let server: Vec<String> = server.into_iter().collect::<Result<_>>()?;
    Ok(format!("{files}\n{}", server.join("\n")))
}

#[test]
fn nothing_is_changed_by_a_look() -> Result<()> {
    let mut options = three_hosts("cluster-harmless");
    // So that a login meets every host as new.
    options.known_hosts = false;
    Lab::with(options, |lab| {
        lab.nodes().iter().try_for_each(Node::stop_cron)?;
        looked(lab)?;
        let all = || lab.nodes().iter().map(state).collect::<Result<Vec<_>>>();
        let pools = || lab.pool_nodes();
        let (before, pools_before) = (all()?, pools()?);
        for user in ["root", "kingbase"] {
            for command in [
                &["show"][..],
                &["check"],
                &["show", "--json"],
                &["check", "--json"],
            ] {
                let run = ctl(lab.node(101), user, command)?;
                ensure!(matches!(run.code, Some(0 | 1)), "{run}");
            }
        }
        let down = PRIMARY_DOWN.join(" ");
        for user in ["root", "kingbase"] {
            let dry = format!("{DB_BIN}/failover_stream --dry-run {down}");
            let shown = lab
                .node(102)
                .run_as(user, &["sh", "-c", &dry], SHORT)?
                .success()?;
            ensure!(shown.contains("would become the primary"), "{shown}");
        }
        for (before, after) in before.iter().zip(all()?) {
            for (one, other) in before.lines().zip(after.lines()) {
                ensure!(one == other, "before: {one}\nafter: {other}");
            }
            ensure!(
                before.lines().count() == after.lines().count(),
                "lines more or less"
            );
        }
        let status = |nodes: Vec<lab::PoolNode>| -> Vec<(u8, String, String)> {
            nodes
                .into_iter()
                .map(|it| (it.id, it.status, it.role))
                .collect()
        };
        ensure!(status(pools_before) == status(pools()?));
        Ok(())
    })
}
