//! S3 leader completeness (INVARIANTS.md 3a, Raft section 5.4): who is elected to lead the quorum has every committed entry of the
//! metadata. The same of a partition's leader is [`super::s1::check_leader`].

use seedlog_core::ids::LeaderEpoch;

/// A node begins to lead the quorum. `matched`: so many of its first entries are the committed ones; `has_successor`: a later
/// term has a leader, which may have committed more.
///
/// # Errors
/// What it lacks.
pub fn check_quorum(
    term: LeaderEpoch,
    matched: i64,
    committed: i64,
    has_successor: bool,
) -> Result<(), String> {
    if matched >= committed || has_successor {
        return Ok(());
    }
    Err(format!(
        "the quorum's leader of term {term} lacks entry {matched} of the metadata; what is below {committed} is committed"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_without_a_committed_entry_is_found_unless_it_is_outdated() {
        let term = LeaderEpoch(3);
        assert_eq!(check_quorum(term, 5, 5, false), Ok(()));
        assert!(check_quorum(term, 4, 5, false).unwrap_err().contains("lacks entry 4"));
        assert_eq!(check_quorum(term, 4, 5, true), Ok(()));
    }
}
