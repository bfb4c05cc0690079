//! The table, row by row: each row is what a good view becomes by a small change, followed by its
//! near misses, what looks like the row and must not be it.

mod manual;

use super::*;
use crate::facts::left::{Pause, Recovery};
use crate::facts::standby::Standby;
use crate::facts::view::{Policy, PoolView};
use proptest::prop_assert;
use proptest::test_runner::{Config, TestRng, TestRunner};

const ME: IpAddr = ip(101);
const PRIMARY: IpAddr = ip(102);
const THIRD: IpAddr = ip(103);
const STRANGER: IpAddr = ip(199);
/// Where the timelines 5 and 6 part.
const FORK: u64 = 0x600_0000;
const LIMIT: u64 = 16 << 20;

const fn ip(last: u8) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, last))
}

// Views.

/// All is well with this standby.
fn standby() -> View {
    View {
        policy: Policy {
            me: ME,
            hosts: 3,
            names: [(ME, "node101"), (PRIMARY, "node102"), (THIRD, "node103")]
                .map(|(address, name)| (address, name.to_owned()))
                .to_vec(),
            force: false,
            auto_recovery: false,
            max_available: false,
            may_copy: false,
            sync: true,
            lag_limit: LIMIT,
            gateway_lost: GatewayLostAction::Isolated,
            has_vip: true,
            copy_command: "pg_basebackup".to_owned(),
            start_command: "systemctl start postgresql-15".to_owned(),
        },
        paused: None,
        left: None,
        outlived: false,
        fenced: None,
        self_fenced: false,
        undecided: false,
        network: true,
        seen: None,
        has_data: true,
        copy: None,
        unstarted: false,
        me: status(Server::Standby, "in archive recovery", 6),
        history: History::parse(6, "4\t0/5000000\n5\t0/6000000\n").ok(),
        follows: Some(PRIMARY.to_string()),
        unread: false,
        kept_on: None,
        pool: PoolView {
            says: PoolSays::Other(PRIMARY),
            me_up: Some(true),
            down: Vec::new(),
            all_down: false,
            own: false,
        },
        down_at: Some(Vec::new()),
        primary: Some(Ok(Primary {
            in_recovery: false,
            history: History::parse(6, "4\t0/5000000\n5\t0/6000000\n").ok(),
            standbys: vec![sender("node101", "streaming", "sync")],
            wal: Vec::new(),
            parts_at: None,
        })),
        primary_host: None,
        // Asked, and none of them is a primary.
        others: Some(vec![(
            THIRD,
            Ok(status(Server::Standby, "in archive recovery", 6)),
        )]),
        rival: None,
        held: None,
        word_only: false,
        told: 0,
        alone: false,
    }
}

/// All is well with this primary.
fn primary() -> View {
    View {
        me: Status {
            vip_here: true,
            ..status(Server::Primary, "in production", 6)
        },
        follows: None,
        pool: PoolView {
            says: PoolSays::Me,
            me_up: Some(true),
            down: Vec::new(),
            all_down: false,
            own: false,
        },
        primary: None,
        others: None,
        ..standby()
    }
}

/// The standby, down.
fn stopped_standby() -> View {
    View {
        me: Status {
            received: None,
            ..status(Server::Down, "shut down in recovery", 6)
        },
        ..standby()
    }
}

/// The old primary after its crash; the pool has another.
fn old_primary() -> View {
    View {
        me: status(Server::Down, "in production", 5),
        follows: None,
        pool: down(PoolSays::Other(PRIMARY)),
        ..standby()
    }
}

/// The same with its own history, from which the primary's was promoted.
fn replaced_primary() -> View {
    View {
        history: History::parse(5, "4\t0/5000000\n").ok(),
        ..old_primary()
    }
}

/// It takes writes, and the pool has another, which holds the VIP.
fn wrong_primary() -> View {
    View {
        me: status(Server::Primary, "in production", 5),
        primary_host: Some(Ok(Status {
            vip_here: true,
            ..status(Server::Primary, "in production", 6)
        })),
        ..old_primary()
    }
}

/// A primary with two standbys, and no pool.
fn no_pool() -> View {
    View {
        pool: PoolView {
            says: PoolSays::NoAnswer("refused".to_owned()),
            me_up: None,
            down: Vec::new(),
            all_down: false,
            own: false,
        },
        seen: seen(2, 3),
        others: Some(vec![
            (
                PRIMARY,
                Ok(status(Server::Standby, "in archive recovery", 6)),
            ),
            (THIRD, Ok(status(Server::Standby, "in archive recovery", 6))),
        ]),
        ..primary()
    }
}

/// Everything is down, this one was the last primary.
fn all_down() -> View {
    let mut view = no_pool();
    view.policy.max_available = true;
    view.me = status(Server::Down, "in production", 6);
    view.pool.says = PoolSays::Nobody;
    for (_, answer) in view.others.iter_mut().flatten() {
        *answer = Ok(status(Server::Down, "shut down in recovery", 6));
    }
    view
}

/// This primary has lost its network.
fn no_network(others: Option<usize>) -> View {
    View {
        network: false,
        seen: others.map(|others| Seen { others, hosts: 3 }),
        pool: PoolView {
            says: PoolSays::NoAnswer("timeout".to_owned()),
            me_up: None,
            down: Vec::new(),
            all_down: false,
            own: false,
        },
        ..primary()
    }
}

fn down(says: PoolSays) -> PoolView {
    PoolView {
        says,
        me_up: Some(false),
        down: vec![ME],
        all_down: false,
        own: false,
    }
}

fn status(server: Server, control_state: &str, timeline: u32) -> Status {
    Status {
        running: server != Server::Down,
        in_recovery: match server {
            Server::Primary => Some(false),
            Server::Standby => Some(true),
            Server::Down | Server::Silent => None,
        },
        control_state: Some(control_state.to_owned()),
        timeline,
        control: Some(Lsn(FORK)),
        received: Some(Lsn(FORK)),
        segment_size: Some(16 << 20),
        receiver_silent_ms: (server == Server::Standby).then_some(100),
        ..Status::default()
    }
}

fn sender(name: &str, state: &str, sync_state: &str) -> Standby {
    Standby {
        address: None,
        name: name.to_owned(),
        state: state.to_owned(),
        sync_state: sync_state.to_owned(),
        behind: Some(0),
    }
}

fn left(stage: Stage) -> Option<Recovery> {
    Some(Recovery {
        stage,
        ..Recovery::of(PRIMARY)
    })
}

fn the_primary(view: &mut View) -> &mut Primary {
    view.primary.as_mut().unwrap().as_mut().unwrap()
}

fn other(view: &mut View) -> &mut Status {
    view.others.as_mut().unwrap()[1].1.as_mut().unwrap()
}

fn seen(others: usize, hosts: usize) -> Option<Seen> {
    Some(Seen { others, hosts })
}

fn silent<T>() -> Option<Result<T, String>> {
    Some(Err("no answer".to_owned()))
}

/// It does not stream, and is where the histories part.
fn broken_off(view: &mut View) {
    the_primary(view).standbys.clear();
    view.me.timeline = 5;
    view.history = History::parse(5, "4\t0/5000000\n").ok();
}

// The table.

/// The view that `$base` makes, each time with one change, and what follows.
macro_rules! table {
    ($base:expr, $($name:literal: |$view:pat_param| $change:expr => $expected:expr;)*) => {$({
        let mut view: View = $base();
        let change: fn(&mut View) = |$view| $change;
        change(&mut view);
        assert_eq!(short(decide(&view)), $expected, $name);
    })*};
}

fn changed(mut view: View, change: impl Fn(&mut View)) -> View {
    change(&mut view);
    view
}

/// Without the words.
fn short(decision: Decision) -> Decision {
    match decision {
        Decision::Do(Verdict { action, .. }) => act(action, ""),
        look => look,
    }
}

fn starts_alone() -> Decision {
    does(Action::StartStandby)
}

fn does(action: Action) -> Decision {
    act(action, "")
}

fn nothing() -> Decision {
    does(Action::Nothing)
}

fn refuses() -> Decision {
    does(Action::Refuse)
}

fn person() -> Decision {
    does(Action::NeedsPerson)
}

fn recovers() -> Decision {
    does(Action::Recover { primary: PRIMARY })
}

fn stops(recover: bool) -> Decision {
    does(Action::StopWrongPrimary {
        primary: PRIMARY,
        recover,
    })
}

fn starts() -> Decision {
    does(Action::Start { primary: PRIMARY })
}

fn takes_over(start: bool) -> Decision {
    does(Action::TakeOver { start })
}

fn shows() -> Decision {
    does(Action::ShowPrimary)
}

fn waits() -> Decision {
    does(Action::Wait { primary: PRIMARY })
}

fn rejoins(attach: bool) -> Decision {
    does(Action::Rejoin {
        primary: PRIMARY,
        attach,
    })
}

#[test]
fn paused_comes_before_everything() {
    for mut view in [
        standby(),
        primary(),
        stopped_standby(),
        old_primary(),
        wrong_primary(),
        no_pool(),
        all_down(),
        no_network(Some(0)),
    ] {
        view.paused = Some(Pause {
            since: "2026-01-01 00:00:00".to_owned(),
            why: "patching".to_owned(),
        });
        view.left = left(Stage::Rewinding);
        view.policy.force = true;
        let Decision::Do(verdict) = decide(&view) else {
            panic!("it looks at something");
        };
        assert_eq!(verdict.action, Action::Nothing);
        assert!(verdict.why.contains("(patching)"), "{}", verdict.why);
    }
}

