//! DescribeLogDirs: how large partitions are on a broker's disks. KIP-113, KIP-827 (room on the disk).

use crate::wire::{Str, Wire};
use alloc::vec::Vec;

/// Asks for the sizes of logs. API key 35.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 35, versions = "1-5", flexible = "2+")]
pub struct DescribeLogDirsRequest {
    /// The topics; null for all.
    #[wire(nullable = "0+")]
    pub topics: Option<Vec<DescribableLogDirTopic>>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribableLogDirTopic {
    /// Its name.
    pub topic: Str,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// The sizes of logs.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(key = 35, versions = "1-5", flexible = "2+")]
pub struct DescribeLogDirsResponse {
    /// How long the client was held back for its quota.
    pub throttle_time_ms: i32,
    /// What went wrong; 0 if nothing did.
    #[wire(versions = "3+", ignorable)]
    pub error_code: i16,
    /// The directories.
    pub results: Vec<DescribeLogDirsResult>,
}

/// One directory.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribeLogDirsResult {
    /// What went wrong; 0 if nothing did.
    pub error_code: i16,
    /// Its absolute path.
    pub log_dir: Str,
    /// What it holds of the topics that were asked for.
    pub topics: Vec<DescribeLogDirsTopic>,
    /// Size of the volume that it is on, in bytes; -1 if unknown.
    #[wire(versions = "4+", default = -1, ignorable)]
    pub total_bytes: i64,
    /// What may still be written there, in bytes; -1 if unknown.
    #[wire(versions = "4+", default = -1, ignorable)]
    pub usable_bytes: i64,
    /// No new logs are put there.
    #[wire(versions = "5+", default = false, ignorable)]
    pub is_cordoned: bool,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribeLogDirsTopic {
    /// Its name.
    pub name: Str,
    /// Its partitions.
    pub partitions: Vec<DescribeLogDirsPartition>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct DescribeLogDirsPartition {
    /// Its index.
    pub partition_index: i32,
    /// Size of its log in bytes.
    pub partition_size: i64,
    /// How far the log's end is behind the high watermark; -1 if unknown.
    pub offset_lag: i64,
    /// The log is to take the place of another one.
    pub is_future_key: bool,
}
