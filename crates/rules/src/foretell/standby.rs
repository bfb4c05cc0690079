//! A standby is gone: the primary stays, and its commits may wait.

use super::notice::{Gone, notice};
use super::{Event, Foretold, Part, Span, is_synchronous, says};
use crate::facts::cluster::{Cluster, Host};
use crate::facts::host::ServerFacts;
use crate::facts::policy::SyncDegrade;
use crate::facts::standby::Standby;
use crate::synchronous;

/// For `failover_stream` to see that the standby is gone and that another one streams, or none.
const LOOKS: Span = Span::of(200, 2_500);
/// The server's `wal_sender_timeout` where it does not say: its default, in milliseconds.
const SENDER_TIMEOUT: u64 = 60_000;

pub(super) fn gone(
    cluster: &Cluster,
    (primary, server): (&Host, &ServerFacts),
    node: &Host,
    event: Event,
) -> Foretold {
    let told = says(event, node);
    let sender = Standby::find(&server.senders, node.address, &node.name);
    let is_counted = sender.is_some_and(|it| matches!(it.sync_state.as_str(), "sync" | "quorum"));
    if !is_synchronous(server) || !is_counted {
        return told.well(format!(
            "{} goes on: its commits do not wait for {}",
            primary.name, node.name
        ));
    }
    let setting = server
        .setting("synchronous_standby_names")
        .unwrap_or_default();
    let needed = synchronous::number(setting);
    let others = server
        .senders
        .iter()
        .filter(|it| it.is_waited_for() && !it.is(node.address, &node.name))
        .count();
    match (event.gone(), others >= needed) {
        (Gone::Refused, true) => Foretold {
            parts: vec![Part::new(
                "the server sees the closed connection",
                Span::of(0, 200),
            )],
            ..told
        }
        .well(format!(
            "{} goes on: its commits wait for another standby at once",
            primary.name
        )),
        (Gone::Silent, true) => silent(cluster, (primary, server), node, told),
        (gone, false) => alone(cluster, (primary, node), (others, gone), told),
    }
}

/// Another standby would do, once the server lets go of the connection to the silent one.
fn silent(
    cluster: &Cluster,
    (primary, server): (&Host, &ServerFacts),
    node: &Host,
    told: Foretold,
) -> Foretold {
    let by_server = sender_timeout(server);
    let told = told.well(format!(
        "{} goes on: its commits wait for another standby as soon as its server has let go of the connection to {}",
        primary.name, node.name
    ));
    let parts = match notice(cluster, node, Gone::Silent) {
        Ok((mut parts, _)) => {
            parts.push(Part::new("failover_stream: ends that connection", LOOKS));
            let sum = parts
                .iter()
                .map(|part| part.span)
                .fold(Span::default(), Span::plus);
            (by_server.is_none_or(|it| it > sum.to)).then_some(parts)
        }
        Err(_) => None,
    };
    match (parts, by_server) {
        (Some(parts), _) => Foretold { parts, ..told },
        (None, Some(timeout)) => Foretold {
            parts: vec![
                Part::new(
                    "the server gives the connection up",
                    Span::of(timeout / 2, timeout),
                )
                .by("wal_sender_timeout"),
            ],
            ..told
        },
        (None, None) => told.badly(format!(
            "the commits of {} wait for {}: no pool notices, and wal_sender_timeout is 0",
            primary.name, node.name
        )),
    }
}

/// Too few others stream for the commits.
fn alone(
    cluster: &Cluster,
    (primary, node): (&Host, &Host),
    (others, gone): (usize, Gone),
    told: Foretold,
) -> Foretold {
    if cluster.policies.sync_degrade == SyncDegrade::Never {
        return told.badly(format!(
            "the commits of {} wait until {} streams again (SYNC_DEGRADE=never): clients can read, and not write",
            primary.name, node.name
        ));
    }
    match notice(cluster, node, gone) {
        Ok((mut parts, _)) => {
            parts.push(Part::new(
                "failover_stream: sees how many standbys stream",
                LOOKS,
            ));
            let what = match others {
                0 => "its commits wait for no standby until one streams again".to_owned(),
                others => format!("its commits wait for the {others} that are left"),
            };
            Foretold { parts, ..told }.well(format!(
                "{} goes on: {what} (SYNC_DEGRADE=always)",
                primary.name
            ))
        }
        Err(why) => told.badly(format!(
            "the commits of {} wait for {}: {why}",
            primary.name, node.name
        )),
    }
}

/// When the primary's server gives up a silent connection, in milliseconds. `None`: never.
fn sender_timeout(server: &ServerFacts) -> Option<u64> {
    let told = server
        .setting("wal_sender_timeout")
        .and_then(|it| super::notice::milliseconds(it, 1));
    Some(told.unwrap_or(SENDER_TIMEOUT)).filter(|it| *it > 0)
}
