//! What follows from what was seen: each host's files, what a person has to fill in, and what to look at.

use super::look::{Seen, Standby};
use super::pool::{PoolFile, is_pgpool};
use super::template::{OUR_ROOT, Template, VENDORS_ROOT, debian_cluster, set};
use failover_core::config::Config;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

const PGPOOL: &str = include_str!("../../../../etc/pgpool.conf.sample");
const KINGBASECLUSTER: &str = include_str!("../../../../etc/kingbasecluster.conf.sample");
const CRON: &str = include_str!("../../../../etc/failover-tools.cron");
/// The samples' line of cron calls this.
const IN_CRON: &str = "kingbase /home/kingbase/cluster/R3HA/db/bin/";
/// The names that a server gives to a standby without one of its own.
const NO_NAMES: [&str; 2] = ["walreceiver", "main"];

/// What is written.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub nodes: Vec<Node>,
    /// Each file: where it goes below the directory, and its text.
    pub files: Vec<(PathBuf, String)>,
    /// What stands in the files for something that only a person knows, and what that is.
    pub to_fill_in: Vec<(&'static str, String)>,
    /// What was taken, and may be wrong.
    pub to_look_at: Vec<String>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub address: Ipv4Addr,
}

/// Everything.
pub fn draft(seen: &Seen) -> Draft {
    let values = Values::of(seen);
    let mut files = Vec::new();
    for (id, node) in values.nodes.iter().enumerate() {
        let dir = PathBuf::from(&node.name);
        files.push((dir.join("HAmodule.conf"), values.ha_module(node)));
        files.push((dir.join(values.pool_file()), values.pool_lines()));
        files.push((dir.join("pg_hba.conf.add"), values.hba_lines()));
        files.push((dir.join("failover-tools.cron"), values.cron()));
        if is_pgpool(&seen.server) {
            files.push((dir.join("pgpool_node_id"), format!("{id}\n")));
        }
    }
    Draft {
        to_fill_in: values.to_fill_in(),
        to_look_at: values.to_look_at(),
        nodes: values.nodes,
        files,
    }
}

/// What the files are made of.
struct Values<'a> {
    seen: &'a Seen,
    template: Template,
    sample: Config,
    nodes: Vec<Node>,
    pool: PoolFile,
    trusted: Vec<Ipv4Addr>,
    sync: bool,
}

impl<'a> Values<'a> {
    fn of(seen: &'a Seen) -> Self {
        let template = Template::of(&seen.server);
        let pool = seen.pool.clone().unwrap_or_default();
        let mut trusted = pool.addresses("trusted_servers");
        if trusted.is_empty() {
            trusted.extend(seen.gateway);
        }
        Self {
            template,
            sample: template.sample(),
            nodes: nodes(seen),
            trusted,
            sync: !seen.facts.sync_names.is_empty(),
            pool,
            seen,
        }
    }

    /// Where the tools are, or will be.
    fn root(&self) -> PathBuf {
        let of = |dir: &Path| dir.ancestors().nth(2).map(Path::to_owned);
        let ours = self.seen.tools.join(self.seen.server.flavor.ctl).exists();
        let found = match self.template {
            Template::Kingbase => of(&self.seen.server.programs),
            _ if ours => of(&self.seen.tools),
            _ => None,
        };
        found.unwrap_or_else(|| match self.template {
            Template::Kingbase => PathBuf::from(VENDORS_ROOT),
            _ => PathBuf::from(OUR_ROOT),
        })
    }

    fn pool_vip(&self) -> String {
        let vip = self.pool.get("delegate_ip").unwrap_or("@KB_POOL_VIP@");
        vip.to_owned()
    }

    fn pcp_user(&self) -> String {
        let first = self.pool.pcp_users.first();
        first.unwrap_or(&self.sample.pcp_user).clone()
    }

    fn pool_port(&self) -> u16 {
        self.pool.port("port").unwrap_or(self.sample.kb_pool_port)
    }

    fn pcp_port(&self) -> u16 {
        let port = self.pool.port("pcp_port");
        port.unwrap_or(self.sample.kb_pool_pcp_port)
    }

    fn trusted(&self) -> String {
        match self.trusted[..] {
            [] => "@KB_GATEWAY_IP@".to_owned(),
            _ => joined(self.trusted.iter(), ","),
        }
    }

