//! The corpus: small inputs that are worth varying, made from what a broker really says and writes.

use super::recovery::{ALWAYS, FILE, INTERVAL};
use super::{ANSWER, TARGETS};
use crate::golden::{Cluster, World};
use seedlog_core::ids::{ProducerEpoch, ProducerId};
use seedlog_core::peer::PeerMessage;
use seedlog_core::records::{BatchBuilder, Compression};
use seedlog_core::wire::{APIS, Str, encode_request};
use std::collections::BTreeMap;

/// All files of the corpus: target, name, content.
#[must_use]
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let [(frame_decode, _), (batch, _), (peer_message, _), (recovery, _)] = TARGETS;
    let named = |target| move |(name, bytes): (String, Vec<u8>)| (target, name, bytes);
    let mut all: Vec<_> = frames().into_iter().map(named(frame_decode)).collect();
    all.extend(batches().into_iter().map(named(batch)));
    all.extend(letters().into_iter().map(named(peer_message)));
    all.extend(journals().into_iter().map(named(recovery)));
    all
}

/// A story in which every API is asked that a scenario can ask.
const STORY: [&str; 30] = [
    "start",
    "create orders partitions=2 message.timestamp.type=CreateTime",
    "create no/slash",
    "metadata orders",
    "init-producer",
    "produce orders-0 'a' 'b' orders-1 'c' producer=0 epoch=0 seq=0",
    "produce payments-0 'x'",
    "fetch orders-0 orders-1 session=open",
    "fetch orders-0 from=2 session=next",
    "fetch payments-0",
    "offsets orders-0 max-timestamp",
    "epoch-end orders-0 epoch=0",
    "alter topic orders segment.ms=5 append=leader.replication.throttled.replicas/0:1 delete=retention.ms",
    "replace-settings topic orders retention.bytes=-1",
    "settings topic orders key=retention.bytes,segment.ms",
    "resources topic broker",
    "quorum",
    "quorum orders-0 version=0",
    "log-dirs",
    "producers orders-0 payments-0",
    "acls",
    "quotas user/any client-id/default",
    "scram-users ann",
    "update-features metadata.version=1",
    "find-coordinator readers",
    "ann: consume readers epoch=0 reads=orders pattern=pay.* instance=desk rack=here assignor=range",
    "ann: consume readers epoch=1 owns=orders-0,orders-1",
    "describe-consumers readers",
    "delete orders",
    "stop",
];

fn frames() -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut world = World::default();
    for command in STORY {
        world.obey(command).expect("the story makes sense");
    }
    for (number, frame) in world.frames().iter().enumerate() {
        let at = APIS.iter().position(|api| api.api_key == frame.api).expect("every API is listed");
        let kind = if frame.is_answer { "answer" } else { "request" };
        let mut bytes = Vec::new();
        if frame.is_answer {
            bytes.extend([
                ANSWER,
                u8::try_from(at).expect("few APIs"),
                u8::try_from(frame.version).expect("small"),
            ]);
        }
        bytes.extend_from_slice(&frame.bytes);
        found.insert(format!("{number:02}-{}-{kind}", frame.api.name().to_lowercase()), bytes);
    }
    // Those that no scenario asks, and the first version of each.
    for api in APIS {
        for version in [api.served.min, api.served.max] {
            let mut header = Vec::new();
            header.extend(api.api_key.as_i16().to_be_bytes());
            header.extend(version.to_be_bytes());
            header.extend([0, 0, 0, 7, 0, 1, b'c']);
            // A body of zeros ends every list and every string.
            header.extend([0; 24]);
            found.insert(format!("zeros-{}-{version}", api.api_key.name().to_lowercase()), header);
        }
    }
    let empty = seedlog_core::wire::ApiVersionsRequest::default().into();
    let frame = encode_request(4, 1, Some(&Str::from("client")), &empty)
        .expect("it has no field that could be refused");
    found.insert("apiversions".to_owned(), frame.to_bytes()[4..].to_vec());
    found
}

/// A story in which nodes say everything that they have to say to each other.
const CLUSTER_STORY: [&str; 22] = [
    "nodes 3",
    "start 1 2 3",
    "at 2: create orders partitions=2 replicas=3",
    "at 3: init-producer",
    "at 1: produce orders-0 'a' 'b'",
    "at 1: produce orders-0 'c'",
    "cut 1-2 1-3",
    "at 1: produce orders-0 'x' acks=1",
    "advance 12000 ms",
    "at 2: produce orders-0 'd'",
    "heal",
    "advance 12000 ms",
    "crash 3",
    "advance 3000 ms",
    "at 2: produce orders-0 'e' 'f'",
    "wipe 3",
    "start 3",
    "advance 3000 ms",
    "stop 1",
    "advance 1000 ms",
    "start 1",
    "advance 1000 ms",
];

