//! S6 offset order (INVARIANTS.md 3a): log start <= last stable offset <= high watermark <= log end; a watermark that was
//! published never goes back in one leader epoch; batches in an answer follow each other without overlap.
//!
//! A log's start (SAFETY R7) never goes back on a node, is never behind what is committed or what a client asked to be deleted,
//! or what is too old or too much by the topic's settings, and is told to nobody before it is on disk; an answer to DeleteRecords means that every live replica has it there.

use seedlog_core::ids::{LeaderEpoch, NodeId, Offset};
use seedlog_core::log::Retention;
use seedlog_core::records::BatchHeader;

/// What a node publishes of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Where the log starts; -1 if unsaid.
    pub log_start: i64,
    /// The last stable offset; -1 if unsaid.
    pub last_stable: i64,
    /// The high watermark.
    pub high_watermark: i64,
}

/// What a process published of a partition last: in which leader epoch, and which watermark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Before {
    /// The epoch that it led in.
    pub epoch: LeaderEpoch,
    /// The watermark.
    pub high_watermark: i64,
    /// The log's start, in whatever epoch.
    pub log_start: i64,
}

/// What a node has of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    /// Where it starts, on disk.
    pub start: Offset,
    /// Where it ends.
    pub end: Offset,
}

/// Checks what an answer of the leader of an epoch says of a partition of which it has `own`, and remembers it.
///
/// # Errors
/// Which order is broken.
pub fn check_published(
    before: &mut Before,
    epoch: LeaderEpoch,
    own: Own,
    published: Published,
) -> Result<(), String> {
    let Published { log_start, last_stable, high_watermark } = published;
    if log_start > high_watermark
        || last_stable > high_watermark
        || (last_stable >= 0 && log_start > last_stable)
    {
        return Err(format!(
            "log start {log_start}, last stable {last_stable}, watermark {high_watermark}: out of order"
        ));
    }
    if high_watermark > own.end.0 {
        return Err(format!("watermark {high_watermark} is behind the log's end {}", own.end));
    }
    if log_start > own.start.0 {
        return Err(format!("log start {log_start} is told, and on disk the log starts at {}", own.start));
    }
    if log_start >= 0 && log_start < before.log_start {
        return Err(format!("log start {log_start} went back: it was {}", before.log_start));
    }
    if before.epoch == epoch && high_watermark < before.high_watermark {
        return Err(format!(
            "watermark {high_watermark} went back in epoch {epoch}: it was {}",
            before.high_watermark
        ));
    }
    *before = Before { epoch, high_watermark, log_start: log_start.max(before.log_start) };
    Ok(())
}

/// A log's start is about to move on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moving {
    /// From here; `None`: from anywhere, because the log is given up.
    pub from: Option<Offset>,
    /// To here.
    pub to: Offset,
    /// Clients asked for no more to be deleted.
    pub asked: Offset,
    /// The end of what is committed.
    pub committed: Offset,
}

/// Checks where a log is to start.
///
/// # Errors
/// Why it must not.
pub fn check_start(moving: Moving) -> Result<(), String> {
    let Moving { from, to, asked, committed } = moving;
    if let Some(from) = from.filter(|from| to < *from) {
        return Err(format!("the log's start goes back from {from} to {to}"));
    }
    if to > asked {
        return Err(format!(
            "the log is to start at {to}, and what clients asked to delete is before {asked}"
        ));
    }
    if to > committed {
        return Err(format!("the log is to start at {to}, and what is before {committed} is committed"));
    }
    Ok(())
}

/// Checks that all batches before `to` are too old or too many, given those of the whole log in order.
///
/// # Errors
/// Which of them is neither.
pub fn check_expired(retention: Retention, batches: &[&BatchHeader], to: Offset) -> Result<(), String> {
    let mut behind: u64 = batches.iter().map(|header| u64::from(header.batch_bytes)).sum();
    for header in batches.iter().take_while(|header| header.base_offset < to) {
        behind -= u64::from(header.batch_bytes);
        let is_old = retention.oldest.is_some_and(|oldest| header.max_timestamp < oldest.0);
        let is_surplus = retention.bytes_min.is_some_and(|least| behind >= least);
        if !is_old && !is_surplus {
            return Err(format!(
                "the batch at {} of {} ms, with {behind} bytes behind it, goes with those before {to}: {retention:?}",
                header.base_offset, header.max_timestamp
            ));
        }
    }
    Ok(())
}

