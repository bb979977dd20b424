//! What one node says to another.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    seedlog_tests::fuzz::peer_message(data);
    seedlog_tests::fuzz::hear(data);
});