    fn ha_module(&self, node: &Node) -> String {
        let (seen, list) = (self.seen, |all: String| format!("({all})"));
        let on_off = |is: bool| if is { "on" } else { "off" }.to_owned();
        let mut settings = vec![
            ("KB_LOCALHOST_IP", node.address.to_string()),
            ("NODE_NAME", node.name.clone()),
            (
                "KB_ALL_IP",
                list(joined(self.nodes.iter().map(|it| it.address), " ")),
            ),
            (
                "ALL_NODE_NAME",
                list(joined(self.nodes.iter().map(|it| &it.name), " ")),
            ),
            ("KB_GATEWAY_IP", self.trusted()),
            ("KB_VIP", "@KB_VIP@".to_owned()),
            ("DEV", seen.device.clone()),
            ("KB_POOL_VIP", self.pool_vip()),
            ("KB_POOL_PORT", self.pool_port().to_string()),
            ("KB_POOL_PCP_PORT", self.pcp_port().to_string()),
            ("PCP_USER", self.pcp_user()),
            ("PCP_PASS", "@PCP_PASS@".to_owned()),
            ("KB_USER", seen.facts.user.clone()),
            ("KB_PASS", "@KB_PASS@".to_owned()),
            ("KB_PORT", seen.server.port.to_string()),
            ("KB_DATA_PATH", seen.server.data.display().to_string()),
            ("KB_EXECUTE_SYS_USER", seen.server.user.name.clone()),
            ("SYNC_FLAG", on_off(self.sync)),
            // Rows that only an old primary has are lost by it: no client was told of them in a synchronous
            // cluster only.
            ("AUTO_PRIMARY_RECOVERY", on_off(self.sync)),
        ];
        if let Some((version, name)) = debian_cluster(&seen.server.data) {
            settings.push(("DB_SERVICE", format!("postgresql@{version}-{name}")));
        }
        if self.template == Template::Kingbase {
            settings.push((
                "MOUNT_POINT_DIR_LIST",
                seen.server.data.display().to_string(),
            ));
        }
        let text = self.template.text();
        let (head, rest) = text.split_once("\n\n").unwrap_or(("", text));
        let kept = head.lines().filter(|line| !line.contains("debian.sh"));
        let kept: Vec<&str> = kept.collect();
        let text = format!("{}\n# Made by cluster_ctl init.\n\n{rest}", kept.join("\n"));
        let text = self.pool_hosts(self.in_root(&text));
        settings
            .iter()
            .fold(text, |text, (key, value)| set(&text, key, value))
    }

    /// The samples' paths as they are here.
    fn in_root(&self, text: &str) -> String {
        let theirs = match self.template {
            Template::Kingbase => VENDORS_ROOT,
            _ => OUR_ROOT,
        };
        text.replace(theirs, &self.root().display().to_string())
    }

    /// `KB_POOL_IPn`: only where a pool runs on a host without a database, or the sample has them.
    fn pool_hosts(&self, text: String) -> String {
        let own: Vec<Ipv4Addr> = self.nodes.iter().map(|node| node.address).collect();
        let hosts = self.pool.hosts();
        let hosts = match hosts.iter().all(|it| own.contains(it)) {
            true if self.template != Template::Kingbase => return text,
            true => own,
            false => hosts,
        };
        let numbered = hosts.iter().enumerate();
        numbered.fold(text, |text, (id, host)| {
            set(&text, &format!("KB_POOL_IP{}", id + 1), &host.to_string())
        })
    }

