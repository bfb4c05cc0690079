//! Data directories as they are: files of root's, links, pipes, settings that are included, a log in the
//! data directory, a data directory that is a link or a mount point. Each ends streaming, with nothing of the
//! node's own lost or changed; or it is refused before anything is touched, by a sentence that helps: the test
//! does what it says.
//!
//! `RECOVERY_ROUNDS=200 RECOVERY_SEED=7` recovers so many, each with a mix that the seed gives; a round that
//! fails prints its own.

use std::env;

use anyhow::{Context, Result, bail, ensure};
use lab::layout::{DATA, HOME, SQL_USER};
use lab::{Lab, LabOptions, Node};

use crate::drill::{at_once, killed_with_rows_of_its_own, same_end};
use crate::scene::RECOVERY;

/// Rounds in the suite: the first with all that go together.
const ROUNDS: u64 = 6;
/// Of these on one lab, whose servers are of one kind.
const ON_ONE_LAB: u64 = 3;
/// Refusals of one round, each of which helps.
const REFUSALS: usize = 10;

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

const ODDITIES: [Oddity; 19] = [
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
    Oddity {
        name: "a socket",
        make: "perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un(\"own.sock\")) or die'
               chown kingbase:kingbase own.sock",
        own: "own.sock",
        sets: None,
        undo: "rm -f own.sock",
    },
    Oddity {
        name: "an enormous log",
        make: "fallocate -l 200M server.log; chown kingbase:kingbase server.log",
        own: "server.log",
        sets: None,
        undo: "rm -f server.log",
    },
    Oddity {
        name: "files of strange modes",
        make: "for mode in 400 444 755 4711 1666 000; do echo $mode > own.$mode
               chown kingbase:kingbase own.$mode; chmod $mode own.$mode; done",
        own: "own.[0-9]*",
        sets: None,
        undo: "rm -f own.[0-9]*",
    },
    Oddity {
        name: "a directory of root's",
        make: "install -d -m 700 scripts; echo own > scripts/x",
        own: "scripts",
        sets: None,
        undo: "rm -rf scripts",
    },
    Oddity {
        name: "one of the server's directories is a link",
        make: "mv pg_xact $other; ln -s $other/pg_xact pg_xact",
        own: "",
        sets: None,
        undo: "",
    },
    Oddity {
        name: "a mount point in it",
        make: "install -d -o kingbase -g kingbase mounted $other/mounted
               mount --bind $other/mounted mounted
               install -o kingbase -g kingbase -m 440 /etc/hostname mounted/host",
        own: "mounted",
        sets: None,
        undo: "umount mounted; rmdir mounted; rm -r $other/mounted",
    },
];

/// What the data directory itself is, until its server is down the next time.
struct Shape {
    name: &'static str,
    make: &'static str,
    undo: &'static str,
    /// The tools copy there, and a file of root's is the server's user's then.
    copies: bool,
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "a directory",
        make: "",
        undo: "",
        copies: false,
    },
    Shape {
        name: "a link to a path with blanks and in Chinese",
        make: "cd /; mkdir -p $other/'数据 目录'; chown -R kingbase:kingbase $other
               mv $data $other/'数据 目录/my data'; ln -s $other/'数据 目录/my data' $data",
        undo: "cd /; rm $data; mv $other/'数据 目录/my data' $data",
        copies: false,
    },
    Shape {
        name: "a mount point",
        make: "cd /; mount --bind $data $data",
        undo: "cd /; umount $data",
        copies: true,
    },
];

/// What the servers of a lab are.
struct Kind {
    name: &'static str,
    checksums: bool,
    settings: &'static [(&'static str, &'static str)],
    /// On both, as root.
    make: &'static str,
    sql: &'static [&'static str],
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "hint bits in the WAL",
        checksums: false,
        settings: &[],
        make: "",
        sql: &[],
    },
    Kind {
        name: "checksums, an archive, a tablespace, an unlogged table",
        checksums: true,
        settings: &[("archive_mode", "on"), ("archive_command", "'true'")],
        make: "install -d -o kingbase -g kingbase $home/'表 空间'",
        sql: &[
            "create tablespace apart location '/home/kingbase/表 空间'",
            "create table in_apart (n int) tablespace apart",
            "insert into in_apart select generate_series(1, 5000)",
            "create unlogged table unlogged (n int)",
            "insert into unlogged values (1)",
            "alter table in_apart rename to own_in_apart",
        ],
    },
    Kind {
        name: "messages in Chinese",
        checksums: false,
        settings: &[],
        make: "localedef -i zh_CN -f UTF-8 zh_CN.UTF-8",
        sql: &[
            "alter system set lc_messages = 'zh_CN.UTF-8'",
            "select pg_reload_conf()",
        ],
    },
    Kind {
        name: "checksums, messages in Chinese, a server's own log",
        checksums: true,
        settings: &[
            ("logging_collector", "on"),
            ("log_directory", "'log of the server'"),
            ("log_destination", "'csvlog'"),
        ],
        make: "localedef -i zh_CN -f UTF-8 zh_CN.UTF-8",
        sql: &[
            "alter system set lc_messages = 'zh_CN.UTF-8'",
            "select pg_reload_conf()",
        ],
    },
];