/// Checks an answer that records before `low` are deleted, against where the log of a live replica starts on its disk.
///
/// # Errors
/// The answer came too early.
pub fn check_deleted(low: Offset, node: NodeId, start: Offset) -> Result<(), String> {
    if start >= low {
        return Ok(());
    }
    Err(format!(
        "what is before {low} is said to be deleted, and the log of live node {node} starts at {start}"
    ))
}

/// Checks the batches that answer a fetch from `from`: the first holds it, each follows the one before. Gives back where a
/// reader goes on.
///
/// # Errors
/// Which batch is out of order.
pub fn check_batches<'a>(from: i64, headers: impl Iterator<Item = &'a BatchHeader>) -> Result<i64, String> {
    let mut position = from;
    for (index, header) in headers.enumerate() {
        let (base, next) = (header.base_offset.0, header.next_offset().0);
        let fits = if index == 0 { base <= position && position < next } else { base == position };
        if !fits {
            return Err(format!("a batch of offsets {base} to {next} stands where {position} was due"));
        }
        position = next;
    }
    Ok(position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::batch;
    use seedlog_core::time::WallMs;

    fn says(high_watermark: i64) -> Published {
        Published { log_start: 0, last_stable: high_watermark, high_watermark }
    }

    #[test]
    fn a_watermark_that_goes_back_or_too_far_is_found() {
        let mut before = Before::default();
        let own = Own { start: Offset(2), end: Offset(4) };
        let mut check = |epoch, published| check_published(&mut before, LeaderEpoch(epoch), own, published);
        assert_eq!(check(1, says(4)), Ok(()));
        assert!(check(1, says(2)).unwrap_err().contains("went back"));
        assert_eq!(check(2, says(2)), Ok(()));
        assert!(check(2, says(5)).unwrap_err().contains("behind the log's end"));
        let crossed = Published { last_stable: 6, ..says(4) };
        assert!(check(2, crossed).unwrap_err().contains("out of order"));
        let starts = |log_start| Published { log_start, ..says(4) };
        assert!(check(2, starts(3)).unwrap_err().contains("on disk the log starts at 2"));
        assert_eq!(check(2, starts(2)), Ok(()));
        assert!(check(3, starts(1)).unwrap_err().contains("went back: it was 2"));
    }

    #[test]
    fn a_start_that_nobody_asked_for_or_that_goes_back_is_found() {
        let moving = Moving { from: Some(Offset(2)), to: Offset(4), asked: Offset(4), committed: Offset(6) };
        assert_eq!(check_start(moving), Ok(()));
        assert!(check_start(Moving { asked: Offset(3), ..moving }).unwrap_err().contains("before 3"));
        assert!(check_start(Moving { committed: Offset(3), ..moving }).unwrap_err().contains("committed"));
        let back = Moving { to: Offset(1), ..moving };
        assert!(check_start(back).unwrap_err().contains("goes back from 2 to 1"));
        assert_eq!(check_start(Moving { from: None, ..back }), Ok(()));
    }

    #[test]
    fn what_goes_before_its_time_is_found() {
        let headers: Vec<_> = [0, 2, 4].into_iter().map(|base| batch(base, 0).0).collect();
        let headers: Vec<&BatchHeader> = headers.iter().collect();
        let (last, bytes) = (headers[2].max_timestamp, u64::from(headers[2].batch_bytes));
        let check = |oldest: Option<i64>, bytes_min, to| {
            let retention = Retention { oldest: oldest.map(WallMs), bytes_min };
            check_expired(retention, &headers, Offset(to))
        };
        assert_eq!(check(Some(last + 1), None, 6), Ok(()));
        assert!(check(Some(last), None, 6).unwrap_err().contains("the batch at"));
        assert_eq!(check(None, Some(bytes), 4), Ok(()));
        assert!(check(None, Some(bytes + 1), 4).unwrap_err().contains("the batch at 2"));
        assert_eq!(check(None, Some(bytes + 1), 2), Ok(()));
        assert!(check(None, None, 2).unwrap_err().contains("the batch at 0"));
    }

    #[test]
    fn an_answer_before_a_live_replica_has_the_start_is_found() {
        assert_eq!(check_deleted(Offset(4), NodeId(2), Offset(4)), Ok(()));
        assert!(check_deleted(Offset(4), NodeId(2), Offset(3)).unwrap_err().contains("node 2 starts at 3"));
    }

    #[test]
    fn batches_follow_each_other() {
        let headers: Vec<_> = [0, 2, 6].into_iter().map(|base| batch(base, 0).0).collect();
        assert_eq!(check_batches(1, headers[..2].iter()), Ok(4));
        assert!(check_batches(0, headers.iter()).is_err());
        assert!(check_batches(5, headers[..1].iter()).is_err());
    }
}
