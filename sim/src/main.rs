//! The `seedlog-sim` binary.

fn main() {}
