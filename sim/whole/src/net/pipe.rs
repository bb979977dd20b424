//! One direction of a connection: bytes on their way, bytes that have arrived, and how it ends.

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Pipe {
    /// Bytes with the time of their arrival, in order.
    segments: VecDeque<(u64, Bytes)>,
    window: usize,
    /// Bytes that the writer has not heard of as read.
    held: usize,
    /// Bytes that were read while the way back was cut.
    unheard: usize,
    last_at: u64,
    /// The end of the stream arrives.
    ends_at: Option<u64>,
    /// A reset arrives at the reader.
    reset_at: Option<u64>,
    /// A reset arrives at the writer.
    breaks_at: Option<u64>,
    /// Both ends know that the connection is broken.
    is_snapped: bool,
    /// So much of the next write, in 1,000, is all that arrives.
    armed: Option<u64>,
    pub(super) readable: Arc<Notify>,
    pub(super) writable: Arc<Notify>,
}

/// What a reader finds.
#[derive(Debug)]
pub(super) enum Found {
    Bytes(Bytes),
    End,
    Reset,
    /// Nothing before that time, if there is one.
    Nothing(Option<u64>),
}

/// What becomes of a write.
#[derive(Debug)]
pub(super) enum Taken {
    Bytes(usize),
    Broken,
    /// Nothing before that time, if there is one.
    Nothing(Option<u64>),
}

/// What passes while a link is cut: what had arrived before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    pub(super) now: u64,
    pub(super) cut_since: Option<u64>,
}

impl Pass {
    fn lets(self, at: u64) -> bool {
        at <= self.now && self.cut_since.is_none_or(|since| at <= since)
    }

    /// When to look again for what comes at `at`: behind a cut only a healing tells.
    fn look_at(self, at: u64) -> Option<u64> {
        self.cut_since.is_none_or(|since| at <= since).then_some(at)
    }
}

impl Pipe {
    pub(super) fn new(window: usize) -> Self {
        Self {
            segments: VecDeque::new(),
            window,
            held: 0,
            unheard: 0,
            last_at: 0,
            ends_at: None,
            reset_at: None,
            breaks_at: None,
            is_snapped: false,
            armed: None,
            readable: Arc::default(),
            writable: Arc::default(),
        }
    }

    pub(super) fn arm(&mut self, share: u64) {
        self.armed = Some(share);
    }

    /// Takes bytes from the front of a chain. `true` beside it: the write was cut in its middle and the connection is reset.
    pub(super) fn take(&mut self, pieces: &[Bytes], at: u64, segment: usize, back: Pass) -> (Taken, bool) {
        if self.is_snapped || self.breaks_at.is_some_and(|at| back.lets(at)) {
            return (Taken::Broken, false);
        }
        let mut room = self.window.saturating_sub(self.held);
        if room == 0 {
            return (Taken::Nothing(self.breaks_at.and_then(|at| back.look_at(at))), false);
        }
        self.last_at = self.last_at.max(at);
        let mut taken = 0;
        for piece in pieces {
            let mut rest = piece.slice(..piece.len().min(room));
            room -= rest.len();
            taken += rest.len();
            if self.reset_at.is_some() {
                rest.clear(); // Nothing arrives behind bytes that were lost.
            }
            while !rest.is_empty() {
                let some = rest.split_to(rest.len().min(segment));
                self.segments.push_back((self.last_at, some));
            }
            if room == 0 {
                break;
            }
        }
        self.held += taken;
        let cut = self.armed.take_if(|_| taken > 1).map(|share| {
            let lost = (taken as u64 * (1_000 - share) / 1_000).clamp(1, taken as u64 - 1);
            self.lose_from_the_end(usize::try_from(lost).unwrap_or(1));
            self.reset_at = Some(self.last_at + 1);
            self.breaks_at = Some(at);
        });
        self.readable.notify_one();
        (Taken::Bytes(taken), cut.is_some())
    }

