//! What a producer has open in one partition: batches, with what is known of each.

use super::Context;
use crate::history::{self, Outcome};
use bytes::Bytes;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::TopicPartition;
use std::collections::VecDeque;

/// One partition's open batches in order.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) next_sequence: i32,
    pub(super) open: VecDeque<Batch>,
}

/// What is produced, acknowledged and sent again as one.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) bytes: Bytes,
    pub(super) payload: u64,
    pub(super) records: u32,
    pub(super) tries: u32,
    /// Tries that were answered: certainly nothing was appended.
    pub(super) refusals: u32,
    pub(super) sent: bool,
    /// Whom it was sent to last.
    pub(super) broker: u32,
}

impl Batch {
    /// As the history has it.
    pub(super) fn told(&self, client: u32) -> history::Batch {
        history::Batch { client, number: self.number, records: self.records }
    }

    /// The history gets to know that nobody will ask for it again. One that never left is not in it.
    pub(super) fn tell_given_up(&self, ctx: &mut Context<'_>, partition: TopicPartition) {
        let outcome = match self.tries {
            0 => return,
            tries if tries == self.refusals => Outcome::Refused,
            _ => Outcome::Unknown("given up"),
        };
        ctx.bench.history.on_outcome(ctx.now_us, partition, self.told(ctx.client), outcome);
    }
}

/// The answer says that nothing was appended for this try.
pub(super) fn is_before_the_append(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NotEnoughReplicas
            | ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::ThrottlingQuotaExceeded
            | ErrorCode::UnknownTopicOrPartition
    )
}
