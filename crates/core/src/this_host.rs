//! This host, and how to reach the others.
//!
//! Puts the rooms together and does nothing by itself. Uses them all but `steps`; `steps` and the tools may
//! use it.

use crate::arp::{Mac, own_mac};
use crate::config::Config;
use crate::deadline::Deadline;
use crate::exit::usage;
use crate::identity::Identity;
use crate::instance::{Instance, InstanceError};
use crate::process::Cmd;
use crate::programs::{Programs, RootSsh};
use crate::sql::Target;
use crate::ssh::{Login, Ssh};
use crate::state::StateDir;
use crate::users::{SystemUser, UserError};
use crate::vip::{Did, Rights, Vip, VipError, find};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Where something is done.
#[derive(Clone, Debug)]
pub enum Host {
    /// Here, by this process.
    Local,
    /// There, over ssh.
    Remote(Login),
}

/// This host as its configuration describes it, and the user that we are.
#[derive(Clone, Debug)]
pub struct ThisHost {
    /// Its `HAmodule.conf`.
    pub config: Config,
    /// Who we are.
    pub us: SystemUser,
    /// The network programs.
    pub programs: Programs,
    /// The database VIP, if the cluster has one.
    pub vip: Option<Vip>,
}

impl ThisHost {
    /// This host, by the configuration at `explicit` or beside the program.
    ///
    /// # Errors
    /// [`crate::exit::Usage`]: it is not there, wrong, or that of another host.
    pub fn load(explicit: Option<&Path>) -> anyhow::Result<Self> {
        match Self::load_even_lost(explicit)? {
            (here, None) => Ok(here),
            (_, Some(lost)) => Err(usage(lost)),
        }
    }

    /// The same for what has to be done also on a host that has lost its address, and is sure to be
    /// no other host of the cluster: a primary there stops itself, and gives up the VIP. Then the
    /// reason for which everything else is refused comes along.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_even_lost(explicit: Option<&Path>) -> anyhow::Result<(Self, Option<String>)> {
        let path = Config::find(explicit).map_err(usage)?;
        let here = Self::new(Config::load(&path).map_err(usage)?)?;
        let identity = Identity::of(&here.config);
        let why = identity.trouble();
        let why = why.map(|why| format!("{}: {why}", path.display()));
        match (identity, why) {
            (Identity::Another(_), Some(why)) => Err(usage(why)),
            (_, why) => Ok((here, why)),
        }
    }

    /// Whether an order that was meant for `address` is this host's.
    ///
    /// # Errors
    /// It is another host's: why, and what to do.
    pub fn is_meant(&self, address: Option<IpAddr>) -> Result<(), String> {
        let own = self.config.kb_localhost_ip;
        match address {
            Some(meant) if meant != own => Err(format!(
                "this order is for {meant}, and it has come to a host with KB_LOCALHOST_IP {own} in \
                 {}: correct that, or who has the address {meant}",
                self.config.path.display()
            )),
            // Versions that did not say whom they mean are believed.
            _ => Ok(()),
        }
    }

    /// This host, by `config`.
    pub fn new(config: Config) -> Result<Self, UserError> {
        let us = SystemUser::current()?;
        let root = Login::new(&config, Ipv4Addr::LOCALHOST.into(), "root", &us);
        let root = move |cmd: &Cmd, deadline| Ssh::connect(&root, deadline)?.run(cmd, deadline);
        Ok(Self {
            us,
            programs: Programs {
                root: Some(RootSsh::new(root)),
                ..Programs::from_config(&config)
            },
            vip: Vip::from_config(&config),
            config,
        })
    }

    /// The hardware addresses by which the other hosts know it.
    pub fn macs(&self) -> Vec<Mac> {
        self.config
            .dev
            .iter()
            .filter_map(|dev| own_mac(dev))
            .collect()
    }

    /// Its database instance.
    pub fn instance(&self) -> Result<Instance, InstanceError> {
        Instance::new(&self.config)
    }

    /// Its locks and marks.
    pub fn state(&self) -> Result<StateDir, UserError> {
        let owner = SystemUser::named(&self.config.kb_execute_sys_user)?;
        Ok(StateDir::new(&self.config.state_dir, &owner))
    }

    /// Its own database, for SQL.
    pub fn sql_target(&self) -> Target {
        Target::new(&self.config, self.config.kb_localhost_ip)
    }

    /// How to work on the host with `address`: directly where it is this one and we are root or
    /// the database's user, else over ssh.
    pub fn reach(&self, address: IpAddr) -> Host {
        let database_user = &self.config.kb_execute_sys_user;
        let may_here = self.us.is_root() || self.us.name == *database_user;
        if may_here && address == self.config.kb_localhost_ip {
            return Host::Local;
        }
        Host::Remote(self.login(address))
    }

    /// The login on the host with `address`: root's for root, else that of the database's user,
    /// who alone may stop the server there. Where root is refused, as on hardened hosts, root comes as the
    /// database's user with that one's key.
    pub fn login(&self, address: IpAddr) -> Login {
        let (config, user) = (&self.config, &self.config.kb_execute_sys_user);
        if !self.us.is_root() {
            return Login::new(config, address, user, &self.us);
        }
        let root = Login::new(config, address, "root", &self.us);
        match SystemUser::named(user) {
            Ok(theirs) if !theirs.is_root() => {
                root.or_as(Login::new(config, address, user, &theirs))
            }
            _ => root,
        }
    }

    /// Puts the database VIP on this host, if it is not there.
    pub fn vip_on(&self, vip: &Vip, deadline: Deadline) -> Result<Did, VipError> {
        // Where nothing is to be done no right is needed.
        if find(vip.cidr.addr)?.is_some() {
            return Ok(Did::Nothing);
        }
        vip.add(&self.programs, &Rights::choose(&self.programs)?, deadline)
    }

    /// Takes the database VIP off this host, if it is there.
    pub fn vip_off(&self, vip: &Vip, deadline: Deadline) -> Result<Did, VipError> {
        if find(vip.cidr.addr)?.is_none() {
            return Ok(Did::Nothing);
        }
        vip.del(&self.programs, &Rights::choose(&self.programs)?, deadline)
    }

    /// The login as root on this host: the last way to a right, and what the scripts did.
    pub fn root_login(&self) -> Login {
        Login::new(&self.config, Ipv4Addr::LOCALHOST.into(), "root", &self.us)
    }
}
