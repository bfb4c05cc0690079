//! `recovery.conf` as 9.6 reads it: once, when the server starts.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::conninfo;
use crate::names::RECOVERY_CONF;

/// Its parameters, and what they are called today. `standby_mode` is today's `standby.signal`.
const PARAMETERS: [(&str, &str); 15] = [
    ("standby_mode", ""),
    ("primary_conninfo", "primary_conninfo"),
    ("primary_slot_name", "primary_slot_name"),
    ("trigger_file", "promote_trigger_file"),
    ("restore_command", "restore_command"),
    ("archive_cleanup_command", "archive_cleanup_command"),
    ("recovery_end_command", "recovery_end_command"),
    ("recovery_target_timeline", "recovery_target_timeline"),
    ("recovery_target_time", "recovery_target_time"),
    ("recovery_target_xid", "recovery_target_xid"),
    ("recovery_target_name", "recovery_target_name"),
    ("recovery_target_inclusive", "recovery_target_inclusive"),
    ("recovery_target_action", "recovery_target_action"),
    ("recovery_min_apply_delay", "recovery_min_apply_delay"),
    ("recovery_target", "recovery_target"),
];

/// Settings of a later version, which has in `kingbase.conf` what 9.6 has in `recovery.conf`.
const LATER: [&str; 4] = [
    "wal_keep_size",
    "max_slot_wal_keep_size",
    "wal_receiver_create_temp_slot",
    "promote_trigger_file",
];

/// The value of one setting in a file's text; the last one counts.
pub fn value(text: &str, wanted: &str) -> Option<String> {
    let mut found = settings(text).filter(|(name, _)| name == wanted);
    found.next_back().map(|(_, value)| unquoted(value))
}

/// A setting: its name, and its value as it is written.
fn settings(text: &str) -> impl DoubleEndedIterator<Item = (String, &str)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'));
        let (name, rest) = line.split_at(end?);
        let value = rest.trim_start();
        let value = value.strip_prefix('=').unwrap_or(value).trim();
        (!name.is_empty()).then(|| (name.to_ascii_lowercase(), value))
    })
}

/// The text between quotes, or all of it up to a comment.
fn unquoted(value: &str) -> String {
    let Some(quoted) = value.strip_prefix('\'') else {
        let end = value.find(['#', ' ']).unwrap_or(value.len());
        return value[..end].to_owned();
    };
    let mut text = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next()),
            '\'' if chars.as_str().starts_with('\'') => text.extend(chars.next()),
            '\'' => break,
            c => text.push(c),
        }
    }
    text
}

/// The file of a data directory, as settings of today. `None`: there is none, this is no standby.
pub fn read(data: &Path) -> Result<Option<String>> {
    let text = match fs::read_to_string(data.join(RECOVERY_CONF)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.context(RECOVERY_CONF)?,
    };
    // What 9.6 has where the file says nothing.
    let mut today = "recovery_target_timeline = 'current'\n".to_owned();
    let mut standby = false;
    for (name, value) in settings(&text) {
        let mut known = PARAMETERS.iter();
        let Some((_, now)) = known.find(|(then, _)| *then == name) else {
            bail!("FATAL:  unrecognized recovery parameter \"{name}\"");
        };
        match name.as_str() {
            "standby_mode" => {
                standby = matches!(unquoted(value).as_str(), "on" | "true" | "yes" | "1");
                continue;
            }
            "primary_conninfo" => {
                let conninfo = unquoted(value);
                conninfo::check(&conninfo)
                    .context("FATAL:  could not connect to the primary server")?;
                let conninfo = conninfo::with_decoded_password(&conninfo)?;
                let quoted = conninfo.replace('\\', r"\\").replace('\'', "''");
                writeln!(today, "{now} = '{quoted}'")?;
                continue;
            }
            _ => {}
        }
        writeln!(today, "{now} = {value}")?;
    }
    ensure!(
        standby,
        "FATAL:  recovery command file \"recovery.conf\" must specify restore_command when standby \
         mode is not enabled"
    );
    Ok(Some(today))
}

/// Refuses a configuration file with settings that 9.6 has in another file, or not at all.
pub fn check_configuration(file: &Path) -> Result<()> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        text => text.with_context(|| file.display().to_string())?,
    };
    let elsewhere = |name: &str| {
        LATER.contains(&name)
            || PARAMETERS
                .iter()
                .any(|(then, now)| name == *then || name == *now)
    };
    match settings(&text).find(|(name, _)| elsewhere(name)) {
        Some((name, _)) => bail!(
            "FATAL:  unrecognized configuration parameter \"{name}\" in file \"{}\"",
            file.display()
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_as_the_server_reads_it() {
        let text = "# standby_mode = off\nStandby_Mode on\nport=1 # x\n a = 'it''s \\'b\\''\n\n";
        let seen: Vec<_> = settings(text)
            .map(|(name, value)| (name, unquoted(value)))
            .collect();
        let wanted = [("standby_mode", "on"), ("port", "1"), ("a", "it's 'b'")];
        assert_eq!(
            seen,
            wanted.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
