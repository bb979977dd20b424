//! Followers of logs that parted come to their leader's, whoever led before (KIP-101, KIP-279).

use proptest::prelude::*;
use seedlog_core::ids::{
    Generation, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, SessionNumber,
    TopicPartition, Uuid,
};
use seedlog_core::log::{Log, Truncated};
use seedlog_core::peer::{Open, OpenAnswer};
use seedlog_core::records::{Attributes, BatchHeader};
use seedlog_core::replica::progress::find_divergence;
use seedlog_core::replica::session::cut_point;
use seedlog_core::time::WallMs;

const REPLICAS: usize = 3;

/// A replica: its log, and the batches in it.
struct Replica {
    log: Log,
    batches: Vec<BatchHeader>,
}

impl Replica {
    fn new() -> Self {
        Self { log: Log::new(Generation(0)), batches: Vec::new() }
    }

    /// A batch of the idempotent producer, which can be taken back as a whole.
    fn append(&mut self, batch: BatchHeader) {
        self.log.append(&batch, WallMs(1000));
        self.batches.push(batch);
    }

    fn produce(&mut self, epoch: LeaderEpoch, count: i32) {
        let base_offset = self.log.end();
        self.append(BatchHeader {
            base_offset,
            batch_bytes: 100,
            leader_epoch: epoch,
            crc: 0,
            attributes: Attributes(0),
            last_offset_delta: count - 1,
            base_timestamp: 1000,
            max_timestamp: 1000,
            producer_id: ProducerId(1),
            producer_epoch: ProducerEpoch(0),
            base_sequence: i32::try_from(base_offset.0).expect("few"),
            record_count: count,
        });
    }

    fn cut(&mut self, to: Offset) {
        self.batches.retain(|batch| batch.next_offset() <= to);
        let end = self.batches.last().map_or(Offset::ZERO, BatchHeader::next_offset);
        assert_eq!(to, end, "cuts fall between batches");
        assert!(matches!(self.log.truncate_to(to), Truncated::Done));
    }

    /// Opens sessions until both agree.
    fn agree(&mut self, leader: &Log, epoch: LeaderEpoch) {
        // Each session takes an epoch off, or ends it where the leader's does. A cut leaves fewer epochs: what there were counts.
        let most_sessions = 2 * self.log.epochs().entries().len() + 2;
        for attempt in 0.. {
            assert!(attempt <= most_sessions, "it comes to an end");
            let open = Open {
                partition: TopicPartition { topic_id: Uuid([1; 16]), partition: PartitionIndex(0) },
                epoch,
                number: SessionNumber(attempt as u64),
                last_epoch: self.log.latest_epoch(),
                end: self.log.end(),
                tombstones_gone_to: Offset::ZERO,
                reset_bytes: None,
            };
            match find_divergence(leader, &open) {
                Some(OpenAnswer::Agreed) => return,
                Some(OpenAnswer::Diverges { epoch, end }) => self.cut(cut_point(&self.log, epoch, end)),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    /// Whoever is elected, the others may have what it has not.
    Elect {
        replica: usize,
    },
    Produce {
        count: i32,
    },
    /// A follower gets so many batches.
    Follow {
        replica: usize,
        batches: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..REPLICAS).prop_map(|replica| Op::Elect { replica }),
        3 => (1..8).prop_map(|count| Op::Produce { count }),
        3 => (0..REPLICAS, 0..4_usize).prop_map(|(replica, batches)| Op::Follow { replica, batches }),
    ]
}

proptest! {
    /// Seed 12,865 of the whole world: a leader told where an epoch ends that its follower had not, and that was in the middle of a
    /// batch of the follower's.
    #[test]
    fn cuts_fall_between_batches_and_end_with_the_leaders_log(ops in proptest::collection::vec(op(), 1..60)) {
        let mut replicas: Vec<Replica> = (0..REPLICAS).map(|_| Replica::new()).collect();
        let (mut leader, mut epoch) = (0, LeaderEpoch(0));
        replicas[leader].log.begin_epoch(epoch);
        for op in ops {
            match op {
                Op::Elect { replica } => {
                    leader = replica;
                    epoch = LeaderEpoch(epoch.0 + 1);
                    replicas[leader].log.begin_epoch(epoch);
                }
                Op::Produce { count } => replicas[leader].produce(epoch, count),
                Op::Follow { replica, .. } if replica == leader => {}
                Op::Follow { replica, batches } => {
                    let mut follower = std::mem::replace(&mut replicas[replica], Replica::new());
                    follower.agree(&replicas[leader].log, epoch);
                    let have = follower.batches.len();
                    prop_assert_eq!(&follower.batches[..], &replicas[leader].batches[..have]);
                    for batch in replicas[leader].batches[have..].iter().take(batches) {
                        follower.append(*batch);
                    }
                    replicas[replica] = follower;
                }
            }
        }
    }
}
