//! A closed loop: on each of some connections so many requests in flight, for a time. What is asked and what an answer must say is
//! the work's.

use super::socket::{Socket, wait};
use super::{Latencies, Latency, LoadError};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What goes over the connections, which are counted from 0 on.
pub(super) trait Work {
    /// The next request of a connection, a whole frame; `None` if there is nothing more to send over it.
    fn next(&mut self, lane: usize) -> Result<Option<Bytes>, LoadError>;

    /// Takes the answer to the oldest request of a connection, without its length.
    fn take(&mut self, lane: usize, answer: &[u8]) -> Result<(), LoadError>;
}

/// How much of it at once, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) in_flight: usize,
    pub(super) time: Duration,
    /// An answer that takes longer is none.
    pub(super) patience: Duration,
}

struct Lane<'a> {
    socket: &'a mut Socket,
    sent: VecDeque<Instant>,
    is_over: bool,
}

/// Works until the time is over or nothing is left to send, and all is answered; gives the number of answers and what they took.
pub(super) fn run(
    sockets: &mut [Socket],
    pace: Pace,
    work: &mut impl Work,
) -> Result<(u64, Latency), LoadError> {
    let lanes = sockets.iter_mut().map(|socket| Lane { socket, sent: VecDeque::new(), is_over: false });
    let mut lanes: Vec<Lane<'_>> = lanes.collect();
    let (began, mut answered, mut latencies) = (Instant::now(), 0, Latencies::new());
    let mut readable = Vec::new();
    let mut last_answer = began;
    loop {
        let is_late = began.elapsed() >= pace.time;
        for (number, lane) in lanes.iter_mut().enumerate() {
            lane.is_over |= is_late;
            while !lane.is_over && lane.sent.len() < pace.in_flight {
                match work.next(number)? {
                    Some(frame) => {
                        lane.socket.push(frame);
                        lane.sent.push_back(Instant::now());
                    }
                    None => lane.is_over = true,
                }
            }
            lane.socket.flush()?;
        }
        if lanes.iter().all(|lane| lane.is_over && lane.sent.is_empty()) {
            return Ok((answered, latencies.summary()));
        }
        let polled: Vec<&Socket> = lanes.iter().map(|lane| &*lane.socket).collect();
        wait(&polled, Duration::from_millis(50), &mut readable)?;
        for (number, lane) in lanes.iter_mut().enumerate().filter(|(number, _)| readable[*number]) {
            lane.socket.fill()?;
            while let Some(answer) = lane.socket.next() {
                let sent = lane.sent.pop_front();
                let sent =
                    sent.ok_or_else(|| LoadError::Refused("an answer that nobody asked for".to_owned()))?;
                latencies.add(sent.elapsed());
                work.take(number, answer)?;
                answered += 1;
            }
            last_answer = Instant::now();
        }
        if last_answer.elapsed() > pace.patience {
            return Err(LoadError::Refused(format!("no answer within {} s", pace.patience.as_secs())));
        }
    }
}