#[test]
fn a_primary_that_is_cut_off_stops_itself() {
    let fences = || does(Action::SelfFence);
    table! { || no_network(Some(0)),
        "nobody is seen": |_| () => fences();
        "not looked yet": |v| v.seen = None => Decision::Look(Look::Life);
        "one host is seen": |v| v.seen = seen(1, 9) => refuses();
        "its address has gone with the link": |v| v.me.in_recovery = None => fences();
        "a standby": |v| v.me = standby().me => refuses();
        "a standby that does not answer": |v| {
            v.me = Status { in_recovery: None, ..standby().me };
        } => refuses();
        "down": |v| v.me = all_down().me => refuses();
        "never": |v| v.policy.gateway_lost = GatewayLostAction::Never => refuses();
        "always, whoever is seen": |v| {
            v.policy.gateway_lost = GatewayLostAction::Always;
            v.seen = None;
        } => fences();
        "always, a standby": |v| {
            v.policy.gateway_lost = GatewayLostAction::Always;
            v.me = standby().me;
        } => refuses();
        "a rewind is not finished without a network": |v| {
            v.me = old_primary().me;
            v.left = left(Stage::Rewinding);
            v.pool = old_primary().pool;
        } => refuses();
    }
    // The trust IP answers, and no pool.
    table! { no_pool,
        "not looked yet": |v| v.seen = None => Decision::Look(Look::Life);
        "1 of 3": |v| v.seen = seen(0, 3) => fences();
        "2 of 4: not fewer than half": |v| v.seen = seen(1, 4) => takes_over(false);
        "2 of 5": |v| v.seen = seen(1, 5) => fences();
        "1 of 2: no majority to be had": |v| v.seen = seen(0, 2) => takes_over(false);
        "a pool answers, and has no primary": |v| {
            v.seen = seen(0, 3);
            v.pool.says = PoolSays::Nobody;
        } => takes_over(false);
    }
}

#[test]
fn what_was_left_unfinished_comes_first() {
    table! { old_primary,
        "a rewind": |v| v.left = left(Stage::Rewinding) => recovers();
        "a swap": |v| v.left = left(Stage::Copying) => recovers();
        "what follows": |v| v.left = left(Stage::Following) => recovers();
        "the data directory is away for a moment of the swap": |v| {
            v.left = left(Stage::Copying);
            v.has_data = false;
        } => recovers();
        "the primary was not asked yet": |v| {
            v.left = left(Stage::Rewinding);
            v.primary = None;
        } => Decision::Look(Look::Primary(PRIMARY));
        "the primary is silent": |v| {
            v.left = left(Stage::Rewinding);
            v.primary = silent();
        } => person();
        "the primary is in recovery": |v| {
            v.left = left(Stage::Rewinding);
            the_primary(v).in_recovery = true;
        } => person();
        "the pool has none": |v| {
            v.left = left(Stage::Rewinding);
            v.pool.says = PoolSays::Nobody;
        } => person();
        "the pool has this one: half a history is no primary": |v| {
            v.left = left(Stage::Rewinding);
            v.pool.says = PoolSays::Me;
        } => person();
    }
    table! { all_down,
        "half a history is not the last primary": |v| v.left = left(Stage::Rewinding) => person();
    }
    table! { standby,
        "it was started and streams: attach and forget":
            |v| v.left = left(Stage::Following) => recovers();
        "it runs and follows another": |v| {
            v.left = left(Stage::Following);
            v.follows = Some(THIRD.to_string());
        } => nothing();
        "nothing was done yet": |v| v.left = left(Stage::Preparing) => nothing();
        "it does not stream yet": |v| {
            v.left = left(Stage::Following);
            broken_off(v);
        } => recovers();
        "nor will it, the primary no longer has the WAL": |v| {
            v.left = left(Stage::Following);
            broken_off(v);
            the_primary(v).wal = vec!["000000060000000000000007".to_owned()];
        } => person();
        "the same, and it still replays its own": |v| {
            v.left = left(Stage::Following);
            broken_off(v);
            the_primary(v).wal = vec!["000000060000000000000007".to_owned()];
            v.me.received = None;
        } => recovers();
    }
}

#[test]
fn a_recovery_that_came_to_its_start_goes_on_from_there() {
    table! { || changed(stopped_standby(), |v| v.left = left(Stage::Following)),
        "down": |_| () => recovers();
        "down, up to the fork": |v| broken_off(v) => recovers();
    }
    let left_and_down = changed(stopped_standby(), |v| {
        v.left = left(Stage::Following);
        broken_off(v);
        v.me.control = Some(Lsn(FORK + 1));
    });
    assert_eq!(short(decide(&left_and_down)), recovers());
    assert!(!goes_on(&left_and_down), "it would not start");
    let promoted_since = changed(left_and_down.clone(), |v| {
        v.me.control_state = Some("in production".to_owned());
    });
    assert!(!goes_on(&promoted_since), "it would never stream");
    assert_eq!(begins_anew_at(&promoted_since), Stage::Preparing);
    let never_started = changed(left_and_down.clone(), |v| v.unstarted = true);
    assert_eq!(begins_anew_at(&never_started), Stage::Rewinding);
    let copied = changed(left_and_down, |v| v.copy = Some(BaseBackup::Made));
    assert!(goes_on(&copied), "there is nothing to rewind");
    let behind = |may_copy| {
        changed(standby(), |v| {
            v.left = left(Stage::Following);
            broken_off(v);
            the_primary(v).wal = vec!["000000060000000000000007".to_owned()];
            v.policy.may_copy = may_copy;
        })
    };
    assert_eq!(short(decide(&behind(true))), recovers());
    assert!(!goes_on(&behind(true)), "the rewind counts as done");
    assert!(goes_on(
        &changed(standby(), |v| v.left = left(Stage::Following))
    ));
    table! { primary,
        "promoted meanwhile": |v| v.left = left(Stage::Following) => does(Action::KeepPrimary);
    }
}

#[test]
fn without_data_the_primary_is_copied_or_a_person_asked() {
    let base = || View {
        has_data: false,
        me: Status::default(),
        ..old_primary()
    };
    table! { base,
        "no copy allowed": |_| () => person();
        "nor by --force": |v| v.policy.force = true => person();
        "allowed": |v| v.policy.may_copy = true => recovers();
        "somebody copies it just now": |v| {
            v.policy.may_copy = true;
            v.copy = Some(BaseBackup::UnderWay);
        } => refuses();
        "the primary was not asked yet": |v| {
            v.policy.may_copy = true;
            v.primary = None;
        } => Decision::Look(Look::Primary(PRIMARY));
        "it is silent": |v| { v.policy.may_copy = true; v.primary = silent() } => refuses();
        "what runs has data": |v| {
            v.policy.may_copy = true;
            v.me = standby().me;
        } => rejoins(true);
        "a primary that runs is not stopped for a copy": |v| {
            v.policy.may_copy = true;
            v.me = wrong_primary().me;
        } => Decision::Look(Look::PrimaryHost(PRIMARY));
        "this one is the pool's primary": |v| {
            v.policy.may_copy = true;
            v.pool.says = PoolSays::Me;
        } => refuses();
    }
}

#[test]
fn the_pools_primary() {
    table! { primary,
        "runs": |_| () => does(Action::KeepPrimary);
        "without its VIP": |v| v.me.vip_here = false => does(Action::KeepPrimary);
        "the other pools were not asked yet": |v| v.down_at = None => Decision::Look(Look::Pools);
        "down in another pool": |v| v.down_at = Some(vec![THIRD]) => does(Action::KeepPrimary);
        "down in the pool's eyes": |v| v.pool.me_up = Some(false) => does(Action::KeepPrimary);
        "in recovery, the others not looked at": |v| v.me = standby().me
            => Decision::Look(Look::Others);
        "down": |v| v.me = all_down().me => refuses();
        "down, by its own self-fence": |v| {
            v.me = all_down().me;
            v.self_fenced = true;
            v.policy.max_available = true;
        } => refuses();
        "down, with all consent": |v| {
            v.me = all_down().me;
            v.policy.force = true;
            v.policy.auto_recovery = true;
            v.follows = Some(PRIMARY.to_string());
        } => refuses();
        "frozen": |v| v.me = status(Server::Silent, "in production", 6) => refuses();
    }
}

#[test]
fn a_wrong_primary_is_stopped_only_with_proof() {
    table! { wrong_primary,
        "the other has the VIP": |_| () => stops(false);
        "AUTO_PRIMARY_RECOVERY": |v| v.policy.auto_recovery = true => stops(true);
        "--force": |v| v.policy.force = true => stops(true);
        "standby settings": |v| v.follows = Some(String::new()) => stops(true);
        "consent for when it was down": |v| v.left = left(Stage::Preparing) => stops(false);
        "the primary was not asked yet":
            |v| v.primary = None => Decision::Look(Look::Primary(PRIMARY));
        "nor its host": |v| v.primary_host = None => Decision::Look(Look::PrimaryHost(PRIMARY));
        "the other is silent": |v| v.primary = silent() => person();
        "the other is in recovery": |v| the_primary(v).in_recovery = true => person();
        "the VIP is here, forced or not": |v| {
            v.me.vip_here = true;
            v.policy.force = true;
        } => person();
        "the VIP is nowhere":
            |v| v.primary_host = Some(Ok(Status::default())) => person();
        "nobody knows where the VIP is": |v| v.primary_host = silent() => person();
        "the pool does not know this node": |v| v.pool.me_up = None => person();
        "the pool's primary is a stranger":
            |v| v.pool.says = PoolSays::Stranger(STRANGER.to_string()) => refuses();
        "frozen": |v| v.me = status(Server::Silent, "in production", 5) => refuses();
    }
}

