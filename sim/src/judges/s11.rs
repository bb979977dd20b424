//! S11 epochs only grow (INVARIANTS.md 3a): no node goes back to an earlier term of the quorum, or to an earlier leader epoch of a
//! partition.

use seedlog_core::ids::LeaderEpoch;

/// An epoch that a node acts on changes.
///
/// # Errors
/// It goes back.
pub fn check_forward(what: &str, before: LeaderEpoch, now: LeaderEpoch) -> Result<(), String> {
    if now >= before { Ok(()) } else { Err(format!("{what} goes back from {before} to {now}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_that_goes_back_is_found() {
        assert_eq!(check_forward("its term", LeaderEpoch(2), LeaderEpoch(2)), Ok(()));
        assert_eq!(check_forward("its term", LeaderEpoch(2), LeaderEpoch(5)), Ok(()));
        let says = check_forward("its term", LeaderEpoch(2), LeaderEpoch(1)).unwrap_err();
        assert_eq!(says, "its term goes back from 2 to 1");
    }
}
