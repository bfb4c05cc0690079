//! The settings that make this node a standby of another: where they stand, whom they name, and
//! naming somebody else. The server reads them; the tools change the host in them, and only the
//! host. (The scripts' `sed` rewrote every address in the file.)

use crate::config::Config;
use crate::configuration;
use crate::conninfo;
use crate::deadline::Deadline;
use crate::durable;
use crate::flavor::{Flavor, StandbySettings};
use crate::instance::Instance;
use crate::layout::Layout;
use crate::settings::{self, read};
use crate::sql::{Session, SqlError};
use crate::users::SystemUser;
use anyhow::{Context, Result};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

const CONNINFO: &str = "primary_conninfo";
const SLOT: &str = "primary_slot_name";
/// The timeline that a standby follows. The server reads it at its start only.
const TIMELINE: &str = "recovery_target_timeline";
/// The only value with which it follows a promotion.
const LATEST: &str = "latest";
/// What a standby that is to follow nobody has for a host: a directory for sockets that is never there.
/// Everything else of its connection string stays as it is, and whoever points it to a primary again
/// changes the host only.
pub const NOBODY: &str = "/held-by-failover-tools";
/// The first line of settings that a fence has left: they keep whoever starts the server from getting a
/// primary, and ask for nothing.
const FENCED: &str = "# A failover stopped this primary: network_rewind --unfence takes that back.";
/// In `KB_ETC_PATH`: the settings of a standby, for a node that has none of its own.
const TEMPLATE: &str = "recovery.done";

/// The standby settings in one data directory.
#[derive(Debug)]
pub struct StandbyFiles<'a> {
    names: &'static Flavor,
    layout: &'a Layout,
    config: &'a Config,
    dir: &'a Path,
    owner: &'a SystemUser,
}

/// What [`StandbyFiles::point_to`] found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointed {
    /// They named that host already.
    AlreadySo,
    /// They name it now.
    Changed,
}

impl<'a> StandbyFiles<'a> {
    /// Those of `instance`.
    pub fn of(instance: &'a Instance, config: &'a Config) -> Self {
        let (layout, owner) = (instance.layout(), instance.user());
        Self::new(layout, config, layout.data(), owner)
    }

    /// Those in `dir`, a copy of the data directory of `layout` or what was kept of it, whose files belong
    /// to `owner`.
    pub fn new(
        layout: &'a Layout,
        config: &'a Config,
        dir: &'a Path,
        owner: &'a SystemUser,
    ) -> Self {
        Self {
            names: layout.flavor(),
            layout,
            config,
            dir,
            owner,
        }
    }

    /// The mark, or the file of settings, that makes the server start as a standby.
    pub fn mark(&self) -> PathBuf {
        self.dir.join(self.names.standby_file)
    }

