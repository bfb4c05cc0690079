//! The vendor's `pcp_*` programs: the password is an argument, as it is in `pcp.conf` before its hash. And
//! `pcp_node_info` of another version of pgpool-II.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::preload::exec;
use crate::ways::{self, Ways};

/// Runs one.
pub fn run(name: &str, args: &[OsString]) -> Result<ExitCode> {
    let mut command = Command::new(format!("/usr/sbin/{name}"));
    let (mut user, mut password) = (String::new(), None);
    let mut rest = args.iter().map(|arg| arg.to_string_lossy());
    while let Some(option) = rest.next() {
        match &*option {
            "-c" => continue,
            "-U" | "-W" | "-h" | "-p" | "-n" => {}
            other => bail!("invalid option {other}"),
        }
        let value = rest
            .next()
            .with_context(|| format!("{option} needs a value"))?;
        match &*option {
            "-W" => password = Some(value.into_owned()),
            _ => {
                if option == "-U" {
                    user = value.to_string();
                }
                command.args([&*option, &*value]);
            }
        }
    }
    let password = password.context("-W PASSWORD is missing")?;
    let escape = |field: &str| field.replace('\\', "\\\\").replace(':', "\\:");
    // Kept open by the program that we become, and gone with it.
    let file = memfd_create("password", MFdFlags::empty())?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut file = std::fs::File::from(file);
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    writeln!(file, "*:*:{}:{}", escape(&user), escape(&password))?;
    exec(command.arg("-w").env("PCPPASSFILE", path))
}

/// pgpool-II's, in the words of another version.
#[allow(clippy::disallowed_methods, reason = "whoever calls it has a deadline")]
pub fn node_info(args: &[OsString], ways: &Ways) -> Result<ExitCode> {
    let output = Command::new("/usr/sbin/pcp_node_info")
        .args(args)
        .stderr(Stdio::inherit())
        .output()
        .context("pcp_node_info")?;
    ways::print(ways, &String::from_utf8_lossy(&output.stdout))?;
    let code = output
        .status
        .code()
        .and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
