//! Starting PostgreSQL's programs on a data directory with V8R3's names.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// Debian's.
const BIN: &str = "/usr/lib/postgresql/15/bin";

/// What belongs to the stand-in, in the `lib` beside the `bin` that it was started from.
pub fn lib(name: &str) -> Result<PathBuf> {
    Ok(bin()?.join("../lib/standin").join(name))
}

/// The directory of the programs.
pub fn bin() -> Result<PathBuf> {
    let program = env::current_exe()?;
    Ok(program.parent().context("no directory")?.to_owned())
}

/// One of PostgreSQL's own programs, that takes itself for one of V8R3's.
pub fn postgres(name: &str, ours: &str) -> Result<Command> {
    let mut command = with_names(&Path::new(BIN).join(name))?;
    command.arg0(bin()?.join(ours));
    Ok(command)
}

/// One that finds its password in the environment, where the fork's library has a name of its own.
pub fn with_password(command: &mut Command) -> &mut Command {
    match env::var_os("KINGBASE_PASSWORD") {
        Some(password) => command.env("PGPASSWORD", password),
        None => command.env_remove("PGPASSWORD"),
    }
}

/// A program that sees PostgreSQL's names.
pub fn with_names(program: &Path) -> Result<Command> {
    let mut command = Command::new(program);
    // By its name alone, since a path may have spaces, which separate libraries here.
    command
        .env("LD_PRELOAD", "libv8r3_names.so")
        .env("LD_LIBRARY_PATH", lib("")?);
    Ok(command)
}

/// Becomes that program.
pub fn exec(command: &mut Command) -> Result<ExitCode> {
    let error = command.exec();
    Err(error).with_context(|| format!("{:?}", command.get_program()))
}

/// Has a child end when we do, however that is.
pub fn dying_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: prctl(2) may be called between fork and exec.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) }
}
