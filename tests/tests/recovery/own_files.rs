//! What is a node's own in its data directory survives a rewind: its configuration, but for what a
//! standby needs, and its slots.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lab::layout::{DATA, DB_ETC, HOME, SQL_PASSWORD, UID};
use lab::{Lab, LabOptions, Node};

use crate::drill::{
    Kept, assert_no_secret, assert_same_files, at_once, killed_with_rows_of_its_own, own_files,
    recovers,
};

/// As an operator may have written it, in the encoding of his terminal.
const COMMENT: &[u8] =
    b"# \xb1\xb8\xbf\xe2: do not touch   \n\n#synchronous_standby_names = '' # (default)\n";
const SYNC: &str = "synchronous_standby_names = '1 (node101, node102)'  # both\n";

/// Gives a node files of its own; `link`: its `postgresql.conf` is a link to elsewhere.
pub fn furnish(node: &Node, link: bool) -> Result<()> {
    let data = node.path(DATA)?;
    let name = node.name();
    let conf = data.join("postgresql.conf");
    let mut text = fs::read(&conf)?;
    text.extend_from_slice(COMMENT);
    text.extend_from_slice(SYNC.as_bytes());
    text.extend_from_slice(b"  include_dir 'conf.d'\n");
    let own = |path: &Path, text: &[u8], mode: u32| -> Result<()> {
        fs::write(path, text)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        Ok(chown(path, Some(UID), Some(UID))?)
    };
    own(&conf, &text, 0o640)?;
    if link {
        let elsewhere = format!("{HOME}/{name}.settings");
        fs::rename(&conf, node.path(&elsewhere)?)?;
        symlink(elsewhere, &conf)?;
    }
    let append = |file: &str| -> Result<()> {
        let mut text = fs::read(data.join(file))?;
        text.extend_from_slice(format!("# {name}\n").as_bytes());
        own(&data.join(file), &text, 0o600)
    };
    append("pg_hba.conf")?;
    append("pg_ident.conf")?;
    let dir = data.join("conf.d");
    fs::create_dir(&dir)?;
    chown(&dir, Some(UID), Some(UID))?;
    own(
        &dir.join(format!("{name}.conf")),
        b"work_mem = '5MB'\n",
        0o600,
    )?;
    own(
        &dir.join("both.conf"),
        format!("# {name}\n").as_bytes(),
        0o644,
    )?;
    own(
        &data.join("server.crt"),
        format!("crt {name}").as_bytes(),
        0o644,
    )?;
    own(
        &data.join("server.key"),
        format!("key {name}").as_bytes(),
        0o600,
    )
}

/// What these files are once the node follows `primary`.
pub fn following(files: BTreeMap<String, Kept>, primary: u8) -> BTreeMap<String, Kept> {
    let mut files = files;
    for (name, file) in &mut files {
        let Ok(text) = &mut file.what else { continue };
        match name.as_str() {
            "postgresql.conf" => *text = commented(text),
            "postgresql.auto.conf" => *text = pointed_to(text, primary),
            _ => {}
        }
    }
    files
}

fn commented(text: &[u8]) -> Vec<u8> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.map(|line| match line == SYNC.as_bytes() {
        true => [b"#", line].concat(),
        false => line.to_vec(),
    });
    lines.collect::<Vec<_>>().concat()
}

fn pointed_to(text: &[u8], primary: u8) -> Vec<u8> {
    let mut text = String::from_utf8_lossy(text).into_owned();
    for other in [101, 102] {
        text = text.replace(
            &format!("'host=192.168.1.{other} "),
            &format!("'host=192.168.1.{primary} "),
        );
    }
    text.into_bytes()
}

#[test]
fn own_files_survive() -> Result<()> {
    let options = LabOptions {
        postgres: vec![("wal_level".into(), "logical".into())],
        ..at_once("brk-files")
    };
    Lab::with(options, |lab| {
        let (one, other) = (lab.node(101), lab.node(102));
        furnish(one, true)?;
        furnish(other, false)?;
        one.psql("select pg_create_logical_replication_slot('logical', 'pgoutput')")?;
        let settings = one.path(&format!("{HOME}/node101.settings"))?;
        let settings_before = fs::read(&settings)?;

        // It was never a standby, and there is no template for it.
        let before = own_files(one)?;
        killed_with_rows_of_its_own(lab, 101)?;
        recovers(lab, one, 102).context("the first time")?;
        let mut after = own_files(one)?;
        after.remove("postgresql.auto.conf");
        let mut wanted = following(before, 102);
        wanted.remove("postgresql.auto.conf");
        assert_same_files(&after, &wanted);
        assert_eq!(fs::read(&settings)?, commented(&settings_before));
        let conninfo = one.psql("show primary_conninfo")?;
        ensure!(conninfo.contains("host=192.168.1.102 "), "{conninfo}");
        ensure!(conninfo.contains("application_name=node101"), "{conninfo}");
        let slots = "select string_agg(slot_name || ' ' || slot_type, ', ' order by slot_name) \
                     from pg_replication_slots";
        assert_eq!(one.psql(slots)?, "logical logical, slot_node102 physical");
        let quoted = |quote: &str| SQL_PASSWORD.replace('\'', quote);
        let secrets = [
            SQL_PASSWORD.to_owned(),
            quoted("''"),
            quoted("\\'"),
            quoted("\\''"),
            quoted("\\\\''"),
            BASE64.encode(SQL_PASSWORD),
        ];
        assert_no_secret(one, &secrets)?;

        // Only the host changes, wherever else its address stands; one file comes from a template.
        let auto = other.path(&format!("{DATA}/postgresql.auto.conf"))?;
        let text = fs::read_to_string(&auto)?.replace(
            "connect_timeout",
            "fallback_application_name=at-192.168.1.101 connect_timeout",
        );
        fs::write(&auto, text)?;
        let mut template = fs::read(other.path(&format!("{DATA}/postgresql.conf"))?)?;
        template.extend_from_slice(b"# of the template\n");
        fs::write(other.path(&format!("{DB_ETC}/postgresql.conf"))?, &template)?;
        killed_with_rows_of_its_own(lab, 102)?;
        let mut wanted = following(own_files(other)?, 101);
        if let Some(conf) = wanted.get_mut("postgresql.conf") {
            conf.what = Ok(commented(&template));
        }
        recovers(lab, other, 101).context("the other")?;
        assert_same_files(&own_files(other)?, &wanted);
        let conninfo = other.psql("show primary_conninfo")?;
        ensure!(conninfo.starts_with("host=192.168.1.101 "), "{conninfo}");
        ensure!(conninfo.contains("=at-192.168.1.101 "), "{conninfo}");

        // Once more: nothing is left to change but the host.
        killed_with_rows_of_its_own(lab, 101)?;
        let wanted = following(own_files(one)?, 102);
        recovers(lab, one, 102).context("the second time")?;
        assert_same_files(&own_files(one)?, &wanted);
        assert_eq!(fs::read(&settings)?, commented(&settings_before));
        Ok(())
    })
}
