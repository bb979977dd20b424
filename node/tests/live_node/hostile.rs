//! Anybody can connect: whatever comes in, the connection ends or gets an answer, and the node serves everybody else.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use bytes::Bytes;
use seedlog_core::errors::ErrorCode;
use seedlog_core::records::BatchBuilder;
use seedlog_core::wire::produce::{PartitionProduceData, TopicProduceData};
use seedlog_core::wire::{
    APIS, ApiKey, MetadataRequest, OffsetFetchRequest, ProduceRequest, Records, Request, Response, Str,
    decode_response, encode_request,
};

use crate::support::{Node, Place};

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// A header without a client id, up to its tags.
const HEADER_BYTES: usize = 10;

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&length.to_be_bytes(), body].concat()
}

/// An empty request of an API, as a frame.
fn request(api: ApiKey, version: i16, correlation_id: i32) -> Vec<u8> {
    let request = if api == ApiKey::Metadata {
        // Before version 1 no list of topics says that all are meant.
        MetadataRequest { topics: Some(Vec::new()), ..Default::default() }.into()
    } else if api == ApiKey::OffsetFetch {
        // Version 1 must have a list.
        OffsetFetchRequest { topics: Some(Vec::new()), ..Default::default() }.into()
    } else {
        Request::empty(api)
    };
    encode_request(version, correlation_id, None, &request).unwrap().to_bytes().to_vec()
}

