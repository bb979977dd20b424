//! S15 replay of the metadata is deterministic (INVARIANTS.md 3a): all images of one offset are equal, and nobody acts on what is
//! not committed.

use super::truth::TrueEntry;
use seedlog_core::ids::Offset;

/// A node acts on the metadata up to `end`; its image of it has this hash.
///
/// # Errors
/// Others have another image, or the offset is not committed.
pub fn check_image(entries: &[TrueEntry], end: Offset, hash: u64) -> Result<(), String> {
    let index = usize::try_from(end.0 - 1).ok();
    match index.and_then(|index| entries.get(index)).map(|entry| entry.image) {
        Some(image) if image == hash => Ok(()),
        Some(_) => Err(format!("its image of the metadata up to {end} is not the one that others have")),
        None if end == Offset::ZERO => Ok(()),
        None => Err(format!("it acts on metadata up to {end}, which is not committed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::ids::LeaderEpoch;

    #[test]
    fn another_image_and_one_of_the_future_are_found() {
        let entries = [TrueEntry { epoch: LeaderEpoch(1), hash: 7, image: 70 }];
        assert_eq!(check_image(&entries, Offset::ZERO, 0), Ok(()));
        assert_eq!(check_image(&entries, Offset(1), 70), Ok(()));
        assert!(check_image(&entries, Offset(1), 71).unwrap_err().contains("not the one"));
        assert!(check_image(&entries, Offset(2), 70).unwrap_err().contains("not committed"));
    }
}
