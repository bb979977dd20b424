//! What streams do over links that are whole, cut or broken, and to machines without power.

use super::*;
use bytes::{Bytes, BytesMut};
use madsim::runtime::Runtime;
use seedlog::env::{Listener as _, Stream as _, StreamReader, StreamWriter};
use seedlog_sim::rng::Purpose;
use std::io::ErrorKind;
use tokio::time::timeout;

const ONE: Host = Host::Node(0);
const OTHER: Host = Host::Node(1);
const WIRE: Wire = Wire { window_bytes: 1_000, segment_bytes: 300 };
const LONG: Duration = Duration::from_secs(30);

fn net(seed: u64) -> Net {
    Net::new(Stream::new(seed, Purpose::Net, 0))
}

/// Runs what needs virtual time.
fn run<T>(seed: u64, test: impl Future<Output = T>) -> T {
    Runtime::with_seed_and_config(seed, madsim::Config::default()).block_on(test)
}

/// A connection, dialled by [`ONE`] and accepted by [`OTHER`].
async fn connection(net: &Net) -> ((SimReader, SimWriter), (SimReader, SimWriter)) {
    let mut listener = net.listen(OTHER, 7).expect("nobody listens there");
    let dialled = net.dial(ONE, (OTHER, 7), WIRE).await.expect("somebody listens");
    let (accepted, address) = listener.accept().await.expect("it was dialled");
    assert_eq!(Host::of(address.ip()), Some(ONE));
    (dialled.split(), accepted.split())
}

async fn read(reader: &mut SimReader, bytes: usize) -> io::Result<BytesMut> {
    let mut buffer = BytesMut::new();
    while buffer.len() < bytes {
        let left = bytes - buffer.len();
        if reader.read_into(&mut buffer, left).await? == 0 {
            break;
        }
    }
    Ok(buffer)
}

async fn write(writer: &mut SimWriter, bytes: &[u8]) -> io::Result<()> {
    let mut left = Bytes::copy_from_slice(bytes);
    while !left.is_empty() {
        let written = writer.write_chain(&[left.clone()]).await?;
        drop(left.split_to(written));
    }
    Ok(())
}

fn is_waiting<T>(result: &Result<T, tokio::time::error::Elapsed>) -> bool {
    result.is_err()
}

#[test]
fn bytes_arrive_in_order_and_a_full_window_makes_the_writer_wait() {
    for seed in 0..20 {
        run(seed, async {
            let net = net(seed);
            let ((_, mut writer), (mut reader, _)) = connection(&net).await;
            let sent: Vec<u8> =
                (0..WIRE.window_bytes + 1).map(|at| u8::try_from(at % 251).unwrap()).collect();
            assert!(is_waiting(&timeout(LONG, write(&mut writer, &sent)).await), "the window is full");
            assert_eq!(read(&mut reader, WIRE.window_bytes).await.unwrap(), sent[..WIRE.window_bytes]);
            write(&mut writer, b"x").await.unwrap();
            writer.close().await;
            assert_eq!(read(&mut reader, 10).await.unwrap(), b"x"[..], "and then the end");
        });
    }
}

#[test]
fn a_cut_link_holds_what_was_written_until_each_of_its_cuts_has_healed() {
    for seed in 0..20 {
        run(seed, async {
            let net = net(seed);
            let ((mut back, mut writer), (mut reader, mut answer)) = connection(&net).await;
            net.cut(ONE, OTHER);
            net.cut(ONE, OTHER);
            pass(5_000).await;
            write(&mut writer, b"held").await.unwrap();
            assert!(is_waiting(&timeout(LONG, read(&mut reader, 4)).await));
            // The other direction is not cut.
            write(&mut answer, b"back").await.unwrap();
            assert_eq!(read(&mut back, 4).await.unwrap(), b"back"[..]);
            net.heal(ONE, OTHER);
            assert!(is_waiting(&timeout(LONG, read(&mut reader, 4)).await));
            net.heal(ONE, OTHER);
            assert_eq!(read(&mut reader, 4).await.unwrap(), b"held"[..]);
        });
    }
}

