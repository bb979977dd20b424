//! S6 offset order (INVARIANTS.md 3a): log start <= last stable offset <= high watermark <= log end; a watermark that was
//! published never goes back in one leader epoch; batches in an answer follow each other without overlap.

use seedlog_core::ids::{LeaderEpoch, Offset};
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
}

/// Checks what an answer of the leader of an epoch says of a partition, whose log ends at `end`, and remembers its watermark.
///
/// # Errors
/// Which order is broken.
pub fn check_published(
    before: &mut Before,
    epoch: LeaderEpoch,
    end: Offset,
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
    if high_watermark > end.0 {
        return Err(format!("watermark {high_watermark} is behind the log's end {end}"));
    }
    if before.epoch == epoch && high_watermark < before.high_watermark {
        return Err(format!(
            "watermark {high_watermark} went back in epoch {epoch}: it was {}",
            before.high_watermark
        ));
    }
    *before = Before { epoch, high_watermark };
    Ok(())
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

    fn says(high_watermark: i64) -> Published {
        Published { log_start: 0, last_stable: high_watermark, high_watermark }
    }

    #[test]
    fn a_watermark_that_goes_back_or_too_far_is_found() {
        let mut before = Before::default();
        let mut check =
            |epoch, published| check_published(&mut before, LeaderEpoch(epoch), Offset(4), published);
        assert_eq!(check(1, says(4)), Ok(()));
        assert!(check(1, says(2)).unwrap_err().contains("went back"));
        assert_eq!(check(2, says(2)), Ok(()));
        assert!(check(2, says(5)).unwrap_err().contains("behind the log's end"));
        let crossed = Published { last_stable: 6, ..says(4) };
        assert!(check(2, crossed).unwrap_err().contains("out of order"));
    }

    #[test]
    fn batches_follow_each_other() {
        let headers: Vec<_> = [0, 2, 6].into_iter().map(|base| batch(base, 0).0).collect();
        assert_eq!(check_batches(1, headers[..2].iter()), Ok(4));
        assert!(check_batches(0, headers.iter()).is_err());
        assert!(check_batches(5, headers[..1].iter()).is_err());
    }
}
