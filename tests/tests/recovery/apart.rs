//! The configuration of a server lies where Debian's packages put it, and not in its data directory.

use anyhow::{Context, Result, ensure};
use lab::layout::{DATA, USER};
use lab::{Lab, Node};

use crate::drill::{assert_stays_down, at_once, killed_with_rows_of_its_own, recovers};
use crate::scene::SHORT;

const ETC: &str = "/etc/postgresql/15/main";
/// Of an operator, in the main file: a standby must not have it.
const SYNC: &str = "synchronous_standby_names = '1 (node101, node102)'";

/// Moves the configuration of a node that is down to [`ETC`], as `pg_createcluster` makes it.
fn move_configuration(node: &Node) -> Result<()> {
    let script = format!(
        "set -e
         install -d -o {USER} -g {USER} /etc/postgresql /etc/postgresql/15 {ETC} {ETC}/conf.d
         mv {DATA}/postgresql.conf {DATA}/pg_hba.conf {DATA}/pg_ident.conf {ETC}
         cat >>{ETC}/postgresql.conf <<END
data_directory = '{DATA}'
hba_file = '{ETC}/pg_hba.conf'
ident_file = '{ETC}/pg_ident.conf'
include_dir = 'conf.d'
{SYNC}
END
         echo \"work_mem = '5MB'\" >{ETC}/conf.d/own.conf
         chown {USER}:{USER} {ETC}/conf.d/own.conf"
    );
    node.run(&["sh", "-c", &script], SHORT)?.success().map(drop)
}

/// It runs with the configuration of [`ETC`], of which none has come to its data directory.
fn assert_apart(node: &Node) -> Result<()> {
    let seen =
        node.psql("select current_setting('config_file') || ' ' || current_setting('work_mem')")?;
    ensure!(seen == format!("{ETC}/postgresql.conf 5MB"), "{seen}");
    let list = node.run(&["ls", DATA], SHORT)?.success()?;
    for file in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"] {
        ensure!(!list.lines().any(|it| it == file), "{list}");
    }
    Ok(())
}

#[test]
fn the_configuration_is_debians() -> Result<()> {
    Lab::with(at_once("rec-apart"), |lab| {
        let (one, other) = (lab.node(101), lab.node(102));
        // From a primary that has its own in its data directory; no start has told of it yet.
        killed_with_rows_of_its_own(lab, 101)?;
        move_configuration(one)?;
        recovers(lab, one, 102).context("the first time")?;
        assert_apart(one)?;
        let conf = one.read(&format!("{ETC}/postgresql.conf"))?;
        ensure!(conf.contains(&format!("\n#{SYNC}\n")), "{conf}");
        let opts = one.read(&format!("{DATA}/postmaster.opts"))?;
        ensure!(opts.contains(&format!("config_file={ETC}/")), "{opts}");

        // From such a one.
        killed_with_rows_of_its_own(lab, 102)?;
        recovers(lab, other, 101).context("the other")?;
        ensure!(other.psql("show config_file")? == format!("{DATA}/postgresql.conf"));

        // With an archive: the rewind asks for its command.
        one.psql("alter system set restore_command = 'false'")?;
        one.psql("select pg_reload_conf()")?;
        killed_with_rows_of_its_own(lab, 101)?;
        recovers(lab, one, 102).context("with an archive")?;
        assert_apart(one)?;

        // Both have theirs there.
        killed_with_rows_of_its_own(lab, 102)?;
        move_configuration(other)?;
        recovers(lab, other, 101).context("both")?;
        killed_with_rows_of_its_own(lab, 101)?;
        recovers(lab, one, 102).context("again")?;
        assert_apart(one)?;
        assert_apart(other)?;

        // A copy has it, too: it is found by the data directory that it names.
        killed_with_rows_of_its_own(lab, 102)?;
        other.delete_data()?;
        assert_stays_down(other, 1, &["missing or empty"])?;
        other.set_config(&[("REWIND_FALLBACK", "basebackup")])?;
        recovers(lab, other, 101).context("a copy")?;
        assert_apart(other)
    })
}

/// Where no systemd runs, Debian's own program starts the server: it writes the log where Debian has it.
#[test]
fn debians_own_program_starts_it() -> Result<()> {
    const LOG: &str = "/var/log/postgresql/postgresql-15-main.log";
    let mut options = at_once("rec-ctlcluster");
    let service = ("DB_SERVICE".to_owned(), "postgresql@15-main".to_owned());
    options.config.push(service);
    Lab::with(options, |lab| {
        let one = lab.node(101);
        // The machine's own log there is its own user's.
        let dir = format!("rm -rf /var/log/postgresql; install -d -o {USER} /var/log/postgresql");
        one.run(&["sh", "-c", &dir], SHORT)?.success()?;
        killed_with_rows_of_its_own(lab, 101)?;
        move_configuration(one)?;
        recovers(lab, one, 102).with_context(|| one.read(LOG).unwrap_or_default())?;
        assert_apart(one)?;
        let log = one.read(LOG)?;
        ensure!(log.contains("started streaming WAL from primary"), "{log}");
        Ok(())
    })
}
