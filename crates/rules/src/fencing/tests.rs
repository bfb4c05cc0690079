//! Row by row: where an old primary stands, and what is asked on the way.

use super::*;
use crate::facts::policy::PromoteWithoutFence::{Always, Never, Unreachable};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);
const OLD_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 168, 1, last])
}

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn signs(alive: bool) -> Signs {
    Signs {
        alive,
        answered: alive,
        seen: "seen".into(),
    }
}

fn not_run() -> Result<FenceReport, NoReport> {
    Err(NoReport::NotRun("refused".into()))
}

fn failed() -> Result<FenceReport, NoReport> {
    Err(NoReport::Failed("left".into()))
}

fn report() -> Result<FenceReport, NoReport> {
    Ok(FenceReport::default())
}

type Change = fn(&mut OldPrimary);

fn changed(mut old: OldPrimary, change: Change) -> OldPrimary {
    change(&mut old);
    old
}

fn nothing(_: &mut OldPrimary) {}

fn dead() -> OldPrimary {
    changed(OldPrimary::default(), |it| it.signs = Some(signs(false)))
}

fn alive() -> OldPrimary {
    changed(OldPrimary::default(), |it| it.signs = Some(signs(true)))
}

fn sshd_dead() -> OldPrimary {
    changed(alive(), |it| it.report = Some(not_run()))
}

/// Whether to promote, with each policy.
fn is_promoted(old: &OldPrimary) -> [bool; 3] {
    let outcome = fenced(old);
    [Never, Unreachable, Always].map(|policy| may_promote(policy, &outcome).is_ok())
}

fn each_is_promoted<const N: usize>(base: &OldPrimary, rows: [(&str, Change, [bool; 3]); N]) {
    for (what, change, expected) in rows {
        let old = changed(base.clone(), change);
        assert_eq!(is_promoted(&old), expected, "{what}: {:?}", fenced(&old));
    }
}

#[test]
fn a_dead_host_is_unreachable() {
    let (yes, unreachable, no) = ([true; 3], [false, true, true], [false, false, true]);
    each_is_promoted(
        &dead(),
        [
            ("dead host", nothing, unreachable),
            (
                "ssh failed already",
                |it| it.report = Some(not_run()),
                unreachable,
            ),
            (
                "a standby heard from it",
                |it| it.heard_by = vec![ip(103)],
                no,
            ),
            (
                "it answers for the VIP",
                |it| it.vip = VipHolder::OldPrimary,
                no,
            ),
            (
                "the VIP could not be asked for",
                |it| it.vip = VipHolder::Unknown,
                no,
            ),
            (
                "somebody else has the VIP",
                |it| it.vip = VipHolder::Stranger(MAC),
                no,
            ),
            (
                "fenced, and somebody else has the VIP",
                |it| {
                    it.report = Some(report());
                    it.vip = VipHolder::Stranger(MAC);
                },
                no,
            ),
            (
                "ports refuse, but nothing else answers: a firewall may do that",
                |it| {
                    it.port_refuses = true;
                    it.signs = Some(Signs {
                        answered: false,
                        ..signs(true)
                    });
                },
                no,
            ),
        ],
    );
    each_is_promoted(
        &OldPrimary::default(),
        [
            (
                "fenced by its own copy",
                |it| it.report = Some(report()),
                yes,
            ),
            ("nothing was looked at", nothing, no),
        ],
    );
}

#[test]
fn a_host_that_lives_is_fenced_by_a_report_or_a_port() {
    let (yes, no) = ([true; 3], [false, false, true]);
    each_is_promoted(
        &sshd_dead(),
        [
            ("database writes", nothing, no),
            ("database port refuses", |it| it.port_refuses = true, yes),
            (
                "database port refuses, and a standby hears it all the same",
                |it| {
                    it.port_refuses = true;
                    it.heard_by = vec![ip(103)];
                },
                no,
            ),
            (
                "database port refuses, and a standby may yet say that it hears it",
                |it| {
                    it.port_refuses = true;
                    it.standbys_pending = true;
                },
                no,
            ),
            (
                "fence step failed, port refuses: processes are left",
                |it| {
                    it.report = Some(failed());
                    it.port_refuses = true;
                },
                no,
            ),
        ],
    );
}