/// Both have it after a cut: then all of these prove it, each of them being needed.
#[test]
fn a_wrong_primary_with_the_vip_is_stopped_only_with_more_proof() {
    let both = || {
        let mut view = wrong_primary();
        view.me.vip_here = true;
        view.history = History::parse(5, "4\t0/5000000\n").ok();
        view
    };
    let first = |v: &mut View| {
        v.me.timeline = 1;
        v.history = None;
        the_primary(v).history = History::parse(2, "1\t0/5000000\n").ok();
    };
    assert_eq!(short(decide(&changed(both(), first))), stops(false));
    table! { both,
        "the other was promoted from this one": |_| () => stops(false);
        "AUTO_PRIMARY_RECOVERY": |v| v.policy.auto_recovery = true => stops(true);
        "its host was not asked yet":
            |v| v.primary_host = None => Decision::Look(Look::PrimaryHost(PRIMARY));
        "its host does not answer": |v| v.primary_host = silent() => person();
        "it does not have the VIP":
            |v| v.primary_host = Some(Ok(Status::default())) => person();
        "the other is silent": |v| v.primary = silent() => person();
        "the other is in recovery": |v| the_primary(v).in_recovery = true => person();
        "the pool has this one up": |v| v.pool.me_up = Some(true) => person();
        "the pool names this one": |v| v.pool.says = PoolSays::Me => does(Action::KeepPrimary);
        "as new as this one": |v| {
            v.me.timeline = 6;
            v.history = History::parse(6, "5\t0/6000000\n").ok();
        } => person();
        "older than this one": |v| {
            v.me.timeline = 7;
            v.history = History::parse(7, "5\t0/6000000\n").ok();
        } => person();
        "both were promoted, from an older one":
            |v| v.history = History::parse(5, "4\t0/4000000\n").ok() => person();
        "this one is on a timeline that the other never had":
            |v| the_primary(v).history = History::parse(6, "4\t0/5000000\n").ok() => person();
        "its history cannot be read": |v| the_primary(v).history = None => person();
        "this node's history cannot be read": |v| v.history = None => person();
        "this node's history is of another timeline":
            |v| v.history = History::parse(6, "5\t0/6000000\n").ok() => person();
    }
}

/// Without a VIP the newer timeline and the pool prove it, both of them.
#[test]
fn a_wrong_primary_without_a_vip_is_stopped_by_its_timeline() {
    let base = || {
        let mut view = wrong_primary();
        view.policy.has_vip = false;
        view.primary_host = None;
        view.history = replaced_primary().history;
        view
    };
    table! { base,
        "newer, and down here": |_| () => stops(false);
        "as old as this one": |v| v.me.timeline = 6 => person();
        "older than this one": |v| v.me.timeline = 7 => person();
        "its history cannot be read": |v| the_primary(v).history = None => person();
        "the pool has this one up": |v| v.pool.me_up = Some(true) => person();
    }
}

#[test]
fn an_old_primary_comes_back_with_consent() {
    table! { replaced_primary,
        "no consent": |_| () => person();
        "AUTO_PRIMARY_RECOVERY": |v| v.policy.auto_recovery = true => recovers();
        "--force": |v| v.policy.force = true => recovers();
        "standby settings": |v| v.follows = Some(THIRD.to_string()) => recovers();
        "begun with consent": |v| v.left = left(Stage::Preparing) => recovers();
        "shut down": |v| {
            v.me.control_state = Some("shut down".to_owned());
            v.policy.force = true;
        } => recovers();
        "shut down, no consent": |v| v.me.control_state = Some("shut down".to_owned()) => person();
        "the primary was not asked yet": |v| {
            v.policy.force = true;
            v.primary = None;
        } => Decision::Look(Look::Primary(PRIMARY));
        "it is silent": |v| { v.policy.force = true; v.primary = silent() } => refuses();
        "it is in recovery, the others not looked at": |v| {
            v.policy.force = true;
            the_primary(v).in_recovery = true;
            v.others = None;
        } => Decision::Look(Look::Others);
        "nobody knows what it was": |v| {
            v.policy.force = true;
            v.me.control_state = None;
        } => refuses();
        "the pool does not know this node": |v| {
            v.policy.force = true;
            v.pool.me_up = None;
        } => person();
    }
}

/// Has this node stream under another name, known by its address.
fn rename(view: &mut View, name: &str) {
    let mine = &mut the_primary(view).standbys[0];
    mine.address = Some(ME);
    mine.name = name.to_owned();
}

#[test]
fn a_standby_that_streams() {
    table! { standby,
        "all is well": |_| () => nothing();
        "the primary was not asked yet":
            |v| v.primary = None => Decision::Look(Look::Primary(PRIMARY));
        "an archiver on this host streams, and not the standby":
            |v| v.me.receiver_silent_ms = None => waits();
        "asynchronous, and that is wanted": |v| {
            the_primary(v).standbys[0].sync_state = "async".to_owned();
            v.policy.sync = false;
        } => nothing();
        "asynchronous, and should not be":
            |v| the_primary(v).standbys[0].sync_state = "async".to_owned() => rejoins(false);
        "the same, and commits could not wait for it by its name": |v| {
            the_primary(v).standbys[0].sync_state = "async".to_owned();
            rename(v, "15/main");
        } => person();
        "under another name, and the pool has it down": |v| {
            the_primary(v).standbys[0].sync_state = "async".to_owned();
            rename(v, "15/main");
            v.pool.me_up = Some(false);
        } => rejoins(true);
        "under another name, which the primary knows":
            |v| rename(v, "15/main") => nothing();
        "the same, too far behind": |v| {
            the_primary(v).standbys[0].sync_state = "async".to_owned();
            the_primary(v).standbys[0].behind = Some(LIMIT + 1);
        } => nothing();
        "down in the pool": |v| v.pool.me_up = Some(false) => rejoins(true);
        "the other pools were not asked yet": |v| v.down_at = None => Decision::Look(Look::Pools);
        "down in another pool": |v| v.down_at = Some(vec![THIRD]) => rejoins(true);
        "down in another pool, too far behind": |v| {
            v.down_at = Some(vec![THIRD]);
            the_primary(v).standbys[0].behind = Some(LIMIT + 1);
        } => nothing();
        "down in the pool, as far behind as it may be": |v| {
            v.pool.me_up = Some(false);
            the_primary(v).standbys[0].behind = Some(LIMIT);
        } => rejoins(true);
        "down in the pool, too far behind": |v| {
            v.pool.me_up = Some(false);
            the_primary(v).standbys[0].behind = Some(LIMIT + 1);
        } => nothing();
        "down in the pool, nobody knows how far behind": |v| {
            v.pool.me_up = Some(false);
            the_primary(v).standbys[0].behind = None;
        } => nothing();
        "its settings were not read, and it streams all the same":
            |v| v.unread = true => nothing();
        "by another way than its settings say":
            |v| v.follows = Some(THIRD.to_string()) => nothing();
        "the primary is silent": |v| v.primary = silent() => refuses();
        "the primary is none, the others not looked at": |v| {
            the_primary(v).in_recovery = true;
            v.others = None;
        } => Decision::Look(Look::Others);
        "the pool does not know it": |v| v.pool.me_up = None => person();
        "another one streams, this one does not":
            |v| the_primary(v).standbys[0].name = "node103".to_owned() => waits();
        "it catches up":
            |v| the_primary(v).standbys[0].state = "catchup".to_owned() => waits();
        "frozen": |v| v.me = status(Server::Silent, "in archive recovery", 6) => refuses();
    }
}

#[test]
fn a_standby_that_does_not_stream() {
    let base = || {
        let mut view = standby();
        broken_off(&mut view);
        view
    };
    let follows = || does(Action::Follow { primary: PRIMARY });
    table! { base,
        "follows a third": |v| v.follows = Some(THIRD.to_string()) => follows();
        "follows nobody": |v| v.follows = Some(String::new()) => follows();
        "follows a third, and the primary is silent": |v| {
            v.follows = Some(THIRD.to_string());
            v.primary = silent();
        } => refuses();
        "up to the fork": |_| () => waits();
        "its settings were not read": |v| v.unread = true => follows();
        "nor were they, and it is beyond the fork": |v| {
            v.unread = true;
            v.me.replayed = Some(Lsn(FORK + 1));
        } => recovers();
        "kept on its timeline": |v| v.kept_on = Some("current".to_owned()) => follows();
        "kept on the primary's": |v| {
            v.kept_on = Some("current".to_owned());
            v.me.timeline = 6;
        } => waits();
        "by the primary's name": |v| v.follows = Some("node102".to_owned()) => waits();
        "on the new timeline": |v| v.me.timeline = 6 => waits();
        "beyond the fork":
            |v| v.me.replayed = Some(Lsn(FORK + 1)) => recovers();
        "on a timeline of its own": |v| v.me.timeline = 4 => recovers();
        "on a newer timeline": |v| v.me.timeline = 7 => recovers();
        "beyond the fork, and the primary is silent": |v| {
            v.me.replayed = Some(Lsn(FORK + 1));
            v.primary = silent();
        } => refuses();
        "on another timeline of the same number": |v| {
            v.me.timeline = 6;
            v.history = History::parse(6, "4\t0/5000000\n5\t0/5500000\n").ok();
        } => recovers();
        "the same, but not beyond where they part": |v| {
            v.me.timeline = 6;
            v.history = History::parse(6, "4\t0/5000000\n5\t0/7000000\n").ok();
        } => waits();
        "its own history cannot be read": |v| v.history = None => waits();
        "the history cannot be read": |v| the_primary(v).history = None => refuses();
        "the primary has the WAL":
            |v| the_primary(v).wal = vec!["000000060000000000000006".to_owned()] => waits();
        "it has not":
            |v| the_primary(v).wal = vec!["000000060000000000000007".to_owned()] => person();
        "it has not, and this one still replays its own": |v| {
            the_primary(v).wal = vec!["000000060000000000000007".to_owned()];
            v.me.received = None;
            v.policy.may_copy = true;
        } => waits();
        "it has not, and may be copied": |v| {
            the_primary(v).wal = vec!["000000060000000000000007".to_owned()];
            v.policy.may_copy = true;
        } => recovers();
    }
}

