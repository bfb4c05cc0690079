//! An old primary that nobody could fence: no standby goes on acknowledging it, and the others follow
//! the new one at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::layout::{DB_BIN, LOG};
use lab::{Lab, LabOptions, Node, wait_for};

use crate::scene::{FAILOVER, PRIMARY_DOWN, SECOND_DOWN, SOON, assert_only_primary, log_line};

/// So long after the promotion everybody follows, and commits go on.
const AT_ONCE: Duration = Duration::from_secs(2);
/// A standby that listened again would acknowledge within milliseconds of its reconnect, which it tries
/// every five seconds.
const LONG_ENOUGH: Duration = Duration::from_secs(8);

fn three_hosts(name: &str) -> Result<Lab> {
    Lab::start(LabOptions {
        name: name.into(),
        nodes: 3,
        config: vec![("SYNC_DEGRADE".into(), "never".into())],
        ..LabOptions::default()
    })
}

/// The primary's cable is out for the time of the failover. Its clients on its own side see no commit
/// acknowledged that the new primary does not have. Its sshd is gone, so that nobody can have it look for
/// itself as soon as its cable is back.
#[test]
fn a_primary_that_was_cut_off_is_acknowledged_by_nobody() -> Result<()> {
    let lab = three_hosts("hard-held")?;
    let (old, new, other) = (lab.node(101), lab.node(102), lab.node(103));
    let client = lab.start_client_on(old)?;
    client.wait_for_acks(10, SOON)?;
    old.stop_sshd()?;
    old.link_down()?;
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    wait_for("the third host to follow", AT_ONCE, || {
        lab.streams(other.number(), new.number())
    })?;
    new.query("insert into probe values ('after')", AT_ONCE)?;
    log_line(new, "192.168.1.103 follows nobody")?;
    log_line(new, "192.168.1.103 follows 192.168.1.102")?;

    let before = client.acknowledged().len();
    old.link_up()?;
    let late = wait_for("an acknowledgement", LONG_ENOUGH, || {
        ensure!(client.acknowledged().len() > before, "none");
        Ok(())
    });
    ensure!(
        late.is_err(),
        "the old primary was acknowledged after the failover"
    );
    let report = client.stop();
    let lost = report.lost(&lab.rows_present(new)?);
    ensure!(lost.is_empty(), "lost {lost:?}");
    Ok(())
}

/// One whose replay is paused ends its receiver only when it is told to, whatever its settings say.
#[test]
fn a_standby_whose_replay_is_paused_is_held_too() -> Result<()> {
    let lab = three_hosts("hard-held-paused")?;
    let (old, new, other) = (lab.node(101), lab.node(102), lab.node(103));
    other.psql("select pg_wal_replay_pause()")?;
    let client = lab.start_client_on(old)?;
    client.wait_for_acks(10, SOON)?;
    old.link_down()?;
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    let before = client.acknowledged().len();
    old.link_up()?;
    let late = wait_for("an acknowledgement", LONG_ENOUGH, || {
        ensure!(client.acknowledged().len() > before, "none");
        Ok(())
    });
    ensure!(late.is_err(), "the paused standby acknowledged");
    let report = client.stop();
    let primary = if new.in_recovery()? { other } else { new };
    let lost = report.lost(&lab.rows_present(primary)?);
    ensure!(lost.is_empty(), "lost {lost:?}");
    Ok(())
}

/// Puts something in the place of the tool on this host: once it has told how the database is, a recovery has
/// the instance, as it has while it starts a standby.
fn recovers_once_it_was_looked_at(node: &Node) -> Result<()> {
    let program = format!("{DB_BIN}/failover_stream");
    let real = format!("{program}.real");
    node.run(&["mv", &program, &real], SOON)?.success()?;
    let lock = format!("{LOG}/instance.lock");
    let script = format!(
        "#!/bin/sh\n\
         {real} \"$@\"\n\
         code=$?\n\
         case \"$*\" in *'--step status'*)\n\
         if [ ! -e /tmp/seen ]; then\n\
         touch /tmp/seen {lock}\n\
         setsid flock {lock} sleep 600 >/dev/null 2>&1 </dev/null &\n\
         while flock -n {lock} true; do sleep 0.01; done\n\
         fi;;\n\
         esac\n\
         exit $code\n"
    );
    node.write(&program, &script, 0o755, 0)
}

/// A standby that was down when it was looked at is being started while the others are held: it may come up,
/// and acknowledge the old primary, any moment.
#[test]
fn a_standby_that_is_being_started_is_not_passed_over() -> Result<()> {
    let lab = three_hosts("hard-started")?;
    let (old, new, other) = (lab.node(101), lab.node(102), lab.node(103));
    other.kill_database()?;
    recovers_once_it_was_looked_at(other)?;
    old.link_down()?;
    let run = new.failover(&PRIMARY_DOWN, FAILOVER)?;
    ensure!(run.code == Some(66), "{run}");
    let said = lab.left_nothing(new)?;
    for why in [
        "may go on acknowledging",
        "192.168.1.103: ",
        "is held by another run",
    ] {
        ensure!(said.contains(why), "no {why:?} in {said}");
    }
    ensure!(new.in_recovery()?, "it was promoted: {said}");
    // What the line says.
    other.run(&["pkill", "-f", "sleep 600"], SOON)?.success()?;
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    ensure!(!new.in_recovery()?, "nobody was promoted");
    Ok(())
}