/// Runs a script as root in the data directory.
fn sh(node: &Node, script: &str) -> Result<String> {
    let name = node.name();
    let script = format!(
        "set -e; node={name}; home={HOME}; user={SQL_USER}; other='{HOME}/other {name}'; data={DATA}
         cd {DATA}
         {script}"
    );
    // `$other` stands unquoted in the table.
    let script = script.replace("$other", "\"$other\"");
    // A locale takes seconds to be compiled on a busy machine.
    node.run(&["sh", "-c", &script], RECOVERY)?.success()
}

/// Every entry of what these have made: kind, mode, owner, where it leads, and what is in it.
fn own_of(node: &Node, oddities: &[&Oddity], owner: bool) -> Result<String> {
    let roots: Vec<&str> = oddities.iter().map(|it| it.own).collect();
    let roots = roots.join(" ");
    let owner = if owner { "%u:%g" } else { "" };
    sh(
        node,
        &format!(
            "for root in {roots}; do find \"$root\" -printf '%p %y %m {owner} %l\\n'
               find \"$root\" -type f -exec md5sum {{}} +; done | sort"
        ),
    )
}

/// What a run that refuses must not touch.
fn all_of(node: &Node) -> Result<String> {
    let files =
        "md5sum global/pg_control; find . ! -path './base/*' -printf '%p %y %m %u:%g %l\\n' | sort
                 ls -d $data*";
    sh(node, files)
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

/// Does what a refusal says; an error where it says nothing that a person can do.
fn heed(said: &str, node: &Node, primary: &Node) -> Result<()> {
    let between = |from: &str, to: &str| {
        let rest = said.split_once(from)?.1;
        Some(rest.split_once(to)?.0.to_owned())
    };
    let line = between("add \"", "\" to ").zip(between("\" to ", " there, "));
    if let Some((line, file)) = line {
        sh(primary, &format!("echo '{line}' >> '{file}'"))?;
        return primary.psql("select pg_reload_conf()").map(drop);
    }
    let path = |mark: &str| between("network_rewind: ", mark);
    let path = |mark: &str| {
        path(mark).map(|it| match it.rsplit_once(": /") {
            Some((_, rest)) => format!("/{rest}"),
            None => it,
        })
    };
    let script = if let Some(link) = path(" is a link, which") {
        format!("real=$(readlink -f '{link}'); rm '{link}'; mv \"$real\" '{link}'")
    } else if let Some(closed) = path(" is not kingbase's to change: give it to kingbase (chown)") {
        format!("chown kingbase '{closed}'")
    } else if let Some(closed) = path(" has to be copied, out of a mount point, and") {
        format!("chown kingbase '{closed}'; chmod u+r '{closed}'")
    } else if let Some(name) = between("make a directory ", " on ") {
        return sh(
            primary,
            &format!("install -d -o kingbase -g kingbase '{name}'"),
        )
        .map(drop);
    } else {
        bail!("nothing that a person can do: {said}");
    };
    sh(node, &script).map(drop)
}

/// Until the node is recovered: each refusal before it has touched nothing, and helps. How many there were.
fn recovers_in_the_end(
    lab: &Lab,
    node: &Node,
    new: u8,
    listing: impl Fn() -> Result<String>,
) -> Result<usize> {
    for refusals in 0..=REFUSALS {
        let (before, untouched) = (listing()?, all_of(node)?);
        let run = node.recover(&[], RECOVERY)?;
        if run.code == Some(0) {
            same_end(lab, new)?;
            let after = listing()?;
            ensure!(after == before, "{after}\nwas {before}");
            return Ok(refusals);
        }
        ensure!(run.code == Some(1), "{run}\n{}", node.recovery_log()?);
        let after = all_of(node)?;
        ensure!(
            after == untouched,
            "touched by {run}:\n{after}\nwas {untouched}"
        );
        ensure!(node.pids_of_database().is_empty(), "it runs: {run}");
        heed(&run.stderr, node, lab.node(new)).with_context(|| run.to_string())?;
    }
    bail!("it is refused again and again: {}", node.recovery_log()?)
}

/// What a node has in one round.
struct Mix {
    oddities: Vec<&'static Oddity>,
    shape: &'static Shape,
    /// The new primary lets nobody in for replication but a user of its own.
    strict: bool,
}

impl Mix {
    fn of(seed: &mut u64, first: bool) -> Self {
        let mut oddities: Vec<&Oddity> = ODDITIES.iter().collect();
        if !first {
            oddities.retain(|_| next(seed) & 1 == 0);
        }
        let shape = match first {
            true => 0,
            false => next(seed) as usize % SHAPES.len(),
        };
        Self {
            oddities,
            shape: &SHAPES[shape],
            strict: next(seed).is_multiple_of(3),
        }
    }

    fn named(&self) -> String {
        let names: Vec<&str> = self.oddities.iter().map(|it| it.name).collect();
        format!("{}, strict: {}, {names:?}", self.shape.name, self.strict)
    }
}

/// A round: the primary dies, has these oddities, and comes back as a standby with all that it had. Returns
/// the number of the new primary. `was` is what its data directory has been until now.
fn round(lab: &Lab, primary: u8, mix: &Mix, was: &Shape) -> Result<u8> {
    let node = lab.node(primary);
    sh(node, "install -d -o kingbase -g kingbase $other")?;
    let new = killed_with_rows_of_its_own(lab, primary)?;
    sh(node, was.undo).context(was.name)?;
    sh(node, mix.shape.make).context(mix.shape.name)?;
    for oddity in &mix.oddities {
        sh(node, oddity.make).context(oddity.name)?;
    }
    if mix.strict {
        let hba = "sed -i '/^host replication/d' pg_hba.conf
                   echo 'host replication repl 192.168.1.0/24 scram-sha-256' >> pg_hba.conf";
        sh(lab.node(new), hba)?;
        lab.node(new).psql("select pg_reload_conf()")?;
    }
    let refusals = recovers_in_the_end(lab, node, new, || {
        own_of(node, &mix.oddities, !mix.shape.copies)
    })?;
    eprintln!("node{primary}, {refusals} refusals: {}", mix.named());
    for (setting, value) in mix.oddities.iter().filter_map(|it| it.sets) {
        let seen = node.psql(&format!("show {setting}"))?;
        ensure!(seen.contains(value), "{setting} is {seen}, not {value}");
    }
    for oddity in mix.oddities.iter().rev() {
        sh(node, oddity.undo).context(oddity.name)?;
    }
    Ok(new)
}

/// Some rounds on a lab of one kind.
fn rounds(kind: &Kind, first: u64, count: u64, seed: &mut u64) -> Result<()> {
    let set = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let options = LabOptions {
        checksums: kind.checksums,
        postgres: kind.settings.iter().map(set).collect(),
        ..at_once("brk-oddities")
    };
    Lab::with(options, |lab| {
        for node in lab.nodes() {
            sh(node, kind.make)?;
        }
        for sql in kind.sql {
            lab.node(101).psql(sql)?;
        }
        // The other one has its settings by itself.
        for sql in kind.sql.iter().filter(|it| it.contains("lc_messages")) {
            lab.node(102).psql(sql)?;
        }
        let mut primary = 101;
        let mut shapes = [&SHAPES[0]; 2];
        for count in first..first + count {
            let begun = *seed;
            let mix = Mix::of(seed, count == 0);
            let shape = &mut shapes[usize::from(primary - 101)];
            primary = round(lab, primary, &mix, shape).with_context(|| {
                format!(
                    "round {count}, seed {begun}, {}: {}",
                    kind.name,
                    mix.named()
                )
            })?;
            *shape = mix.shape;
        }
        Ok(())
    })
}

#[test]
fn nothing_of_its_own_is_lost() -> Result<()> {
    let number = |name: &str| env::var(name).ok().and_then(|it| it.parse().ok());
    let count: u64 = number("RECOVERY_ROUNDS").unwrap_or(ROUNDS);
    let mut seed = number("RECOVERY_SEED").unwrap_or(1).max(1);
    for first in (0..count).step_by(ON_ONE_LAB as usize) {
        let kind = match first {
            0 => 0,
            _ => next(&mut seed) as usize % KINDS.len(),
        };
        let here = ON_ONE_LAB.min(count - first);
        rounds(&KINDS[kind], first, here, &mut seed)?;
    }
    Ok(())
}
