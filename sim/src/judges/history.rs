//! The clients' history: what all of them asked for and saw fits together, judged by those who know nothing of brokers
//! (`seedlog-checker`, whose checks define each anomaly). What S1, S6, S24 and S25 see inside of the nodes, this sees from outside.

use crate::history::History;
use seedlog_checker::Judge;

/// Judges a history that is closed.
///
/// # Errors
/// The first anomaly in words; its lines are those of the file that `replay --history` writes.
pub fn check(history: &History) -> Result<(), String> {
    let mut judge = Judge::new();
    for event in history.events() {
        judge.on_event(&event).map_err(|error| format!("this is no history: {error}"))?;
    }
    let verdict = judge.verdict();
    let Some(first) = verdict.anomalies.first() else { return Ok(()) };
    let kinds: Vec<&str> = verdict.anomalies.iter().skip(1).map(|anomaly| anomaly.kind.name()).collect();
    let more = if kinds.is_empty() { String::new() } else { format!(" Also found: {}.", kinds.join(", ")) };
    Err(format!("{}: {}{more}", first.kind, first.example.words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Batch, Outcome};
    use crate::judges::oracle::tests::partition;
    use crate::judges::truth::{TrueLog, Truth};
    use seedlog_checker::history::Phase;

    const FIRST: Batch = Batch { client: 0, number: 0, records: 2 };
    const SECOND: Batch = Batch { client: 0, number: 1, records: 3 };

    /// Two batches, the second of which was sent twice, are acknowledged one behind the other.
    fn produced(repeats: bool) -> History {
        let mut history = History::default();
        history.on_send(10, partition(), FIRST, repeats);
        history.on_send(20, partition(), SECOND, repeats);
        history.on_outcome(30, partition(), FIRST, Outcome::Acked(Some(0)));
        history.on_outcome(40, partition(), SECOND, Outcome::Acked(Some(2)));
        history.on_seek(50, 1, partition(), 0);
        history
    }

    fn says(history: &History) -> String {
        check(history).expect_err("something is planted")
    }

    #[test]
    fn what_all_saw_fits_together() {
        let mut history = produced(false);
        history.on_read(60, 1, (partition(), 0), vec![(0, FIRST)]);
        // A reader that is at 3 is given the whole batch, and takes what is from there on.
        history.on_read(70, 1, (partition(), 3), vec![(2, SECOND)]);
        assert!(says(&history).starts_with("lost-write: "), "{}", says(&history));
        let mut history = produced(false);
        history.on_read(60, 1, (partition(), 0), vec![(0, FIRST), (2, SECOND)]);
        history.on_final(80, 1, vec![partition()]);
        assert_eq!(check(&history), Ok(()));
    }

    #[test]
    fn a_record_that_was_acknowledged_and_is_gone_is_found() {
        let mut history = produced(false);
        history.on_read(60, 1, (partition(), 0), vec![(0, FIRST)]);
        assert_eq!(check(&history), Ok(()));
        history.on_final(80, 1, vec![partition()]);
        assert!(says(&history).starts_with("unseen: "), "{}", says(&history));
    }

    #[test]
    fn records_that_somebody_asked_to_delete_are_excused_and_those_behind_are_not() {
        for (to, is_fine) in [(2, true), (1, false)] {
            let mut history = produced(false);
            history.on_trim(55, 2, (partition(), Some(to)), Phase::Invoke);
            history.on_read(60, 1, (partition(), 2), vec![(2, SECOND)]);
            history.on_trim(65, 2, (partition(), Some(to)), Phase::Ok);
            history.on_final(80, 1, vec![partition()]);
            assert_eq!(check(&history).is_ok(), is_fine, "{to}");
        }
        let mut history = produced(false);
        history.on_trim(55, 2, (partition(), Some(2)), Phase::Invoke);
        history.on_trim(57, 2, (partition(), None), Phase::Fail);
        history.on_read(60, 1, (partition(), 2), vec![(2, SECOND)]);
        assert!(check(&history).is_err());
    }

    #[test]
    fn records_that_vanished_beyond_the_promise_are_excused() {
        let mut history = produced(false);
        history.on_final(80, 1, vec![partition()]);
        assert!(check(&history).is_err());
        let mut truth = Truth::default();
        truth.logs.insert(partition(), TrueLog { is_beyond: true, ..TrueLog::default() });
        history.close(&truth);
        assert_eq!(check(&history), Ok(()));
    }

    #[test]
    fn a_batch_at_two_places_is_found_where_its_producer_is_idempotent() {
        for repeats in [false, true] {
            let mut history = produced(repeats);
            history.on_read(60, 1, (partition(), 0), vec![(0, FIRST), (2, SECOND), (5, SECOND)]);
            assert_eq!(check(&history).is_ok(), repeats);
        }
    }

    #[test]
    fn what_was_refused_and_is_there_is_found() {
        let mut history = History::default();
        history.on_send(10, partition(), FIRST, false);
        history.on_outcome(30, partition(), FIRST, Outcome::Refused);
        history.on_read(60, 1, (partition(), 0), vec![(0, FIRST)]);
        assert!(says(&history).starts_with("aborted-read: "));
        let mut history = History::default();
        history.on_send(10, partition(), FIRST, false);
        history.on_outcome(30, partition(), FIRST, Outcome::Unknown("nobody answered"));
        history.on_read(60, 1, (partition(), 0), vec![(0, FIRST)]);
        assert_eq!(check(&history), Ok(()));
    }

    #[test]
    fn the_text_that_is_written_gets_the_same_verdict() {
        let mut history = produced(false);
        history.on_read(60, 1, (partition(), 0), vec![(0, FIRST)]);
        history.on_final(80, 1, vec![partition()]);
        let mut text = Vec::new();
        history.write(&mut text).unwrap();
        let verdict = seedlog_checker::judge(text.as_slice()).unwrap();
        let found = &verdict.anomalies[0];
        assert!(says(&history).starts_with(&format!("{}: {}", found.kind, found.example.words)));
    }
}
