//! Data directories as they are: files of root's, links, pipes, settings that are included, a log in the
//! data directory. Each is recovered, and nothing of the node's own is lost or changed.
//!
//! `ODDITIES=200 ODDITIES_SEED=7` recovers so many, each with a mix that the seed gives; a round that
//! fails prints its own.

use std::env;

use anyhow::{Context, Result, ensure};
use lab::layout::{DATA, HOME, SQL_USER};
use lab::{Lab, Node};

use crate::drill::{assert_stays_down, at_once, killed_with_rows_of_its_own, recovers};
use crate::scene::SHORT;

/// Rounds in the suite: the first with all that go together.
const ROUNDS: u64 = 3;

/// One thing that an operator, a package or a habit does to a data directory.
struct Oddity {
    name: &'static str,
    /// As root, in the data directory; `$other` is a directory of this node's outside it.
    make: &'static str,
    /// What it has made there, to be the same afterwards, and then removed.
    own: &'static str,
    /// A setting, and what is in it then.
    sets: Option<(&'static str, &'static str)>,
    /// Brings the data directory back to what it was, or to what a running server can do with.
    undo: &'static str,
}

const ODDITIES: [Oddity; 13] = [
    Oddity {
        name: "pg_hba.conf is root's",
        make: "chown root:kingbase pg_hba.conf; chmod 640 pg_hba.conf",
        own: "pg_hba.conf",
        sets: None,
        undo: "chown kingbase:kingbase pg_hba.conf",
    },
    Oddity {
        name: "pg_ident.conf is a link",
        make: "mv pg_ident.conf $other/ident; echo '# of this node' >> $other/ident
               ln -s $other/ident pg_ident.conf",
        own: "pg_ident.conf",
        sets: None,
        undo: "rm pg_ident.conf; mv $other/ident pg_ident.conf",
    },
    Oddity {
        name: "settings in an included directory, written with sudo",
        make: "install -d -o kingbase -g kingbase include.d
               echo \"work_mem = '5MB'\" > include.d/own.conf; chmod 644 include.d/own.conf
               echo \"include_dir 'include.d'\" >> postgresql.conf",
        own: "include.d",
        sets: Some(("work_mem", "5MB")),
        undo: "rm -r include.d; sed -i /include_dir/d postgresql.conf",
    },
    Oddity {
        name: "settings in an included file, read-only",
        make: "echo \"maintenance_work_mem = '65MB'\" > own.settings
               chown kingbase:kingbase own.settings; chmod 400 own.settings
               echo \"include 'own.settings'\" >> postgresql.conf",
        own: "own.settings",
        sets: Some(("maintenance_work_mem", "65MB")),
        undo: "rm -f own.settings; sed -i /own.settings/d postgresql.conf",
    },
    Oddity {
        name: "conf.d is a link to root's directory",
        make: "mkdir $other/settings; echo \"temp_file_limit = '7GB'\" > $other/settings/a.conf
               chmod 644 $other/settings/a.conf; ln -s $other/settings conf.d
               echo \"include_dir = 'conf.d'\" >> postgresql.conf",
        own: "conf.d",
        sets: Some(("temp_file_limit", "7GB")),
        undo: "rm conf.d; rm -r $other/settings; sed -i /conf.d/d postgresql.conf",
    },
    Oddity {
        name: "the log of the crash lies in the data directory",
        make: "install -d -o kingbase -g kingbase -m 750 pg_log
               echo 'PANIC of this node' > pg_log/postgresql.csv
               head -c 9000000 /dev/zero > pg_log/yesterday.csv
               chown -R kingbase:kingbase pg_log; chmod 600 pg_log/*",
        own: "pg_log",
        sets: None,
        undo: "rm -r pg_log",
    },
    Oddity {
        name: "the log directory is a link",
        make: "install -d -o kingbase -g kingbase $other/log; echo why > $other/log/a.log
               ln -s $other/log log",
        own: "log",
        sets: None,
        undo: "rm log; rm -r $other/log",
    },
    Oddity {
        name: "statistics in a directory of their own",
        make: "install -d -o kingbase -g kingbase -m 700 $other/stat; rm -r pg_stat_tmp
               ln -s $other/stat pg_stat_tmp",
        own: "pg_stat_tmp",
        sets: None,
        undo: "rm pg_stat_tmp; rm -r $other/stat; install -d -o kingbase -g kingbase -m 700 pg_stat_tmp",
    },
    Oddity {
        name: "a file that nobody but root may read",
        make: "echo secret > root.key; chmod 600 root.key",
        own: "root.key",
        sets: None,
        undo: "rm -f root.key",
    },
    Oddity {
        name: "a pipe, and a link to nowhere",
        make: "mkfifo -m 600 pipe; chown kingbase:kingbase pipe; ln -s /nowhere/at/all dangling",
        own: "pipe dangling",
        sets: None,
        undo: "rm -f pipe dangling",
    },
    Oddity {
        name: "names with blanks, and in Chinese",
        make: "install -d -o kingbase -g kingbase '备份 脚本/a b'; echo '脚本' > '备份 脚本/a b/c d.sh'
               ln -s 'a b/c d.sh' '备份 脚本/link'; chown -R kingbase:kingbase '备份 脚本'
               chmod 755 '备份 脚本/a b/c d.sh'",
        own: "备?*",
        sets: None,
        undo: "rm -rf 备?*",
    },
    Oddity {
        name: "standby settings in an included file",
        make: "install -d -o kingbase -g kingbase standby
               sed -i '/^primary_conninfo/d; /^recovery_target/d' postgresql.auto.conf
               echo \"primary_conninfo = 'host=192.168.1.9 port=54321 user=$user passfile=$home/.pgpass \\
               application_name=$node sslmode=allow'\" > standby/a.conf
               echo \"recovery_target_timeline = 'current'\" >> standby/a.conf
               echo \"include_dir 'standby'\" >> postgresql.conf",
        own: "standby",
        sets: Some(("primary_conninfo", "sslmode=allow")),
        undo: "rm -r standby; sed -i /standby/d postgresql.conf",
    },
    Oddity {
        name: "pg_wal lies elsewhere",
        make: "test -L pg_wal || mv pg_wal $other/wal; ln -sfT $other/wal pg_wal",
        own: "",
        sets: None,
        undo: "",
    },
];

/// Runs a script as root in the data directory.
fn sh(node: &Node, script: &str) -> Result<String> {
    let name = node.name();
    let script = format!(
        "set -e; node={name}; home={HOME}; user={SQL_USER}; other='{HOME}/other {name}'; cd {DATA}
         {script}"
    );
    // `$other` stands unquoted in the table.
    let script = script.replace("$other", "\"$other\"");
    node.run(&["sh", "-c", &script], SHORT)?.success()
}

/// Every entry of what these have made: kind, mode, owner, where it leads, and what is in it.
fn own_of(node: &Node, oddities: &[&Oddity]) -> Result<String> {
    let roots: Vec<&str> = oddities.iter().map(|it| it.own).collect();
    let roots = roots.join(" ");
    sh(
        node,
        &format!(
            "for root in {roots}; do find \"$root\" -printf '%p %y %m %u:%g %l\\n'
               find \"$root\" -type f -exec md5sum {{}} +; done | sort"
        ),
    )
}

/// The next of a row of numbers (xorshift).
fn next(seed: &mut u64) -> u64 {
    for shift in [13, -7, 17] {
        *seed ^= match shift {
            1.. => *seed << shift,
            _ => *seed >> -shift,
        };
    }
    *seed
}

/// A round: the primary dies, has these oddities, and comes back as a standby with all that it had. Returns
/// the number of the new primary.
fn round(lab: &Lab, primary: u8, oddities: &[&Oddity]) -> Result<u8> {
    let node = lab.node(primary);
    sh(node, "install -d -o kingbase -g kingbase $other")?;
    let new = killed_with_rows_of_its_own(lab, primary)?;
    for oddity in oddities {
        sh(node, oddity.make).context(oddity.name)?;
    }
    let before = own_of(node, oddities)?;
    recovers(lab, node, new)?;
    let after = own_of(node, oddities)?;
    ensure!(after == before, "{after}\nwas {before}");
    for (setting, value) in oddities.iter().filter_map(|it| it.sets) {
        let seen = node.psql(&format!("show {setting}"))?;
        ensure!(seen.contains(value), "{setting} is {seen}, not {value}");
    }
    for oddity in oddities.iter().rev() {
        sh(node, oddity.undo).context(oddity.name)?;
    }
    Ok(new)
}

#[test]
fn nothing_of_its_own_is_lost() -> Result<()> {
    let number = |name: &str| env::var(name).ok().and_then(|it| it.parse().ok());
    let rounds = number("ODDITIES").unwrap_or(ROUNDS);
    let mut seed = number("ODDITIES_SEED").unwrap_or(1).max(1);
    Lab::with(at_once("brk-oddities"), |lab| {
        let mut primary = 101;
        for count in 0..rounds {
            let begun = seed;
            let mut chosen: Vec<&Oddity> = ODDITIES.iter().collect();
            if count > 0 {
                chosen.retain(|_| next(&mut seed) & 1 == 0);
            }
            let names: Vec<&str> = chosen.iter().map(|it| it.name).collect();
            primary = round(lab, primary, &chosen)
                .with_context(|| format!("round {count}, seed {begun}: {names:?}"))?;
        }
        refused_before_anything(lab, primary)
    })
}

/// What a rewind cannot do, said before anything is touched; and what is said helps.
fn refused_before_anything(lab: &Lab, primary: u8) -> Result<()> {
    let node = lab.node(primary);
    let new = killed_with_rows_of_its_own(lab, primary)?;
    sh(
        node,
        "mkdir scripts; echo own > scripts/x
         mv pg_xact $other; ln -s $other/pg_xact pg_xact
         install -d -o kingbase -g kingbase mounted $other/mounted
         mount --bind $other/mounted mounted
         install -o kingbase -g kingbase -m 440 /etc/hostname mounted/host",
    )?;
    let listing = |node: &Node| sh(node, "find . ! -path ./base/* | sort");
    let before = listing(node)?;
    for (words, on, remedy) in [
        (
            ["pg_xact is a link", "put the directory itself in its place"],
            node,
            "rm pg_xact; mv $other/pg_xact pg_xact",
        ),
        (
            ["scripts is not kingbase's to change", "(chown)"],
            node,
            "chown kingbase scripts",
        ),
        (
            ["mounted is a mount point", "make a directory mounted on"],
            lab.node(new),
            "install -d -o kingbase -g kingbase mounted",
        ),
    ] {
        assert_stays_down(node, 1, &words)?;
        sh(on, remedy)?;
    }
    ensure!(listing(node)? == before, "{}", listing(node)?);
    recovers(lab, node, new)?;
    let own = sh(
        node,
        "cat scripts/x; mountpoint mounted; stat -c %a mounted/host",
    )?;
    ensure!(own.contains("own") && own.contains("440"), "{own}");
    Ok(())
}
