//! Starts and ends of a machine's process. Every end goes through madsim's kill and [`Machines`]: there the disk and the net
//! learn of it.

use super::machine::{Blow, State};
use super::{Command, Shared, World, host_of, madsim};
use crate::disk::SimDisk;
use crate::env::SimEnv;
use crate::marks::Own;
use madsim::plugin::Simulator;
use madsim::rand::GlobalRng;
use madsim::task::NodeId;
use madsim::time::TimeHandle;
use seedlog::metrics::Metrics;
use seedlog::run::{Node, StartError, Stopper};
use seedlog::store::StoreError;
use seedlog_core::output::HaltReason;
use seedlog_sim::judges::Judge;
use seedlog_sim::judges::sight::Seen;
use seedlog_sim::marks::Mark;
use seedlog_sim::trace::Kind;
use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError};

/// madsim's plugin: tells the world that a node was killed.
#[derive(Debug, Default)]
pub struct Machines(Mutex<Option<Shared>>);

impl Machines {
    /// The world to be told.
    pub fn belong_to(&self, shared: Shared) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared);
    }
}

impl Simulator for Machines {
    fn new(_rand: &GlobalRng, _time: &TimeHandle, _config: &madsim::Config) -> Self {
        Self::default()
    }

    fn reset_node(&self, id: NodeId) {
        let shared = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(shared) = shared {
            shared.lock().on_killed(id);
        }
    }
}

impl Shared {
    /// Starts a machine's process.
    pub(super) fn boot(&self, at: usize, token: u64) {
        let (id, life, config) = {
            let mut world = self.lock();
            let idle_ms = world.plan.idle_ms.get(at).copied().unwrap_or(600_000);
            let machine = &mut world.machines[at];
            if token != machine.boot_token || machine.state != State::Down {
                return;
            }
            machine.boots += 1;
            machine.state = State::Recovering;
            machine.lanes.forget_the_dead();
            if machine.chance.chance(500) {
                machine.files.disk.evict(&mut machine.disk_rng);
            }
            let was_dark = std::mem::take(&mut machine.dark);
            let started = (machine.id, machine.life, machine.config(idle_ms));
            if was_dark {
                world.net.power_back(host_of(at));
            }
            started
        };
        let madsim = madsim();
        madsim.restart(id);
        let node = madsim.get_node(id).expect("a machine has its node");
        drop(node.spawn(process(self.clone(), at, life, config)));
    }

    /// Ends a machine's process, from wherever.
    pub(super) fn strike(&self, at: usize, blow: Blow) {
        let id = {
            let mut world = self.lock();
            if world.machines[at].state == State::Dead {
                return;
            }
            world.machines[at].blow = Some(blow);
            world.machines[at].paused_until = 0;
            world.machines[at].id
        };
        // What stands still is not dropped by a kill as long as it is not let go.
        madsim().resume(id);
        madsim().kill(id);
    }

    fn is_alive(&self, at: usize, life: u64) -> bool {
        self.lock().machines[at].life == life
    }

    fn on_assembled(&self, at: usize, life: u64, stopper: Stopper<SimDisk>) {
        let mut world = self.lock();
        if world.machines[at].life == life {
            world.machines[at].stopper = Some(stopper);
        }
    }

    fn on_serving(&self, at: usize, life: u64) {
        let mut world = self.lock();
        let machine = &world.machines[at];
        if machine.life == life {
            let (boots, end) = (machine.boots, machine.oracle.end().0);
            let partitions = machine.oracle.logs.len() as u64;
            world.note_at(at, Kind::Serving, [boots, end, partitions]);
        }
    }

    /// The process has ended by itself.
    fn on_ended(&self, at: usize, life: u64, reason: &HaltReason) {
        if !self.is_alive(at, life) {
            return;
        }
        let clean = *reason == HaltReason::Stopped;
        let down_us = {
            let mut world = self.lock();
            let boots = world.machines[at].boots;
            world.note_at(at, Kind::Halt, [boots, u64::from(clean), 0]);
            if clean {
                world.mark(Mark::CleanStop);
                world.machines[at].stopped_us
            } else {
                world.mark(Mark::EioHalted);
                world.machines[at].down_us()
            }
        };
        self.strike(at, Blow { power: false, down_us, orderly: true });
    }

