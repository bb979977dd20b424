//! The one durable stream of a node: what its entries are, how they become bytes, and how a crash is read back.
//!
//! Pure functions over bytes. Which files exist, when they are synced and who holds the buffers is the driver's business;
//! the driver of the node and the one of the simulator call the same code here.
//!
//! ```text
//! file     | header block | copy of it | group | group | ... | zeros, or older groups of a recycled file |
//! group    | prefix (64 B) | record batches, back to back | table of entries (postcard) | zeros up to 4 KiB |
//! ```
//!
//! * [`entry`]: the entries; * [`format`]: file headers and groups, both directions; * [`scan`]: what one file's bytes hold;
//! * [`recovery`]: what all files together mean (SAFETY J1 to J3, J5).

pub mod entry;
pub mod format;
pub mod recovery;
pub mod scan;

pub use entry::{AppendEntry, Entry};
pub use format::{BLOCK_BYTES, FILE_HEADER_BYTES, FileHeader, GroupBuffer, GroupWriter, Placed, QuorumChain};
pub use recovery::{GroupRef, LsnRange, Plan, plan};
pub use scan::{FileScan, scan_file};