#[test]
fn a_standby_that_is_down_is_just_started() {
    table! { stopped_standby,
        "shut down": |_| () => starts();
        "killed": |v| v.me.control_state = Some("in archive recovery".to_owned()) => starts();
        "the primary was not asked yet":
            |v| v.primary = None => Decision::Look(Look::Primary(PRIMARY));
        "the primary is silent": |v| v.primary = silent() => starts();
        "the primary is in recovery": |v| the_primary(v).in_recovery = true => starts();
        "its history cannot be read": |v| the_primary(v).history = None => starts();
        "up to the fork": |v| broken_off(v) => starts();
        "forced or not: a rewind would fork it": |v| {
            v.policy.force = true;
            v.policy.auto_recovery = true;
            v.pool.me_up = Some(false);
        } => starts();
        "without settings": |v| v.follows = None => starts();
        "nobody knows what it was": |v| v.me.control_state = None => refuses();
        "the pool has no primary": |v| v.pool.says = PoolSays::Nobody => starts_alone();
        "a failover holds it": |v| v.held = Some(0) => starts_alone();
        "a failover held it, and the primary is its new one": |v| {
            v.held = Some(0);
            v.me.timeline = 5;
        } => starts();
    }
    // None of these would start.
    table! { || changed(stopped_standby(), broken_off),
        "beyond the fork": |v| v.me.control = Some(Lsn(FORK + 1)) => recovers();
        "the same, killed": |v| {
            v.me.control = Some(Lsn(FORK + 1));
            v.me.control_state = Some("in archive recovery".to_owned());
        } => recovers();
        "on a timeline of its own": |v| v.me.timeline = 4 => recovers();
        "on another timeline of the same number": |v| {
            v.me.timeline = 6;
            v.me.control = Some(Lsn(FORK));
            v.history = History::parse(6, "4\t0/5000000\n5\t0/5500000\n").ok();
        } => recovers();
        "beyond the fork, and the primary is silent": |v| {
            v.me.control = Some(Lsn(FORK + 1));
            v.primary = silent();
        } => starts();
        "beyond the fork, and a base backup": |v| {
            v.me.control = Some(Lsn(FORK + 1));
            v.copy = Some(BaseBackup::Made);
        } => starts();
    }
}

#[test]
fn a_base_backup_is_just_started() {
    // The control file is the copied primary's.
    let base = || View {
        copy: Some(BaseBackup::Made),
        ..old_primary()
    };
    table! { base,
        "without consent: it has nothing of its own": |_| () => starts();
        "with consent, all the same": |v| v.policy.force = true => starts();
        "of a standby": |v| v.me.control_state = standby().me.control_state => starts();
        "in the place of what was being rewound": |v| v.left = left(Stage::Rewinding) => starts();
        "our own, in the middle of the swap": |v| v.left = left(Stage::Copying) => recovers();
        "our own, swapped": |v| v.left = left(Stage::Following) => recovers();
        "being made": |v| v.copy = Some(BaseBackup::UnderWay) => refuses();
        "being made in the place of what was being rewound": |v| {
            v.copy = Some(BaseBackup::UnderWay);
            v.left = left(Stage::Rewinding);
        } => refuses();
        "not whole, its control file comes last": |v| v.me.control_state = None => refuses();
        "a primary that runs has a label of its own": |v| v.me = wrong_primary().me =>
            Decision::Look(Look::PrimaryHost(PRIMARY));
        "the pool has this one": |v| v.pool.says = PoolSays::Me => refuses();
    }
    table! { all_down,
        "a copy of the last primary is not it": |v| v.copy = Some(BaseBackup::Made) => refuses();
    }
}

#[test]
fn a_primary_without_a_pool_goes_on_where_no_other_is_one() {
    table! { no_pool,
        "two standbys": |_| () => takes_over(false);
        "the others are down":
            |v| *other(v) = status(Server::Down, "shut down in recovery", 6) => takes_over(false);
        "a pool without a primary": |v| v.pool.says = PoolSays::Nobody => takes_over(false);
        "nobody was asked yet": |v| v.others = None => Decision::Look(Look::Others);
        "one does not answer":
            |v| v.others.as_mut().unwrap()[1].1 = Err("timeout".to_owned()) => refuses();
        "another is primary, not asked yet":
            |v| *other(v) = status(Server::Primary, "in production", 5)
            => Decision::Look(Look::Rival(THIRD));
        "another is newer": |v| other(v).timeline = 7 => person();
        "another cannot be asked":
            |v| *other(v) = status(Server::Silent, "in archive recovery", 6) => refuses();
        "another is being promoted": |v| other(v).in_work = true => refuses();
        "another has no data": |v| *other(v) = Status::default() => takes_over(false);
        "a standby": |v| v.me = standby().me => refuses();
        "a stranger is the pool's primary":
            |v| v.pool.says = PoolSays::Stranger(STRANGER.to_string()) => refuses();
    }
}

#[test]
fn what_stopped_itself_starts_again() {
    let base = || {
        let mut view = no_pool();
        view.me = status(Server::Down, "shut down", 6);
        view.self_fenced = true;
        view
    };
    table! { base,
        "the network is back": |_| () => takes_over(true);
        "it had to be killed":
            |v| v.me.control_state = Some("in production".to_owned()) => takes_over(true);
        "stopped by a person": |v| v.self_fenced = false => refuses();
        "nobody was asked yet": |v| v.others = None => Decision::Look(Look::Others);
        "one does not answer":
            |v| v.others.as_mut().unwrap()[1].1 = Err("timeout".to_owned()) => refuses();
        "another is primary":
            |v| *other(v) = status(Server::Primary, "in production", 6) => refuses();
        "another is newer": |v| other(v).timeline = 7 => person();
        "another cannot be asked":
            |v| *other(v) = status(Server::Silent, "in production", 6) => refuses();
        "another is being promoted": |v| other(v).in_work = true => refuses();
        "another's disk is not mounted": |v| *other(v) = Status::default() => refuses();
        "a standby since":
            |v| v.me.control_state = stopped_standby().me.control_state => starts_alone();
        "it would start as a standby": |v| v.follows = Some(String::new()) => person();
        "the pool has another": |v| v.pool = old_primary().pool => person();
    }
}

#[test]
fn of_all_that_are_down_the_last_primary_starts() {
    table! { all_down,
        "this one": |_| () => takes_over(true);
        "shut down": |v| v.me.control_state = Some("shut down".to_owned()) => takes_over(true);
        "no pool answers": |v| v.pool.says = PoolSays::NoAnswer(String::new()) => takes_over(true);
        "another was one before this one":
            |v| *other(v) = status(Server::Down, "in production", 5) => takes_over(true);
        "MAX_AVAILABLE_LEVEL=0": |v| v.policy.max_available = false => person();
        "another was one on the same timeline":
            |v| *other(v) = status(Server::Down, "shut down", 6) => person();
        "another was one later": |v| *other(v) = status(Server::Down, "shut down", 7) => person();
        "a standby is newer": |v| other(v).timeline = 7 => person();
        "a standby runs, which may promote itself": |v| {
            *other(v) = status(Server::Standby, "in archive recovery", 6);
            other(v).received = Some(Lsn(FORK + 1));
            other(v).replayed = Some(Lsn(FORK + 1));
        } => person();
        "a standby runs, which has not streamed": |v| {
            *other(v) = status(Server::Standby, "in archive recovery", 6);
            other(v).received = None;
        } => takes_over(true);
        "and is being promoted": |v| {
            *other(v) = status(Server::Standby, "in archive recovery", 6);
            other(v).received = None;
            other(v).in_work = true;
        } => refuses();
        "one runs and cannot be asked":
            |v| *other(v) = status(Server::Silent, "in archive recovery", 6) => refuses();
        "another's disk is not mounted": |v| *other(v) = Status::default() => refuses();
        "it would start as a standby": |v| v.follows = Some(String::new()) => person();
        "one does not answer":
            |v| v.others.as_mut().unwrap()[0].1 = Err("timeout".to_owned()) => refuses();
        "this one was a standby":
            |v| v.me.control_state = Some("shut down in recovery".to_owned()) => starts_alone();
        "nobody knows what this one was": |v| v.me.control_state = None => refuses();
    }
}

/// The failover came later than the pool's patience.
#[test]
fn a_pool_that_has_given_up_is_told_of_its_primary() {
    let base = || {
        let mut view = no_pool();
        view.pool = PoolView {
            says: PoolSays::Nobody,
            me_up: Some(true),
            down: vec![THIRD],
            all_down: false,
            own: false,
        };
        *other(&mut view) = status(Server::Down, "in production", 5);
        view
    };
    let third = |view: &mut View, answer| view.others.as_mut().unwrap()[1].1 = answer;
    assert_eq!(
        short(decide(&changed(base(), |v| third(
            v,
            Err("off".to_owned())
        )))),
        shows()
    );
    table! { base,
        "the old primary is down": |_| () => shows();
        "nobody was asked yet": |v| v.others = None => Decision::Look(Look::Others);
        "the old primary runs again, on the timeline that this one left":
            |v| *other(v) = status(Server::Primary, "in production", 5) => shows();
        "it is no parent of this one":
            |v| *other(v) = status(Server::Primary, "in production", 3) => Decision::Look(Look::Rival(THIRD));
        "another primary on the same timeline":
            |v| *other(v) = status(Server::Primary, "in production", 6) => Decision::Look(Look::Rival(THIRD));
        "an older one, which the pool has up": |v| {
            *other(v) = status(Server::Primary, "in production", 5);
            v.pool.down.clear();
        } => Decision::Look(Look::Rival(THIRD));
        "one that the pool has up does not answer":
            |v| v.others.as_mut().unwrap()[0].1 = Err("off".to_owned()) => refuses();
        "one cannot be asked": |v| *other(v) = status(Server::Silent, "", 5) => refuses();
        "one is being promoted": |v| other(v).in_work = true => refuses();
        "one is newer": |v| other(v).timeline = 7 => person();
        "the pool has this one down": |v| v.pool.me_up = Some(false) => takes_over(false);
        "no pool answers": |v| v.pool = no_pool().pool => takes_over(false);
        "a standby": |v| {
            v.me = standby().me;
            v.me.received = Some(Lsn(FORK + 1));
        } => does(Action::FailOver { old: THIRD });
        "a standby that was started since, and has not streamed": |v| {
            v.me = standby().me;
            v.me.received = None;
        } => person();
        "a standby that the pool has down": |v| {
            v.me = standby().me;
            v.pool.me_up = Some(false);
        } => person();
        "the pool names it": |v| v.pool.says = PoolSays::Me => does(Action::KeepPrimary);
    }
}

