//! A client that does not wait: one request without an answer, over a socket that never blocks. A member of a group is one of them.

use super::client::client_id;
use super::socket::Socket;
use super::{LoadError, own_cpu};
use bytes::Bytes;
use seedlog_core::wire::{ApiKey, Request, Response, decode_response, encode_request};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// One connection.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(super) socket: Socket,
    asked: Option<Asked>,
    next_id: i32,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    api: ApiKey,
    version: i16,
    id: i32,
}

impl Caller {
    pub(super) fn connect(address: SocketAddr) -> Result<Self, LoadError> {
        Ok(Self { socket: Socket::connect(address)?, asked: None, next_id: 0 })
    }

    /// Sends a request. The one before has been answered.
    pub(super) fn ask(&mut self, request: impl Into<Request>, version: i16) -> Result<(), LoadError> {
        assert!(self.asked.is_none(), "one request at a time");
        let request = request.into();
        let id = self.next_id;
        self.next_id += 1;
        self.socket.push(encode_request(version, id, Some(&client_id()), &request)?.to_bytes());
        self.asked = Some(Asked { api: request.api_key(), version, id });
        self.socket.flush()
    }

    /// Whether an answer is still to come.
    pub(super) fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    /// Reads what has come; gives the answer once it is whole.
    pub(super) fn take(&mut self) -> Result<Option<Response>, LoadError> {
        self.socket.fill()?;
        let Some(frame) = self.socket.next() else { return Ok(None) };
        let frame = Bytes::copy_from_slice(frame);
        let asked = self.asked.take();
        let asked = asked.ok_or_else(|| LoadError::Refused("an answer that nobody asked for".to_owned()))?;
        let (id, response) = decode_response(asked.api, asked.version, frame)?;
        if id == asked.id {
            Ok(Some(response))
        } else {
            Err(LoadError::unexpected(asked.api, "of another request"))
        }
    }
}

/// The time that something takes, and the processor time of this thread meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopwatch {
    began: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { began: Instant::now(), cpu: own_cpu() }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    pub(super) fn own_cpu_s(&self) -> f64 {
        (own_cpu() - self.cpu).as_secs_f64()
    }
}
