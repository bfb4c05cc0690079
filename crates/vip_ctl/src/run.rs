//! The procedure: read the configuration, look, decide, do, report.

use crate::cli::{Action, Form, Request};
use crate::decide::{Plan, Seen, Wish, decide, permitted};
use anyhow::{Context, Result, bail};
use failover_core::arp::{Announcement, who_has};
use failover_core::clock;
use failover_core::config::Config;
use failover_core::deadline::Deadline;
use failover_core::exit::Exit;
use failover_core::programs::Programs;
use failover_core::vip::{Did, Report, Rights, Vip, find};
use std::fmt;
use std::time::Duration;

/// For `ip` and `arping`, which take milliseconds; an ssh login to root@localhost is included.
const LIMIT: Duration = Duration::from_secs(10);

/// The arguments or the configuration are wrong; nothing was changed.
#[derive(Debug)]
pub struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn usage(why: impl fmt::Display) -> anyhow::Error {
    anyhow::Error::new(Usage(why.to_string()))
}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    /// How the tool ends.
    pub exit: Exit,
    report: Report,
    /// What was done, for a person.
    sentence: String,
    /// What the script would have printed.
    script: Vec<String>,
}

impl Done {
    fn new(vip: &Vip, seen: &Seen, did: Did, sentence: String) -> Self {
        let device = seen.here.as_ref().map_or(&vip.dev, |held| &held.dev);
        Self {
            exit: Exit::Done,
            report: Report {
                vip: vip.to_string(),
                device: device.clone(),
                here: seen.here.is_some(),
                answered_by: seen.answered_by,
                did,
            },
            sentence,
            script: Vec::new(),
        }
    }

    /// Gratuitous ARP, from the device that the address is on. An address that nobody was told of
    /// is no success: the neighbors go on talking to the old holder.
    fn announce(&mut self, vip: &Vip, programs: &Programs, deadline: Deadline) {
        let vip = Vip {
            dev: self.report.device.clone(),
            ..vip.clone()
        };
        let lines = Announcement::start(programs, &vip).and_then(|announcement| {
            let command = announcement.command();
            self.script.push(format!("execute: {command}"));
            announcement.finish(deadline)
        });
        match lines {
            Ok(lines) => {
                self.script.extend(lines);
                self.sentence.push_str(", announced");
            }
            Err(error) => {
                self.sentence.push_str(&format!(", but {error}"));
                self.exit = Exit::Failed;
            }
        }
    }

    /// What goes to standard output, in the form that was asked for.
    pub fn answer(&self, request: &Request) -> Result<String> {
        Ok(match request.form {
            _ if request.json => serde_json::to_string(&self.report)?,
            Form::Script => self.script.join("\n"),
            Form::VipCtl if self.exit == Exit::Done => self.sentence.clone(),
            Form::VipCtl => String::new(),
        })
    }

    /// What goes to standard error.
    pub fn complaint(&self) -> Option<&str> {
        (self.exit != Exit::Done).then_some(&self.sentence)
    }
}

/// Does what `request` asks. `elevated`: with rights that the caller lacks.
pub fn run(request: &Request, elevated: bool) -> Result<Done> {
    if let Some(host) = &request.host {
        return remote(host);
    }
    if elevated && request.config.is_some() {
        return Err(usage(
            "--config is not allowed with file capabilities: the configuration is the one beside \
             the program",
        ));
    }
    let path = Config::find(request.config.as_deref()).map_err(usage)?;
    let config = Config::load(&path).map_err(usage)?;
    let vip = wanted(request, &config)?;
    if elevated {
        permitted(request.action, &vip, Vip::from_config(&config).as_ref()).map_err(usage)?;
    }
    let programs = Programs {
        only_roots: elevated,
        ..Programs::from_config(&config)
    };
    let wish = Wish {
        action: request.action,
        force: request.force,
    };
    let window = request.window.unwrap_or(config.probe_timeout);
    let seen = look(wish, &vip, &programs, window)?;
    let plan = decide(wish, &seen);
    if request.dry_run {
        dry_run(&plan, &vip, seen, &programs)
    } else {
        carry_out(&plan, &vip, seen, &programs)
    }
}

/// On another host, over ssh.
fn remote(host: &str) -> Result<Done> {
    bail!("--host {host} is not possible yet: run vip_ctl on that host")
}

/// The address and the device, from the arguments or from the configuration.
fn wanted(request: &Request, config: &Config) -> Result<Vip> {
    let missing = |key: &str, option: &str| {
        usage(format!(
            "{}: {key} is not set; set it, or give {option}",
            config.path.display()
        ))
    };
    let cidr = request
        .vip
        .or(config.kb_vip)
        .ok_or_else(|| missing("KB_VIP", "--vip CIDR"))?;
    let dev = match request.form {
        Form::VipCtl => request.dev.clone().or(config.dev.clone()),
        // The script read its configuration first, and its argument only without DEV there.
        Form::Script => config.dev.clone().or(request.dev.clone()),
    };
    let dev = dev.ok_or_else(|| missing("DEV", "--dev DEV"))?;
    Ok(Vip { cidr, dev })
}

