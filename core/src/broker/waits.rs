//! Requests that wait for several partitions: Produce for its records to be committed, DeleteRecords for them to be gone,
//! those about groups for what they saw to be committed.

use super::Broker;
use super::produce::refused_response;
use super::timers::Timer;
use crate::errors::ErrorCode;
use crate::ids::{ConnId, Offset, RequestNumber, TopicPartition};
use crate::output::Outputs;
use crate::replica::{Until, Waiter, WaiterId};
use crate::time::MonoMs;
use crate::wire::{DeleteRecordsResponse, ProduceResponse, Response};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// A request that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartsWait {
    conn: ConnId,
    number: RequestNumber,
    answer: Answer,
    parts: Vec<WaitPart>,
    /// Parts that still wait.
    open: usize,
    deadline: MonoMs,
}

/// The answer as it is once every part is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Produce {
        /// Of the request.
        version: i16,
        response: ProduceResponse,
    },
    DeleteRecords(DeleteRecordsResponse),
    /// A coordinator's.
    Group {
        response: Box<Response>,
        /// What is said instead if the records that it rests on may not be committed.
        refusal: Box<Response>,
    },
}

/// One partition that a request waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WaitPart {
    partition: TopicPartition,
    /// What ends the wait.
    until: Until,
    /// Its place in the response: a topic and a partition.
    at: (usize, usize),
    open: bool,
}

impl WaitPart {
    pub(super) fn new(partition: TopicPartition, until: Until, at: (usize, usize)) -> Self {
        Self { partition, until, at, open: true }
    }

    pub(super) fn partition(&self) -> TopicPartition {
        self.partition
    }
}

impl Broker {
    /// Answers once all parts are reached, or failed, or after `timeout_ms`.
    pub(super) fn wait_for_parts(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        (answer, parts): (Answer, Vec<WaitPart>),
        timeout_ms: u32,
        out: &mut Outputs,
    ) {
        let id = self.next_waiter();
        let (open, deadline) = (parts.len(), self.now.mono + u64::from(timeout_ms));
        let mut wait = PartsWait { conn, number, answer, parts, open, deadline };
        for (index, part) in (0..).zip(&mut wait.parts) {
            let replica = self.replicas.get_mut(&part.partition).expect("its leader was found in this step");
            if !replica.wait_for(part.until, Waiter { id, part: index }) {
                part.open = false;
                wait.open -= 1;
            }
        }
        if wait.open == 0 {
            self.reply_to_wait(wait, out);
            return;
        }
        if let Some(conn) = self.conns.get_mut(&wait.conn) {
            conn.waiters.insert(id);
        }
        self.timers.arm(wait.deadline, Timer::Parts(id));
        self.parts_waits.insert(id, wait);
    }

    /// What a part waits for is reached.
    pub(super) fn on_part_reached(&mut self, waiter: Waiter, out: &mut Outputs) {
        let Some(wait) = self.parts_waits.get_mut(&waiter.id) else { return };
        if wait.close_part(waiter.part).is_some() && wait.open == 0 {
            self.finish_parts(waiter.id, out);
        }
    }

    /// Records are deleted from every live replica: all logs start at `low_watermark` or later.
    pub(super) fn on_part_deleted(&mut self, waiter: Waiter, low_watermark: Offset, out: &mut Outputs) {
        let Some(wait) = self.parts_waits.get_mut(&waiter.id) else { return };
        if let Some(at) = wait.close_part(waiter.part) {
            wait.answer.set_low_watermark(at, low_watermark);
            if wait.open == 0 {
                self.finish_parts(waiter.id, out);
            }
        }
    }

    /// What a part waits for will not be reached here.
    pub(super) fn on_part_failed(&mut self, waiter: Waiter, code: ErrorCode, out: &mut Outputs) {
        let Some(wait) = self.parts_waits.get_mut(&waiter.id) else { return };
        let Some(at) = wait.close_part(waiter.part) else { return };
        wait.answer.fail(at, code);
        if wait.open == 0 {
            self.finish_parts(waiter.id, out);
        }
    }

    /// It may still come about: the client has to ask again or count the outcome as unknown.
    pub(super) fn on_parts_timeout(&mut self, id: WaiterId, out: &mut Outputs) {
        let Some(wait) = self.parts_waits.get_mut(&id) else { return };
        let mut late = Vec::new();
        for index in 0..u32::try_from(wait.parts.len()).expect("bounded by the frame") {
            let part = &wait.parts[index as usize];
            late.push((part.partition, part.until, Waiter { id, part: index }));
            if let Some(at) = wait.close_part(index) {
                wait.answer.fail(at, ErrorCode::RequestTimedOut);
            }
        }
        for (partition, until, waiter) in late {
            if let Some(replica) = self.replicas.get_mut(&partition) {
                replica.forget_waiter(until, waiter);
            }
        }
        self.finish_parts(id, out);
    }

    fn finish_parts(&mut self, id: WaiterId, out: &mut Outputs) {
        let wait = self.parts_waits.remove(&id).expect("the caller has seen it");
        self.timers.disarm(Timer::Parts(id));
        if let Some(conn) = self.conns.get_mut(&wait.conn) {
            conn.waiters.remove(&id);
        }
        self.reply_to_wait(wait, out);
    }

    fn reply_to_wait(&mut self, wait: PartsWait, out: &mut Outputs) {
        let response = match wait.answer {
            Answer::Produce { version, mut response } => {
                self.hint_in_produce(wait.conn, version, &mut response);
                Response::Produce(response)
            }
            Answer::DeleteRecords(response) => Response::DeleteRecords(response),
            Answer::Group { response, .. } => *response,
        };
        self.reply(wait.conn, wait.number, response, out);
    }

    /// Its connection is gone: what was done stays, nobody is told.
    pub(super) fn forget_parts(&mut self, id: WaiterId) {
        let Some(wait) = self.parts_waits.remove(&id) else { return };
        self.timers.disarm(Timer::Parts(id));
        for (index, part) in (0..).zip(&wait.parts) {
            if let Some(replica) = self.replicas.get_mut(&part.partition) {
                replica.forget_waiter(part.until, Waiter { id, part: index });
            }
        }
    }
}

impl PartsWait {
    /// Ends the wait for a part. Gives back its place in the response, if it was open.
    fn close_part(&mut self, index: u32) -> Option<(usize, usize)> {
        let part = self.parts.get_mut(index as usize).filter(|part| part.open)?;
        part.open = false;
        self.open -= 1;
        Some(part.at)
    }
}

impl Answer {
    fn fail(&mut self, (topic, partition): (usize, usize), code: ErrorCode) {
        match self {
            Self::Produce { response, .. } => {
                let part = &mut response.responses[topic].partition_responses[partition];
                *part = refused_response(part.index, code, None);
            }
            Self::DeleteRecords(response) => {
                response.topics[topic].partitions[partition].error_code = code.code();
            }
            // Whoever coordinates next tells how it ended.
            Self::Group { response, refusal } => response.clone_from(refusal),
        }
    }

    fn set_low_watermark(&mut self, (topic, partition): (usize, usize), low_watermark: Offset) {
        match self {
            Self::Produce { .. } | Self::Group { .. } => {
                unreachable!("records that are written wait for no deletion")
            }
            Self::DeleteRecords(response) => {
                response.topics[topic].partitions[partition].low_watermark = low_watermark.0;
            }
        }
    }
}
