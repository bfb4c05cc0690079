//! The procedure: read the configuration, look, decide, do, report.

use crate::decide::{Plan, Seen, Wish, decide, permitted};
use crate::privilege;
use anyhow::{Context, Result};
use failover_core::arp::{announce, link_to, who_has};
use failover_core::clock;
use failover_core::config::{Cidr, Config};
use failover_core::deadline::Deadline;
use failover_core::exit::{Exit, usage};
use failover_core::host::ThisHost;
use failover_core::programs::Programs;
use failover_core::ssh::Ssh;
use failover_core::teller::Teller;
use failover_core::vip::{Did, Report, Rights, Vip, find};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use vip_ctl::cli::{Action, Form, Request};

/// For `ip`, which takes milliseconds; an ssh login to root@localhost is included.
const LIMIT: Duration = Duration::from_secs(10);

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
                answered_by: seen.answered_by.first().copied(),
                also_by: seen.answered_by.iter().skip(1).copied().collect(),
                did,
            },
            sentence,
            script: Vec::new(),
        }
    }

    /// Gratuitous ARP. An address that nobody was told of is no success: the neighbors go on talking
    /// to the old holder.
    fn announce(&mut self, vip: &Vip, programs: &Programs, deadline: Deadline) {
        match announce(programs, vip, deadline) {
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

    fn ending(self, request: &Request) -> Result<Ending> {
        let good = self.exit == Exit::Done;
        let answer = match request.form {
            Form::Script => self.script.join("\n"),
            Form::VipCtl if good => self.sentence.clone(),
            Form::VipCtl => String::new(),
        };
        Ok(Ending {
            exit: self.exit,
            answer,
            complaint: (!good).then_some(self.sentence),
            report: serde_json::to_value(&self.report)?,
        })
    }
}

/// What is left to do: print and exit.
#[derive(Debug)]
pub struct Ending {
    /// How the tool ends.
    pub exit: Exit,
    /// For standard output.
    pub answer: String,
    /// For standard error.
    pub complaint: Option<String>,
    /// For a machine, beside these.
    pub report: Value,
}

/// Does what `request` asks. `elevated`: with rights that the caller lacks.
pub fn run(request: &Request, elevated: bool, teller: &Teller) -> Result<Ending> {
    if elevated && request.config.is_some() {
        return Err(usage(
            "--config is not allowed with file capabilities: the configuration is the one beside \
             the program",
        ));
    }
    let (host, lost) = ThisHost::load_even_lost(request.config.as_deref())?;
    let elevated = elevated && keeps_rights(&host.config, teller)?;
    host.is_meant(request.meant_for).map_err(usage)?;
    // A host that has lost its address must not keep the VIP either.
    if let Some(lost) = lost
        && (request.action == Action::Add || request.host.is_some())
    {
        return Err(usage(lost));
    }
    if let Some(name) = &request.host {
        return remote(name, request, &host);
    }
    let config = &host.config;
    let vip = wanted(request, config)?;
    let is_pools = config.kb_pool_vip == IpAddr::V4(vip.cidr.addr);
    if request.action == Action::Add && !config.has_database() && !is_pools {
        return Err(usage(
            "this host has no database (KB_LOCALHOST_IP is none of KB_ALL_IP), and the database VIP \
             belongs on the primary's: name that with --host",
        ));
    }
    if elevated {
        permitted(request.action, &vip, &configured(&host), &neighbors(config)).map_err(usage)?;
    }
    let programs = Programs {
        only_roots: elevated,
        ..host.programs.clone()
    };
    let wish = Wish {
        action: request.action,
        force: request.force,
    };
    let mut window = request.window.unwrap_or(config.probe_timeout);
    if elevated {
        window = window.min(config.probe_timeout);
    }
    let seen = look(wish, &vip, &programs, window)?;
    let plan = decide(wish, &seen);
    if request.dry_run {
        dry_run(&plan, &vip, seen, &programs)
    } else {
        carry_out(&plan, &vip, seen, &programs)
    }?
    .ending(request)
}

/// Whether what is done with more rights than the caller's is what root wrote down. If not, there are
/// none of them left afterwards.
fn keeps_rights(config: &Config, teller: &Teller) -> Result<bool> {
    if !config.only_roots {
        privilege::give_up().context("the file capabilities could not be given up")?;
        let file = config.path.display();
        teller.complain(&format!(
            "{file} can be changed by others than root, so the file capabilities are not used: \
             chown root {file}; chmod go-w {file}"
        ));
    }
    Ok(config.only_roots)
}

/// The addresses that root has written down, with their keys. That of the pool is among them, so that a pool
/// which does not run as root can have this program as its `if_up_cmd`. It has the network of the other one.
fn configured(host: &ThisHost) -> Vec<(&'static str, Vip)> {
    let config = &host.config;
    let pools = match (config.kb_pool_vip, &config.dev) {
        (IpAddr::V4(addr), Some(dev)) => {
            let prefix = config.kb_vip.map_or(32, |vip| vip.prefix);
            let cidr = Cidr { addr, prefix };
            Some((
                "KB_POOL_VIP",
                Vip {
                    cidr,
                    dev: dev.clone(),
                },
            ))
        }
        _ => None,
    };
    let own = host.vip.clone().map(|vip| ("KB_VIP", vip));
    own.into_iter().chain(pools).collect()
}

/// The cluster's hosts on networks of this one, each with the device that leads there: a failover asks
/// for their signs of life.
fn neighbors(config: &Config) -> Vec<(Ipv4Addr, String)> {
    let hosts = config.kb_all_ip.iter().chain(&config.kb_pool_ips);
    let all = hosts.filter_map(|host| match host {
        IpAddr::V4(host) => Some((*host, link_to(*host).ok()??)),
        IpAddr::V6(_) => None,
    });
    all.collect()
}

/// On another host, over ssh, with that host's own copy and configuration.
fn remote(name: &str, request: &Request, host: &ThisHost) -> Result<Ending> {
    let config = &host.config;
    let by_name = || config.address_of(name);
    let address: IpAddr = name.parse().ok().or_else(by_name).ok_or_else(|| {
        usage(format!(
            "--host: found \"{name}\", expected an address or one of ALL_NODE_NAME"
        ))
    })?;
    let command = request.command(&config.kb_path.join("vip_ctl"), address);
    let deadline = Deadline::after(LIMIT);
    let out = Ssh::connect(&host.login(address), deadline)?.run(&command, deadline)?;
    let exit = [Exit::Done, Exit::NeedsPerson, Exit::Usage]
        .into_iter()
        .find(|exit| *exit as i32 == out.code)
        .unwrap_or(Exit::Failed);
    let complaint = match out.code {
        126 | 127 => format!("{command} cannot be run there: install the tools on that host"),
        _ => {
            let said = out.stderr.trim();
            said.strip_prefix("vip_ctl: ").unwrap_or(said).to_owned()
        }
    };
    // Its exit code and its words stand for this end, too: one that cannot be run has no answer.
    let report = match request.json {
        true => answer_in(&out.stdout),
        false => Value::Null,
    };
    let said = |member: &str| report.get(member).and_then(Value::as_str);
    Ok(Ending {
        exit,
        answer: match request.json {
            true => said("message").unwrap_or_default().to_owned(),
            false => out.stdout,
        },
        complaint: (exit != Exit::Done).then(|| format!("{name}: {complaint}")),
        report,
    })
}

/// The object that the other host's copy has printed, wherever in the login's output it begins.
fn answer_in(output: &str) -> Value {
    let objects = output.match_indices('{').map(|(at, _)| &output[at..]);
    let mut objects = objects.filter_map(|text| {
        let first = serde_json::Deserializer::from_str(text).into_iter().next();
        first?.ok().filter(Value::is_object)
    });
    objects.next().unwrap_or(Value::Null)
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
        answered_by: Vec::new(),
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
            let rights = Rights::choose(programs)?;
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
            let did = vip.del(programs, &Rights::choose(programs)?, deadline)?;
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
    let all: Vec<String> = seen.answered_by.iter().map(ToString::to_string).collect();
    match all.is_empty() {
        false => format!(
            "{vip} is {}; {} answers for it",
            place(seen),
            all.join(" and ")
        ),
        true => format!("{vip} is {}", place(seen)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_found_behind_a_greeting() {
        let answer = json!({"did": "added", "also_by": [], "in": {"a": 1}});
        for before in ["", "Welcome to {db}\n", "\u{1b}]0;{\u{7}"] {
            assert_eq!(answer_in(&format!("{before}{answer}\nbye {{")), answer);
        }
        assert_eq!(answer_in("no such file {\n"), Value::Null);
    }
}