#[test]
fn whoever_dials_over_a_cut_link_hears_nothing_and_over_a_good_one_that_nobody_listens() {
    run(1, async {
        let net = net(1);
        let refused = net.dial(ONE, (OTHER, 7), WIRE).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let _listener = net.listen(OTHER, 7).unwrap();
        assert!(net.listen(OTHER, 7).is_err(), "one at a time");
        net.cut(OTHER, ONE);
        assert_eq!(net.dial(ONE, (OTHER, 7), WIRE).await.unwrap_err().kind(), ErrorKind::TimedOut);
        net.heal_all();
        net.dial(ONE, (OTHER, 7), WIRE).await.unwrap();
    });
}

#[test]
fn both_ends_of_a_broken_link_are_told_although_it_is_cut() {
    run(1, async {
        let net = net(1);
        let ((_, mut writer), (mut reader, _)) = connection(&net).await;
        net.cut(ONE, OTHER);
        net.cut(OTHER, ONE);
        net.break_between(OTHER, ONE);
        assert_eq!(read(&mut reader, 1).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(write(&mut writer, b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_reset_takes_the_end_of_a_write_with_it() {
    let mut arrived = Vec::new();
    for seed in 0..20 {
        run(seed, async {
            let net = net(seed);
            let (mut one, mut other) = connection(&net).await;
            net.arm_reset_between(ONE, OTHER);
            // It is in one of both directions.
            for (writer, reader) in [(&mut one.1, &mut other.0), (&mut other.1, &mut one.0)] {
                if write(writer, &[7; 100]).await.is_err() {
                    return;
                }
                // Whether it is taken or not: nothing arrives behind what was lost.
                let _ = write(writer, &[9; 10]).await;
                let mut buffer = BytesMut::new();
                while buffer.len() < 110 {
                    match reader.read_into(&mut buffer, 100).await {
                        Ok(bytes) => assert!(bytes > 0, "a reset is no end of a stream"),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                            assert!(!buffer.contains(&9), "what was lost is in front of it");
                            arrived.push(buffer.len());
                            break;
                        }
                    }
                }
            }
        });
    }
    assert!(arrived.len() >= 15, "{arrived:?}");
    assert!(arrived.iter().all(|&bytes| bytes < 100));
}

#[test]
fn a_machine_without_power_says_nothing_and_one_that_is_back_resets() {
    run(1, async {
        let net = net(1);
        let ((mut reader, mut writer), held) = connection(&net).await;
        net.power_lost(OTHER);
        // Its process is gone, and with it what it held.
        std::mem::forget(held);
        assert_eq!(net.dial(ONE, (OTHER, 7), WIRE).await.unwrap_err().kind(), ErrorKind::TimedOut);
        write(&mut writer, b"anybody?").await.unwrap();
        assert!(is_waiting(&timeout(LONG, read(&mut reader, 1)).await));
        net.power_back(OTHER);
        assert_eq!(read(&mut reader, 1).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn noise_makes_late_and_breaks_some_but_never_loses_the_middle() {
    let (mut whole, mut broken) = (0, 0);
    for seed in 0..200 {
        run(seed, async {
            let net = net(seed);
            let ((_, mut writer), (mut reader, _)) = connection(&net).await;
            let noise = Noise {
                pairs: vec![(ONE, OTHER)],
                lost_per_mille: 900,
                late_per_mille: 1_000,
                late_us: 5_000_000,
            };
            let noise = net.begin_noise(noise);
            write(&mut writer, &[1; 50]).await.unwrap();
            net.hush(noise);
            match read(&mut reader, 50).await {
                Ok(bytes) => {
                    assert_eq!(bytes, [1; 50][..]);
                    whole += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                    broken += 1;
                }
            }
        });
    }
    assert!(whole > broken && broken > 0, "{whole} and {broken}");
}

#[test]
fn an_address_is_answered_by_whichever_machine_listens() {
    run(1, async {
        let (net, twin) = (net(1), Host::Node(5));
        net.alias(twin, OTHER);
        let mut listener = net.listen(twin, 7).unwrap();
        let dialled = net.dial(ONE, (OTHER, 7), WIRE).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        // What is cut for the address is cut for the machine.
        net.cut(ONE, OTHER);
        pass(5_000).await;
        let ((_, mut writer), (mut reader, _)) = (dialled.split(), accepted.split());
        write(&mut writer, b"x").await.unwrap();
        assert!(is_waiting(&timeout(LONG, read(&mut reader, 1)).await));
        net.heal_all();
        assert_eq!(read(&mut reader, 1).await.unwrap(), b"x"[..]);
    });
}