    fn lose_from_the_end(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let Some((_, last)) = self.segments.back_mut() else { return };
            let lost = bytes.min(last.len());
            last.truncate(last.len() - lost);
            bytes -= lost;
            if last.is_empty() {
                self.segments.pop_back();
            }
        }
    }

    /// What the reader finds. `heard`: the writer hears of what is read.
    pub(super) fn read(&mut self, bytes_max: usize, forth: Pass, heard: bool) -> Found {
        if self.is_snapped || self.reset_at.is_some_and(|at| forth.lets(at)) {
            return Found::Reset;
        }
        let next = self.segments.front().map(|(at, _)| *at);
        match next {
            Some(at) if forth.lets(at) => {
                let (at, mut bytes) = self.segments.pop_front().expect("it was looked at above");
                if bytes.len() > bytes_max {
                    let rest = bytes.split_off(bytes_max);
                    self.segments.push_front((at, rest));
                }
                if heard {
                    self.held -= bytes.len().min(self.held);
                    self.writable.notify_one();
                } else {
                    self.unheard += bytes.len();
                }
                Found::Bytes(bytes)
            }
            Some(at) => Found::Nothing(forth.look_at(self.reset_at.map_or(at, |reset| at.min(reset)))),
            None => match (self.ends_at, self.reset_at) {
                (Some(at), _) if forth.lets(at) => Found::End,
                (Some(at), _) | (None, Some(at)) => Found::Nothing(forth.look_at(at)),
                (None, None) => Found::Nothing(None),
            },
        }
    }

    /// Both ends are told that the connection is broken, whatever is cut.
    pub(super) fn snap(&mut self) {
        self.is_snapped = true;
        self.readable.notify_one();
        self.writable.notify_one();
    }

    /// The writer has closed: the end of the stream follows what it wrote.
    pub(super) fn finish(&mut self, at: u64) {
        self.last_at = self.last_at.max(at);
        self.ends_at.get_or_insert(self.last_at);
        self.readable.notify_one();
    }

    /// The reader has closed: whoever writes hears of it, at once if something was not read.
    pub(super) fn abandon(&mut self, at: u64) {
        if self.breaks_at.is_none() {
            self.breaks_at = Some(at);
            self.writable.notify_one();
        }
    }

    /// A reset arrives at the reader.
    pub(super) fn reset(&mut self, at: u64) {
        if self.reset_at.is_none_or(|other| at < other) {
            self.reset_at = Some(at);
            self.readable.notify_one();
        }
    }

    /// The writer is gone without a word: what has not arrived never does.
    pub(super) fn lose_after(&mut self, now: u64) {
        self.segments.retain(|(at, _)| *at <= now);
        self.ends_at = self.ends_at.filter(|&at| at <= now);
    }

    /// Something was sent that nobody has read.
    pub(super) fn holds_unread(&self) -> bool {
        self.held > 0
    }

    /// The link that carries the bytes is healed.
    pub(super) fn heal_forth(&mut self, since: u64, at: u64) -> bool {
        let mut held = false;
        for (arrives, _) in &mut self.segments {
            if *arrives > since {
                *arrives = (*arrives).max(at);
                held = true;
            }
        }
        self.last_at = self.segments.back().map_or(self.last_at, |(at, _)| self.last_at.max(*at));
        let last = self.last_at;
        for ends in [&mut self.ends_at, &mut self.reset_at] {
            *ends = ends.map(|arrives| if arrives > since { arrives.max(at).max(last) } else { arrives });
        }
        self.readable.notify_one();
        held
    }

    /// The link that tells the writer what was read is healed.
    pub(super) fn heal_back(&mut self, since: u64, at: u64) {
        self.held -= std::mem::take(&mut self.unheard).min(self.held);
        self.breaks_at = self.breaks_at.map(|breaks| if breaks > since { breaks.max(at) } else { breaks });
        self.writable.notify_one();
    }
}