#[test]
fn when_looking_is_over() {
    let rows: [(&str, OldPrimary, Change, bool); 12] = [
        ("nothing yet", OldPrimary::default(), nothing, false),
        (
            "fenced",
            OldPrimary::default(),
            |it| it.report = Some(report()),
            true,
        ),
        ("dead", dead(), nothing, true),
        (
            "a standby may have heard it",
            dead(),
            |it| it.standbys_pending = true,
            false,
        ),
        (
            "a standby heard it",
            dead(),
            |it| it.heard_by = vec![ip(103)],
            false,
        ),
        ("alive", alive(), nothing, false),
        (
            "ssh still tries, port refuses",
            alive(),
            |it| it.port_refuses = true,
            false,
        ),
        ("not fenced", alive(), |it| it.report = Some(failed()), true),
        ("ssh refused", sshd_dead(), nothing, false),
        (
            "ssh refused, port too",
            sshd_dead(),
            |it| it.port_refuses = true,
            true,
        ),
        (
            "ssh refused, port too, but a standby hears it",
            sshd_dead(),
            |it| {
                it.port_refuses = true;
                it.heard_by = vec![ip(103)];
            },
            false,
        ),
        (
            "ssh refused, port too, but a standby may yet hear it",
            sshd_dead(),
            |it| {
                it.port_refuses = true;
                it.standbys_pending = true;
            },
            false,
        ),
    ];
    for (what, base, change, clear) in rows {
        assert_eq!(changed(base, change).is_clear(false), clear, "{what}");
    }
}

#[test]
fn whose_the_vip_is() {
    let (old, standby) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    let whose = |mac| vip_holder(mac, &[old], &[standby]);
    assert_eq!(whose(old), VipHolder::OldPrimary);
    assert_eq!(whose(standby), VipHolder::Nobody);
    assert_eq!(whose(MAC), VipHolder::Stranger(MAC));
}

#[test]
fn standbys_are_held_unless_it_stopped_itself() {
    let fenced = changed(OldPrimary::default(), |it| it.report = Some(report()));
    let unreachable = changed(dead(), |it| it.report = Some(not_run()));
    assert!(!needs_hold(&fenced, 2));
    assert!(needs_hold(&unreachable, 2));
    assert!(!needs_hold(&unreachable, 1));
}

/// Three hosts, 101 being the old primary.
fn begun() -> Fencing {
    let needed = Needed {
        candidates: vec![ip(102), ip(103)],
        understood: vec![ip(103)],
    };
    let limits = Limits {
        deadline: ms(4_000),
        probe: ms(500),
    };
    Fencing::new(needed, &[ip(102), ip(103)], true, limits)
}

fn good() -> Status {
    Status {
        running: true,
        in_recovery: Some(true),
        ..Status::default()
    }
}

/// All standbys are good, and the fence was ordered at 20 ms.
fn ordered() -> Fencing {
    let mut fencing = begun();
    for host in [102, 103] {
        fencing.hear(Heard::Standby(ip(host), Ok(good())), ms(20));
    }
    assert_eq!(asks(&mut fencing, 20), [Ask::Fence]);
    fencing
}

fn asks(fencing: &mut Fencing, now: u64) -> Vec<Ask> {
    fencing.go_on(ms(now)).expect("it is not over").asks
}

#[test]
fn it_is_not_fenced_before_somebody_can_take_its_place() {
    let mut fencing = begun();
    assert_eq!(asks(&mut fencing, 0), []);
    fencing.hear(Heard::Standby(ip(102), Ok(good())), ms(10));
    assert_eq!(asks(&mut fencing, 10), [], "103 has to be understood first");
    fencing.hear(
        Heard::Standby(ip(103), Err(NoStatus::Silent("refused".into()))),
        ms(20),
    );
    assert_eq!(asks(&mut fencing, 20), [Ask::Fence]);
    assert_eq!(asks(&mut fencing, 30), [], "once");
    let mut silent = begun();
    assert_eq!(silent.go_on(ms(999)).unwrap().until, ms(1_000));
    assert_eq!(asks(&mut silent, 1_000), [Ask::Fence], "they may be busy");
}

