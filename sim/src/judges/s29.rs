//! S29 determinism (INVARIANTS.md 3a): the same build, scenario and seed give the same trace, event for event, in another
//! process and on another machine.

/// Compares two traces line by line.
///
/// # Errors
/// The first difference, with its line.
pub fn check<'a>(
    mut one: impl Iterator<Item = &'a str>,
    mut two: impl Iterator<Item = &'a str>,
) -> Result<u64, String> {
    let mut line = 0;
    loop {
        line += 1;
        match (one.next(), two.next()) {
            (None, None) => return Ok(line - 1),
            (Some(one), Some(two)) if one == two => {}
            (one, two) => {
                let show = |side: Option<&str>| side.unwrap_or("(the trace has ended)").to_owned();
                return Err(format!("line {line} differs:\n  one: {}\n  two: {}", show(one), show(two)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(check("a\nb\nc".lines(), "a\nb\nc".lines()), Ok(3));
        assert!(check("a\nb\nc".lines(), "a\nx\nc".lines()).unwrap_err().starts_with("line 2"));
        assert!(check("a\nb".lines(), "a\nb\nc".lines()).unwrap_err().contains("has ended"));
    }
}
