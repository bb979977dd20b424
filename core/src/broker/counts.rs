//! What a broker counts of its own doing, for whoever shows numbers. Nothing is decided by them.

/// Counts since the broker started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times that the committed ISR of a partition became smaller while this broker led it.
    pub isr_shrinks: u64,
    /// Times that it became larger.
    pub isr_expands: u64,
    /// Bytes of batches that were refused because they are larger than `max.message.bytes`.
    pub rejected_bytes: u64,
}

impl Counts {
    /// The ISR of a partition led here had `before` members and has `after` now.
    pub(super) fn on_isr(&mut self, before: usize, after: usize) {
        self.isr_shrinks += u64::from(after < before);
        self.isr_expands += u64::from(after > before);
    }
}
