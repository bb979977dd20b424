//! S4 the high watermark (INVARIANTS.md 3a): nobody takes for committed what he does not have. That it does not go back is what
//! the core asserts of itself at every step.

use seedlog_core::ids::Offset;

/// Everything below `end` counts as committed on a node whose log ends at `log_end`.
///
/// # Errors
/// It is ahead of the log.
pub fn check_end(what: &str, log_end: Offset, end: Offset) -> Result<(), String> {
    if end <= log_end {
        return Ok(());
    }
    Err(format!("{what}: its watermark is {end}, and its log ends at {log_end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_ahead_of_the_log_is_found() {
        assert_eq!(check_end("t-0", Offset(4), Offset(4)), Ok(()));
        assert!(check_end("t-0", Offset(4), Offset(5)).unwrap_err().contains("its log ends at 4"));
    }
}