    fn pool_file(&self) -> &'static str {
        match self.template {
            Template::Kingbase => "kingbasecluster.conf.add",
            _ => "pgpool.conf.add",
        }
    }

    /// The sample's lines, with what is known better.
    fn pool_lines(&self) -> String {
        let (sample, mut own) = match self.template {
            Template::Kingbase => (KINGBASECLUSTER, vec![]),
            _ => (PGPOOL, self.pgpool()),
        };
        own.push((self.delegate().to_owned(), quoted(&self.pool_vip())));
        own.push(("trusted_servers".to_owned(), quoted(&self.trusted())));
        let known: BTreeMap<String, ()> = own
            .iter()
            .map(|(key, _)| (key.to_lowercase(), ()))
            .collect();
        let of_a_pool = [
            "hostname",
            "wd_port",
            "pgpool_port",
            "heartbeat_hostname",
            "heartbeat_port",
        ];
        let is_own = |key: &str| {
            let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
            known.contains_key(&key.to_lowercase()) || of_a_pool.contains(&stem) && stem != key
        };
        let mut text = String::from(
            "# For the end of the pool's own file: the last value counts. Why each is as it is stands in\n\
             # the sample of that file. Made by cluster_ctl init.\n",
        );
        for line in self.in_root(sample).lines() {
            let key = line.split_once('=').map(|(key, _)| key.trim());
            if key.is_some_and(|key| !line.starts_with('#') && !is_own(key)) {
                text += &format!("{line}\n");
            }
        }
        for (key, value) in own {
            text += &format!("{key} = {value}\n");
        }
        text
    }

    fn delegate(&self) -> &'static str {
        match self.template {
            Template::Kingbase => "delegate_IP",
            _ => self.pool.delegate(),
        }
    }

    /// What pgpool-II has to know of these hosts.
    fn pgpool(&self) -> Vec<(String, String)> {
        let seen = self.seen;
        let vip_ctl = self.root().join("kingbasecluster/bin/vip_ctl");
        let (vip_ctl, prefix) = (vip_ctl.display(), seen.prefix);
        // Of two pools one has to be enough.
        let half = if self.nodes.len() == 2 { "on" } else { "off" };
        let mut lines: Vec<(String, String)> = [
            ("port", self.pool_port().to_string()),
            ("pcp_port", self.pcp_port().to_string()),
            ("enable_pool_hba", "on".to_owned()),
            ("enable_consensus_with_half_votes", half.to_owned()),
            (
                "if_up_cmd",
                quoted(&format!("{vip_ctl} add --force --vip $_IP_$/{prefix}")),
            ),
            (
                "if_down_cmd",
                quoted(&format!("{vip_ctl} del --vip $_IP_$/{prefix}")),
            ),
            (
                "arping_cmd",
                quoted(&format!(
                    "/usr/bin/arping -U $_IP_$ -w 1 -I {}",
                    seen.device
                )),
            ),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        for check in ["health_check", "sr_check"] {
            lines.push((format!("{check}_user"), quoted("pool_check")));
            lines.push((format!("{check}_password"), quoted("@POOL_CHECK_PASSWORD@")));
            lines.push((format!("{check}_database"), quoted("postgres")));
        }
        for (id, node) in self.nodes.iter().enumerate() {
            let host = quoted(&node.address.to_string());
            let data = quoted(&seen.server.data.display().to_string());
            for (key, value) in [
                ("backend_hostname", host.clone()),
                ("backend_port", seen.server.port.to_string()),
                ("backend_weight", "1".to_owned()),
                ("backend_data_directory", data),
                ("backend_flag", quoted("ALLOW_TO_FAILOVER")),
                ("hostname", host.clone()),
                ("wd_port", "9000".to_owned()),
                ("pgpool_port", self.pool_port().to_string()),
                ("heartbeat_hostname", host),
                ("heartbeat_port", "9694".to_owned()),
            ] {
                lines.push((format!("{key}{id}"), value));
            }
        }
        lines
    }

    fn hba_lines(&self) -> String {
        let method = match self.seen.facts.encryption.as_str() {
            "scram-sha-256" => "scram-sha-256",
            // A password that is kept otherwise is not enough for it; and this takes both.
            _ => "md5",
        };
        let user = &self.seen.facts.user;
        let mut text = String::from("# failover-tools: every host, to look and to replicate.\n");
        for Node { address, .. } in &self.nodes {
            text += &format!("host all all {address}/32 {method}\n");
            text += &format!("host replication {user} {address}/32 {method}\n");
        }
        text
    }

    fn cron(&self) -> String {
        let bin = self.root().join("db/bin");
        let user = &self.seen.server.user.name;
        CRON.replace(IN_CRON, &format!("{user} {}/", bin.display()))
    }

    fn to_fill_in(&self) -> Vec<(&'static str, String)> {
        let (user, pcp) = (&self.seen.facts.user, self.pcp_user());
        let network = format!("of the network of {}, which no host has", self.seen.device);
        let mut all = vec![
            (
                "@KB_PASS@",
                format!(
                    "the password of the database's user {user}: what `echo -n PASSWORD | base64` prints"
                ),
            ),
            (
                "@PCP_PASS@",
                format!("the password of the pool's PCP user {pcp}, in base64 like it"),
            ),
            (
                "@KB_VIP@",
                format!(
                    "an address {network}, with its prefix length /{}: the primary's host gets it",
                    self.seen.prefix
                ),
            ),
        ];
        if self.pool.get("delegate_ip").is_none() {
            all.push((
                "@KB_POOL_VIP@",
                format!("another one {network}: the leading pool's host gets it"),
            ));
        }
        if self.trusted.is_empty() {
            all.push((
                "@KB_GATEWAY_IP@",
                "the gateway, or several hosts outside of the cluster with commas: a host that reaches none \
                 of them is cut off"
                    .to_owned(),
            ));
        }
        if is_pgpool(&self.seen.server) {
            all.push((
                "@POOL_CHECK_PASSWORD@",
                "only where debian.sh does not set the pool up: the password of the database's user \
                 pool_check, which may do nothing but log in (CREATE ROLE pool_check LOGIN PASSWORD '...')"
                    .to_owned(),
            ));
        }
        all
    }

    fn to_look_at(&self) -> Vec<String> {
        let (seen, mut all) = (self.seen, Vec::new());
        let others: Vec<&Node> = self
            .nodes
            .iter()
            .filter(|it| it.address != seen.address)
            .collect();
        all.push(format!(
            "{}: DEV, KB_PORT and KB_DATA_PATH are those of this host; nothing on that host was looked at",
            joined(others.iter().map(|it| &it.name), ", ")
        ));
        if self.pool.addresses("trusted_servers").is_empty() && !self.trusted.is_empty() {
            all.push(format!(
                "KB_GATEWAY_IP is the router of the default route, {}",
                self.trusted()
            ));
        }
        all.push(match self.sync {
            true => format!(
                "SYNC_FLAG=on: commits wait for \"{}\"; after a failover the tools see to that, by the names of \
                 ALL_NODE_NAME",
                seen.facts.sync_names
            ),
            false => "SYNC_FLAG=off: commits wait for no standby now, so a failover can lose the last ones. \
                      With \"on\" the tools make them wait"
                .to_owned(),
        });
        if let Some(why) = &seen.no_pool {
            all.push(format!(
                "the pool: {why}. Its ports and its PCP user are the sample's"
            ));
        }
        for (standby, node) in seen.standbys.iter().zip(others) {
            let slot = format!("slot_{}", node.name);
            if standby.name != node.name || standby.slot != slot {
                all.push(format!(
                    "{} streams as \"{}\" by {}: its primary_conninfo has to have application_name={}, its \
                     primary_slot_name {slot}, and the primary that slot (debian.sh does both)",
                    node.address,
                    standby.name,
                    match standby.slot.as_str() {
                        "" => "no slot".to_owned(),
                        slot => format!("the slot {slot}"),
                    },
                    node.name
                ));
            }
        }
        if !seen.facts.rewinds {
            all.push(
                "wal_log_hints is off and there are no checksums: set it to on, or no old primary can be rewound \
                 (debian.sh does)"
                    .to_owned(),
            );
        }
        all
    }
}