#[test]
fn it_is_left_alone_where_nobody_can() {
    let mut fencing = begun();
    for host in [102, 103] {
        fencing.hear(Heard::Standby(ip(host), Ok(Status::default())), ms(20));
    }
    assert_eq!(fencing.go_on(ms(20)), None);
    assert!(fencing.left_alone());
    let why = fencing.end(VipHolder::Nobody).nobody.unwrap();
    assert!(
        why.contains("192.168.1.103: its database does not run"),
        "{why}"
    );
}

#[test]
fn it_is_left_alone_where_an_answer_is_not_understood() {
    for (runs, refused) in [(true, true), (false, false)] {
        let mut fencing = begun();
        fencing.hear(Heard::Standby(ip(102), Ok(good())), ms(20));
        let garbled = Err(NoStatus::NotUnderstood("garbled".into()));
        fencing.hear(Heard::Standby(ip(103), garbled), ms(20));
        assert_eq!(asks(&mut fencing, 20), [Ask::MayStream(ip(103))]);
        assert_eq!(asks(&mut fencing, 20), [], "it is being looked at");
        fencing.hear(Heard::MayStream(ip(103), runs), ms(30));
        let round = fencing.go_on(ms(30));
        assert_eq!(round.is_none(), refused, "{round:?}");
        assert_eq!(fencing.left_alone(), refused);
    }
}

#[test]
fn nobody_is_in_the_way_of_a_primary_that_is_promoted_already() {
    let mut fencing = begun();
    let primary = Status {
        in_recovery: Some(false),
        ..good()
    };
    fencing.hear(Heard::Standby(ip(102), Ok(primary)), ms(20));
    let garbled = Err(NoStatus::NotUnderstood("garbled".into()));
    fencing.hear(Heard::Standby(ip(103), garbled), ms(20));
    fencing.hear(Heard::Old(None), ms(20));
    assert_eq!(asks(&mut fencing, 20), [Ask::Fence]);
}

#[test]
fn a_host_without_a_sign_of_life_costs_the_time_of_a_probe() {
    let mut fencing = ordered();
    fencing.hear(Heard::Vip(Ok(vec![])), ms(500));
    assert!(fencing.go_on(ms(500)).is_some());
    fencing.hear(Heard::Signs(signs(false)), ms(500));
    assert_eq!(fencing.go_on(ms(500)), None);
    let found = fencing.end(VipHolder::Nobody);
    assert_eq!(
        fenced(&found.old_primary),
        Fenced::Unreachable("seen".into())
    );
}

#[test]
fn a_login_that_fails_is_tried_again() {
    let mut fencing = ordered();
    fencing.hear(Heard::Fence(not_run()), ms(100));
    assert_eq!(asks(&mut fencing, 299), []);
    assert_eq!(asks(&mut fencing, 300), [Ask::Fence]);
    // What the deadline cut short says less than what was seen before.
    let cut = Err(NoReport::NotRun("no answer in time".into()));
    fencing.hear(Heard::Fence(cut), ms(4_000));
    assert_eq!(fencing.go_on(ms(4_000)), None);
    assert_eq!(fencing.old_primary().report, Some(not_run()));
}

#[test]
fn a_fence_that_is_under_way_is_not_asked_for_twice() {
    let mut fencing = ordered();
    fencing.hear(Heard::Vip(Ok(Vec::new())), ms(50));
    fencing.hear(Heard::Fence(not_run()), ms(100));
    assert_eq!(asks(&mut fencing, 300), [Ask::Fence]);
    // It stops the server now: that the port refuses is its work.
    let heard = Status {
        receiver_silent_ms: Some(5),
        ..good()
    };
    fencing.hear(Heard::Standby(ip(103), Ok(heard)), ms(310));
    assert_eq!(asks(&mut fencing, 510), [Ask::Standby(ip(103))], "once");
    fencing.hear(Heard::Standby(ip(103), Ok(good())), ms(520));
    fencing.hear(Heard::Signs(signs(true)), ms(520));
    fencing.hear(Heard::Port(true), ms(520));
    assert!(fencing.go_on(ms(520)).is_some());
    fencing.hear(Heard::Fence(not_run()), ms(530));
    assert_eq!(fencing.go_on(ms(530)), None);
}

