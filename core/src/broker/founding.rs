//! Founding a cluster, once (SAFETY Q1): only when every configured voter is there and blank; each has it on disk before the
//! first term begins. A node that finds a cluster which it is not part of joins it as an observer.

use super::Broker;
use super::journal::Deferred;
use super::timers::Timer;
use crate::cluster::image::Image;
use crate::cluster::records::Voter;
use crate::cluster::snapshot::Cluster;
use crate::ids::{NodeId, Uuid};
use crate::journal::Entry;
use crate::museum::exhibit;
use crate::output::Outputs;
use crate::peer::{Found, PeerBody};
use crate::replica::progress::PeerRun;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// What is known of a founding under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Founding {
    /// Configured voters that said they are blank, with their folders.
    blank: BTreeMap<NodeId, Uuid>,
    /// The cluster is on its way to this node's disk.
    is_writing: bool,
    /// Voters that have the cluster on disk.
    written: BTreeSet<NodeId>,
}

impl Broker {
    /// The run has a number on disk: a blank node looks for its cluster, any other one for its leader.
    pub(super) fn begin(&mut self, out: &mut Outputs) {
        if self.quorum.cluster.is_none() || self.is_announcing() {
            self.on_founding(out);
        }
        if self.quorum.cluster.is_some() {
            self.begin_quorum(out);
        }
    }

    /// Timer: says again what founding needs.
    pub(super) fn on_founding(&mut self, out: &mut Outputs) {
        let others: Vec<NodeId> =
            self.config.voters.iter().copied().filter(|&node| node != self.config.node_id).collect();
        if self.quorum.cluster.is_none() {
            let voters = self.config.voters.clone();
            for &node in &others {
                self.send(node, None, PeerBody::Found(Found::Blank { voters: voters.clone() }), out);
            }
            self.found_if_all_blank(out);
        } else if self.is_announcing() {
            self.announce(out);
        } else {
            return;
        }
        self.timers.arm(self.now.mono + self.config.timings.resend_ms, Timer::Founding);
    }

    /// The lowest configured voter founds.
    fn is_founder(&self) -> bool {
        self.config.roles.controller && self.config.voters.iter().min() == Some(&self.config.node_id)
    }

    fn found_if_all_blank(&mut self, out: &mut Outputs) {
        if !self.is_founder() || self.founding.is_writing {
            return;
        }
        self.founding.blank.insert(self.config.node_id, self.config.incarnation);
        let blank = |node: &NodeId| self.founding.blank.contains_key(node);
        let present = self.config.voters.iter().filter(|node| blank(node)).count();
        // N2: a majority of blank voters founds.
        let enough =
            exhibit!(N2, present == self.config.voters.len(), present > self.config.voters.len() / 2);
        if !enough {
            return;
        }
        let voters = self.config.voters.iter().filter_map(|&node_id| {
            let incarnation = *self.founding.blank.get(&node_id)?;
            Some(Voter { node_id, incarnation })
        });
        let voters: Vec<Voter> = voters.collect();
        let cluster_id = self.config.cluster_id.unwrap_or_else(|| self.random.uuid());
        self.write_cluster(cluster_id, voters, None, out);
    }

    /// Writes down which cluster this node belongs to. `tell`: who wants to know that it is written.
    fn write_cluster(
        &mut self,
        cluster_id: Uuid,
        voters: Vec<Voter>,
        tell: Option<NodeId>,
        out: &mut Outputs,
    ) {
        if !self.is_writable() {
            return;
        }
        self.founding.is_writing = true;
        let lsn = self.journal(Entry::Founded { cluster_id, voters: voters.clone() }, out);
        self.after_sync(lsn, Deferred::Founded { cluster: Cluster { id: cluster_id, voters }, tell }, out);
    }

    pub(super) fn on_founded(&mut self, cluster: Cluster, tell: Option<NodeId>, out: &mut Outputs) {
        self.founding.is_writing = false;
        self.committed = Image::founded(cluster.voters.clone());
        let cluster_id = cluster.id;
        self.quorum.cluster = Some(cluster);
        self.quorum.refresh_voters(&self.committed);
        if let Some(founder) = tell {
            self.send(founder, None, PeerBody::Found(Found::Written { cluster_id }), out);
        }
        self.begin_quorum(out);
        if self.is_announcing() {
            self.on_founding(out);
        }
    }

