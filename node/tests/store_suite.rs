//! The node's store against files of the operating system: round trips, ends of every kind, damage, full disks, cuts,
//! look-ups, batches that are read back, compaction.

#![allow(clippy::wildcard_enum_match_arm, reason = "whatever a test does not expect is its failure")]

#[path = "store_suite/cleaned_reads.rs"]
mod cleaned_reads;
#[path = "store_suite/cold_reads.rs"]
mod cold_reads;
#[path = "store_suite/compaction.rs"]
mod compaction;
#[path = "store_suite/compaction_faults.rs"]
mod compaction_faults;
#[path = "store_suite/compaction_recovery.rs"]
mod compaction_recovery;
#[path = "store_suite/cuts.rs"]
mod cuts;
#[path = "store_suite/faults.rs"]
mod faults;
#[path = "store_suite/faulty.rs"]
mod faulty;
#[path = "store_suite/looks.rs"]
mod looks;
#[path = "store_suite/read_back.rs"]
mod read_back;
#[path = "store_suite/round_trip.rs"]
mod round_trip;
#[path = "store_suite/support.rs"]
mod support;
