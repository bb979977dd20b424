//! How long the judge takes for a hundred thousand operations, from text to verdict. Prints figures; asserts none.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]
#![expect(dead_code, reason = "the support of the tests has more than this needs")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use seedlog_checker::judge;
use support::{Size, history, text};

fn main() {
    let size = Size { steps: 235_000, producers: 10, consumers: 10, partitions: 12 };
    let text = text(&history(1, size));
    let mut took_ms: Vec<u128> = Vec::new();
    for turn in 0..10 {
        let started = Instant::now();
        let verdict = judge(text.as_bytes()).expect("the model writes histories");
        took_ms.push(started.elapsed().as_millis());
        assert!(verdict.valid, "{verdict}");
        if turn == 0 {
            println!("{} KiB\n{}", text.len() / 1024, verdict.summary);
        }
    }
    println!("fastest of {}: {} ms", took_ms.len(), took_ms.iter().min().unwrap_or(&0));
}