#[test]
fn the_vip_leaves_a_host_whose_server_is_sure_to_be_no_primary() {
    for (server, drops) in [
        (Server::Down, true),
        (Server::Standby, true),
        (Server::Primary, false),
        (Server::Silent, false),
    ] {
        let mut me = status(server, "in production", 6);
        assert!(!must_drop_vip(&me), "{server:?}");
        me.vip_here = true;
        assert_eq!(must_drop_vip(&me), drops, "{server:?}");
    }
}

// What holds whatever is seen.

/// Choices that are made by bytes, one each. A zero is the first one, so that a failing view shrinks to the
/// simplest one that fails.
struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn of<T>(&mut self, all: impl Into<Vec<T>>) -> T {
        let mut all = all.into();
        let at = usize::from(self.0.next().unwrap_or_default()) % all.len();
        all.swap_remove(at)
    }

    fn flag(&mut self) -> bool {
        self.of([false, true])
    }

    fn status(&mut self) -> Status {
        use Server::{Down, Primary, Silent, Standby};
        let server = self.of([Down, Down, Primary, Standby, Standby, Silent]);
        let states = [
            None,
            Some("in production"),
            Some("shut down"),
            Some("in archive recovery"),
            Some("shut down in recovery"),
        ];
        let state = self.of(states).map(str::to_owned);
        let timeline = self.of([0, 4, 5, 6, 6, 7]);
        Status {
            control_state: state,
            vip_here: self.flag(),
            in_work: self.of([false, false, true]),
            received: self.of([Some(Lsn(FORK)), Some(Lsn(FORK + 1))]),
            replayed: self.of([None, Some(Lsn(FORK + 1))]),
            ..status(server, "", timeline)
        }
    }

    fn answer(&mut self) -> Result<Status, String> {
        match self.of([0, 1, 1, 1]) {
            0 => Err("no answer".to_owned()),
            _ => Ok(self.status()),
        }
    }

    fn primary(&mut self) -> Result<Primary, String> {
        let states = ["streaming", "streaming", "catchup"];
        let senders = vec![sender(
            self.of(["node101", "node103"]),
            self.of(states),
            self.of(["sync", "async"]),
        )];
        let primary = Primary {
            in_recovery: self.of([false, false, true]),
            standbys: self.of([Vec::new(), senders]),
            ..the_primary(&mut standby()).clone()
        };
        self.of([Err("no answer".to_owned()), Ok(primary)])
    }

    fn view(&mut self) -> View {
        use PoolSays::{Me, NoAnswer, Nobody, Other, Stranger};
        let mut view = standby();
        view.others = None;
        let policy = &mut view.policy;
        policy.force = self.flag();
        policy.auto_recovery = self.flag();
        policy.max_available = self.flag();
        policy.may_copy = self.flag();
        policy.has_vip = self.flag();
        policy.gateway_lost = self.of([
            GatewayLostAction::Isolated,
            GatewayLostAction::Always,
            GatewayLostAction::Never,
        ]);
        view.self_fenced = self.flag();
        view.network = self.of([true, true, true, false]);
        view.has_data = self.of([true, true, true, false]);
        view.left = self.of([
            None,
            None,
            left(Stage::Preparing),
            left(Stage::Rewinding),
            left(Stage::Copying),
            left(Stage::Following),
        ]);
        view.copy = self.of([
            None,
            None,
            Some(BaseBackup::Made),
            Some(BaseBackup::UnderWay),
        ]);
        view.me = self.status();
        view.history = self.of([
            view.history.clone(),
            History::parse(5, "4\t0/5000000\n").ok(),
            History::parse(5, "4\t0/4000000\n").ok(),
            None,
        ]);
        view.follows = self.of([None, Some(PRIMARY.to_string()), Some(THIRD.to_string())]);
        view.unread = self.of([false, true]);
        view.kept_on = self.of([None, Some("current".to_owned())]);
        view.pool.says = self.of([
            NoAnswer(String::new()),
            Nobody,
            Me,
            Other(PRIMARY),
            Other(PRIMARY),
            Stranger(String::new()),
        ]);
        view.pool.me_up = self.of([None, Some(true), Some(false)]);
        view.pool.down = self.of([Vec::new(), vec![PRIMARY], vec![PRIMARY, THIRD]]);
        view.pool.all_down = self.of([false, false, true]);
        view.pool.own = self.flag();
        view.alone = view.me.in_recovery == Some(false) && self.flag();
        view.seen = None;
        view.primary = None;
        view.down_at = None;
        view
    }

    /// As a run does it.
    fn decide(&mut self, view: &mut View) -> Action {
        loop {
            match decide(view) {
                Decision::Do(verdict) => return verdict.action,
                Decision::Look(Look::Primary(host)) => {
                    assert!(host == PRIMARY && view.primary.is_none());
                    view.primary = Some(self.primary());
                }
                Decision::Look(Look::PrimaryHost(host)) => {
                    assert!(host == PRIMARY && view.primary_host.is_none());
                    view.primary_host = Some(self.answer());
                }
                Decision::Look(Look::Others) => {
                    assert!(view.others.is_none());
                    view.others = Some(vec![(PRIMARY, self.answer()), (THIRD, self.answer())]);
                }
                Decision::Look(Look::Rival(host)) => {
                    assert!(view.rival.is_none() || view.rival.as_ref().unwrap().0 != host);
                    view.rival = Some((host, self.primary()));
                }
                Decision::Look(Look::Pools) => {
                    assert!(view.down_at.is_none());
                    view.down_at = Some(self.of([Vec::new(), vec![PRIMARY], vec![PRIMARY, THIRD]]));
                }
                Decision::Look(Look::Life) => {
                    assert!(view.seen.is_none());
                    let others = self.of([0, 1, 2]);
                    view.seen = Some(Seen { others, hosts: 3 });
                }
            }
        }
    }
}

/// Whether a node joins the pool's primary without having asked whether a newer one, with the VIP, runs beside it.
fn joins_beside_a_newer(action: Action, view: &View) -> bool {
    let joins = matches!(
        action,
        Action::Recover { .. }
            | Action::Follow { .. }
            | Action::Start { .. }
            | Action::Rejoin { .. }
    );
    let Some(Ok(Primary {
        in_recovery: false,
        history: Some(theirs),
        ..
    })) = &view.primary
    else {
        return false;
    };
    let Some(others) = &view.others else {
        return joins && !view.policy.force;
    };
    let newer = |(address, it): (IpAddr, &Status)| {
        let has_vip = it.vip_here || !view.policy.has_vip;
        let is_primary = server(it) == Server::Primary && has_vip;
        address == THIRD && is_primary && it.timeline > theirs.timeline()
    };
    joins && !view.policy.force && answered(others).any(newer)
}

/// Whether an action has its reason in the view that it was decided on.
fn has_reason(action: Action, view: &View) -> bool {
    let here = server(&view.me);
    let half = view.left.as_ref().is_some_and(|it| match it.stage {
        Stage::Rewinding => !is_copy(view),
        stage => stage == Stage::Copying,
    });
    let answers = matches!(&view.primary, Some(Ok(it)) if !it.in_recovery)
        && view.pool.says == PoolSays::Other(PRIMARY);
    let was_primary = view.me.was_primary();
    if joins_beside_a_newer(action, view) {
        return false;
    }
    match action {
        Action::Nothing | Action::Refuse | Action::NeedsPerson => true,
        Action::SelfFence => {
            here == Server::Primary || here == Server::Silent && was_primary == Some(true)
        }
        Action::KeepPrimary => here == Server::Primary && view.pool.says == PoolSays::Me && !half,
        Action::StopWrongPrimary { primary, .. } if view.rival.is_some() => {
            let (asked, rival) = view.rival.as_ref().unwrap();
            let promoted = rival.as_ref().is_ok_and(|it| was_promoted_from(view, it));
            let no_other = !matches!(view.pool.says, PoolSays::Other(_));
            here == Server::Primary && primary == *asked && promoted && no_other
        }
        Action::StopWrongPrimary { primary, recover } => {
            here == Server::Primary && primary == PRIMARY && answers && is_proved(view, recover)
        }
        // What may stop a standby has a primary that answers.
        Action::Recover { primary } => {
            primary == PRIMARY && answers && (half || here != Server::Primary)
        }
        Action::Follow { primary } => {
            primary == PRIMARY && answers && here == Server::Standby && !half
        }
        Action::Rejoin { .. } | Action::Wait { .. } => answers && here == Server::Standby && !half,
        Action::Start { .. } => {
            let copy = view.copy == Some(BaseBackup::Made) && was_primary.is_some();
            here == Server::Down && !half && (was_primary == Some(false) || copy)
        }
        Action::ShowPrimary => here == Server::Primary && is_alone_for_the_pool(view) && !half,
        Action::StartStandby => {
            let no_pool = matches!(view.pool.says, PoolSays::NoAnswer(_) | PoolSays::Nobody);
            let was_standby = was_primary == Some(false) && view.copy.is_none();
            here == Server::Down && !half && was_standby && no_pool
        }
        Action::Detach => here == Server::Standby && another_is_primary(view) && !half,
        Action::FailOver { old } => {
            here == Server::Standby && nobody_is_primary(view) && !half && old != ME
        }
        Action::TakeOver { start } => {
            let expected = if start { Server::Down } else { Server::Primary };
            here == expected && may_take_over(view, start) && !half
        }
    }
}

fn is_proved(view: &View, recover: bool) -> bool {
    let newer = view.me.timeline < 6 && view.pool.me_up == Some(false);
    let holds_vip = matches!(&view.primary_host, Some(Ok(host)) if host.vip_here);
    let theirs = view.primary.as_ref().and_then(|it| it.as_ref().ok());
    let replaced = newer && was_promoted_from(view, theirs.unwrap());
    let proof = if view.policy.has_vip {
        holds_vip && (!view.me.vip_here || replaced)
    } else {
        newer
    };
    let consent = view.policy.force || view.policy.auto_recovery || view.follows.is_some();
    proof && (consent || !recover)
}

