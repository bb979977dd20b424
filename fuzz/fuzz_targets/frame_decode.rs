//! Frames of clients, and of brokers as a client reads them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seedlog_tests::fuzz::frame_decode(data));
