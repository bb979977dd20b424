//! The controller's decisions: from a request or an event and the working image to the records that carry it out and the
//! answer that leaves once they are committed. Nothing here changes anything.
//!
//! ```text
//!   topics      placement      brokers                      partitions        configs           producer_ids
//!   create ---> where          register, unfence, fence, -> one partition: <- topics' settings  blocks of ids
//!   delete      replicas go    shutdown, sweep              ISR, ELR, leader
//! ```
//!
//! Each decision is one entry of the metadata log: it takes effect whole or not at all. What all decisions about partitions
//! share, who may lead and who stays eligible, is in [`partitions`].

mod assignment;
pub mod brokers;
pub mod configs;
pub mod create_partitions;
pub mod elections;
pub mod partitions;
pub mod placement;
pub mod producer_ids;
pub mod reassignments;
mod room;
pub mod topics;

pub use brokers::{
    RegisterRefusal, Registration, Shutdown, decide_fence, decide_lost, decide_register, decide_shutdown,
    decide_sweep, decide_unfence,
};
pub use configs::{decide_alter_configs, decide_incremental_alter_configs};
pub use create_partitions::decide_create_partitions;
pub use elections::{decide_elect_leaders, decide_rebalance};
pub use partitions::{AlterRefusal, decide_alter_partition};
pub use producer_ids::{PRODUCER_ID_BLOCK, decide_producer_ids};
pub use reassignments::{decide_alter_partition_reassignments, list_partition_reassignments};
pub(crate) use topics::{REPLICATION_FACTOR, TOPIC_NAME_BYTES_MAX};
pub(crate) use topics::{check_topic_name, normalized};
pub use topics::{decide_create_topics, decide_delete_topics};

use crate::cluster::records::MetadataRecord;
use alloc::vec::Vec;

/// What to write, and what to say once it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<T> {
    /// The records, in order.
    pub records: Vec<MetadataRecord>,
    /// The answer.
    pub response: T,
}
