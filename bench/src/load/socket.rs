//! A socket that never blocks: frames out by reference, frames in through one buffer.

use super::LoadError;
use super::client::connect;
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Frames that one call writes.
const FRAMES_AT_ONCE: usize = 64;
/// Room for answers; grows with an answer that is larger.
const INPUT_BYTES: usize = 256 << 10;

/// One connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    out: VecDeque<Bytes>,
    input: Vec<u8>,
    /// What of `input` is filled, and what of that is used.
    filled: usize,
    used: usize,
}

impl Socket {
    pub(super) fn connect(address: SocketAddr) -> Result<Self, LoadError> {
        let stream = connect(address)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, out: VecDeque::new(), input: vec![0; INPUT_BYTES], filled: 0, used: 0 })
    }

    /// Something to be written, whole frames.
    pub(super) fn push(&mut self, frames: Bytes) {
        self.out.push_back(frames);
    }

    /// Writes as much as the system takes.
    pub(super) fn flush(&mut self) -> Result<(), LoadError> {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); FRAMES_AT_ONCE];
            let count = self.out.len().min(FRAMES_AT_ONCE);
            for (slice, frame) in slices.iter_mut().zip(&self.out) {
                *slice = IoSlice::new(frame);
            }
            match rustix::io::writev(&self.stream, &slices[..count]) {
                Ok(written) => self.advance(written),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(LoadError::of_system(error)),
            }
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.out.front_mut() {
            if written < first.len() {
                let _ = first.split_to(written);
                return;
            }
            written -= first.len();
            self.out.pop_front();
        }
    }

    pub(super) fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Reads what has come.
    pub(super) fn fill(&mut self) -> Result<(), LoadError> {
        self.input.copy_within(self.used..self.filled, 0);
        self.filled -= self.used;
        self.used = 0;
        if let Some(length) = self.next_length() {
            let whole = 4 + length;
            if self.input.len() < whole {
                self.input.resize(whole, 0);
            }
        }
        match rustix::io::read(&self.stream, &mut self.input[self.filled..]) {
            Ok(0) => Err(LoadError::Refused("the broker closed the connection".to_owned())),
            Ok(count) => {
                self.filled += count;
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(LoadError::of_system(error)),
        }
    }

    fn next_length(&self) -> Option<usize> {
        let length = self.input[self.used..self.filled].first_chunk()?;
        usize::try_from(i32::from_be_bytes(*length)).ok()
    }

    /// The next whole answer, without its length; `None` until more has been read.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let length = self.next_length()?;
        let (start, end) = (self.used + 4, self.used + 4 + length);
        if end > self.filled {
            return None;
        }
        self.used = end;
        Some(&self.input[start..end])
    }
}

/// Waits until one of the sockets can be read, or written to if it has something to write, or the time is over. Says which can be
/// read.
pub(super) fn wait(
    sockets: &[&Socket],
    patience: Duration,
    readable: &mut Vec<bool>,
) -> Result<(), LoadError> {
    let mut polled: Vec<PollFd<'_>> = sockets
        .iter()
        .map(|socket| {
            let output = if socket.has_output() { PollFlags::OUT } else { PollFlags::empty() };
            PollFd::new(&socket.stream, PollFlags::IN | output)
        })
        .collect();
    let patience = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    };
    match poll(&mut polled, Some(&patience)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(LoadError::of_system(error)),
    }
    readable.clear();
    let can_read =
        |polled: &PollFd<'_>| polled.revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
    readable.extend(polled.iter().map(can_read));
    Ok(())
}
