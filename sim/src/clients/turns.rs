//! One question after the other, with pauses between them: the turns of administrators who do one kind of thing.

use super::Context;

/// How long after a lost connection, in µs.
const LOST_PAUSE_US: u64 = 50_000;

/// See the module. `Q` is what an answer must fit.
#[derive(Debug)]
pub(super) struct Turns<Q> {
    left: u64,
    pause_ms: u64,
    paused_until: u64,
    /// The number of the request, and the broker that was asked.
    waiting: Option<(u64, u32, Q)>,
}

impl<Q: std::fmt::Debug> Turns<Q> {
    /// So many questions, about so far apart.
    pub(super) fn new(operations: u64, pause_ms: u64) -> Self {
        Self { left: operations, pause_ms, paused_until: 0, waiting: None }
    }

    /// It may ask now; or it asks to be woken when it may, if it ever may.
    pub(super) fn is_due(&self, ctx: &mut Context<'_>) -> bool {
        if self.waiting.is_some() || self.left == 0 || ctx.draining {
            return false;
        }
        if ctx.now_us < self.paused_until {
            ctx.wake_in_ms((self.paused_until - ctx.now_us).div_ceil(1_000));
            return false;
        }
        true
    }

    /// There is nothing to ask about yet.
    pub(super) fn wait(&self, ctx: &mut Context<'_>) {
        ctx.wake_in_ms(self.pause_ms);
    }

    /// Asked a broker.
    pub(super) fn asked(&mut self, number: u64, broker: u32, question: Q) {
        self.left -= 1;
        self.waiting = Some((number, broker, question));
    }

    /// The question of an answer; `None` if that is late.
    pub(super) fn answered(&mut self, number: u64) -> Option<Q> {
        self.waiting.take_if(|(asked, ..)| *asked == number).map(|(.., question)| question)
    }

    /// Rests after an answer.
    pub(super) fn rest(&mut self, ctx: &mut Context<'_>) {
        self.paused_until = ctx.now_us + ctx.rng.below(2 * self.pause_ms * 1_000 + 1);
    }

    /// A connection is lost: gives the question that gets no answer.
    pub(super) fn lost(&mut self, ctx: &Context<'_>, broker: u32) -> Option<Q> {
        self.paused_until = ctx.now_us + LOST_PAUSE_US;
        self.waiting.take_if(|(_, asked, _)| *asked == broker).map(|(.., question)| question)
    }

    /// Nothing is waited for.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_none()
    }

    /// What is.
    pub(super) fn waits_for(&self) -> String {
        format!("waiting for {:?}", self.waiting)
    }
}
