//! How a partition's replicas come to forget the same producers (SAFETY R10): the leader decides by its clock and journals
//! that; a follower asks, of those that are idle here, which ones the leader does not know, and journals what it hears. So a
//! follower never forgets what its leader knows, whatever its own clock says; what it knows beyond that, it asks for again.

use super::Broker;
use super::journal::Deferred;
use super::timers::Timer;
use crate::ids::{NodeId, ProducerId, TopicPartition};
use crate::journal::Entry;
use crate::output::Outputs;
use crate::peer::{PeerBody, Producers};
use crate::replica::progress::PeerRun;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Most producers in one question; others are asked for the next time.
const ASKED_MAX: usize = 100_000;

impl Broker {
    pub(super) fn arm_producer_expiry(&mut self) {
        let at = self.now.mono + self.config.producer_expiry_check_ms;
        self.timers.arm(at, Timer::ProducerExpiry);
    }

    fn producer_expiration_ms(&self) -> i64 {
        i64::try_from(self.config.producer_id_expiration_ms).unwrap_or(i64::MAX)
    }

    /// Timer: leaders forget idle producers, followers ask about theirs.
    pub(super) fn on_producer_expiry(&mut self, out: &mut Outputs) {
        if !self.is_writable() {
            return;
        }
        self.arm_producer_expiry();
        let (now, expiration_ms) = (self.now.wall, self.producer_expiration_ms());
        let mut asked: BTreeMap<NodeId, Vec<Producers>> = BTreeMap::new();
        let mut count = 0;
        for partition in core::mem::take(&mut self.with_producers) {
            let Some(replica) = self.replicas.get_mut(&partition) else { continue };
            if replica.leader().is_some() {
                let expired = replica.log().plan_expiry(now, expiration_ms);
                self.forget_producers(partition, expired, out);
            } else if let Some(session) = replica.session()
                && let Some((number, _)) = session.open()
                && count < ASKED_MAX
            {
                let (leader, epoch) = (session.leader(), session.epoch());
                let mut producers = replica.log().plan_expiry(now, expiration_ms);
                producers.truncate(ASKED_MAX - count);
                count += producers.len();
                if !producers.is_empty() {
                    let question = Producers { partition, epoch, number, producers };
                    asked.entry(leader).or_default().push(question);
                }
            }
            let held = self.replicas.get(&partition).map(|replica| replica.log().producers().is_empty());
            if held == Some(false) {
                self.with_producers.insert(partition);
            }
        }
        for (leader, questions) in asked {
            self.send(leader, None, PeerBody::AskProducers(questions), out);
        }
    }

    /// A follower asks which of these producers this leader does not know.
    pub(super) fn on_ask_producers(
        &mut self,
        from: NodeId,
        peer: PeerRun,
        questions: Vec<Producers>,
        out: &mut Outputs,
    ) {
        let mut answers = Vec::new();
        for mut question in questions {
            let Some(replica) = self.replicas.get(&question.partition) else { continue };
            let Some(leader) = replica.leader().filter(|leader| leader.epoch == question.epoch) else {
                continue;
            };
            let session = leader.followers().get(&from).and_then(|progress| progress.session());
            if session != Some((question.number, peer)) {
                continue;
            }
            question.producers.retain(|&id| replica.log().producers().state(id).is_none());
            if !question.producers.is_empty() {
                answers.push(question);
            }
        }
        if !answers.is_empty() {
            // That they are forgotten here is on disk before it is told (SAFETY J7).
            let body = PeerBody::ForgetProducers(answers);
            self.after_sync(self.journal.last, Deferred::Send { to: from, run: peer.run, body }, out);
        }
    }

    /// The leader does not know these producers.
    pub(super) fn on_forget_producers(
        &mut self,
        from: NodeId,
        peer: PeerRun,
        answers: &[Producers],
        out: &mut Outputs,
    ) {
        if !self.is_writable() {
            return;
        }
        for answer in answers {
            let Some(replica) = self.replicas.get(&answer.partition) else { continue };
            let is_open = replica
                .session()
                .is_some_and(|session| session.is_open_with(from, peer.run, answer.epoch, answer.number));
            if !is_open {
                continue;
            }
            // Who wrote since the question was asked is known to the leader again.
            let mut idle = replica.log().plan_expiry(self.now.wall, self.producer_expiration_ms());
            let unknown: BTreeSet<ProducerId> = answer.producers.iter().copied().collect();
            idle.retain(|id| unknown.contains(id));
            self.forget_producers(answer.partition, idle, out);
        }
    }

    fn forget_producers(&mut self, partition: TopicPartition, producers: Vec<ProducerId>, out: &mut Outputs) {
        if let Some(replica) = self.replicas.get_mut(&partition)
            && !producers.is_empty()
        {
            replica.expire_producers(&producers);
            self.journal(Entry::ProducersExpired { partition, producers }, out);
        }
    }
}
