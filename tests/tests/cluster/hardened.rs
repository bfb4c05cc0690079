//! Hosts that let no root in.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::layout::{DB_BIN, PRIMARY_DOWN};
use lab::{Lab, LabOptions, Node, wait_for};

use crate::scene::{SHORT, ctl, findings, looked, three_hosts, wait_until_green};

/// For a failover, and for a recovery.
const LONG: Duration = Duration::from_secs(60);
const CONF: &str = "/etc/ssh/sshd_config";

/// Root is refused from now on, as the rules for hardened hosts have it.
fn refuse_root(node: &Node) -> Result<()> {
    let before = node.read(CONF)?;
    let hardened = before.replace("PermitRootLogin prohibit-password", "PermitRootLogin no");
    ensure!(hardened != before, "{before}");
    node.write(CONF, &hardened, 0o644, 0)?;
    node.stop_sshd()?;
    node.start_sshd()
}

/// The finding that the database's user cannot change addresses on node102, by a check on `on`.
fn names_missing_rights(lab: &Lab, on: &Node, user: &str) -> Result<()> {
    looked(lab)?;
    let run = ctl(on, user, &["check", "--json"])?;
    let found = findings(&run)?;
    ensure!(run.code == Some(1), "{run}");
    let mut about = found.iter().filter(|it| it.code == "vip-impossible");
    let told = about
        .next()
        .filter(|it| it.node.as_deref() == Some("node102"));
    let told = told.map(|it| it.text.clone()).unwrap_or_default();
    ensure!(
        told.contains("file capabilities cap_net_admin,cap_net_raw+ep")
            && told.contains("login refused"),
        "{found:#?}"
    );
    ensure!(about.next().is_none(), "{found:#?}");
    Ok(())
}

#[test]
fn root_falls_back_to_the_databases_user_and_its_key() -> Result<()> {
    let options = LabOptions {
        config: vec![("AUTO_PRIMARY_RECOVERY".into(), "1".into())],
        ..three_hosts("cluster-hardened")
    };
    Lab::with(options, |lab| {
        lab.nodes().iter().try_for_each(Node::stop_cron)?;
        lab.nodes().iter().try_for_each(refuse_root)?;
        let (old, new) = (lab.node(101), lab.node(102));
        wait_until_green(lab)?;

        // Without its capabilities that user can do nothing for the VIP: seen from there and from elsewhere.
        new.take_rights_from_vip_ctl()?;
        for (on, user) in [(old, "root"), (new, "root"), (new, "kingbase")] {
            names_missing_rights(lab, on, user)?;
        }
        let rights = format!("setcap cap_net_admin,cap_net_raw+ep {DB_BIN}/vip_ctl");
        new.run(&["sh", "-c", &rights], SHORT)?.success()?;
        wait_until_green(lab)?;

        // The old primary lives: it has to be stopped over that login, and to give up the VIP.
        let run = new.failover(&PRIMARY_DOWN, LONG)?;
        let log = new.failover_log()?;
        ensure!(run.code == Some(0), "{run}\n{log}");
        ensure!(log.contains("old primary 192.168.1.101 is fenced"), "{log}");
        ensure!(
            old.pids_of_database().is_empty() && !old.has_vip()?,
            "{log}"
        );
        ensure!(!new.in_recovery()? && new.has_vip()?, "{log}");
        wait_for("the third one to follow", LONG, || lab.streams(103, 102))?;
        // By root, too, whom it becomes at once.
        wait_for("the recovery", LONG, || {
            let run = old.recover(&[], LONG)?;
            ensure!(run.code == Some(0), "{run}");
            lab.streams(101, 102)
        })?;
        let refused = old.run(
            &["grep", "-c", "ROOT LOGIN REFUSED", "/var/log/sshd.log"],
            SHORT,
        )?;
        ensure!(refused.stdout.trim() != "0", "{refused}");
        Ok(())
    })
}
