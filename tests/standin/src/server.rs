//! `kingbase`: PostgreSQL's server, with the settings of a standby from `recovery.conf`.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::preload::{exec, lib, with_names};
use crate::{names, recovery_conf};

/// Starts the server: for its whole life, or for one user (`--single`).
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let mut command = with_names(&lib("kingbase")?)?;
    // Its processes are told from others by their program, and shown with its name.
    command.args(args).env("V8R3_SERVER", "1");
    if let Some(data) = data_directory(args) {
        // Not by an option: V8R3's server has its configuration in its data directory, and whoever reads its
        // arguments finds no other.
        command.env("V8R3_CONFIGURATION", configuration(&data)?);
        let copies = control_copies(&data)?;
        let is_asked = args.iter().any(|arg| arg == "-C");
        if !is_asked {
            see_that_they_agree(&data, &copies)?;
        }
        command.env("V8R3_CONTROL_COPIES", copies.join(";"));
    }
    exec(&mut command)
}

fn data_directory(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"-D" => return args.next().map(PathBuf::from),
            [b'-', b'D', path @ ..] => return Some(OsStr::from_bytes(path).into()),
            _ => {}
        }
    }
    None
}

/// One file with all settings: those of `kingbase.conf`, and after them a standby's. It lies outside
/// the data directory, in which 9.6 has no such file, and is the server's user's only: a
/// conninfo may have a password.
fn configuration(data: &Path) -> Result<PathBuf> {
    let data = data
        .canonicalize()
        .with_context(|| data.display().to_string())?;
    for name in ["kingbase.conf", "kingbase.auto.conf"] {
        recovery_conf::check_configuration(&data.join(name))?;
    }
    let quoted = data.to_string_lossy().replace('\'', "''");
    let mut text = format!("include '{quoted}/kingbase.conf'\n");
    if let Some(archive) = setting(&data, "archive_dest")? {
        writeln!(text, "archive_command = 'cp \"%p\" \"{archive}/%f\"'")?;
    }
    text += recovery_conf::read(&data)?.as_deref().unwrap_or_default();
    let name = data.to_string_lossy().replace(['/', ' '], "_");
    let file = Path::new("/tmp").join(format!("kingbase{name}.conf"));
    let fresh = file.with_extension(std::process::id().to_string());
    let mut options = fs::File::options();
    let mut written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    written.write_all(text.as_bytes())?;
    fs::rename(&fresh, &file)?;
    Ok(file)
}

fn setting(data: &Path, name: &str) -> Result<Option<String>> {
    match fs::read_to_string(data.join("kingbase.conf")) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => Ok(recovery_conf::value(&text.context("kingbase.conf")?, name)),
    }
}

/// The further control files, which the server keeps like its own.
fn control_copies(data: &Path) -> Result<Vec<String>> {
    let named = setting(data, "control_file_copy")?.unwrap_or_default();
    let files = named.split(';').map(str::trim);
    Ok(files
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect())
}

/// One that says something else was changed by somebody else than the server, or its own was.
fn see_that_they_agree(data: &Path, copies: &[String]) -> Result<()> {
    let own = fs::read(data.join("global/sys_control")).unwrap_or_default();
    for copy in copies {
        let differs = fs::read(copy).is_ok_and(|bytes| bytes != own);
        ensure!(
            !differs,
            "FATAL:  control file \"{copy}\" differs from \"global/sys_control\""
        );
    }
    Ok(())
}

/// Gives the files of a data directory that PostgreSQL's own `initdb` has made V8R3's names.
pub fn rename_files(data: &Path) -> Result<ExitCode> {
    for directory in [data.to_owned(), data.join("global"), data.join("base")] {
        rename_in(&directory)?;
    }
    for entry in fs::read_dir(data.join("base"))? {
        rename_in(&entry?.path())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rename_in(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(ours) = names::on_disk(entry.file_name().as_bytes()) {
            fs::rename(entry.path(), directory.join(ours))?;
        }
    }
    Ok(())
}