fn look(wish: Wish, vip: &Vip, programs: &Programs, window: Duration) -> Result<Seen> {
    let mut seen = Seen {
        here: find(vip.cidr.addr)?,
        answered_by: None,
    };
    if wish.asks_others() {
        // On the device where it is, which need not be the one where it should be.
        let dev = seen.here.as_ref().map_or(&vip.dev, |held| &held.dev);
        seen.answered_by = who_has(programs, vip.cidr.addr, dev, window).with_context(|| {
            let hint = match wish.action {
                Action::Add => " (--force adds it all the same)",
                Action::Del | Action::Status => "",
            };
            let place = place(&seen);
            format!("{vip} is {place}, but whether somebody else has it is not known{hint}")
        })?;
    }
    Ok(seen)
}

fn carry_out(plan: &Plan, vip: &Vip, seen: Seen, programs: &Programs) -> Result<Done> {
    let deadline = Deadline::after(LIMIT);
    let now = clock::stamp();
    match plan {
        Plan::Add => {
            let command = vip.add_command(&programs.ip()?);
            let rights = rights(programs)?;
            let did = vip.add(programs, &rights, deadline)?;
            let here = find(vip.cidr.addr)?;
            let sentence = format!("{vip} added to {}", vip.dev);
            let mut done = Done::new(vip, &Seen { here, ..seen }, did, sentence);
            done.script = vec![
                format!("ADD VIP NOW AT {now} ON {}", vip.dev),
                format!("execute: [{command}]"),
            ];
            // Whoever adds it in our place announces it, too.
            if matches!(rights, Rights::Direct) {
                done.announce(vip, programs, deadline);
            }
            Ok(done)
        }
        Plan::Announce => {
            let sentence = format!("{vip} is {} already", place(&seen));
            let mut done = Done::new(vip, &seen, Did::Nothing, sentence);
            done.script = vec![format!("ADD VIP NOW AT {now} ON {}", done.report.device)];
            done.announce(vip, programs, deadline);
            Ok(done)
        }
        Plan::Remove(held) => {
            let command = held.del_command(&programs.ip()?, vip.cidr.addr);
            let did = vip.del(programs, &rights(programs)?, deadline)?;
            let sentence = format!("{vip} removed, it was {}", place(&seen));
            let mut done = Done::new(vip, &Seen::default(), did, sentence);
            done.script = vec![
                format!("DEL VIP NOW AT {now} ON {}", vip.dev),
                format!("execute: [{command}]"),
                "Oprate del ip cmd end.".to_owned(),
            ];
            Ok(done)
        }
        Plan::Nothing => {
            let mut done = Done::new(vip, &seen, Did::Nothing, state(vip, &seen));
            // The script had no `status`: this is what its `del` said.
            done.script = vec![
                format!("DEL VIP NOW AT {now} ON {}", vip.dev),
                "No VIP on my dev, nothing to do.".to_owned(),
            ];
            Ok(done)
        }
        Plan::Refuse(mac) => {
            let sentence = format!(
                "{vip} is {}, and {mac} answers for it: take it off that host first \
                 (vip_ctl del --host HOST), or use --force",
                place(&seen)
            );
            let mut done = Done::new(vip, &seen, Did::Refused, sentence);
            done.exit = Exit::NeedsPerson;
            Ok(done)
        }
    }
}

/// ssh as root@localhost, the third way, is not there yet.
fn rights(programs: &Programs) -> Result<Rights<'static>> {
    Ok(Rights::choose(programs, None)?)
}

/// What `plan` would change; one that changes nothing is carried out.
fn dry_run(plan: &Plan, vip: &Vip, seen: Seen, programs: &Programs) -> Result<Done> {
    let change = match plan {
        Plan::Nothing | Plan::Refuse(_) => return carry_out(plan, vip, seen, programs),
        Plan::Add => format!("would add {vip} to {} and announce it", vip.dev),
        Plan::Announce => format!("{vip} is {} already; would announce it", place(&seen)),
        Plan::Remove(_) => format!("would remove {vip}, it is {}", place(&seen)),
    };
    Ok(Done::new(vip, &seen, Did::Nothing, change))
}

/// `on enp0s3`, or that it is not here.
fn place(seen: &Seen) -> String {
    match &seen.here {
        Some(held) => format!("on {}", held.dev),
        None => "not on this host".to_owned(),
    }
}

fn state(vip: &Vip, seen: &Seen) -> String {
    match seen.answered_by {
        Some(mac) => format!("{vip} is {}; {mac} answers for it", place(seen)),
        None => format!("{vip} is {}", place(seen)),
    }
}