    /// The process did not start: right where its disk failed or was full, or a fault took what it cannot do without.
    fn on_not_started(&self, at: usize, life: u64, error: &StartError) {
        if !self.is_alive(at, life) {
            return;
        }
        let by_disk = match error {
            StartError::Store(StoreError::Disk { source, .. }) => {
                source.kind() == ErrorKind::StorageFull || source.kind() == ErrorKind::Other
            }
            StartError::Store(_)
            | StartError::InUse { .. }
            | StartError::Bind { .. }
            | StartError::ClusterId(_)
            | StartError::OtherCluster { .. }
            | StartError::Random(_)
            | StartError::Halted(_) => false,
        };
        let down_us = {
            let mut world = self.lock();
            let boots = world.machines[at].boots;
            world.note_at(at, Kind::Refused, [boots, 0, 0]);
            if by_disk {
                world.mark_own(Own::StartFailedByDisk);
            } else {
                let excused = world.machines[at].oracle.flips.iter().any(|flip| flip.whole_group);
                let said = if excused {
                    Ok(())
                } else {
                    Err(format!("the node does not start, and no fault explains it: {error}"))
                };
                world.hear(Judge::S18, at, said);
            }
            world.machines[at].down_us()
        };
        self.strike(at, Blow { power: false, down_us, orderly: true });
        if !by_disk {
            self.lock().machines[at].state = State::Dead;
        }
    }
}

async fn process(shared: Shared, at: usize, life: u64, config: seedlog::config::NodeConfig) {
    let env = SimEnv::new(shared.clone(), at, life);
    let disk = SimDisk::of(shared.clone(), at, life);
    match Node::assemble(env, disk, &config, Vec::new(), &Metrics::new()).await {
        Ok(node) => {
            shared.on_assembled(at, life, node.stopper());
            let reason = node.run(|_| shared.on_serving(at, life)).await;
            shared.on_ended(at, life, &reason);
        }
        Err(error) => shared.on_not_started(at, life, &error),
    }
}

impl World {
    pub(super) fn schedule_boot(&mut self, at: usize, delay_us: u64) {
        let machine = &mut self.machines[at];
        machine.boot_token += 1;
        let (token, boots) = (machine.boot_token, machine.boots);
        self.note_at(at, Kind::Boot, [boots + 1, delay_us, 0]);
        self.order(Command::Boot { at, token, delay_us });
    }

    /// Something that counted as durable on a machine may be gone.
    pub(super) fn on_loss(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        machine.is_suspect = true;
        machine.oracle.unsynced_excused |= !machine.flushes_always();
        self.truth.on_loss(machine.node_id());
    }

    /// A madsim node was killed.
    fn on_killed(&mut self, id: NodeId) {
        let Some(at) = self.machines.iter().position(|machine| machine.id == id) else { return };
        let machine = &mut self.machines[at];
        let blow = machine.blow.take().unwrap_or(Blow { power: false, down_us: 0, orderly: false });
        let in_recovery = machine.state == State::Recovering && !blow.orderly;
        let was_running = machine.state != State::Down;
        if machine.state != State::Dead {
            machine.state = State::Down;
        }
        machine.life += 1;
        machine.cut = None;
        machine.stopper = None;
        machine.commands.clear();
        machine.acks.clear();
        machine.seen = Seen::default();
        machine.view = None;
        machine.lost.clear();
        machine.killed |= !blow.power && was_running && !blow.orderly;
        let (writes, reads) = machine.lanes.crash(&mut machine.files, &mut machine.disk_rng);
        let in_pass = machine.files.has_unsynced_pass();
        let power_cut = blow.power.then(|| machine.files.power_cut(&mut machine.disk_rng));
        let (interval, boots) = (!machine.flushes_always(), machine.boots);
        machine.files.disk.forget_unnamed(|_| false);
        self.note_at(at, Kind::Kill, [boots, u64::from(in_recovery), u64::from(blow.power)]);
        if in_recovery {
            self.mark(Mark::RecoveryCrashed);
        }
        if writes > 0 {
            self.mark_own(if blow.power { Own::WriteCutByPower } else { Own::WriteCutByKill });
        }
        if reads > 0 {
            self.mark_own(Own::ColdReadPartial);
        }
        if blow.power && in_pass {
            self.mark_own(Own::PassCutByPower);
        }
        if let Some((cut, names)) = power_cut {
            self.machines[at].killed = false;
            self.machines[at].dark = true;
            if interval && (cut.lost > 0 || names > 0) {
                self.on_loss(at);
            }
            self.note_at(at, Kind::PowerCut, [cut.kept as u64, cut.lost as u64, cut.torn as u64]);
            if cut.lost > 0 {
                self.mark(Mark::PowerCutLostSectors);
            }
            if cut.torn > 0 {
                self.mark(Mark::PowerCutTore);
            }
            if names > 0 {
                self.mark_own(Own::NameLost);
            }
            self.net.power_lost(host_of(at));
        } else {
            self.net.process_gone(host_of(at));
        }
        if self.machines[at].state != State::Dead {
            self.schedule_boot(at, blow.down_us);
        }
    }
}
