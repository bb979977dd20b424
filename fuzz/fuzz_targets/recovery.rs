//! A journal, as any bytes and as the story of a node that crashes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seedlog_tests::fuzz::recovery(data));