/// The next answer on a connection, without its length; `None` if the node hangs up instead.
fn answer(stream: &mut TcpStream) -> Option<Bytes> {
    let mut length = [0; 4];
    let mut read = |bytes: &mut [u8]| match stream.read_exact(bytes) {
        Ok(()) => Some(()),
        Err(error) => {
            let hung_up = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
            assert!(hung_up.contains(&error.kind()), "the node neither answers nor hangs up: {error}");
            None
        }
    };
    read(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    read(&mut frame)?;
    Some(Bytes::from(frame))
}

/// Sends bytes and takes the first answer.
fn ask(node: &Node, bytes: &[u8]) -> Option<Bytes> {
    let mut stream = node.connect();
    // The node may hang up before it has read everything.
    stream.write_all(bytes).ok();
    answer(&mut stream)
}

/// The node hangs up without an answer.
fn hangs_up(node: &Node, bytes: &[u8]) {
    let answer = ask(node, bytes);
    assert_eq!(answer, None, "{bytes:?} is answered");
}

fn serves(node: &mut Node) {
    node.ok(&["topic", "list"]);
    node.is_sound();
}

#[test]
fn frames_of_a_wrong_length_close_the_connection() {
    let place = Place::new().with("socket.request.max.bytes", "100000").with("message.max.bytes", "90000");
    let mut node = place.start();
    for length in [-1_i32, i32::MIN, 0, 1, 7, 100_001, i32::MAX] {
        hangs_up(&node, &length.to_be_bytes());
    }
    hangs_up(&node, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // The start of a TLS handshake.
    hangs_up(&node, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
    serves(&mut node);
    node.stop();
}

#[test]
fn frames_that_are_no_requests_close_the_connection() {
    let place = Place::new();
    let mut node = place.start();
    let mut dice = Dice(1);
    for length in (8..200).chain([5_000, 200_000]) {
        let mut body = dice.bytes(length);
        // An API that does not exist.
        body[0] = 0x7f;
        hangs_up(&node, &framed(&body));
    }
    for api in APIS {
        for version in [i16::MIN, -1, api.served.min - 1, api.served.max + 1, i16::MAX] {
            if (api.served.min..=api.served.max).contains(&version) {
                continue;
            }
            let key = api.api_key.as_i16().to_be_bytes();
            let body = [&key[..], &version.to_be_bytes(), &[0, 0, 0, 9, 0xff, 0xff, 0]].concat();
            if api.api_key == ApiKey::ApiVersions {
                // KIP-511: answered in version 0, so that the client learns what there is.
                let answer = ask(&node, &framed(&body)).unwrap();
                assert_eq!(answer[..6], [0, 0, 0, 9, 0, 35], "version {version}");
            } else {
                hangs_up(&node, &framed(&body));
            }
        }
    }
    serves(&mut node);
    node.stop();
}

#[test]
fn frames_that_end_early_close_the_connection() {
    let place = Place::new();
    let mut node = place.start();
    let whole = request(ApiKey::ApiVersions, 3, 1);
    for length in 0..whole.len() {
        let mut stream = node.connect();
        stream.write_all(&whole[..length]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(&mut stream), None, "{length} bytes of a request are not answered");
    }
    // One that was whole is answered, whatever follows.
    for behind in [&whole[..9], &[0xff; 4]] {
        let mut stream = node.connect();
        stream.write_all(&[&whole[..], behind].concat()).unwrap();
        let first = answer(&mut stream).unwrap();
        assert_eq!(decode_response(ApiKey::ApiVersions, 3, first).unwrap().0, 1);
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(&mut stream), None);
    }
    serves(&mut node);
    node.stop();
}

#[test]
fn requests_of_random_bytes_end_or_are_answered() {
    let place = Place::new();
    let mut node = place.start();
    node.ok(&["produce", "--topic", "t", "--value", "v"]);
    let mut dice = Dice(2);
    for api in APIS {
        for version in api.served.min..=api.served.max {
            let whole = request(api.api_key, version, 5);
            for _ in 0..12 {
                let mut body = whole[4..].to_vec();
                let kind = if body.len() > HEADER_BYTES { dice.next() % 3 } else { 0 };
                match kind {
                    0 => body.extend(dice.bytes(40)),
                    1 => {
                        let at = HEADER_BYTES + dice.next() as usize % (body.len() - HEADER_BYTES);
                        body[at] ^= 1 << (dice.next() % 8);
                    }
                    _ => {
                        body.truncate(HEADER_BYTES);
                        body.extend(dice.bytes(60));
                    }
                }
                answers_or_hangs_up(&node, &framed(&body));
            }
        }
    }
    serves(&mut node);
    assert_eq!(node.read("t", 1)[0]["value"], "v");
    node.stop();
}

/// A good request behind these bytes is answered, or the connection has ended.
fn answers_or_hangs_up(node: &Node, bytes: &[u8]) {
    const LAST: i32 = 1_000_000;
    let mut stream = node.connect();
    stream.write_all(&[bytes, &request(ApiKey::ApiVersions, 3, LAST)].concat()).ok();
    while let Some(answer) = answer(&mut stream) {
        if answer[..4] == LAST.to_be_bytes() {
            return;
        }
    }
}

#[test]
fn answers_come_in_the_order_of_requests() {
    let place = Place::new();
    let node = place.start();
    let mut all = Vec::new();
    for number in 0..50 {
        // Correlation ids may repeat.
        let api = [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::DescribeCluster][number as usize % 3];
        all.extend(request(api, api.support().served.max, number / 2));
    }
    let mut stream = node.connect();
    stream.write_all(&all).unwrap();
    for number in 0..50 {
        assert_eq!(answer(&mut stream).unwrap()[..4], i32::to_be_bytes(number / 2));
    }
    node.stop();
}

#[test]
fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let place = Place::new().with("max.connections", "40");
    let mut node = place.start();
    let mut crowd: Vec<TcpStream> = (0..30).map(|_| node.connect()).collect();
    for (number, silent) in crowd.iter_mut().enumerate() {
        // Some have begun something that they never end.
        let begun = &framed(&[0; 5_000])[..number * 150];
        silent.write_all(begun).unwrap();
    }
    node.ok(&["produce", "--topic", "t", "--value", "v"]);
    // Beyond the limit a connection is closed at once.
    let mut more: Vec<TcpStream> = (0..20).map(|_| node.connect()).collect();
    let closed = more.iter_mut().rev().take(5).map(|stream| stream.read(&mut [0; 1]));
    assert!(closed.map(|read| read.unwrap_or(0)).all(|read| read == 0));
    drop((crowd, more));
    crate::support::wait_for("place for others", || {
        node.run(&["topic", "list"]).status.success().then_some(())
    });
    node.is_sound();
    node.stop();
}

#[test]
fn connections_beyond_the_rate_wait_and_are_served() {
    let place = Place::new().with("max.connection.creation.rate", "3");
    let node = place.start();
    let crowd: Vec<TcpStream> = (0..8).map(|_| node.connect()).collect();
    for mut stream in crowd {
        stream.write_all(&request(ApiKey::ApiVersions, 3, 7)).unwrap();
        assert_eq!(answer(&mut stream).unwrap()[..4], i32::to_be_bytes(7));
    }
    node.stop();
    let said = std::fs::read_to_string(place.file("node.log")).unwrap();
    assert!(said.contains("more come than max.connection.creation.rate lets in"), "{said}");
}

#[test]
fn a_client_that_does_not_read_stops_nobody() {
    let place = Place::new();
    let mut node = place.start();
    let mut deaf = node.connect();
    deaf.set_nonblocking(true).unwrap();
    let question = request(ApiKey::ApiVersions, 3, 1);
    // Until neither side takes any more; the node stops reading from who does not read.
    let mut sent = 0;
    while sent < 64 << 20 {
        match deaf.write(&question) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    node.ok(&["produce", "--topic", "t", "--value", "v"]);
    serves(&mut node);
    // Nor does it keep the node from stopping.
    node.stop();
    drop(deaf);
}

#[test]
fn a_batch_whose_bytes_are_wrong_is_refused() {
    let place = Place::new();
    let mut node = place.start();
    node.ok(&["topic", "create", "--topic", "t"]);
    let mut builder = BatchBuilder::new();
    builder.add(1, None, Some(b"value"), &[]);
    let batch = builder.finish();
    let produce = |batch: Vec<u8>| {
        let request = Request::from(ProduceRequest {
            acks: -1,
            timeout_ms: 1000,
            topic_data: vec![TopicProduceData {
                name: Str::from("t"),
                partition_data: vec![PartitionProduceData {
                    index: 0,
                    records: Some(Records::from(Bytes::from(batch))),
                }],
                ..Default::default()
            }],
            ..Default::default()
        });
        let frame = encode_request(9, 3, None, &request).unwrap().to_bytes();
        let (_, response) = decode_response(ApiKey::Produce, 9, ask(&node, &frame).unwrap()).unwrap();
        let Response::Produce(response) = response else { unreachable!("it goes by the question") };
        ErrorCode::from_code(response.responses[0].partition_responses[0].error_code).unwrap()
    };
    for at in (8..12).chain(16..batch.len()) {
        let mut wrong = batch.to_vec();
        wrong[at] ^= 1;
        let code = produce(wrong);
        let refusals = [
            ErrorCode::CorruptMessage,
            ErrorCode::InvalidRecord,
            ErrorCode::UnsupportedForMessageFormat,
            ErrorCode::UnsupportedCompressionType,
        ];
        assert!(refusals.contains(&code), "byte {at}: {}", code.name());
    }
    assert_eq!(node.ends("t"), [0]);
    assert_eq!(produce(batch.to_vec()), ErrorCode::None);
    assert_eq!(node.ends("t"), [1]);
    node.is_sound();
    node.stop();
}
