//! Streams between nodes, on loopback: messages with record batches, and everything that may stand at a port instead.

#![allow(clippy::wildcard_enum_match_arm, reason = "whatever a test does not expect is its failure")]

use bytes::{Bytes, BytesMut};
use seedlog::budget::Part;
use seedlog::driver::PeerRecords;
use seedlog::env::{Env, RealEnv};
use seedlog::peer::{Address, PeerEvent, PeerOptions, Peers, Records};
use seedlog::store::{RealDisk, RealDiskOptions, Store, StoreEvent, StoreOptions};
use seedlog_core::ids::{
    Generation, LeaderEpoch, Lsn, NodeId, Offset, PartitionIndex, RunId, SessionNumber, TopicPartition, Uuid,
};
use seedlog_core::journal::{AppendEntry, Entry};
use seedlog_core::output::Extent;
use seedlog_core::peer::{Append, Beat, PEER_FORMAT, PeerBody, PeerMessage};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchBuilder, BatchHeader};
use seedlog_core::time::WallMs;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

const BULK_BYTES: u64 = 8 << 20;

/// One node's streams.
struct Node<R: Records = Vec<Bytes>> {
    id: NodeId,
    peers: Peers<RealEnv, R>,
    events: mpsc::UnboundedReceiver<PeerEvent>,
    port: u16,
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { timeout(Duration::from_secs(60), test).await.expect("it ends") })
}

fn options(id: i32) -> PeerOptions {
    let mut options = PeerOptions::new(NodeId(id));
    options.ping_ms = 50;
    options.silent_ms_max = 1_000;
    options.stalled_ms_max = 1_000;
    options.greeting_ms_max = 500;
    options
}

