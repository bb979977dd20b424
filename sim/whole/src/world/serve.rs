//! The disk at work: one worker a lane and machine, outside of the machine's own tasks, because a kernel goes on with what a
//! process asked for.

use super::{Shared, World};
use crate::disk::{DiskEvent, Files, Op};
use crate::marks::Own;
use seedlog::store::disk::Lane;
use seedlog_sim::marks::Mark;
use seedlog_sim::trace::Kind;
use std::io;
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::sleep;

/// Serves a lane for ever.
pub(super) async fn serve(shared: Shared, at: usize, lane: Lane) {
    let word = shared.lock().machines[at].lanes.word(lane);
    loop {
        let begun = {
            let mut world = shared.lock();
            let machine = &mut world.machines[at];
            machine.lanes.begin(lane, &mut machine.disk_rng)
        };
        let Some((micros, epoch)) = begun else {
            word.notified().await;
            continue;
        };
        if micros > 0 {
            sleep(Duration::from_micros(micros)).await;
        } else {
            yield_now().await;
        }
        let finished = {
            let mut world = shared.lock();
            let mut events = Vec::new();
            let machine = &mut world.machines[at];
            let before = machine.files.refused;
            let finished =
                machine.lanes.finish(lane, epoch, &mut machine.files, &mut machine.disk_rng, &mut events);
            if machine.files.refused > before {
                world.mark_own(Own::NoSpace);
            }
            for event in events {
                world.on_disk(at, event);
            }
            finished
        };
        // Outside of the lock: work of the store may be in it.
        if let Some(finished) = finished {
            finished.complete();
        }
    }
}

impl Shared {
    /// A process asks for something.
    pub(crate) fn submit(&self, at: usize, life: u64, lane: Lane, op: Op) {
        let mut world = self.lock();
        let machine = &mut world.machines[at];
        if machine.life == life {
            machine.lanes.push(lane, op);
        }
    }

    /// A process looks at its files.
    pub(crate) fn with_files<T>(
        &self,
        at: usize,
        life: u64,
        look: impl FnOnce(&mut Files) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut world = self.lock();
        let machine = &mut world.machines[at];
        if machine.life == life {
            look(&mut machine.files)
        } else {
            Err(io::Error::other("the process is gone"))
        }
    }
}

impl World {
    fn on_disk(&mut self, at: usize, event: DiskEvent) {
        match event {
            DiskEvent::Written(group) => {
                let bytes = group.prefix.padded_bytes() as u64;
                let numbers = [group.prefix.first_lsn.0, u64::from(group.prefix.entries), bytes];
                self.note_at(at, Kind::GroupWrite, numbers);
                self.note_at(at, Kind::GroupWritten, [group.last().0, group.hash, 0]);
            }
            DiskEvent::Synced(group) => {
                // Until a recovery is through, the oracle's entries are those of the last life.
                if self.machines[at].is_watched() {
                    self.machines[at].oracle.on_platter(group.last());
                }
                self.note_at(at, Kind::GroupSynced, [group.last().0, 0, 0]);
            }
            DiskEvent::SyncFailed { journal } => {
                // What a failed sync took for clean may be gone although no power was cut.
                if !self.machines[at].flushes_always() {
                    self.on_loss(at);
                }
                self.note_at(at, Kind::SyncFailed, [u64::from(!journal), 0, 0]);
                if !journal {
                    self.mark_own(Own::BackgroundSyncFailed);
                }
            }
            DiskEvent::Recycled => self.mark(Mark::FileRecycled),
            DiskEvent::ColdRead { journal: true } => self.mark(Mark::ReadFromJournal),
            DiskEvent::ColdRead { journal: false } => self.mark(Mark::ReadFromSegment),
        }
    }
}