/// The first letter of every kind.
fn letters() -> BTreeMap<String, Vec<u8>> {
    let mut cluster = Cluster::default();
    for command in CLUSTER_STORY {
        cluster.obey(command).expect("the story makes sense");
    }
    let mut found = BTreeMap::new();
    for letter in cluster.letters() {
        let message = PeerMessage::decode(&letter.message).expect("a node said it");
        let said = format!("{:?}", message.body).to_lowercase();
        let name: String = said.chars().take_while(char::is_ascii_alphanumeric).collect();
        let length = u16::try_from(letter.message.len()).expect("a short story has short letters");
        let bytes = [&length.to_le_bytes()[..], &letter.message, &letter.batches].concat();
        found.entry(name).or_insert(bytes);
    }
    found
}

fn batches() -> BTreeMap<String, Vec<u8>> {
    let mut one = BatchBuilder::new();
    one.add(1_000, Some(b"key"), Some(b"value"), &[]);
    let mut several = BatchBuilder::new();
    several.add(1_000, None, Some(b"a"), &[(b"header", Some(b"x")), (b"null", None)]);
    several.add(3_000, Some(b""), None, &[]);
    several.add(2_000, None, None, &[]);
    let idempotent = one.clone().producer(ProducerId(7), ProducerEpoch(1), 41);
    let named = [
        ("empty", BatchBuilder::new().finish()),
        ("one", one.finish()),
        ("several", several.finish()),
        ("idempotent", idempotent.finish()),
        ("transactional", idempotent.transactional().finish()),
        ("control", one.clone().control().finish()),
        ("append-time", one.clone().log_append_time().finish()),
        ("compressed", several.finish_with(Compression::Lz4, <[u8]>::to_vec)),
    ];
    let mut found: BTreeMap<String, Vec<u8>> =
        named.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect();
    found.insert("two".to_owned(), [found["one"].clone(), found["several"].clone()].concat());
    let mut old = found["one"].clone();
    old[16] = 1;
    found.insert("old-magic".to_owned(), old);
    found
}

fn journals() -> BTreeMap<String, Vec<u8>> {
    // Steps of stories: see `recovery`.
    let stories: [(&str, u8, &[u8]); 9] = [
        ("plain", ALWAYS, &[0, 0, 0, 1, 0, 2, 9, 0, 0, 0]),
        ("torn", ALWAYS, &[0, 0, 4, 0, 0, 6, 6, 0, 10, 0b101, 5, 0, 0, 1]),
        ("page-cache", ALWAYS, &[4, 0, 0, 0, 6, 0, 9, 0, 10, 0, 9, 0]),
        ("stops", ALWAYS, &[0, 4, 11, 0, 0, 5, 11, 0, 8, 200, 0, 3]),
        ("half-recovered", ALWAYS, &[4, 0, 0, 0, 0, 1, 6, 0, 12, 1, 12, 0, 5, 0, 0, 2]),
        ("rotten-record", ALWAYS, &[0, 0, 0, 1, 8, 1, 13, 0, 9, 0, 0, 1]),
        ("rotten-group", ALWAYS, &[0, 0, 0, 1, 0, 2, 8, 1, 13, 1, 9, 0, 0, 1]),
        (
            "old-groups",
            INTERVAL,
            &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 6, 0, 10, 0b100, 9, 0, 9, 0],
        ),
        ("interval", INTERVAL, &[4, 0, 0, 0, 6, 0, 0, 1, 6, 0, 10, 0b10, 9, 0, 5, 0, 0, 2]),
    ];
    let mut found = BTreeMap::new();
    for (name, mode, steps) in stories {
        found.insert(format!("story-{name}"), [&[mode], steps].concat());
    }
    let mut world = World::default();
    for command in
        ["start", "create t partitions=2", "produce t-0 'a'", "produce t-1 'b' t-0 'c'", "advance 1 ms"]
    {
        world.obey(command).expect("the story makes sense");
    }
    found.insert("file-running".to_owned(), [&[FILE], world.journal_file()].concat());
    found
}