async fn start<R: Records>(options: PeerOptions, port: u16) -> Node<R> {
    let env = RealEnv::new();
    let (tell, events) = mpsc::unbounded_channel();
    let id = options.node_id;
    let tell = move |event| drop(tell.send(event));
    let peers = Peers::new(env.clone(), options, Part::new("peers", BULK_BYTES), tell);
    let listener = loop {
        match env.bind(Some("127.0.0.1"), port).await {
            Ok(listener) => break listener,
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    };
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(peers.door().listen(listener));
    Node { id, peers, events, port }
}

impl<R: Records> Node<R> {
    fn knows(&mut self, others: &[(i32, u16)]) {
        let addresses: BTreeMap<NodeId, Address> =
            others.iter().map(|&(id, port)| (NodeId(id), ("127.0.0.1".to_owned(), port))).collect();
        self.peers.set_addresses(&addresses);
    }

    fn says(&self, to: i32, body: PeerBody, batches: Option<R>) {
        let message = PeerMessage {
            from: self.id,
            incarnation: Uuid([self.id.0 as u8; 16]),
            run: RunId(1),
            to_run: None,
            cluster_id: None,
            body,
        };
        self.peers.send(NodeId(to), Box::new(message), batches);
    }

    async fn hears(&mut self) -> PeerEvent {
        timeout(Duration::from_secs(10), self.events.recv()).await.expect("in time").expect("it is there")
    }

    async fn sees_up(&mut self, id: i32) {
        loop {
            match self.hears().await {
                PeerEvent::Up { node } if node == NodeId(id) => return,
                PeerEvent::Lost { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn sees_lost(&mut self, id: i32) {
        loop {
            match self.hears().await {
                PeerEvent::Lost { node } if node == NodeId(id) => return,
                PeerEvent::Said { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn beat(number: u64) -> PeerBody {
    PeerBody::Beat(Beat { epoch: LeaderEpoch(1), number, session: None })
}

fn append(previous: i64) -> PeerBody {
    PeerBody::Append(Append {
        partition: TopicPartition { topic_id: Uuid([9; 16]), partition: PartitionIndex(0) },
        epoch: LeaderEpoch(1),
        number: SessionNumber(1),
        previous_offset: Offset(previous),
        previous_epoch: None,
        high_watermark: Offset(0),
        log_start: Offset(0),
    })
}

/// A batch at an offset, in two pieces as a leader may have it.
fn batch(base: i64, bytes: usize) -> Vec<Bytes> {
    let mut builder = BatchBuilder::new();
    builder.add(1, None, Some(&vec![7; bytes]), &[]);
    let mut batch = builder.finish().to_vec();
    let mut header = BatchHeader::parse(&batch).expect("a batch");
    header.base_offset = Offset(base);
    header.leader_epoch = LeaderEpoch(1);
    let mut stamped = [0; BATCH_HEADER_BYTES];
    header.write(&mut stamped);
    batch[..BATCH_HEADER_BYTES].copy_from_slice(&stamped);
    let bytes = Bytes::from(batch);
    vec![bytes.slice(..BATCH_HEADER_BYTES), bytes.slice(BATCH_HEADER_BYTES..)]
}

async fn pair<R: Records>() -> (Node<R>, Node) {
    let (mut one, mut two) = (start(options(1), 0).await, start::<Vec<Bytes>>(options(2), 0).await);
    one.knows(&[(1, one.port), (2, two.port)]);
    two.knows(&[(1, one.port), (2, two.port)]);
    one.sees_up(2).await;
    two.sees_up(1).await;
    (one, two)
}

/// The number of a beat, or the offsets of batches.
fn said(event: PeerEvent) -> Result<u64, Vec<i64>> {
    match event {
        PeerEvent::Said { message, batches, .. } => match message.body {
            PeerBody::Beat(beat) => {
                assert!(batches.is_empty());
                Ok(beat.number)
            }
            PeerBody::Append(_) => Err(batches.iter().map(|batch| batch.header.base_offset.0).collect()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_that_nobody_knows_says_where_it_listens() {
    run(async {
        let mut one = start::<Vec<Bytes>>(options(1), 0).await;
        let mut two = start::<Vec<Bytes>>(
            PeerOptions { address: Some(("127.0.0.1".to_owned(), 4_711)), ..options(2) },
            0,
        )
        .await;
        two.knows(&[(1, one.port)]);
        two.sees_up(1).await;
        match one.hears().await {
            PeerEvent::Greeted { node, address } => {
                assert_eq!((node, address), (NodeId(2), ("127.0.0.1".to_owned(), 4_711)));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn messages_arrive_in_order_on_each_stream_with_their_batches() {
    run(async {
        let (mut one, mut two) = pair().await;
        for number in 0..500 {
            one.says(2, beat(number), None);
            two.says(1, beat(1000 + number), None);
            if number % 5 == 0 {
                let base = number as i64;
                let batches = [batch(base, 3000), batch(base + 1, 10)].concat();
                one.says(2, append(base), Some(batches));
            }
            if number % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let (mut beats, mut appends) = (0, 0);
        while beats < 500 || appends < 500 {
            match said(two.hears().await) {
                Ok(number) => {
                    assert_eq!(number, beats);
                    beats += 1;
                }
                Err(offsets) => {
                    assert_eq!(offsets, [appends, appends + 1]);
                    appends += 5;
                }
            }
        }
        for number in 0..500 {
            assert_eq!(said(one.hears().await), Ok(1000 + number));
        }
        assert_eq!(one.peers.connected(), [NodeId(2)]);
        // A message of any size goes through, larger than the budget of the receiver and the queue of the sender.
        one.says(2, append(0), Some(batch(0, 40 << 20)));
        assert_eq!(said(two.hears().await), Err(vec![0]));
        one.says(2, append(0), Some(Vec::new()));
        one.says(2, beat(7), None);
        assert_eq!(said(two.hears().await), Ok(7), "a message whose batches are gone is not sent");
    });
}

#[test]
fn a_peer_that_comes_back_is_found_again_and_what_was_said_meanwhile_is_not() {
    run(async {
        let (mut one, two) = pair::<Vec<Bytes>>().await;
        let port = two.port;
        for _ in 0..3 {
            one.says(2, beat(1), None);
        }
        drop(two);
        one.sees_lost(2).await;
        assert!(one.peers.connected().is_empty());
        one.says(2, beat(2), None);
        sleep(Duration::from_millis(300)).await;
        let mut two: Node = start(options(2), port).await;
        two.knows(&[(1, one.port)]);
        two.sees_up(1).await;
        one.sees_up(2).await;
        one.says(2, beat(3), None);
        assert_eq!(said(two.hears().await), Ok(3));
        // A peer that moves is dialled at its new place; one that is not named any more is left alone.
        let mut moved: Node = start(options(2), 0).await;
        one.knows(&[(2, moved.port)]);
        one.sees_lost(2).await;
        one.sees_up(2).await;
        one.says(2, beat(4), None);
        assert_eq!(said(moved.hears().await), Ok(4));
        one.knows(&[]);
        one.sees_lost(2).await;
    });
}

#[test]
fn bulk_that_is_not_taken_waits_is_dropped_and_delays_no_vote() {
    run(async {
        let (one, mut two) = pair::<Vec<Bytes>>().await;
        let mut held = Vec::new();
        // The receiver keeps what it got: its budget is used up, then the sockets, then the queue.
        for number in 0..120 {
            one.says(2, append(number), Some(batch(number, 1 << 20)));
            sleep(Duration::from_millis(2)).await;
        }
        let (_, bulk) = one.peers.queued_bytes();
        assert!(bulk <= 33 << 20, "{bulk}");
        one.says(2, beat(5), None);
        let mut beats = 0;
        while beats == 0 {
            let event = two.hears().await;
            match &event {
                PeerEvent::Said { batches, .. } if batches.is_empty() => beats += 1,
                PeerEvent::Said { .. } => held.push(event),
                other => panic!("{other:?}"),
            }
        }
        assert!(held.len() < 9, "{} messages of 1 MiB in a budget of 8", held.len());
        sleep(Duration::from_millis(100)).await;
        assert!(two.events.try_recv().is_err());
        drop(held);
        assert!(said(two.hears().await).is_err());
    });
}

/// What the port says to these bytes, up to the end of the stream.
async fn answer_to(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    stream.write_all(bytes).await.expect("it is taken");
    let mut answer = Vec::new();
    // A port that closes without having read everything resets the stream.
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.expect("it ends in time");
    answer
}

fn greeting(format: u16, stream: u8, from: i32, to: i32) -> Vec<u8> {
    let mut body = format.to_le_bytes().to_vec();
    body.push(stream);
    body.extend_from_slice(&from.to_le_bytes());
    body.extend_from_slice(&to.to_le_bytes());
    body.push(0);
    body.extend_from_slice(b"\x056.7.8");
    // No address: no host, no port.
    body.extend_from_slice(&[0, 0, 0]);
    let mut bytes = vec![0xf5, b'S', b'D', b'L'];
    bytes.extend_from_slice(&(body.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

#[test]
fn whatever_comes_to_the_port_does_no_harm() {
    run(async {
        let (one, mut two) = pair::<Vec<Bytes>>().await;
        let mut state = 7_u64;
        for round in 0..200 {
            let mut bytes =
                if round % 3 == 0 { greeting(PEER_FORMAT, round as u8 % 2, 1, 2) } else { Vec::new() };
            for _ in 0..round {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bytes.push((state >> 56) as u8);
            }
            let mut stream = TcpStream::connect(("127.0.0.1", two.port)).await.expect("it listens");
            let _ = stream.write_all(&bytes).await;
        }
        // A client of Kafka's, whose request begins with a length.
        assert!(answer_to(two.port, &[0, 0, 0, 20, 0, 18, 0, 3, 0, 0, 0, 1]).await.is_empty());
        // Half a greeting, and silence.
        assert!(answer_to(two.port, &greeting(PEER_FORMAT, 0, 1, 2)[..9]).await.is_empty());
        // Lengths that nobody should believe.
        let mut bytes = greeting(PEER_FORMAT, 0, 1, 2);
        bytes.extend_from_slice(&[
            0xf5, b'S', b'D', b'M', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
        ]);
        assert_eq!(answer_to(two.port, &bytes).await.len(), 8, "a welcome, and no more");
        one.says(2, beat(5), None);
        assert_eq!(said(two.hears().await), Ok(5), "and the real peer is heard");
    });
}

#[test]
fn nodes_that_do_not_belong_here_are_told_why() {
    run(async {
        let mut named = options(2);
        named.cluster_id = Some("AQEBAQEBAQEBAQEBAQEBAQ".to_owned());
        let two: Node = start(named, 0).await;
        let mut other_cluster = greeting(PEER_FORMAT, 0, 1, 2);
        other_cluster.splice(17..18, b"\x16BAEBAQEBAQEBAQEBAQEBAQ".iter().copied());
        let length = (other_cluster.len() - 6) as u8;
        other_cluster[4] = length;
        for (bytes, words) in [
            (greeting(9, 0, 1, 2), &["node 1", "format 9", "6.7.8", env!("CARGO_PKG_VERSION")][..]),
            (greeting(PEER_FORMAT, 0, 1, 3), &["node 1", "node 3", "node 2", "controller.quorum.voters"]),
            (greeting(PEER_FORMAT, 0, 2, 2), &["two nodes", "2", "node.id"]),
            (other_cluster, &["BAEBAQEBAQEBAQEBAQEBAQ", "AQEBAQEBAQEBAQEBAQEBAQ"]),
        ] {
            let answer = answer_to(two.port, &bytes).await;
            let sentence = String::from_utf8_lossy(&answer[8..]).into_owned();
            assert!(words.iter().all(|word| sentence.contains(word)), "{sentence}");
        }
    });
}

#[test]
fn a_port_that_never_answers_and_a_peer_that_falls_silent_are_lost() {
    run(async {
        let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = mute.local_addr().expect("it is bound").port();
        let mut one: Node = start(options(1), 0).await;
        one.knows(&[(2, port)]);
        one.sees_lost(2).await;
        // It greets, and then says nothing more: as a machine does that lost its power.
        let silent = tokio::spawn(async move {
            let mut streams = Vec::new();
            loop {
                let (mut stream, _) = mute.accept().await.expect("it listens");
                let mut greeting = [0; 6];
                let _ = stream.read_exact(&mut greeting).await;
                let _ = stream.write_all(&[0xf5, b'S', b'D', b'L', 1, 0, 0, 0]).await;
                streams.push(stream);
            }
        });
        one.sees_up(2).await;
        one.says(2, beat(1), None);
        one.sees_lost(2).await;
        silent.abort();
    });
}

#[test]
fn a_damaged_batch_ends_the_stream_and_is_not_heard() {
    run(async {
        let (mut one, mut two) = pair().await;
        one.says(2, append(0), Some(batch(0, 100)));
        assert_eq!(said(two.hears().await), Err(vec![0]));
        let mut pieces = batch(1, 100);
        let mut damaged = BytesMut::from(&pieces[1][..]);
        damaged[50] ^= 1;
        pieces[1] = damaged.freeze();
        one.says(2, append(1), Some(pieces));
        sleep(Duration::from_millis(200)).await;
        // Control goes on, and bulk begins anew.
        one.says(2, append(2), Some(batch(2, 100)));
        assert_eq!(said(two.hears().await), Err(vec![2]));
        assert!(one.events.try_recv().is_err(), "nobody was lost");
    });
}

#[test]
fn batches_of_the_store_are_sent_from_wherever_they_are() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store_options = StoreOptions::new(folder.path().to_owned(), NodeId(1), Uuid([1; 16]));
        store_options.reads_ahead = true;
        store_options.tail_cache_bytes = 0;
        let disk =
            RealDisk::new(RealDiskOptions { direct: true, cold_read_threads: 1 }).expect("threads start");
        let opened = Store::open(store_options, disk, Box::new(|| 7)).await;
        let (mut store, _, _) = opened.expect("it opens");
        let (one, mut two) = pair::<PeerRecords<RealDisk>>().await;
        let partition = TopicPartition { topic_id: Uuid([9; 16]), partition: PartitionIndex(0) };
        let send = |store: &Store<RealDisk>, from: i64, to: i64| {
            let generation = Generation(0);
            let extent =
                Extent { partition, generation, from: Offset(from), to: Offset(to), bytes_max: 10_000 };
            one.says(2, append(from), Some(PeerRecords::of(store, &extent)));
        };
        for base in 0..3 {
            let batch = Bytes::from(batch(base, 1000).concat());
            let header = BatchHeader::parse(&batch).expect("a batch");
            let entry = AppendEntry {
                partition,
                base_offset: Offset(base),
                offsets: 1,
                epoch: LeaderEpoch(1),
                batch_bytes: header.batch_bytes,
                crc: header.crc,
                append_time: WallMs(1),
                roll: false,
            };
            store.push(&Entry::Append(entry), Some((&header, &batch)));
            store.end_step();
            send(&store, base, base + 1);
        }
        for base in 0..3 {
            assert_eq!(said(two.hears().await), Err(vec![base]), "before anything is written");
        }
        store.flush();
        let last = Lsn(3);
        loop {
            match store.next_event().await {
                StoreEvent::Durable { synced, .. } if synced == last => break,
                StoreEvent::DiskFailed { reason } => panic!("{reason}"),
                _ => {}
            }
        }
        assert_eq!(store.cache_bytes().0, 0, "they are in the journal alone");
        send(&store, 0, 3);
        send(&store, 1, 3);
        send(&store, 7, 9);
        send(&store, 2, 3);
        for offsets in [vec![0, 1, 2], vec![1, 2], vec![2]] {
            assert_eq!(
                said(two.hears().await),
                Err(offsets),
                "read back, in order; what is not there is left out"
            );
        }
    });
}