    /// This node founded the cluster, and the first term has not begun.
    fn is_announcing(&self) -> bool {
        self.is_founder() && self.quorum.is_voter() && !self.quorum_has_history()
    }

    fn quorum_has_history(&self) -> bool {
        self.quorum.epoch().0 > 0 || self.quorum.log.log().end().0 > 0
    }

    /// A voter of a cluster without history stands only as its founder, once all have the founding on disk.
    pub(super) fn may_stand(&self) -> bool {
        self.quorum.may_stand() && self.config.roles.controller && self.quorum_has_history()
    }

    fn announce(&mut self, out: &mut Outputs) {
        let Some(cluster) = self.quorum.cluster.clone() else { return };
        self.founding.written.insert(self.config.node_id);
        for voter in &cluster.voters {
            if !self.founding.written.contains(&voter.node_id) {
                let found = Found::Cluster {
                    cluster_id: cluster.id,
                    voters: cluster.voters.clone(),
                    is_founded: false,
                };
                self.send(voter.node_id, None, PeerBody::Found(found), out);
            }
        }
        if cluster.voters.iter().all(|voter| self.founding.written.contains(&voter.node_id)) {
            // On an empty quorum the lowest id stands at once.
            self.stand(out);
        }
    }

    pub(super) fn on_found(&mut self, from: NodeId, peer: PeerRun, found: Found, out: &mut Outputs) {
        match found {
            Found::Blank { voters } => self.on_blank(from, peer, &voters, out),
            Found::Cluster { cluster_id, voters, is_founded } => {
                self.on_cluster(from, cluster_id, voters, is_founded, out);
            }
            Found::Written { cluster_id } => {
                let own = self.quorum.cluster.as_ref();
                let is_member = own.is_some_and(|cluster| {
                    cluster.id == cluster_id
                        && cluster.voters.contains(&Voter { node_id: from, incarnation: peer.incarnation })
                });
                if is_member && self.is_announcing() && self.founding.written.insert(from) {
                    self.announce(out);
                }
            }
        }
    }

    fn on_blank(&mut self, from: NodeId, peer: PeerRun, voters: &[NodeId], out: &mut Outputs) {
        let Some(cluster) = &self.quorum.cluster else {
            if self.config.voters.contains(&from) && voters == self.config.voters {
                self.founding.blank.insert(from, peer.incarnation);
                self.found_if_all_blank(out);
            }
            return;
        };
        let is_founded = self.quorum_has_history();
        let member = Voter { node_id: from, incarnation: peer.incarnation };
        if is_founded || self.is_announcing() && cluster.voters.contains(&member) {
            // The first voters, whoever votes by now: from them on the log is replayed, by all nodes alike (S15).
            let voters = cluster.voters.clone();
            let found = Found::Cluster { cluster_id: cluster.id, voters, is_founded };
            self.send(from, Some(peer.run), PeerBody::Found(found), out);
        }
    }

    fn on_cluster(
        &mut self,
        from: NodeId,
        cluster_id: Uuid,
        voters: Vec<Voter>,
        is_founded: bool,
        out: &mut Outputs,
    ) {
        if self.config.cluster_id.is_some_and(|expected| expected != cluster_id) {
            return; // Configured for another one: this node waits, and its driver says for what.
        }
        match &self.quorum.cluster {
            Some(own) if own.id == cluster_id && !is_founded && !self.quorum_has_history() => {
                self.send(from, None, PeerBody::Found(Found::Written { cluster_id }), out);
            }
            Some(_) => {}
            None if self.founding.is_writing => {}
            None => {
                let me = Voter { node_id: self.config.node_id, incarnation: self.config.incarnation };
                let is_member = voters.contains(&me);
                if is_founded || is_member {
                    self.write_cluster(cluster_id, voters, (!is_founded).then_some(from), out);
                }
            }
        }
    }

    /// Configured voters that have not said that they are blank.
    pub(super) fn silent_voters(&self) -> Vec<NodeId> {
        let heard = |node: &NodeId| {
            *node == self.config.node_id || self.peers.get(node).is_some_and(|peer| peer.is_heard())
        };
        self.config.voters.iter().copied().filter(|node| !heard(node)).collect()
    }

    /// Another node's streams are there.
    pub(super) fn greet(&mut self, node: NodeId, out: &mut Outputs) {
        if self.quorum.cluster.is_none() && self.config.voters.contains(&node) {
            let voters = self.config.voters.clone();
            self.send(node, None, PeerBody::Found(Found::Blank { voters }), out);
        }
    }
}
