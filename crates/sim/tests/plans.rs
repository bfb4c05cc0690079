//! The simulator runs the steps that the tools run: whoever adds a step to a tool has to model it here.

use failover_rules::plan::failover::{COORDINATOR, FENCE, FOLLOW, PROMOTE, STANDBY_DOWN};
use failover_rules::plan::{OnFailure, Step, recovery as plan};
use failover_rules::recovery::Action;
use failover_sim::{failover, recovery};
use std::net::{IpAddr, Ipv4Addr};

const PRIMARY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Each action; those with data in each form that has steps of its own.
const ACTIONS: [Action; 17] = [
    Action::Nothing,
    Action::Refuse,
    Action::NeedsPerson,
    Action::FailOver { old: PRIMARY },
    Action::Detach,
    Action::SelfFence,
    Action::KeepPrimary,
    Action::StopWrongPrimary {
        primary: PRIMARY,
        recover: true,
    },
    Action::Recover { primary: PRIMARY },
    Action::Follow { primary: PRIMARY },
    Action::Start { primary: PRIMARY },
    Action::StartStandby,
    Action::Rejoin {
        primary: PRIMARY,
        attach: true,
    },
    Action::Wait { primary: PRIMARY },
    Action::ShowPrimary,
    Action::TakeOver { start: false },
    Action::TakeOver { start: true },
];

fn names<Id>(steps: &[Step<Id>]) -> Vec<&'static str> {
    steps.iter().map(|step| step.name).collect()
}

#[test]
fn a_failover_has_the_tools_steps() {
    assert_eq!(failover::STEPS.to_vec(), names(&COORDINATOR));
    assert_eq!(failover::FENCE_STEPS.to_vec(), names(&FENCE));
    assert_eq!(failover::PROMOTE_STEPS.to_vec(), names(&PROMOTE));
    assert_eq!(failover::FOLLOW_STEPS.to_vec(), names(&FOLLOW));
    assert_eq!(failover::STANDBY_STEPS.to_vec(), names(&STANDBY_DOWN));
}

#[test]
fn each_action_of_a_recovery_has_the_tools_steps() {
    for action in ACTIONS {
        let model = recovery::steps(action).iter();
        let model: Vec<_> = model.map(|step| (step.name, step.may_fail)).collect();
        let steps = plan::steps(action).iter();
        let steps: Vec<_> = steps
            .map(|step| (step.name, step.on_failure == OnFailure::Warn))
            .collect();
        assert_eq!(model, steps, "{action:?}");
    }
}
