//! S22 committed offsets (INVARIANTS.md 3a): in the order of the group log they do not go back, who reads them is told the last
//! acknowledged one or a later one, and they vanish by rule only: when nobody was in the group for the time of retention.
//!
//! Simulated members only go forward, so that a commit that goes back is one that should have been refused.

/// How far a partition was committed.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// As the log has it.
    logged: Option<(i64, u64)>,
    /// The greatest that was acknowledged, with its generation; `None` once it may have been forgotten.
    acked: Option<(i64, i32)>,
    /// The greatest that anybody asked for.
    asked: i64,
}

/// When members of a group were heard last.
#[derive(Debug, Clone, Default)]
pub struct Contact {
    last_us: u64,
    /// When the last time ended during which none was heard, by its length.
    silences: Vec<(u64, u64)>,
}

impl Contact {
    /// A member was answered as one.
    pub fn on_heard(&mut self, now_us: u64) {
        // Others were heard since.
        if now_us < self.last_us {
            return;
        }
        let silent_us = now_us.saturating_sub(self.last_us);
        // Those that are shorter and earlier say nothing that this one does not.
        self.silences.retain(|(_, length_us)| *length_us > silent_us);
        self.silences.push((now_us, silent_us));
        self.last_us = now_us;
    }

    /// Since `from_us`, nobody was heard for so long, once at least, in µs.
    #[must_use]
    pub fn silence_since(&self, from_us: u64, now_us: u64) -> u64 {
        let of_past =
            self.silences.iter().filter(|(ended_us, _)| *ended_us >= from_us).map(|(_, length)| *length);
        of_past.chain([now_us.saturating_sub(self.last_us)]).max().unwrap_or(0)
    }
}

impl Committed {
    /// A member is about to commit.
    pub fn on_asked(&mut self, offset: i64) {
        self.asked = self.asked.max(offset);
    }

    /// A member was told that it has committed.
    pub fn on_acked(&mut self, offset: i64, generation: i32) {
        // What was committed and forgotten before its acknowledgement arrived is forgotten (seed 1,870).
        if self.logged.is_some() && self.acked.is_none_or(|(acked, _)| acked < offset) {
            self.acked = Some((offset, generation));
        }
    }

    /// What a reader must at least be told that is of this generation or earlier.
    #[must_use]
    pub fn acked(&self, generation: i32) -> Option<i64> {
        self.acked.filter(|(_, by)| *by <= generation).map(|(acked, _)| acked)
    }

    /// A member of a generation was told an offset; -1 for none. `least` was acknowledged when it asked.
    ///
    /// # Errors
    /// It is older, or nobody ever committed it.
    pub fn check_fetched(&self, told: i64, least: Option<i64>) -> Result<(), String> {
        // What was forgotten since is judged where the log says so.
        match least.filter(|_| self.acked.is_some()) {
            Some(least) if told < least => {
                Err(format!("a member is told offset {told}, and {least} was acknowledged before it asked"))
            }
            Some(_) | None if told > self.asked => {
                Err(format!("a member is told offset {told}, and nobody committed more than {}", self.asked))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The group log has an offset.
    ///
    /// # Errors
    /// It had a later one.
    pub fn on_logged(&mut self, now_us: u64, offset: i64) -> Result<(), String> {
        let before = self.logged.replace((offset, now_us));
        match before {
            Some((before, _)) if before > offset => {
                Err(format!("offset {before} was committed, and {offset} is committed behind it"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The group log has forgotten it.
    ///
    /// # Errors
    /// Its group was heard of all the time.
    pub fn on_forgotten(
        &mut self,
        now_us: u64,
        contact: &Contact,
        retention_us: Option<u64>,
    ) -> Result<(), String> {
        self.acked = None;
        let Some((offset, at_us)) = self.logged.take() else { return Ok(()) };
        let silent_us = contact.silence_since(at_us, now_us);
        match retention_us {
            Some(retention_us) if silent_us < retention_us => Err(format!(
                "offset {offset} is forgotten, though its members were never silent for more than {} ms",
                silent_us / 1_000
            )),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_that_goes_back_is_found() {
        let mut committed = Committed::default();
        assert_eq!(committed.on_logged(1, 5), Ok(()));
        assert_eq!(committed.on_logged(2, 5), Ok(()));
        assert!(committed.on_logged(3, 4).unwrap_err().contains("offset 5 was committed, and 4"));
    }

    #[test]
    fn a_reader_is_told_what_was_acknowledged() {
        let mut committed = Committed::default();
        committed.on_asked(7);
        committed.on_acked(5, 2);
        assert_eq!(committed.acked(2), None, "forgotten, or never written");
        committed.on_logged(1, 5).unwrap();
        assert_eq!(committed.check_fetched(-1, committed.acked(1)), Ok(()));
        committed.on_acked(5, 2);
        assert_eq!(committed.acked(1), None, "of a later generation");
        assert!(committed.check_fetched(4, committed.acked(2)).unwrap_err().contains("5 was acknowledged"));
        assert_eq!(committed.check_fetched(7, committed.acked(2)), Ok(()));
        assert!(committed.check_fetched(8, None).unwrap_err().contains("nobody committed more than 7"));
    }

    #[test]
    fn offsets_vanish_after_a_silence_only() {
        let mut contact = Contact::default();
        for at in [100, 150, 400, 420] {
            contact.on_heard(at);
        }
        assert_eq!(contact.silence_since(0, 430), 250);
        assert_eq!(contact.silence_since(401, 430), 20);
        let mut committed = Committed::default();
        committed.on_logged(401, 3).unwrap();
        let mut later = committed.clone();
        assert!(committed.on_forgotten(430, &contact, Some(200)).unwrap_err().contains("never silent"));
        assert_eq!(later.on_forgotten(700, &contact, Some(200)), Ok(()));
    }
}