/// This host first, then its standbys. A name that a standby streams by is kept, where it can be one.
fn nodes(seen: &Seen) -> Vec<Node> {
    let own = [seen.facts.own_name.as_str(), seen.host_name.as_str()];
    let mut found: Vec<Node> = Vec::new();
    let mut add = |address: Ipv4Addr, wanted: &[&str]| {
        let by_address = format!("node{}", address.octets()[3]);
        let by_number = format!("node{}", found.len() + 1);
        let wanted = wanted.iter().copied().chain([by_address.as_str()]);
        let is_free = |name: &str| found.iter().all(|node| node.name != name);
        let name = wanted
            .into_iter()
            .find(|name| is_name(name) && is_free(name));
        let name = name.map_or(by_number, str::to_owned);
        found.push(Node { name, address });
    };
    add(seen.address, &own);
    for Standby { address, name, .. } in &seen.standbys {
        add(*address, &[name.as_str()]);
    }
    found
}

/// As `NODE_NAME` takes it.
fn is_name(text: &str) -> bool {
    let first = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    let all = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    first
        && text.len() <= 58
        && text.chars().all(all)
        && !NO_NAMES.contains(&text)
        && text != "localhost"
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn joined<T: ToString>(all: impl Iterator<Item = T>, between: &str) -> String {
    all.map(|it| it.to_string())
        .collect::<Vec<_>>()
        .join(between)
}

#[cfg(test)]
mod tests;