    /// Has whoever starts the server next get one that takes no writes, and follows nobody it did not
    /// follow before. Settings that are there already do that, and stay.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn fence(&self) -> Result<()> {
        if self.mark().exists() {
            return Ok(());
        }
        let text = match self.names.standby_settings {
            StandbySettings::OwnFile => format!("{FENCED}\nstandby_mode = 'on'\n"),
            StandbySettings::Configuration { .. } => format!("{FENCED}\n"),
        };
        let mark = self.mark();
        self.write(&mark, &text)?;
        // An operator who touches it means it.
        let dated = fs::File::options().write(true).open(&mark);
        dated
            .and_then(|file| file.set_modified(UNIX_EPOCH))
            .with_context(|| format!("failed to date {}", mark.display()))
    }

    /// Whether they are those of [`Self::fence`], and nobody has touched them since: nobody's consent to
    /// anything.
    pub fn are_of_a_fence(&self) -> bool {
        let mark = self.mark();
        let untouched = fs::metadata(&mark).is_ok_and(|meta| meta.mtime() == 0);
        untouched && read(&mark).is_ok_and(|it| it.is_some_and(|text| text.starts_with(FENCED)))
    }

    /// Takes back what [`Self::fence`] wrote.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn unfence(&self) -> io::Result<()> {
        match self.are_of_a_fence() {
            true => durable::remove(&self.mark()),
            false => Ok(()),
        }
    }

    /// The host that they name (empty: none); `None` where the server would not start as a standby, or
    /// would only because it was fenced.
    pub fn follows(&self) -> Option<String> {
        if !self.mark().exists() || self.are_of_a_fence() {
            return None;
        }
        let host = self
            .setting(CONNINFO)
            .and_then(|it| conninfo::host(&it).ok()?);
        Some(host.unwrap_or_default())
    }

    /// Whether they were written after the server had started, where it reads them then only: a run
    /// that was killed before it restarted it leaves them so, or a person. In doubt, within one second,
    /// they were: a standby that does not stream is restarted once too often.
    pub fn written_since_start(&self, instance: &Instance) -> bool {
        let written = fs::metadata(self.mark()).map(|meta| meta.mtime());
        self.names.standby_settings == StandbySettings::OwnFile
            && instance
                .started()
                .zip(written.ok())
                .is_some_and(|(started, written)| written >= started)
    }

    /// Makes the server follow `primary` from its next start on.
    ///
    /// # Errors
    /// A file cannot be read or written, or makes no sense.
    pub fn point_to(&self, primary: IpAddr) -> Result<Pointed> {
        self.name(&primary.to_string())
    }

    /// Makes the server follow nobody, until [`Self::point_to`] names a host again.
    ///
    /// # Errors
    /// As there.
    pub fn point_to_nobody(&self) -> Result<Pointed> {
        self.name(NOBODY)
    }

    fn name(&self, host: &str) -> Result<Pointed> {
        let after = self.conninfo(host)?;
        let slot = self.slot();
        let (file, text) = match self.names.standby_settings {
            StandbySettings::OwnFile => {
                let etc = self.config.kb_etc_path.join(TEMPLATE);
                let text = match read(&self.mark())? {
                    Some(own) if !self.are_of_a_fence() => own,
                    _ => read(&etc)?.unwrap_or_default(),
                };
                let mut text = settings::set(&text, CONNINFO, &after);
                // Off, the server would end its recovery and be one more primary.
                if settings::value(&text, "standby_mode").is_none_or(|mode| mode != "on") {
                    text = settings::set(&text, "standby_mode", "on");
                }
                for (name, value) in [(TIMELINE, LATEST), (SLOT, slot.as_str())] {
                    if settings::value(&text, name).is_none() {
                        text = settings::set(&text, name, value);
                    }
                }
                (self.mark(), text)
            }
            StandbySettings::Configuration { last, .. } => {
                let file = self.dir.join(last);
                let mut text = read(&file)?.unwrap_or_default();
                if self.setting(CONNINFO).as_deref() != Some(after.as_str()) {
                    text = settings::set(&text, CONNINFO, &after);
                }
                if self.setting(SLOT).is_none() {
                    text = settings::set(&text, SLOT, &slot);
                }
                if self.stays_on_its_timeline() {
                    text = settings::set(&text, TIMELINE, LATEST);
                }
                (file, text)
            }
        };
        let changed = read(&file)?.unwrap_or_default() != text;
        if changed {
            self.write(&file, &text)?;
        }
        // After the settings: with the mark alone it would start and follow nobody.
        let mark = self.mark();
        if !mark.exists() || self.are_of_a_fence() {
            self.write(&mark, "")?;
            return Ok(Pointed::Changed);
        }
        Ok(match changed {
            true => Pointed::Changed,
            false => Pointed::AlreadySo,
        })
    }

    /// How it connects once it is pointed to `host`.
    ///
    /// # Errors
    /// The connection string makes no sense.
    pub fn conninfo(&self, host: &str) -> Result<String> {
        let before = match self.setting(CONNINFO) {
            Some(own) => own,
            None => self.template().unwrap_or_else(|| self.made_up(host)),
        };
        let before = conninfo::released(&before, NOBODY);
        let after = match host {
            NOBODY => conninfo::held(before, NOBODY),
            _ => conninfo::with_host(before, host),
        };
        after.with_context(|| format!("failed to change the host of {CONNINFO}"))
    }

    /// Takes out the settings that came with a copy of another node: with its slot this one would not
    /// stream, and with its name nobody would know it.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn forget_others(&self) -> Result<()> {
        let files = match self.names.standby_settings {
            StandbySettings::OwnFile => vec![self.mark()],
            StandbySettings::Configuration { last, .. } => {
                vec![self.dir.join(last), self.layout.conf_in(self.dir)]
            }
        };
        for file in files {
            let Some(before) = read(&file)? else { continue };
            let after = settings::comment_out(&before, CONNINFO);
            let after = settings::comment_out(&after, SLOT);
            if after != before {
                self.write(&file, &after)?;
            }
        }
        Ok(())
    }

    /// What the server has for `name` at its next reload, as far as its own files tell.
    pub fn of_the_server(&self, name: &str) -> Option<String> {
        self.layout.value(self.dir, name)
    }

    /// Sets `name` for the server, where it does not do that itself; it takes a reload.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn set_for_server(&self, name: &str, value: &str) -> Result<()> {
        let file = self.dir.join(self.names.auto_conf);
        let text = read(&file)?.unwrap_or_default();
        self.write(&file, &settings::set(&text, name, value))
    }

    /// Takes `restore_command` out of settings that the server reads from a file of their own. False: it
    /// reads them with all others, and takes an option for it.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn forget_archive(&self) -> Result<bool> {
        if self.names.standby_settings != StandbySettings::OwnFile {
            return Ok(false);
        }
        let mark = self.mark();
        if let Some(text) = read(&mark)? {
            self.write(&mark, &settings::comment_out(&text, "restore_command"))?;
        }
        Ok(true)
    }

    /// Whether they keep the standby on a timeline: it would follow no promotion.
    fn stays_on_its_timeline(&self) -> bool {
        self.setting(TIMELINE).is_some_and(|it| it != LATEST)
    }

    fn slot(&self) -> String {
        format!("slot_{}", self.config.node_name)
    }

    /// The slot of the primary that they name once they have been pointed to it; `None`: they name
    /// none, and a slot that nobody reads would keep WAL for ever.
    pub fn primary_slot(&self) -> Option<String> {
        let named = match self.names.standby_settings {
            StandbySettings::OwnFile => {
                let etc = self.config.kb_etc_path.join(TEMPLATE);
                let own = read(&self.mark()).ok().flatten();
                let text = own.or_else(|| read(&etc).ok().flatten());
                text.and_then(|text| settings::value(&text, SLOT))
            }
            StandbySettings::Configuration { .. } => self.setting(SLOT),
        };
        Some(named.unwrap_or_else(|| self.slot())).filter(|name| !name.is_empty())
    }

    /// Puts the mark aside, so that a single-user server recovers as the primary that it was.
    pub fn put_aside(&self) -> io::Result<()> {
        durable::rename(&self.mark(), &self.aside())
    }

    /// Puts it back, also after a run that died in between.
    pub fn put_back(&self) -> io::Result<()> {
        match self.mark().exists() {
            true => durable::remove(&self.aside()),
            false => durable::rename(&self.aside(), &self.mark()),
        }
    }

    fn aside(&self) -> PathBuf {
        self.dir.join(format!("{}.aside", self.names.standby_file))
    }

    /// A setting as the server has it at its next start.
    fn setting(&self, name: &str) -> Option<String> {
        let value = match self.names.standby_settings {
            StandbySettings::OwnFile => configuration::value(&self.mark(), name),
            StandbySettings::Configuration { .. } => self.of_the_server(name),
        };
        value.filter(|value| !value.is_empty())
    }

    /// How the operator wants a standby to connect.
    fn template(&self) -> Option<String> {
        let text = read(&self.config.kb_etc_path.join(TEMPLATE)).ok()??;
        settings::value(&text, CONNINFO).filter(|value| !value.is_empty())
    }

    /// For a node that was never a standby, and no template: the login that the tools have. The
    /// password stands in a file that only the database's user can read, as the server's own
    /// programs put it there.
    fn made_up(&self, host: &str) -> String {
        let config = self.config;
        let password = self.names.conninfo_password.written(&config.kb_pass);
        let ours = [
            ("host", host),
            ("port", &config.kb_port.to_string()),
            ("user", &config.kb_user),
            ("password", &password),
            // Replication needs none; the synchronization of slots (17 and later) does.
            ("dbname", &config.kb_dataname),
            ("application_name", &config.node_name),
            ("connect_timeout", "10"),
        ];
        conninfo::build_with_tls(&ours, config)
    }

    fn write(&self, file: &Path, text: &str) -> Result<()> {
        let mode = fs::metadata(file).map_or(0o600, |meta| meta.mode() & 0o777);
        durable::write(
            file,
            &settings::bytes(text),
            mode,
            Some((self.owner.uid, self.owner.gid)),
        )
        .with_context(|| format!("failed to write {}", file.display()))
    }
}

/// What keeps the running standby of `session` on a timeline, so that it follows no promotion; `None` where
/// nothing does.
///
/// # Errors
/// The server does not answer.
pub fn kept_on(
    session: &Session,
    names: &Flavor,
    deadline: Deadline,
) -> Result<Option<String>, SqlError> {
    if names.standby_settings == StandbySettings::OwnFile {
        // It has no such setting.
        return Ok(None);
    }
    let value = session.value(&format!("SHOW {TIMELINE}"), deadline)?;
    Ok(value.filter(|it| it != LATEST))
}

#[cfg(test)]
mod tests;