#[test]
fn a_primary_that_is_no_successor_is_seen_before_the_old_one_is_touched() {
    let promoted = |timeline| Status {
        running: true,
        in_recovery: Some(false),
        timeline,
        ..Status::default()
    };
    let found = |old: Option<Status>| {
        let mut fencing = begun();
        fencing.hear(Heard::Standby(ip(102), Ok(promoted(2))), ms(20));
        fencing.hear(Heard::Standby(ip(103), Ok(good())), ms(20));
        assert_eq!(asks(&mut fencing, 20), [Ask::Old]);
        assert_eq!(asks(&mut fencing, 30), [], "once");
        fencing.hear(Heard::Old(old), ms(40));
        fencing
    };
    for (what, old, fences) in [
        ("the old one is older", Some(promoted(1)), true),
        ("it does not say", None, true),
        ("it is a standby by now", Some(good()), true),
        ("as new", Some(promoted(2)), false),
    ] {
        let mut fencing = found(old);
        let round = fencing.go_on(ms(40)).map(|round| round.asks);
        assert_eq!(round, fences.then(|| vec![Ask::Fence]), "{what}");
        assert_eq!(fencing.left_alone(), !fences, "{what}");
    }
    let mut silent = begun();
    silent.hear(Heard::Standby(ip(102), Ok(promoted(2))), ms(20));
    silent.hear(Heard::Standby(ip(103), Ok(good())), ms(20));
    assert_eq!(asks(&mut silent, 20), [Ask::Old]);
    assert_eq!(asks(&mut silent, 1_000), [Ask::Fence], "no answer in time");
}

#[test]
fn the_old_primarys_host_counts_for_one_side() {
    let with = |report| OldPrimary {
        report: Some(report),
        ..alive()
    };
    let claimed = FenceReport {
        claimed: Some("by another".into()),
        ..FenceReport::default()
    };
    assert_eq!(is_elsewhere(&with(report())), None);
    assert_eq!(is_elsewhere(&with(Ok(claimed))), Some("by another"));
    for old in [with(failed()), with(not_run()), dead(), alive()] {
        assert!(is_elsewhere(&old).is_some(), "{old:?}");
    }
}

#[test]
fn a_fence_that_has_begun_and_is_late_is_waited_for() {
    let mut fencing = ordered();
    fencing.hear(Heard::Vip(Ok(vec![])), ms(100));
    fencing.hear(Heard::FenceBegan, ms(3_900));
    assert_eq!(fencing.go_on(ms(4_000)).unwrap().until, ms(5_500));
    assert_eq!(fencing.clone().go_on(ms(5_500)), None);
    fencing.hear(Heard::Fence(report()), ms(4_800));
    assert_eq!(fencing.go_on(ms(4_800)), None);
    assert!(fencing.old_primary().report_is_in());
}

#[test]
fn a_host_that_lives_is_looked_at_again() {
    let mut fencing = ordered();
    fencing.hear(Heard::Signs(signs(true)), ms(100));
    fencing.hear(Heard::Vip(Ok(vec![MAC])), ms(100));
    assert_eq!(asks(&mut fencing, 599), []);
    assert_eq!(asks(&mut fencing, 600), [Ask::Life, Ask::Vip]);
    // It died meanwhile; who has the VIP by now is not known yet.
    fencing.hear(Heard::Signs(signs(false)), ms(1_100));
    assert!(fencing.go_on(ms(1_100)).is_some());
    fencing.hear(Heard::Vip(Ok(vec![])), ms(1_200));
    assert_eq!(fencing.go_on(ms(1_200)), None);
}

