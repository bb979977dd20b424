//! Does with the corpus in `fuzz/corpus/` what the fuzz targets do, and with some thousand variations of it. The variations
//! are the same in every run; `FUZZ_TIMES=50` runs so many times as many. `UPDATE_CORPUS=1` writes the files that [`seedlog_tests::fuzz::seeds`] makes.

use seedlog_core::rng::Random;
use seedlog_tests::fuzz::{Harness, TARGETS, mutate, seeds};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The whole corpus is small enough to be read by eye.
const CORPUS_BYTES_MAX: usize = 100_000;

#[test]
fn frames_are_decoded_or_refused() {
    replay("frame_decode", 400);
}

#[test]
fn batches_are_taken_or_refused() {
    replay("batch", 2_000);
}

#[test]
fn what_peers_say_is_read_or_refused() {
    replay("peer_message", 2_000);
}

#[test]
fn nodes_outlive_whatever_peers_say() {
    vary("peer_message", seedlog_tests::fuzz::hear, 30);
}

#[test]
fn journals_are_recovered_or_refused() {
    replay("recovery", 100);
}

#[test]
fn stories_that_nobody_thought_of_end_well() {
    for seed in 0..150 * times() {
        let mut random = Random::new(seed);
        let len = 8 + random.next_u64() % 100;
        let mut story = vec![if random.next_u64().is_multiple_of(4) { b'I' } else { b'A' }];
        story.extend((0..len).map(|_| random.next_u64().to_le_bytes()[0]));
        run(seedlog_tests::fuzz::recovery, &story, &format!("story {seed}"));
    }
}

#[test]
fn the_corpus_is_small_and_as_its_maker_makes_it() {
    let mut bytes = 0;
    for (target, name, content) in seeds() {
        let path = folder(target).join(name);
        if std::env::var_os("UPDATE_CORPUS").is_some() {
            fs::create_dir_all(folder(target)).expect("the corpus has a folder");
            fs::write(&path, &content).expect("the corpus can be written");
        }
        // A file may be older than what a broker says today; it is still worth replaying.
        bytes += fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len();
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes");
}

/// How much longer than usual this is to take.
fn times() -> u64 {
    std::env::var("FUZZ_TIMES").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the root")
        .join("fuzz/corpus")
        .join(target)
}

/// Every file of a target, and so many variations of each.
fn replay(target: &str, variations: u64) {
    let (_, harness) = TARGETS.into_iter().find(|(name, _)| *name == target).expect("it is a target");
    vary(target, harness, variations);
}

fn vary(target: &str, harness: Harness, variations: u64) {
    let entries = fs::read_dir(folder(target)).expect("every target has a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the folder can be listed").path()).collect();
    paths.sort_unstable();
    assert!(!paths.is_empty(), "{target} has no corpus");
    for path in paths {
        let bytes = fs::read(&path).expect("a file can be read");
        run(harness, &bytes, &format!("{}", path.display()));
        for seed in 0..variations * times() {
            let varied = mutate(&bytes, &mut Random::new(seed));
            run(harness, &varied, &format!("{} with seed {seed}", path.display()));
        }
    }
}

fn run(harness: Harness, bytes: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| harness(bytes))).is_err() {
        let hex: String = bytes.iter().take(512).map(|byte| format!("{byte:02x}")).collect();
        panic!("{what}: {hex}");
    }
}
