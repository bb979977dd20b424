//! Requests that wait while the store is full. A connection's requests are stepped in the order they came, so one that
//! waits holds back the ones behind it on its connection, and no other connection's. So do record batches of peers: while
//! they wait their bytes are missing in the budget, and sooner or later the peers' streams are not read from.

use crate::net::Event;
use crate::peer::PeerEvent;
use seedlog_core::door::ClientBody;
use seedlog_core::ids::ConnId;
use std::collections::{BTreeMap, VecDeque};

/// Events that wait, in the order they came. The budget bounds them, as it bounds the inbox.
#[derive(Debug)]
pub(super) struct Held<L> {
    events: VecDeque<Event<L>>,
    /// How many of them each connection has.
    by_conn: BTreeMap<ConnId, usize>,
    /// How many of them are batches of peers.
    of_peers: usize,
}

impl<L> Default for Held<L> {
    fn default() -> Self {
        Self { events: VecDeque::new(), by_conn: BTreeMap::new(), of_peers: 0 }
    }
}

impl<L> Held<L> {
    /// Gives the event back if it may be stepped, or keeps it.
    pub(super) fn pass(&mut self, event: Event<L>, is_full: bool) -> Option<Event<L>> {
        if !is_full && self.events.is_empty() {
            return Some(event);
        }
        let (conn, must_wait) = match &event {
            Event::Request { conn, request, .. } => (*conn, is_full && is_append(&request.body)),
            Event::Closed { conn } => (*conn, false),
            Event::Peer(PeerEvent::Said { batches, .. }) if !batches.is_empty() => {
                if !is_full && self.of_peers == 0 {
                    return Some(event);
                }
                self.of_peers += 1;
                self.events.push_back(event);
                return None;
            }
            Event::Opened { .. } | Event::Peer(_) | Event::Survey | Event::Stop => return Some(event),
        };
        if !must_wait && !self.by_conn.contains_key(&conn) {
            return Some(event);
        }
        *self.by_conn.entry(conn).or_default() += 1;
        self.events.push_back(event);
        None
    }

    /// The first that waits.
    pub(super) fn release(&mut self) -> Option<Event<L>> {
        let event = self.events.pop_front()?;
        if let Event::Peer(_) = &event {
            self.of_peers -= 1;
        }
        if let Event::Request { conn, .. } | Event::Closed { conn } = &event {
            let left = self.by_conn.get_mut(conn).map(|count| {
                *count -= 1;
                *count
            });
            if left == Some(0) {
                self.by_conn.remove(conn);
            }
        }
        Some(event)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

fn is_append(body: &ClientBody) -> bool {
    match body {
        ClientBody::Produce(_) => true,
        ClientBody::Controller(request) => request.makes_partitions(),
        // Metadata may create a topic; it is small and must not wait for producers.
        ClientBody::Fetch(_)
        | ClientBody::ListOffsets(_)
        | ClientBody::Metadata(_)
        | ClientBody::ApiVersions
        | ClientBody::UnknownApiVersions
        | ClientBody::Group(_)
        | ClientBody::DeleteRecords(_)
        | ClientBody::InitProducerId(_)
        | ClientBody::FindCoordinator(_)
        | ClientBody::DescribeCluster(_)
        | ClientBody::DescribeTopicPartitions(_)
        | ClientBody::DescribeAcls(_)
        | ClientBody::DescribeLogDirs(_)
        | ClientBody::DescribeClientQuotas(_)
        | ClientBody::DescribeUserScramCredentials(_)
        | ClientBody::UpdateFeatures(_)
        | ClientBody::DescribeProducers(_)
        | ClientBody::DescribeConfigs(_)
        | ClientBody::ListConfigResources(_)
        | ClientBody::OffsetForLeaderEpoch(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::door::{Acks, ClientRequest, Produce};
    use seedlog_core::ids::RequestNumber;

    fn request(conn: u64, number: u64, body: ClientBody) -> Event<()> {
        let request = Box::new(ClientRequest { api_version: 3, client_id: None, body });
        Event::Request { conn: ConnId(conn), number: RequestNumber(number), request }
    }

    fn produce(conn: u64, number: u64) -> Event<()> {
        let acks = Acks::All;
        let produce = Produce { transactional_id: None, acks, timeout_ms: 0, topics: Vec::new() };
        request(conn, number, ClientBody::Produce(produce))
    }

    fn name(event: Option<Event<()>>) -> String {
        match event {
            Some(Event::Request { conn, number, .. }) => format!("{conn}/{number}"),
            Some(Event::Closed { conn }) => format!("{conn} closed"),
            Some(Event::Opened { .. }) => "opened".to_owned(),
            Some(Event::Peer(_)) => "peer".to_owned(),
            Some(Event::Survey) => "survey".to_owned(),
            Some(Event::Stop) => "stop".to_owned(),
            None => "-".to_owned(),
        }
    }

    #[test]
    fn an_append_waits_with_what_follows_it_and_nobody_else() {
        let mut held = Held::default();
        assert_eq!(name(held.pass(produce(1, 0), false)), "1/0");
        assert_eq!(name(held.pass(produce(1, 1), true)), "-");
        assert_eq!(name(held.pass(request(1, 2, ClientBody::ApiVersions), true)), "-");
        assert_eq!(name(held.pass(request(2, 0, ClientBody::ApiVersions), true)), "2/0");
        assert_eq!(name(held.pass(Event::Closed { conn: ConnId(1) }, false)), "-");
        assert_eq!(name(held.pass(Event::Stop, true)), "stop");
        let order: Vec<_> = (0..4).map(|_| name(held.release())).collect();
        assert_eq!(order, ["1/1", "1/2", "1 closed", "-"]);
        assert_eq!(name(held.pass(produce(1, 3), false)), "1/3");
    }
}
