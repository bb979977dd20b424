//! A record batch on its way into a log.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seedlog_tests::fuzz::batch(data));