fn is_alone_for_the_pool(view: &View) -> bool {
    let others = view.others.as_deref().unwrap_or_default();
    let none_other = others.iter().all(|(address, answer)| match answer {
        Err(_) => view.pool.down.contains(address),
        Ok(it) if server(it) == Server::Primary => {
            view.pool.down.contains(address) && it.timeline < view.me.timeline
        }
        Ok(it) => server(it) != Server::Silent && !it.in_work && it.timeline <= view.me.timeline,
    });
    let asked = view.pool.says == PoolSays::Nobody && view.pool.me_up == Some(true);
    others.len() == 2 && none_other && asked
}

fn another_is_primary(view: &View) -> bool {
    let others = view.others.as_deref().unwrap_or_default();
    let primary = |it: &Status| it.in_recovery == Some(false) && it.timeline >= view.me.timeline;
    let another = others.iter().any(|(_, it)| it.as_ref().is_ok_and(primary));
    view.pool.says == PoolSays::Me && another
}

fn nobody_is_primary(view: &View) -> bool {
    let others = view.others.as_deref().unwrap_or_default();
    let none_primary = others.iter().all(|(_, answer)| {
        !answer
            .as_ref()
            .is_ok_and(|it| it.in_recovery == Some(false))
    });
    let in_recovery = matches!(&view.primary, Some(Ok(it)) if it.in_recovery);
    let says = matches!(view.pool.says, PoolSays::Nobody | PoolSays::Me)
        || view.pool.all_down
        || in_recovery;
    none_primary && says
}

fn may_take_over(view: &View, start: bool) -> bool {
    let others = view.others.as_deref().unwrap_or_default();
    let none_other = others.iter().all(|(_, answer)| {
        answer.as_ref().is_ok_and(|it| {
            matches!(server(it), Server::Standby | Server::Down)
                && !it.in_work
                && it.timeline <= view.me.timeline
                && (!start || it.timeline > 0)
        })
    });
    let wanted = view.self_fenced || view.policy.max_available;
    let safe = view.me.was_primary() == Some(true) && view.follows.is_none() && !is_copy(view);
    let allowed = !start || wanted && safe;
    let no_pool = matches!(view.pool.says, PoolSays::NoAnswer(_) | PoolSays::Nobody);
    others.len() == 2 && none_other && allowed && no_pool
}

