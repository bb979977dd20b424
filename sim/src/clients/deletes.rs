//! DeleteRecords as an administrator asks for it: of a partition of the stable topics, up to some offset, up to the high
//! watermark, or up to where nothing can be.

use super::Context;
use super::offsets::acked_end;
use crate::judges::Judge;
use crate::judges::truth::TrueLog;
use seedlog_checker::history::Phase;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{Offset, TopicPartition};
use seedlog_core::wire::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use seedlog_core::wire::{DeleteRecordsRequest, DeleteRecordsResponse, Str};

/// The offset that stands for the high watermark.
const UP_TO_HIGH_WATERMARK: i64 = -1;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deletion {
    pub(super) partition: TopicPartition,
    offset: i64,
    /// The log's acknowledged part ended there when it was asked for, where no other leader can have fewer.
    acked: Offset,
}

/// Asks for records of a partition to be deleted.
pub(super) fn ask(
    ctx: &mut Context<'_>,
    name: &str,
    partition: TopicPartition,
) -> (Deletion, DeleteRecordsRequest) {
    let log = ctx.truth.logs.get(&partition);
    let end = log.map_or(0, |log| u64::try_from(log.end().0).unwrap_or(0));
    let acked = if ctx.brokers == 1 { acked_end(log) } else { Offset::ZERO };
    let behind = i64::try_from(end + 1 + ctx.rng.below(50)).unwrap_or(i64::MAX);
    let offset = match ctx.rng.below(20) {
        0..15 => i64::try_from(ctx.rng.range(0, end)).unwrap_or(0),
        15..18 => UP_TO_HIGH_WATERMARK,
        18 => behind,
        _ => ctx.rng.pick(&[-2, i64::MAX]),
    };
    let deletion = Deletion { partition, offset, acked };
    if deletion.is_possible() {
        if offset >= 0 {
            ctx.truth.log_mut(partition).ask(Offset(offset));
        }
        deletion.tell(ctx, Phase::Invoke, u64::try_from(offset).ok());
    }
    let wanted = DeleteRecordsPartition { partition_index: partition.partition.0, offset };
    let topics = vec![DeleteRecordsTopic { name: Str::from(name), partitions: vec![wanted] }];
    (deletion, DeleteRecordsRequest { topics, timeout_ms: ctx.rng.pick(&[200, 2_000]) })
}

impl Deletion {
    /// No broker may ever do the others.
    fn is_possible(&self) -> bool {
        (UP_TO_HIGH_WATERMARK..i64::MAX).contains(&self.offset)
    }

    fn tell(&self, ctx: &mut Context<'_>, phase: Phase, offset: Option<u64>) {
        ctx.bench.history.on_trim(ctx.now_us, ctx.client, (self.partition, offset), phase);
    }

    /// Nobody answers.
    pub(super) fn tell_unknown(&self, ctx: &mut Context<'_>) {
        if self.is_possible() {
            self.tell(ctx, Phase::Info, None);
        }
    }

    /// Judges the answer, and tells it.
    pub(super) fn judge(&self, ctx: &mut Context<'_>, response: &DeleteRecordsResponse) {
        let answer = response.topics.first().and_then(|topic| topic.partitions.first());
        let Some(answer) = answer else { return self.tell_unknown(ctx) };
        let error = ErrorCode::from_code(answer.error_code).unwrap_or_default();
        if let Some(log) = ctx.truth.logs.get(&self.partition).filter(|log| !log.is_beyond) {
            let said = self.check(log, error, answer.low_watermark);
            ctx.hear(Judge::S6, said.map_err(|says| format!("{}: {says}", self.partition)));
        }
        if !self.is_possible() {
            return;
        }
        let refusals =
            [ErrorCode::OffsetOutOfRange, ErrorCode::OffsetNotAvailable, ErrorCode::ThrottlingQuotaExceeded];
        if error == ErrorCode::None {
            self.tell(ctx, Phase::Ok, u64::try_from(answer.low_watermark).ok());
        } else if refusals.contains(&error) {
            self.tell(ctx, Phase::Fail, None);
        } else {
            // Whoever lost its office while it waited may have begun.
            self.tell_unknown(ctx);
        }
    }

    fn check(&self, log: &TrueLog, error: ErrorCode, low: i64) -> Result<(), String> {
        let Self { offset, acked, .. } = *self;
        let end = log.end();
        if error == ErrorCode::OffsetOutOfRange && (0..=acked.0).contains(&offset) {
            return Err(format!("offset {offset} is refused, and up to {acked} was acknowledged before"));
        }
        if error != ErrorCode::None {
            return Ok(());
        }
        let least = if offset == UP_TO_HIGH_WATERMARK { acked.0 } else { offset };
        if !self.is_possible() || offset > end.0 {
            return Err(format!("what is before {offset} is said to be deleted, and the log ends at {end}"));
        }
        if low < least {
            return Err(format!(
                "what is before {least} was to be deleted, and the answer says before {low}"
            ));
        }
        if low > log.asked.0 {
            let asked = log.asked;
            return Err(format!("what is before {low} is said to be deleted, and clients asked for {asked}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::{oracle, partition};
    use crate::judges::truth::tests::true_log;

    #[test]
    fn wrong_answers_are_found() {
        let mut log = true_log(&oracle(3));
        log.ask(Offset(4));
        let check = |offset, error, low| {
            Deletion { partition: partition(), offset, acked: Offset(4) }.check(&log, error, low)
        };
        assert_eq!(check(3, ErrorCode::None, 3), Ok(()));
        assert_eq!(check(3, ErrorCode::None, 4), Ok(()));
        assert!(check(3, ErrorCode::None, 2).unwrap_err().contains("says before 2"));
        assert!(check(3, ErrorCode::None, 5).unwrap_err().contains("clients asked for 4"));
        assert!(check(-1, ErrorCode::None, 3).unwrap_err().contains("before 4 was to be deleted"));
        assert!(check(7, ErrorCode::None, 7).unwrap_err().contains("the log ends at 6"));
        assert!(check(-2, ErrorCode::None, 0).unwrap_err().contains("before -2"));
        assert!(check(4, ErrorCode::OffsetOutOfRange, -1).unwrap_err().contains("is refused"));
        assert_eq!(check(5, ErrorCode::OffsetOutOfRange, -1), Ok(()));
    }
}
