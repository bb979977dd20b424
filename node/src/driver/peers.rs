//! What the driver does for the streams to other nodes: it keeps their addresses, and hands over what the core says, with
//! a claim on the records that go with it (SAFETY R8).

use crate::env::Env;
use crate::peer::{Address, Peers, Records};
use crate::store::disk::Disk;
use crate::store::{Lease, Store};
use bytes::Bytes;
use seedlog_core::broker::Broker;
use seedlog_core::ids::{NodeId, Offset};
use seedlog_core::output::{Extent, PeerBatches};
use seedlog_core::peer::PeerMessage;
use seedlog_core::records::BATCH_HEADER_BYTES;
use std::collections::BTreeMap;

/// Most nodes whose own word is remembered.
const GREETED_MAX: usize = 1_000;

/// The records of a message.
#[derive(Debug)]
pub enum PeerRecords<D: Disk> {
    /// They came a moment ago: the stamped header, and what stands behind it.
    Fresh(Bytes, Bytes),
    /// A claim on what is in the log.
    Leased {
        /// The claim.
        lease: Lease<D>,
        /// Most bytes of it.
        bytes_max: u32,
    },
}

impl<D: Disk> PeerRecords<D> {
    /// Claims an extent of the store, with what is not in the journal yet.
    pub fn of(store: &Store<D>, extent: &Extent) -> Self {
        Self::Leased { lease: store.lease_ahead(extent), bytes_max: extent.bytes_max }
    }
}

impl<D: Disk> Records for PeerRecords<D> {
    fn now(&self) -> Option<Vec<Bytes>> {
        match self {
            Self::Fresh(header, rest) => Some(vec![header.clone(), rest.clone()]),
            Self::Leased { lease, bytes_max } => lease.resolve_now(*bytes_max, true),
        }
    }

    fn bytes_max(&self) -> usize {
        match self {
            Self::Fresh(header, rest) => header.len() + rest.len(),
            Self::Leased { bytes_max, .. } => *bytes_max as usize,
        }
    }

    async fn read(self) -> Option<Vec<Bytes>> {
        match self {
            Self::Fresh(header, rest) => Some(vec![header, rest]),
            Self::Leased { lease, bytes_max } => lease.resolve(bytes_max, true).await.ok(),
        }
    }
}

/// The other nodes of a cluster.
#[derive(Debug)]
pub struct Cluster<E: Env, D: Disk> {
    peers: Peers<E, PeerRecords<D>>,
    /// `controller.quorum.voters`
    voters: BTreeMap<NodeId, Address>,
    /// Where others said that they listen, when they came to us last.
    greeted: BTreeMap<NodeId, Address>,
    /// The end of the metadata that the addresses were taken from.
    seen: Option<Offset>,
}

impl<E: Env, D: Disk> Cluster<E, D> {
    /// Streams to the voters, and to whoever the metadata names.
    pub fn new(peers: Peers<E, PeerRecords<D>>, voters: BTreeMap<NodeId, Address>) -> Self {
        Self { peers, voters, greeted: BTreeMap::new(), seen: None }
    }

    /// Takes the addresses of brokers from the metadata, if it is not what it was.
    pub(super) fn refresh(&mut self, broker: &Broker) {
        let end = broker.image().end();
        if self.seen.replace(end) == Some(end) {
            return;
        }
        // What a node said itself is newer than what it registered with. Where a voter listens is configured, so that it is
        // found before there is any metadata.
        let mut addresses: BTreeMap<NodeId, Address> = broker.peers().collect();
        addresses.extend(self.greeted.iter().map(|(&node, address)| (node, address.clone())));
        addresses.extend(self.voters.iter().map(|(&node, address)| (node, address.clone())));
        self.peers.set_addresses(&addresses);
    }

    /// A node came to us: from here on it can be answered, though the metadata may not know of it yet.
    pub(super) fn on_greeted(&mut self, node: NodeId, address: Address) {
        let is_known = self.greeted.contains_key(&node);
        if self.voters.contains_key(&node) || !is_known && self.greeted.len() >= GREETED_MAX {
            return;
        }
        if self.greeted.insert(node, address.clone()) != Some(address) {
            self.seen = None;
        }
    }

    /// Hands a message over. What it is about may be gone: then nothing is sent.
    pub(super) fn send(&self, to: NodeId, message: Box<PeerMessage>, batches: PeerBatches, store: &Store<D>) {
        let records = match batches {
            PeerBatches::None => None,
            PeerBatches::Fresh(header, batch) => {
                let mut stamped = [0; BATCH_HEADER_BYTES];
                header.write(&mut stamped);
                let stamped = Bytes::copy_from_slice(&stamped);
                Some(PeerRecords::Fresh(stamped, batch.slice(BATCH_HEADER_BYTES..)))
            }
            PeerBatches::Extent(extent) => Some(PeerRecords::of(store, &extent)),
        };
        self.peers.send(to, message, records);
    }
}
