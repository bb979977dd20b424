//! Frames from somebody who means harm: reading them ends in an error or in a value, never in a panic, and never asks for
//! more memory than a small multiple of the frame.

mod wire_support;

use bytes::Bytes;
use seedlog_core::wire::{self, APIS};
use wire_support::{Body, Read, Rng, Subject, body, body_with_unknown_tags, for_all, varint};

/// Reads `bytes`; whatever comes of it, memory stays bounded, and a value that was read survives another round.
fn check(subject: &Subject, bytes: Bytes, version: i16) -> Read {
    let outcome = (subject.read)(bytes, version);
    assert!(outcome.reserved <= outcome.reserved_max);
    if let Ok(canonical) = &outcome.again {
        let again = (subject.read)(canonical.clone(), version).again;
        assert_eq!(again.as_ref(), Ok(canonical), "{} version {version}", subject.name);
    }
    outcome
}

#[test]
fn every_truncation_is_an_error() {
    for_all(4, |subject, version, rng| {
        let Body { bytes, .. } = body(rng, &subject.described, version);
        for length in 0..bytes.len() {
            let outcome = check(subject, bytes.slice(..length), version);
            assert!(outcome.again.is_err(), "{} version {version} cut to {length} bytes", subject.name);
        }
    });
}

#[test]
fn trailing_bytes_are_an_error() {
    for_all(4, |subject, version, rng| {
        let mut bytes = body(rng, &subject.described, version).bytes.to_vec();
        bytes.push(0);
        assert!(check(subject, bytes.into(), version).again.is_err());
    });
}

#[test]
fn mutated_bodies_do_no_harm() {
    for_all(60, |subject, version, rng| {
        let mut bytes = body(rng, &subject.described, version).bytes.to_vec();
        for _ in 0..=rng.below(3) {
            if bytes.is_empty() {
                break;
            }
            let at = rng.below(bytes.len());
            match rng.below(4) {
                0 => bytes[at] ^= 1 << rng.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5)],
                2 => bytes.insert(at, rng.next() as u8),
                _ => drop(bytes.remove(at)),
            }
        }
        check(subject, bytes.into(), version);
    });
}

#[test]
fn random_bytes_do_no_harm() {
    for_all(60, |subject, version, rng| {
        let length = rng.below(200);
        let few = rng.one_in(2);
        let bytes: Vec<u8> =
            (0..length).map(|_| if few { rng.below(4) as u8 } else { rng.next() as u8 }).collect();
        check(subject, bytes.into(), version);
    });
}

#[test]
fn lying_counts_and_lengths_are_errors_and_reserve_nothing_for_the_lie() {
    let mut lies = 0;
    for_all(6, |subject, version, rng| {
        let Body { bytes, lengths } = body(rng, &subject.described, version);
        for (at, width) in lengths {
            let flexible_prefix = |value: u32| {
                let mut prefix = Vec::new();
                varint(&mut prefix, value);
                prefix
            };
            let flexible = subject.described.flexible.contains(version) && width != 2;
            let prefixes: Vec<Vec<u8>> = if flexible && subject.name != "RequestHeader" {
                vec![
                    flexible_prefix(u32::MAX),
                    flexible_prefix(1 << 31),
                    flexible_prefix(1 << 20),
                    vec![0xff; 6],
                ]
            } else if width == 2 {
                vec![
                    i16::MAX.to_be_bytes().into(),
                    i16::MIN.to_be_bytes().into(),
                    (-2_i16).to_be_bytes().into(),
                ]
            } else {
                vec![
                    i32::MAX.to_be_bytes().into(),
                    i32::MIN.to_be_bytes().into(),
                    (-2_i32).to_be_bytes().into(),
                ]
            };
            for prefix in prefixes {
                let mut lie = bytes[..at].to_vec();
                lie.extend(&prefix);
                lie.extend(&bytes[at + width..]);
                let length = lie.len();
                let outcome = check(subject, lie.into(), version);
                assert!(outcome.again.is_err(), "{} version {version}", subject.name);
                assert!(outcome.reserved <= length * 64, "{} of {length}", outcome.reserved);
                lies += 1;
            }
        }
    });
    assert!(lies > 10_000, "{lies} lies were told");
}

#[test]
fn a_large_frame_of_tiny_elements_does_not_take_its_memory() {
    for_all(1, |subject, version, _| {
        // Counts as large as the frame allows, at every place near its start, over elements of the least size.
        let flexible = subject.described.flexible.contains(version);
        let prefix: &[u8] = if flexible { &[0x81, 0x80, 0x08] } else { &[0, 2, 0, 0] };
        for filler in [0, 1, 2] {
            let mut bytes = vec![filler; 1 << 18];
            for at in 0..16 {
                bytes[at..at + prefix.len()].copy_from_slice(prefix);
                check(subject, Bytes::copy_from_slice(&bytes), version);
                bytes[at..at + prefix.len()].fill(filler);
            }
        }
    });
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let mut skipped = 0;
    for_all(20, |subject, version, rng| {
        let mut same = Rng(rng.0);
        let plain = body(rng, &subject.described, version).bytes;
        let sprinkled = body_with_unknown_tags(&mut same, &subject.described, version).bytes;
        skipped += usize::from(plain != sprinkled);
        let again = check(subject, sprinkled, version).again;
        assert_eq!(again, Ok(plain), "{} version {version}", subject.name);
    });
    assert!(skipped > 1_000, "{skipped} bodies had unknown tagged fields");
}

#[test]
fn writing_in_another_version_is_done_or_refused() {
    for_all(6, |subject, version, rng| {
        let bytes = body(rng, &subject.described, version).bytes;
        for other in subject.described.versions.min..=subject.described.versions.max {
            if let Ok(written) = (subject.recode)(bytes.clone(), version, other) {
                assert_eq!((subject.read)(written.clone(), other).again, Ok(written));
            }
        }
        assert!((subject.recode)(bytes.clone(), version, subject.described.versions.max + 1).is_err());
        assert!((subject.recode)(bytes, version, subject.described.versions.min - 1).is_err());
    });
}

#[test]
fn random_frames_do_no_harm() {
    let mut rng = Rng(1);
    for round in 0..20_000 {
        let api = &APIS[round % APIS.len()];
        let mut frame: Vec<u8> = (0..rng.below(120)).map(|_| rng.below(6) as u8).collect();
        if frame.len() >= 10 && !rng.one_in(10) {
            let version = api.served.min + rng.below(16) as i16;
            frame[..2].copy_from_slice(&api.api_key.as_i16().to_be_bytes());
            frame[2..4].copy_from_slice(&version.to_be_bytes());
            frame[8..10].copy_from_slice(&[0xff, 0xff]);
        }
        let frame = Bytes::from(frame);
        drop(wire::decode_request(frame.clone()));
        for version in api.response.versions.min..=api.response.versions.max {
            drop(wire::decode_response(api.api_key, version, frame.clone()));
        }
    }
}
