//! S27 resources (INVARIANTS.md 3a): what a broker holds for its clients has limits, and nothing is held for who is gone. How many
//! bytes a frame may take is the decoder's own to check; here is what remains of requests when they are read.

use seedlog_core::broker::Held;
use seedlog_core::config::Config;

/// What a broker holds. `open` are the connections that the driver has, with so many `unanswered` requests.
///
/// # Errors
/// What is too much, or not let go.
pub fn check(held: Held, limits: &Config, open: usize, unanswered: usize) -> Result<(), String> {
    let rules = [
        ("connections", held.connections, open),
        ("requests that wait", held.waiting, unanswered.min(limits.waiters_max)),
        ("walks through all logs at once", held.looks, 1),
        ("fetch sessions", held.fetch_sessions, limits.fetch_sessions_max),
        ("partitions in fetch sessions", held.fetch_session_partitions, limits.fetch_session_partitions_max),
    ];
    match rules.iter().find(|(_, held, max)| held > max) {
        Some((what, held, max)) => Err(format!("the broker holds {held} {what}; there may be {max}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::config::AdvertisedListener;
    use seedlog_core::ids::{NodeId, Uuid};

    #[test]
    fn too_much_and_what_is_not_let_go_is_found() {
        let listener = AdvertisedListener { host: "node-1".to_owned(), port: 9092 };
        let mut limits = Config::new(NodeId(1), Uuid::ZERO, listener);
        limits.fetch_sessions_max = 2;
        limits.fetch_session_partitions_max = 100;
        let held =
            Held { connections: 3, waiting: 4, looks: 1, fetch_sessions: 2, fetch_session_partitions: 100 };
        assert_eq!(check(held, &limits, 3, 4), Ok(()));
        assert!(check(held, &limits, 2, 4).unwrap_err().contains("3 connections"));
        assert!(check(held, &limits, 3, 3).unwrap_err().contains("4 requests that wait"));
        let wrong = [
            (Held { looks: 2, ..held }, "2 walks"),
            (Held { fetch_sessions: 3, ..held }, "3 fetch sessions"),
            (Held { fetch_session_partitions: 101, ..held }, "101 partitions"),
        ];
        for (held, says) in wrong {
            assert!(check(held, &limits, 3, 4).unwrap_err().contains(says));
        }
    }
}