#[test]
fn whatever_is_seen_nothing_is_stopped_or_started_without_reason() {
    let config = Config {
        cases: 60_000,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let seen = std::cell::RefCell::new(std::collections::HashMap::new());
    let bytes = proptest::collection::vec(proptest::num::u8::ANY, 200);
    let tried = TestRunner::new_with_rng(config, rng).run(&bytes, |bytes| {
        let mut choices = Choices(bytes.into_iter());
        let mut view = choices.view();
        let action = choices.decide(&mut view);
        let mut seen = seen.borrow_mut();
        *seen.entry(std::mem::discriminant(&action)).or_insert(0) += 1;
        prop_assert!(has_reason(action, &view), "{action:?} for {view:#?}");
        Ok(())
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
    let seen = seen.into_inner();
    assert_eq!(seen.len(), 16, "not every action was decided on: {seen:?}");
}

fn fence(young: bool) -> Option<Fence> {
    Some(Fence {
        since: "2026-01-01 00:00:00".to_owned(),
        run: "run".to_owned(),
        young,
        started_by: None,
    })
}

/// The gap between the fence and the promotion: two primaries would write for seconds.
#[test]
fn what_a_failover_has_stopped_does_not_come_back_meanwhile() {
    table! { no_pool,
        "it runs, nobody fenced it": |_| () => takes_over(false);
        "it runs, fenced just now": |v| v.fenced = fence(true) => refuses();
        "it runs, fenced long ago": |v| v.fenced = fence(false) => takes_over(false);
    }
    table! { || changed(all_down(), |v| v.policy.max_available = false),
        "down, fenced just now": |v| v.fenced = fence(true) => refuses();
        "down, fenced long ago, nobody was promoted": |v| v.fenced = fence(false) => takes_over(true);
        "down, fenced long ago, not looked yet": |v| {
            v.fenced = fence(false);
            v.others = None;
        } => Decision::Look(Look::Others);
        "down, fenced long ago, another was promoted": |v| {
            v.fenced = fence(false);
            other(v).timeline = 7;
        } => person();
        "down, fenced just now, and everything is to be available": |v| {
            v.fenced = fence(true);
            v.policy.max_available = true;
        } => refuses();
    }
}

/// A supervisor has started it again, as a standby. What only it has is still there.
#[test]
fn what_was_fenced_and_started_again_needs_the_same_consent() {
    let restarted = || {
        changed(standby(), |v| {
            v.fenced = fence(false);
            v.follows = None;
            v.me.timeline = 5;
            v.history = replaced_primary().history;
            v.pool = down(PoolSays::Other(PRIMARY));
            the_primary(v).standbys.clear();
        })
    };
    table! { restarted,
        "no consent": |_| () => person();
        "young makes no difference": |v| v.fenced = fence(true) => person();
        "AUTO_PRIMARY_RECOVERY": |v| v.policy.auto_recovery = true => recovers();
        "--force": |v| v.policy.force = true => recovers();
        "an operator's settings": |v| v.follows = Some(PRIMARY.to_string()) => recovers();
        "consent, and no primary": |v| {
            v.policy.force = true;
            v.primary = silent();
        } => refuses();
        "not looked yet": |v| v.primary = None => Decision::Look(Look::Primary(PRIMARY));
        "stopped again": |v| {
            v.me = status(Server::Down, "shut down in recovery", 5);
        } => person();
        "it streams: somebody has made a standby of it": |v| {
            v.follows = Some(PRIMARY.to_string());
            v.me.timeline = 6;
            v.pool.me_up = Some(true);
            the_primary(v).standbys = vec![sender("node101", "streaming", "sync")];
        } => nothing();
    }
}

/// A row of the issue each: what a simulated cluster found missing.
#[test]
fn a_standby_that_has_left_the_history_is_not_pointed_to_it_first() {
    let gone = || {
        changed(standby(), |v| {
            broken_off(v);
            v.me.received = Some(Lsn(FORK + 1));
            v.me.replayed = None;
            v.follows = Some(THIRD.to_string());
        })
    };
    table! { gone,
        "beyond the fork": |_| () => recovers();
        "up to the fork": |v| v.me.received = Some(Lsn(FORK)) => does(Action::Follow {
            primary: PRIMARY,
        });
        "the same history, other WAL": |v| {
            v.me.received = Some(Lsn(FORK));
            the_primary(v).parts_at = Some(Lsn(FORK));
        } => recovers();
    }
    let decision = decide_without(&gone(), &[Row::LeftFirst]);
    assert_eq!(short(decision), does(Action::Follow { primary: PRIMARY }));
}

#[test]
fn what_replaced_the_pools_primary_does_not_follow_it() {
    // The pool has found an old primary again, on timeline 5.
    let old = |v: &mut View| {
        the_primary(v).history = History::parse(5, "4\t0/5000000\n").ok();
        the_primary(v).standbys.clear();
    };
    let old = |v: &mut View| {
        old(v);
        v.follows = Some(THIRD.to_string());
    };
    table! { || changed(standby(), old),
        "a running standby of another": |_| () => person();
        "one that was told to follow the pool's primary":
            |v| v.follows = Some(PRIMARY.to_string()) => recovers();
        "a person wants that one": |v| v.policy.force = true => recovers();
        "it is down": |v| v.me = stopped_standby().me => person();
        "it is a primary, which a failover gave the VIP": |v| {
            v.me = primary().me;
            v.me.vip_here = true;
        } => person();
        "it is down, was a primary, and would be recovered": |v| {
            v.me = all_down().me;
            v.follows = None;
            v.policy.auto_recovery = true;
            v.primary_host = Some(Ok(status(Server::Primary, "in production", 5)));
        } => person();
        "and nobody has a VIP": |v| {
            v.me = all_down().me;
            v.follows = None;
            v.policy.auto_recovery = true;
            v.policy.has_vip = false;
        } => person();
        "and the host of the pool's primary does not answer": |v| {
            v.me = all_down().me;
            v.follows = None;
            v.policy.auto_recovery = true;
            v.primary_host = Some(Err("no route".to_owned()));
        } => person();
    }
}

#[test]
fn who_was_promoted_by_mistake_has_replaced_nobody() {
    // The pool's primary is older, and has the VIP: no failover has given it away.
    let mistake = || {
        changed(standby(), |v| {
            the_primary(v).history = History::parse(5, "4\t0/5000000\n").ok();
            the_primary(v).standbys.clear();
            let mut host = status(Server::Primary, "in production", 5);
            host.vip_here = true;
            v.primary_host = Some(Ok(host));
            v.me = primary().me;
            v.me.vip_here = false;
            v.follows = None;
        })
    };
    let stops = |recover| {
        does(Action::StopWrongPrimary {
            primary: PRIMARY,
            recover,
        })
    };
    table! { mistake,
        "it is stopped": |_| () => stops(false);
        "with consent it is recovered": |v| v.policy.auto_recovery = true => stops(true);
        "the VIP is not looked at yet":
            |v| v.primary_host = None => Decision::Look(Look::PrimaryHost(PRIMARY));
        "it is a standby since, and is recovered": |v| {
            v.me = standby().me;
            v.me.received = Some(Lsn(FORK + 1));
            v.follows = Some(PRIMARY.to_string());
        } => recovers();
        "it is down, and is recovered": |v| {
            v.me = all_down().me;
            v.policy.auto_recovery = true;
        } => recovers();
    }
}

#[test]
fn of_two_primaries_without_a_pool_the_timelines_prove_which_is_right() {
    let two = || {
        changed(no_pool(), |v| {
            *other(v) = status(Server::Primary, "in production", 7);
            other(v).vip_here = true;
            let mut rival = the_primary(&mut standby()).clone();
            rival.history = History::parse(7, "4\t0/5000000\n5\t0/6000000\n6\t0/7000000\n").ok();
            v.rival = Some((THIRD, Ok(rival)));
        })
    };
    let rival = |v: &mut View, history| {
        if let Some((_, Ok(rival))) = &mut v.rival {
            rival.history = history;
        }
    };
    let stops = |recover| {
        does(Action::StopWrongPrimary {
            primary: THIRD,
            recover,
        })
    };
    assert_eq!(short(decide(&two())), stops(false));
    let consent = changed(two(), |v| v.policy.auto_recovery = true);
    assert_eq!(short(decide(&consent)), stops(true));
    let not_asked = changed(two(), |v| v.rival = None);
    assert_eq!(decide(&not_asked), Decision::Look(Look::Rival(THIRD)));
    // No failover gave it the VIP: a person may have promoted it by mistake.
    let mistake = changed(two(), |v| other(v).vip_here = false);
    assert_eq!(short(decide(&mistake)), person());
    let no_vip = changed(mistake, |v| v.policy.has_vip = false);
    assert_eq!(short(decide(&no_vip)), stops(false));
    // It was promoted from another: nobody can tell.
    let stranger = changed(two(), |v| {
        rival(v, History::parse(7, "4\t0/5000000\n").ok())
    });
    assert_eq!(short(decide(&stranger)), person());
    // This one was promoted from that one: it stops itself.
    let older = changed(two(), |v| {
        rival(v, History::parse(5, "4\t0/5000000\n").ok())
    });
    assert_eq!(short(decide(&older)), person());
    // The pool names this one, and nobody streams from it. That one has the VIP: by a failover.
    let named = changed(two(), |v| {
        v.pool = primary().pool;
        v.alone = true;
        other(v).vip_here = true;
    });
    assert_eq!(short(decide(&named)), stops(false));
    // Without the VIP somebody has promoted it by mistake: it is the one that stops.
    let mistake = changed(named.clone(), |v| other(v).vip_here = false);
    assert_eq!(short(decide(&mistake)), does(Action::KeepPrimary));
    let busy = changed(named, |v| v.alone = false);
    assert_eq!(short(decide(&busy)), does(Action::KeepPrimary));
}

#[test]
fn with_leave_to_start_it_the_last_primary_comes_first() {
    let last = |v: &mut View| {
        v.policy.max_available = true;
        *other(v) = status(Server::Down, "in production", 6);
    };
    let down = || {
        changed(no_pool(), |v| {
            v.me = stopped_standby().me;
            last(v);
        })
    };
    table! { down,
        "the standby waits": |_| () => refuses();
        "not looked yet": |v| v.others = None => Decision::Look(Look::Others);
        "nobody allows it": |v| v.policy.max_available = false => does(Action::StartStandby);
        "it was a primary before that":
            |v| other(v).timeline = 5 => does(Action::StartStandby);
        "another host has a newer timeline": |v| {
            v.others.as_mut().unwrap()[1].1 = Ok(status(Server::Down, "shut down in recovery", 7));
        } => does(Action::StartStandby);
        "a primary runs on a third host": |v| {
            v.others.as_mut().unwrap()[1].1 = Ok(status(Server::Primary, "in production", 5));
        } => does(Action::StartStandby);
        "it is half rewound":
            |v| other(v).obstacle = Some("unfinished".to_owned()) => does(Action::StartStandby);
    }
    // And a standby that runs does not keep it down, once no pool promotes it.
    let up = || {
        changed(all_down(), |v| {
            v.pool.all_down = true;
            *other(v) = status(Server::Standby, "in archive recovery", 6);
        })
    };
    table! { up,
        "it starts": |_| () => does(Action::TakeOver { start: true });
        "a pool may be failing over": |v| {
            v.pool.all_down = false;
            v.pool.says = PoolSays::NoAnswer("busy".to_owned());
        } => person();
        "the standby is further": |v| other(v).timeline = 7 => person();
    }
}

#[test]
fn the_mark_of_a_rewind_over_a_running_primary_is_for_a_person() {
    let marked = || {
        changed(wrong_primary(), |v| {
            v.left = left(Stage::Rewinding);
            v.policy.auto_recovery = true;
        })
    };
    table! { marked,
        "it runs": |_| () => person();
        "a person wants it": |v| v.policy.force = true => recovers();
        "it is down": |v| v.me = old_primary().me => recovers();
    }
}

/// It was a primary beside the pool's, both promoted from the same timeline, and nobody has decided.
fn undecided() -> View {
    changed(old_primary(), |v| {
        v.policy.auto_recovery = true;
        v.undecided = true;
        v.history = History::parse(5, "4\t0/5000000\n").ok();
        the_primary(v).history = History::parse(6, "4\t0/5000000\n").ok();
    })
}

#[test]
fn of_two_primaries_that_nobody_decided_between_none_is_recovered_by_itself() {
    table! { undecided,
        "that it is down decides nothing": |_| () => person();
        "nor that somebody has started it": |v| {
            v.me = wrong_primary().me;
            v.primary_host = wrong_primary().primary_host;
        } => stops(false);
        "a person decides": |v| v.policy.force = true => recovers();
        "a person has, and that run was cut short": |v| v.left = left(Stage::Preparing) => recovers();
        "the other one was promoted from this one since": |v| {
            the_primary(v).history = History::parse(6, "4\t0/5000000\n5\t0/6000000\n").ok();
        } => recovers();
        "the other one alone has noticed": |v| {
            v.undecided = false;
            v.primary_host = Some(Ok(Status {
                undecided: true,
                ..status(Server::Primary, "in production", 6)
            }));
        } => person();
        "it has not": |v| {
            v.undecided = false;
            v.primary_host = Some(Ok(status(Server::Primary, "in production", 6)));
        } => recovers();
        "it was not asked": |v| {
            v.undecided = false;
            v.primary_host = None;
        } => Decision::Look(Look::PrimaryHost(PRIMARY));
    }
    let out = decide_without(&undecided(), &[super::Row::Undecided]);
    assert_eq!(short(out), recovers());
}

#[test]
fn two_primaries_are_to_be_remembered_where_nothing_proves_which_is_right() {
    let remembers = |view: View| match decide(&view) {
        Decision::Do(verdict) => verdict.undecided,
        Decision::Look(look) => panic!("{look:?}"),
    };
    assert!(remembers(changed(wrong_primary(), |v| v.me.vip_here = true)));
    // Whether the pool's is one is not known.
    assert!(!remembers(
        changed(wrong_primary(), |v| v.primary = silent())
    ));
    // The VIP proves it.
    assert!(!remembers(wrong_primary()));
    assert!(!remembers(old_primary()));
}

#[test]
fn a_failover_that_came_to_nothing_is_run_again() {
    let due = || {
        changed(standby(), |v| {
            v.pool.says = PoolSays::Nobody;
            // A server that has only asked for WAL shows a segment's beginning.
            v.me.received = Some(Lsn(FORK + 1));
            v.others = Some(vec![
                (PRIMARY, Ok(status(Server::Down, "in production", 6))),
                (THIRD, Ok(status(Server::Standby, "in archive recovery", 6))),
            ]);
        })
    };
    let fails_over = || does(Action::FailOver { old: PRIMARY });
    table! { due,
        "the old primary is down": |_| () => fails_over();
        "its host gives no answer": |v| v.others.as_mut().unwrap()[0].1 = Err("no".to_owned())
            => fails_over();
        "every node is down in the pool": |v| {
            v.pool.says = PoolSays::NoAnswer(String::new());
            v.pool.all_down = true;
        } => fails_over();
        "the pool gives no answer": |v| v.pool.says = PoolSays::NoAnswer(String::new()) => refuses();
        "it was started since, and has only asked for WAL": |v| v.me.received = Some(Lsn(FORK)) => person();
        "not looked yet": |v| v.others = None => Decision::Look(Look::Others);
        "another standby is further": |v| other(v).received = Some(Lsn(u64::MAX)) => person();
        "another is on a newer timeline": |v| other(v).timeline = 7 => person();
        "another is a primary": |v| *other(v) = status(Server::Primary, "in production", 7)
            => refuses();
        "another is an old primary": |v| *other(v) = status(Server::Primary, "in production", 5)
            => person();
        "another is being promoted": |v| other(v).in_work = true => refuses();
        "this one cannot be promoted": |v| v.me.obstacle = Some("why".to_owned()) => person();
        "paused": |v| v.paused = Some(Pause { since: String::new(), why: String::new() })
            => nothing();
    }
}

#[test]
fn a_standby_that_the_pool_has_as_its_primary_is_detached() {
    let named = || {
        changed(standby(), |v| {
            v.pool.says = PoolSays::Me;
            v.others = Some(vec![
                (
                    PRIMARY,
                    Ok(status(Server::Standby, "in archive recovery", 6)),
                ),
                (THIRD, Ok(status(Server::Primary, "in production", 7))),
            ]);
        })
    };
    table! { named,
        "another is a primary": |_| () => does(Action::Detach);
        "an old one": |v| other(v).timeline = 5 => person();
        "not looked yet": |v| v.others = None => Decision::Look(Look::Others);
    }
}

#[test]
fn what_a_failover_holds_is_left_to_it() {
    let held = || {
        changed(standby(), |v| {
            v.held = Some(0);
            v.follows = Some("nobody".to_owned());
            the_primary(v).standbys.clear();
        })
    };
    table! { held,
        "the old primary is the pool's": |_| () => refuses();
        "the new one is": |v| broken_off(v) => does(Action::Follow { primary: PRIMARY });
        "that was long ago": |v| v.held = None => does(Action::Follow { primary: PRIMARY });
    }
    // One that is down must not be made a standby of the old primary meanwhile, which is on timeline 6.
    let recovered = || {
        changed(replaced_primary(), |v| {
            v.policy.auto_recovery = true;
            v.held = Some(7);
        })
    };
    table! { recovered,
        "it would be recovered": |_| () => refuses();
        "the new primary is there": |v| v.held = Some(6) => recovers();
        "that was long ago": |v| v.held = None => recovers();
        "half rewound to the old one": |v| {
            v.left = left(Stage::Rewinding);
            v.held = Some(0);
            v.left.as_mut().unwrap().timeline = Some(6);
        } => refuses();
        "half rewound to one before that": |v| {
            v.left = left(Stage::Rewinding);
            v.held = Some(0);
            v.left.as_mut().unwrap().timeline = Some(5);
        } => recovers();
        "fenced, and started by somebody": |v| {
            v.fenced = fence(false);
            v.me = status(Server::Standby, "in archive recovery", 5);
            the_primary(v).standbys.clear();
        } => refuses();
    }
}

#[test]
fn who_was_promoted_by_a_failover_does_not_follow_what_it_has_replaced() {
    // The pool has found the old primary again, on timeline 5, which has the VIP still.
    let elected = || {
        changed(old_primary(), |v| {
            v.policy.auto_recovery = true;
            v.me = status(Server::Down, "in production", 6);
            v.primary_host = Some(Ok(Status {
                vip_here: true,
                ..status(Server::Primary, "in production", 5)
            }));
            v.told = 6;
            the_primary(v).history = History::parse(5, "4\t0/5000000\n").ok();
        })
    };
    table! { elected,
        "it is down": |_| () => person();
        "it runs, and lost the VIP with its power":
            |v| v.me = status(Server::Primary, "in production", 6) => person();
        "fenced since, and started by somebody": |v| {
            v.fenced = fence(false);
            v.me = status(Server::Standby, "in archive recovery", 6);
            the_primary(v).standbys.clear();
        } => person();
        "a person wants the old one": |v| v.policy.force = true => recovers();
        "no failover has told of its timeline": |v| v.told = 5 => recovers();
    }
}

/// It was told to follow the new primary, could not, since it had more than that one, and the pool has
/// found the old one again.
#[test]
fn a_standby_that_never_reached_its_new_primary_is_not_pointed_back() {
    let told = || {
        changed(standby(), |v| {
            v.me = status(Server::Standby, "in archive recovery", 5);
            v.history = History::parse(5, "4\t0/5000000\n").ok();
            v.follows = Some(THIRD.to_string());
            v.told = 6;
            let newer = the_primary(v).clone();
            v.rival = Some((THIRD, Ok(newer)));
            the_primary(v).history = History::parse(5, "4\t0/5000000\n").ok();
            the_primary(v).standbys.clear();
        })
    };
    let follows = || does(Action::Follow { primary: PRIMARY });
    table! { told,
        "it runs": |_| () => person();
        "it is down": |v| v.me = status(Server::Down, "shut down in recovery", 5) => person();
        "that one was not asked": |v| v.rival = None => Decision::Look(Look::Rival(THIRD));
        "that one does not answer": |v| v.rival.as_mut().unwrap().1 = Err("no route".to_owned()) => follows();
        "that one was not promoted": |v| v.rival.as_mut().unwrap().1.as_mut().unwrap().in_recovery = true => follows();
        "that one is no newer": |v| {
            let older = the_primary(v).history.clone();
            v.rival.as_mut().unwrap().1.as_mut().unwrap().history = older;
        } => follows();
        "no failover has told of its timeline": |v| v.told = 5 => follows();
        "a person wants the old one": |v| v.policy.force = true => follows();
    }
    let Decision::Do(verdict) = decide(&told()) else {
        panic!("nothing is decided");
    };
    let advice = "stop the database on 192.168.1.102";
    assert!(verdict.why.contains(advice), "{}", verdict.why);
}

/// The pool has found a standby, and takes it for its primary: it fails over from nobody.
#[test]
fn where_the_pools_primary_is_in_recovery_the_last_one_comes_back() {
    let nobodys = || {
        changed(all_down(), |v| {
            v.policy.auto_recovery = true;
            v.policy.max_available = false;
            v.self_fenced = true;
            v.pool = down(PoolSays::Other(PRIMARY));
            v.primary = standby().primary;
            the_primary(v).in_recovery = true;
        })
    };
    table! { nobodys,
        "it had stopped itself": |_| () => takes_over(true);
        "nothing allows its start": |v| v.self_fenced = false => person();
        "another one is newer": |v| *other(v) = status(Server::Down, "in production", 7) => person();
        "another one is at work": |v| other(v).in_work = true => refuses();
        "another host was not asked": |v| v.others = None => Decision::Look(Look::Others);
        "the pool's primary gives no answer": |v| v.primary = silent() => refuses();
        "a failover may be under way": |v| v.fenced = fence(true) => refuses();
        "fenced, and started by somebody since": |v| {
            v.self_fenced = false;
            v.fenced = fence(false);
            v.me = Status {
                obstacle: Some("a failover stopped its primary".to_owned()),
                ..status(Server::Standby, "in archive recovery", 6)
            };
        } => person();
    }
}

#[test]
fn a_standby_whose_settings_name_no_host_is_pointed_to_the_primary() {
    let nobodys = || {
        changed(standby(), |v| {
            v.follows = None;
            the_primary(v).standbys.clear();
        })
    };
    table! { nobodys,
        "it would wait for ever": |_| () => does(Action::Follow { primary: PRIMARY });
        "they name the primary": |v| v.follows = Some(PRIMARY.to_string()) => waits();
    }
}

#[test]
fn a_primary_over_the_mark_of_a_rewind_is_nobodys_turn_elsewhere() {
    let half = |v: &mut View| {
        *other(v) = status(Server::Primary, "in production", 6);
        other(v).obstacle = Some("its rewind is unfinished".to_owned());
    };
    let pool = |v: &mut View| v.pool.says = PoolSays::Nobody;
    for (what, view) in [
        ("the last primary is down", all_down()),
        (
            "a standby runs",
            changed(no_pool(), |v| v.me = standby().me),
        ),
    ] {
        let view = changed(changed(view, half), pool);
        assert_eq!(short(decide(&view)), person(), "{what}");
    }
}

/// A pool that was away has found the old primary again: whoever joins that one acknowledges what the new
/// primary never gets.
#[test]
fn nobody_joins_the_pools_primary_beside_a_newer_one() {
    let beside = |mut view: View| {
        let newer = Status {
            vip_here: true,
            ..status(Server::Primary, "in production", 7)
        };
        let primary = Ok(status(Server::Primary, "in production", 6));
        view.others = Some(vec![(PRIMARY, primary), (THIRD, Ok(newer))]);
        view
    };
    let held = || {
        changed(standby(), |v| {
            v.follows = Some("nobody.invalid".to_owned());
            the_primary(v).standbys.clear();
        })
    };
    table! { || beside(stopped_standby()),
        "a standby that is down": |_| () => person();
        "not asked yet": |v| v.others = None => Decision::Look(Look::Others);
        "it was promoted by mistake, and has no VIP": |v| other(v).vip_here = false => starts();
        "it has no VIP, as nobody has": |v| {
            other(v).vip_here = false;
            v.policy.has_vip = false;
        } => person();
        "it is a standby": |v| other(v).in_recovery = Some(true) => starts();
        "it is older": |v| other(v).timeline = 5 => starts();
        "as new": |v| other(v).timeline = 6 => starts();
        "it does not say": |v| v.others = Some(vec![(THIRD, Err("no login".to_owned()))]) => starts();
        "there is no third host": |v| {
            v.policy.names.truncate(2);
            v.others = None;
        } => starts();
        "a person wants the pool's": |v| v.policy.force = true => starts();
    }
    table! { || beside(held()),
        "one that a failover had held": |_| () => person();
        "a person wants the pool's": |v| v.policy.force = true => does(Action::Follow {
            primary: PRIMARY,
        });
    }
    table! { || beside(changed(standby(), |v| v.pool.me_up = Some(false))),
        "one that streams, and would be attached": |_| () => person();
    }
    table! { || beside(standby()),
        "a quiet minute": |_| () => nothing();
    }
    let old = || {
        changed(old_primary(), |v| {
            v.policy.auto_recovery = true;
            v.primary_host = wrong_primary().primary_host;
        })
    };
    table! { || beside(old()),
        "one that would be recovered": |_| () => person();
    }
    let out = decide_without(&beside(stopped_standby()), &[Row::Newer]);
    assert_eq!(short(out), starts());
}

/// Two failovers from two hosts would promote two standbys.
#[test]
fn a_fenced_host_is_the_old_primary_whatever_its_server_is_by_now() {
    let nobody = || {
        changed(standby(), |v| {
            v.pool.says = PoolSays::Nobody;
            v.me.received = Some(Lsn(FORK + 1));
            let fenced = Status {
                fenced: true,
                obstacle: Some("a failover stopped its primary".to_owned()),
                ..status(Server::Standby, "in archive recovery", 6)
            };
            let silent = Err("no login".to_owned());
            v.others = Some(vec![(THIRD, silent), (PRIMARY, Ok(fenced))]);
        })
    };
    let from = |old| does(Action::FailOver { old });
    table! { nobody,
        "it runs as a standby": |_| () => from(PRIMARY);
        "no failover has fenced it": |v| other(v).fenced = false => from(THIRD);
    }
}

/// A recovery had its instance when the failover came: its settings name the old primary still.
#[test]
fn what_a_failover_could_only_leave_its_word_for_is_not_started() {
    let word = |v: &mut View| {
        v.held = Some(7);
        v.word_only = true;
    };
    table! { || changed(stopped_standby(), word),
        "the pool has the old primary": |_| () => refuses();
        "that one is silent": |v| v.primary = silent() => refuses();
        "its settings were written, too": |v| v.word_only = false => does(Action::StartStandby);
        "that failover is over": |v| v.held = None => starts();
    }
    table! { || changed(stopped_standby(), |v| { word(v); v.pool.says = PoolSays::Nobody; }),
        "the pool has nobody": |_| () => refuses();
        "its settings were written, too": |v| v.word_only = false => does(Action::StartStandby);
    }
}