/// A failover that comes to nothing leaves the standbys where they were: they stream from the old
/// primary again as soon as it is there.
#[test]
fn a_failover_that_fails_releases_them() -> Result<()> {
    let lab = three_hosts("hard-released")?;
    let (old, new, other) = (lab.node(101), lab.node(102), lab.node(103));
    // The program that promotes is there, and does not.
    let program = format!("{DB_BIN}/pg_ctl");
    let aside = format!("{program}.aside");
    new.run(&["mv", &program, &aside], SOON)?.success()?;
    new.write(&program, "#!/bin/sh\nexit 1\n", 0o755, 0)?;
    old.link_down()?;
    let run = new.failover(&PRIMARY_DOWN, FAILOVER)?;
    ensure!(run.code == Some(66), "{run}");
    log_line(new, "192.168.1.103 follows nobody")?;
    log_line(new, "192.168.1.103 follows 192.168.1.101 again")?;
    let said = lab.left_nothing(new)?;
    ensure!(said.contains("run this command again"), "{said}");
    old.link_up()?;
    for node in [new, other] {
        wait_for("the standby to stream again", SOON, || {
            lab.streams(node.number(), old.number())
        })?;
    }
    // What the last line says.
    new.run(&["mv", &aside, &program], SOON)?.success()?;
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 102)
}

/// Two failovers at once, from two hosts: the second one cannot hear whom the first one has promoted. It gives
/// the third host back to nobody, and promotes nobody.
#[test]
fn what_another_failover_has_had_follow_is_not_held() -> Result<()> {
    // The VIP, which that one has by then, would give the second one away.
    let lab = Lab::start(LabOptions {
        name: "hard-taken".into(),
        nodes: 3,
        config: vec![("KB_VIP".into(), String::new())],
        ..LabOptions::default()
    })?;
    let (old, new, other) = (lab.node(101), lab.node(102), lab.node(103));
    old.link_down()?;
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    wait_for("the third host to follow", AT_ONCE, || {
        lab.streams(other.number(), new.number())
    })?;
    new.stop_sshd()?;
    let run = other.failover(&PRIMARY_DOWN, FAILOVER)?;
    let told = "another failover has told it to follow 192.168.1.102, which is a primary";
    ensure!(
        run.code != Some(0) && run.to_string().contains(told),
        "{run}"
    );
    lab.streams(other.number(), new.number())?;
    ensure!(other.in_recovery()? && !new.in_recovery()?, "{run}");
    new.query("insert into probe values ('after')", AT_ONCE)?;
    // Once that one is down, it is the old primary of the next failover.
    new.kill_database()?;
    new.start_sshd()?;
    other.failover(&SECOND_DOWN, FAILOVER)?.success()?;
    ensure!(!other.in_recovery()?, "nobody was promoted");
    Ok(())
}

/// Two failovers at once: what one of them has had follow, and the other one holds in vain, goes back to where it
/// was. What another one holds by now is left alone.
#[test]
fn what_was_taken_in_vain_goes_back() -> Result<()> {
    let lab = three_hosts("hard-taken-back")?;
    let other = lab.node(103);
    let order = |run: &str, words: &str| -> Result<String> {
        let common = ["--deadline", "6000", "--run", run, "--step"];
        let args: Vec<&str> = common.into_iter().chain(words.split(' ')).collect();
        other.failover(&args, FAILOVER)?.success()
    };
    let follows = |whom: &str| -> Result<()> {
        let settings = other.psql("show primary_conninfo")?;
        ensure!(settings.contains(&format!("host={whom}")), "{settings}");
        Ok(())
    };
    // The first one has chosen 102, which is no primary yet; the second one holds, and comes to nothing.
    order(
        "first",
        "follow --primary 192.168.1.102 --newest-timeline 2",
    )?;
    follows("192.168.1.102")?;
    let hold = "hold --newest-timeline 2 --old-primary 192.168.1.101";
    let let_go = "follow --primary 192.168.1.101 --newest-timeline 0";
    order("second", hold)?;
    follows("/held-by-failover-tools")?;
    order("second", let_go)?;
    follows("192.168.1.102")?;
    // Its own run does not point it to the old primary either.
    let run = other.recover(&[], FAILOVER)?;
    ensure!(run.code == Some(66), "{run}");
    follows("192.168.1.102")?;

    order("fourth", hold)?;
    order("third", hold)?;
    let said = order("fourth", let_go)?;
    ensure!(said.contains("another failover holds it by now"), "{said}");
    follows("/held-by-failover-tools")?;
    order("third", let_go)?;
    follows("192.168.1.102")
}
