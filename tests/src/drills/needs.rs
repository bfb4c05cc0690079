//! How a host comes to need something of `network_rewind`: together these have every step of it done.

use anyhow::{Result, ensure};

use super::d::killed_with_rows_of_its_own;
use super::killed::{converges, dies_after};
use super::scene::{FAILOVER, SHORT, Scene};
use crate::host::Node;
use crate::layout::{DATA, DATABASE_VIP, DEVICE, POOL_BIN, UID};
use crate::wait::wait_for;

/// One way. Two hosts are a whole cluster before, and after runs on both.
pub(super) struct Need {
    pub(super) what: &'static str,
    /// Beginning of the name of one of its steps.
    pub(super) steps: &'static str,
    /// A run is killed after each of the steps; else only after those that no need before has played.
    pub(super) each: bool,
    /// Gets the primary and the standby, and returns where the run is due, and the primary then.
    pub(super) make: fn(&mut Scene<'_>, u8, u8) -> Result<(u8, u8)>,
    /// What has to happen after the run that is due, before others can make the cluster whole. Gets the
    /// primary, and returns who it is then.
    pub(super) heal: fn(&mut Scene<'_>, u8) -> Result<u8>,
}

/// The copy comes last: from then on a rewind that fails is a copy.
pub(super) const NEEDS: [Need; 13] = [
    Need {
        what: "a standby that is down",
        steps: "start.",
        each: true,
        make: |scene, primary, standby| {
            scene.breaks("the standby is killed", |lab| {
                lab.node(standby).kill_database()
            })?;
            Ok((standby, primary))
        },
        heal: by_itself,
    },
    Need {
        what: "a standby that follows somebody else",
        steps: "follow.",
        each: true,
        make: |scene, primary, standby| {
            scene.breaks("the standby follows somebody else", |lab| {
                let node = lab.node(standby);
                let settings = node.psql("show primary_conninfo")?;
                let right = lab.node(primary).address().to_string();
                let wrong = settings.replace(&right, "192.168.1.1");
                node.psql(&format!("alter system set primary_conninfo = '{wrong}'"))?;
                node.psql("select pg_reload_conf()")
            })?;
            has_lost(scene, standby, primary)?;
            Ok((standby, primary))
        },
        heal: by_itself,
    },
    Need {
        what: "a standby whose slot is gone",
        steps: "wait.",
        each: true,
        make: |scene, primary, standby| {
            scene.breaks("the standby's slot is dropped", |lab| {
                drop_slot(lab.node(primary), &lab.node(standby).application_name())
            })?;
            has_lost(scene, standby, primary)?;
            Ok((standby, primary))
        },
        heal: by_itself,
    },
    Need {
        what: "a standby that was detached",
        steps: "recover.attach",
        each: true,
        make: |scene, primary, standby| {
            scene.breaks("the standby is detached", |lab| {
                lab.pcp_detach(lab.node(standby).id())
            })?;
            is_down_in_pool(scene, primary)?;
            Ok((standby, primary))
        },
        heal: by_itself,
    },
    Need {
        what: "a primary without the VIP",
        steps: "primary.",
        each: true,
        make: |scene, primary, _| {
            scene.breaks("the primary loses the VIP", |lab| {
                take_vip(lab.node(primary))
            })?;
            Ok((primary, primary))
        },
        heal: by_itself,
    },
    Need {
        what: "a standby promoted by mistake",
        steps: "wrong-primary.",
        each: true,
        make: |scene, primary, standby| {
            scene.breaks("the standby is promoted by mistake", |lab| {
                lab.node(standby).promote_database()
            })?;
            Ok((standby, primary))
        },
        heal: by_itself,
    },
    Need {
        what: "an old primary with rows of its own",
        steps: "recover.rewind",
        each: true,
        make: |scene, primary, _| Ok((primary, killed_with_rows_of_its_own(scene, primary)?)),
        heal: by_itself,
    },
    Need {
        what: "the last primary of a cluster that is all down",
        steps: "take-over.confirm",
        each: true,
        make: |scene, primary, standby| {
            scene.breaks("the standby is killed", |lab| {
                lab.node(standby).kill_database()
            })?;
            is_down_in_pool(scene, primary)?;
            let lab = scene.lab;
            scene.does("the primary, too", |lab| lab.node(primary).kill_database())?;
            scene.sees("the pool has no node left", FAILOVER, || {
                let seen = format!("{:?}", lab.pool_nodes());
                ensure!(seen.contains("all backend nodes are down"), "{seen}");
                Ok(())
            })?;
            Ok((primary, primary))
        },
        heal: by_itself,
    },
    Need {
        what: "a failover that came to nothing",
        steps: "failover.again",
        each: true,
        make: |scene, primary, _| {
            let old = away_from_leader(scene, primary)?;
            let lab = scene.lab;
            let leader = lab.node(lab.options().leader);
            let tool = format!("{POOL_BIN}/failover_stream");
            let aside = format!("{tool}.aside");
            scene.breaks(
                "the primary is killed, and the pool's command does nothing",
                |lab| {
                    leader.run(&["mv", &tool, &aside], SHORT)?.success()?;
                    leader
                        .run(&["ln", "-s", "/bin/true", &tool], SHORT)?
                        .success()?;
                    lab.node(old).kill_database()
                },
            )?;
            scene.sees("the pool has given up", FAILOVER, || {
                let nodes = lab.pool_nodes()?;
                ensure!(nodes.iter().all(|it| it.role != "primary"), "{nodes:?}");
                Ok(())
            })?;
            scene.does("the command is as it was", |_| {
                leader
                    .run(&["mv", &aside, &tool], SHORT)?
                    .success()
                    .map(drop)
            })?;
            Ok((leader.number(), leader.number()))
        },
        heal: by_itself,
    },
    Need {
        what: "a primary that is cut off",
        steps: "self-fence.",
        each: true,
        make: |scene, primary, _| {
            let cut = cut_off(scene, primary)?;
            Ok((cut, cut))
        },
        heal: replaced,
    },
    Need {
        what: "a primary that was cut off and has the VIP, as its successor has",
        steps: "wrong-primary.",
        each: false,
        make: |scene, primary, _| {
            let cut = cut_off(scene, primary)?;
            Ok((cut, replaced(scene, cut)?))
        },
        heal: by_itself,
    },
    Need {
        what: "a standby, just rewound, that its primary turns away",
        steps: "start.",
        each: false,
        make: |scene, primary, _| {
            // The pool, on the other host, has to be let in.
            let old = away_from_leader(scene, primary)?;
            let new = killed_with_rows_of_its_own(scene, old)?;
            scene.does("it is rewound, and then turned away", |lab| {
                dies_after(lab.node(old), "recover.rewind")?;
                let from = lab.node(old).address();
                change_rules(lab.node(new), |rules| {
                    format!("host all,replication all {from}/32 reject\n{rules}")
                })
            })?;
            Ok((old, new))
        },
        heal: |scene, primary| {
            scene.does("it is let in", |lab| {
                change_rules(lab.node(primary), |rules| {
                    let others = rules.lines().filter(|line| !line.ends_with("reject"));
                    others.map(|line| format!("{line}\n")).collect()
                })
            })?;
            Ok(primary)
        },
    },
    Need {
        what: "an old primary without data",
        steps: "recover.copy",
        // The rest is what a rewind was killed after.
        each: false,
        make: |scene, primary, _| {
            let new = killed_with_rows_of_its_own(scene, primary)?;
            scene.does("its data is deleted, and a copy allowed", |lab| {
                let node = lab.node(primary);
                node.delete_data()?;
                node.set_config(&[("REWIND_FALLBACK", "basebackup")])
            })?;
            Ok((primary, new))
        },
        heal: by_itself,
    },
];

/// Runs on both hosts are all that it takes.
fn by_itself(_: &mut Scene<'_>, primary: u8) -> Result<u8> {
    Ok(primary)
}

fn has_lost(scene: &mut Scene<'_>, standby: u8, primary: u8) -> Result<()> {
    let lab = scene.lab;
    scene.sees("it has lost the primary", SHORT, || {
        ensure!(lab.streams(standby, primary).is_err(), "it streams");
        Ok(())
    })
}

fn is_down_in_pool(scene: &mut Scene<'_>, primary: u8) -> Result<()> {
    let lab = scene.lab;
    scene.sees("the pool has it down", SHORT, || {
        let nodes = lab.pool_nodes()?;
        let standby = |it: &&crate::PoolNode| it.id != lab.node(primary).id();
        let down = nodes
            .iter()
            .find(standby)
            .is_some_and(|it| it.status == "down");
        ensure!(down, "the pool shows {nodes:?}");
        Ok(())
    })
}

/// Drops the slot that a standby streams from, as soon as it lets go of it.
fn drop_slot(primary: &Node, standby: &str) -> Result<()> {
    let slot = format!("from pg_replication_slots where slot_name = 'slot_{standby}'");
    wait_for("the slot to be dropped", SHORT, || {
        primary.psql(&format!("select pg_terminate_backend(active_pid) {slot}"))?;
        primary.psql(&format!(
            "select pg_drop_replication_slot(slot_name) {slot}"
        ))
    })
    .map(drop)
}

pub(super) fn take_vip(node: &Node) -> Result<()> {
    let address = format!("{DATABASE_VIP}/24");
    let command = ["ip", "addr", "del", &address, "dev", DEVICE];
    node.run(&command, SHORT)?.success().map(drop)
}

/// Changes who may log in, and from where.
fn change_rules(node: &Node, change: impl FnOnce(&str) -> String) -> Result<()> {
    let file = format!("{DATA}/pg_hba.conf");
    node.write(&file, &change(&node.read(&file)?), 0o600, UID)?;
    node.psql("select pg_reload_conf()").map(drop)
}

/// Has the primary on the host whose pool does not lead, and returns that. With the other one the pool
/// that leads would be out of it, too, and a new one have to be elected first.
fn away_from_leader(scene: &mut Scene<'_>, primary: u8) -> Result<u8> {
    let leader = scene.lab.options().leader;
    if primary != leader {
        return Ok(primary);
    }
    scene.does(
        "the primary moves to the host whose pool does not lead",
        |lab| lab.pcp_detach(lab.node(leader).id()),
    )?;
    let new = scene.fails_over(leader)?;
    converges(scene.lab, new)?;
    Ok(new)
}

/// Cuts the primary off, and returns which it was. Its pool goes with it: two that do not see each other
/// would both lead.
fn cut_off(scene: &mut Scene<'_>, primary: u8) -> Result<u8> {
    let cut = away_from_leader(scene, primary)?;
    scene.breaks("the primary is cut off", |lab| {
        lab.node(cut).kill_pool()?;
        lab.node(cut).link_down()
    })?;
    Ok(cut)
}

/// The other host's standby is promoted; then the network is back.
fn replaced(scene: &mut Scene<'_>, old: u8) -> Result<u8> {
    let new = scene.lab.options().leader;
    // By itself the pool takes ten seconds to see it.
    if scene.lab.node(new).in_recovery()? {
        scene.does("the pool is told that the primary is gone", |lab| {
            lab.pcp_detach(lab.node(old).id())
        })?;
    }
    // As long as the link is down, the pool gives no answer to `show pool_nodes`: it asks all databases.
    scene.sees_on(new, "it is the primary", FAILOVER, |node| {
        Ok(!node.in_recovery()? && node.has_vip()?)
    })?;
    scene.does("the network is back", |lab| {
        lab.node(old).link_up()?;
        lab.node(old).start_pool()
    })?;
    Ok(new)
}