#[test]
fn a_standby_that_hears_it_is_asked_again() {
    let mut fencing = ordered();
    let hears = Status {
        receiver_silent_ms: Some(900),
        ..good()
    };
    fencing.hear(Heard::Standby(ip(103), Ok(hears)), ms(100));
    assert_eq!(asks(&mut fencing, 300), [Ask::Standby(ip(103))]);
    assert_eq!(fencing.old_primary().heard_by, [ip(103)]);
    fencing.hear(
        Heard::Standby(ip(103), Err(NoStatus::Silent("busy".into()))),
        ms(310),
    );
    assert_eq!(
        fencing.old_primary().heard_by,
        [ip(103)],
        "nothing is taken back"
    );
    fencing.hear(Heard::Standby(ip(103), Ok(good())), ms(320));
    assert!(fencing.old_primary().heard_by.is_empty());
}

#[test]
fn its_report_ends_it_once_the_vip_had_time_to_answer() {
    let mut fencing = ordered();
    fencing.hear(Heard::Fence(report()), ms(100));
    assert_eq!(fencing.go_on(ms(100)).unwrap().until, SECOND_LOOK);
    assert_eq!(fencing.go_on(SECOND_LOOK), None);
    assert_eq!(fencing.vip(), Ok(VipHolder::Nobody));
}

#[test]
fn a_strangers_vip_may_be_a_standbys() {
    let mut fencing = begun();
    fencing.hear(Heard::Standby(ip(102), Ok(good())), ms(20));
    fencing.hear(Heard::Fence(report()), ms(100));
    fencing.hear(Heard::Vip(Ok(vec![MAC])), ms(100));
    assert!(fencing.go_on(ms(200)).is_some(), "103 has not answered");
    let holder = Status {
        vip_here: true,
        macs: vec![MAC],
        ..good()
    };
    fencing.hear(Heard::Standby(ip(103), Ok(holder)), ms(210));
    assert_eq!(fencing.vip(), Ok(VipHolder::Nobody));
    assert_eq!(fencing.whose(&[OLD_MAC]), VipHolder::Stranger(OLD_MAC));
    fencing.hear(Heard::Neighbor(Some(OLD_MAC)), ms(220));
    assert_eq!(fencing.whose(&[OLD_MAC]), VipHolder::OldPrimary);
    assert_eq!(fencing.whose(&[MAC, OLD_MAC]), VipHolder::OldPrimary);
}

#[test]
fn a_stranger_who_answers_beside_the_old_primary_is_seen() {
    let stranger = Mac([9; 6]);
    for both in [[OLD_MAC, stranger], [stranger, OLD_MAC]] {
        let mut fencing = ordered();
        fencing.hear(Heard::Neighbor(Some(OLD_MAC)), ms(10));
        fencing.hear(Heard::Vip(Ok(both.to_vec())), ms(60));
        assert_eq!(fencing.vip(), Ok(VipHolder::Stranger(stranger)));
    }
}

#[test]
fn what_serves_is_left_alone_while_all_others_are_being_recovered() {
    let comes = || Status {
        in_work: true,
        ..Status::default()
    };
    let serves = || Status {
        running: true,
        in_recovery: Some(false),
        timeline: 1,
        ..Status::default()
    };
    let found = |old: Option<Status>| {
        let mut fencing = begun();
        fencing.hear(Heard::Standby(ip(102), Ok(Status::default())), ms(20));
        fencing.hear(Heard::Standby(ip(103), Ok(comes())), ms(20));
        assert_eq!(asks(&mut fencing, 20), [Ask::Old]);
        fencing.hear(Heard::Old(old), ms(40));
        fencing
    };
    let mut served = found(Some(serves()));
    assert_eq!(asks(&mut served, 40), [], "it may come in time");
    assert_eq!(asks(&mut served, 220), [Ask::Standby(ip(103))]);
    let mut came = served.clone();
    came.hear(Heard::Standby(ip(103), Ok(good())), ms(300));
    assert_eq!(asks(&mut came, 300), [Ask::Fence]);
    assert_eq!(served.go_on(ms(1_000)), None);
    assert!(served.left_alone());
    let why = served.end(VipHolder::Nobody).nobody.unwrap();
    assert!(
        why.contains("192.168.1.103: a recovery works on it"),
        "{why}"
    );
    let mut no_primary = found(Some(good()));
    assert_eq!(asks(&mut no_primary, 40), [Ask::Fence]);
    let mut silent = found(None);
    assert_eq!(asks(&mut silent, 40), [Ask::Fence]);
}
