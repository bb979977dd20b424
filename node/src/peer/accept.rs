//! The streams that others opened: greetings checked, frames read within the budget, messages and their batches checked
//! before the driver hears of them.

use super::frame::{
    FRAME_PREFIX_BYTES, FrameError, GREETING_PREFIX_BYTES, Greeting, PONG, Prefix, Stream as Kind,
    encode_answer,
};
use super::{PeerEvent, Shared};
use crate::env::{Env, Listener, Stream, StreamReader, StreamWriter};
use bytes::{Bytes, BytesMut};
use seedlog_core::ids::NodeId;
use seedlog_core::peer::{BatchesError, admit_batches};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// After a failed accept, mostly for want of file descriptors.
const ACCEPT_RETRY_MS: u64 = 100;
/// How often it is said that something else than a peer came.
const WARN_INTERVAL_MS: u64 = 10_000;
/// What is read at once at first; a message that goes on may have as much again as has arrived.
const READ_BYTES: usize = 64 << 10;
/// What is read beyond what is known to come: many small messages at once.
const AHEAD_BYTES: usize = 16 << 10;

/// Why a stream ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("closed by the other side")]
    Closed,
    #[error("closed by the other side in the middle of a message")]
    Torn,
    #[error("silent for too long")]
    Silent,
    #[error("too many streams are open")]
    TooMany,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Batches(#[from] BatchesError),
    #[error("{0}")]
    Refused(String),
}

pub(super) async fn listen<E: Env>(shared: Arc<Shared<E>>, listener: E::Listener) {
    tokio::select! {
        biased;
        () = closing(&shared) => {}
        () = accept(&shared, listener) => {}
    }
}

async fn closing<E: Env>(shared: &Shared<E>) {
    // The sender is in `shared`, so it is there.
    let _ = shared.is_closing.subscribe().wait_for(|closing| *closing).await;
}

async fn accept<E: Env>(shared: &Arc<Shared<E>>, mut listener: E::Listener) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let guest = Guest(Arc::clone(&open));
                let is_full = open.fetch_add(1, Ordering::Relaxed) >= shared.options.accepted_max;
                let shared = Arc::clone(shared);
                shared.env.clone().spawn(async move {
                    tokio::select! {
                        biased;
                        () = closing(&shared) => {}
                        end = serve(&shared, stream, is_full) => tell_end(&shared, &end, address),
                    }
                    drop(guest);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a peer's stream; raise the limit of open files if that is it");
                sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            }
        }
    }
}

/// A stream that is counted until this is dropped.
struct Guest(Arc<AtomicUsize>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What does not belong here comes again and again: the log tells of it from time to time.
fn tell_end<E: Env>(shared: &Shared<E>, end: &End, peer: SocketAddr) {
    match end {
        End::Closed | End::Torn | End::Silent | End::Io(_) => debug!(%peer, "peer's stream ended: {end}"),
        End::TooMany | End::Frame(_) | End::Batches(_) | End::Refused(_) => {
            let now = shared.env.now().mono;
            let mut warned = shared.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.is_none_or(|before| now - before >= WARN_INTERVAL_MS) {
                *warned = Some(now);
                warn!(%peer, "peer's stream closed: {end}");
            }
        }
    }
}

async fn serve<E: Env, S: Stream>(shared: &Shared<E>, stream: S, is_full: bool) -> End {
    if is_full {
        return End::TooMany;
    }
    let (reader, mut writer) = stream.split();
    let mut incoming = Incoming { reader, buffer: BytesMut::new() };
    let patience = Duration::from_millis(shared.options.greeting_ms_max);
    let Ok(greeted) = timeout(patience, greeting(shared, &mut incoming)).await else { return End::Silent };
    let refusal = greeted.as_ref().err().filter(|end| is_told(end)).map(ToString::to_string);
    if greeted.is_ok() || refusal.is_some() {
        let answer = send(shared, &mut writer, encode_answer(refusal.as_deref())).await;
        if let Err(end) = answer {
            return end;
        }
    }
    let end = match greeted {
        Ok(greeting) => {
            shared.greeted.send_replace(Some(greeting.from));
            if let (Kind::Control, Some(address)) = (greeting.stream, &greeting.address) {
                (shared.tell)(PeerEvent::Greeted { node: greeting.from, address: address.clone() });
            }
            receive(shared, &mut incoming, &mut writer, &greeting).await
        }
        Err(end) => end,
    };
    writer.close().await;
    end
}

/// The other side is a node, and would like to know why it is refused.
fn is_told(end: &End) -> bool {
    match end {
        End::Refused(_) | End::Frame(FrameError::Format { .. }) => true,
        End::Frame(_)
        | End::Closed
        | End::Torn
        | End::Silent
        | End::TooMany
        | End::Io(_)
        | End::Batches(_) => false,
    }
}

async fn greeting<E: Env, R: StreamReader>(
    shared: &Shared<E>,
    incoming: &mut Incoming<R>,
) -> Result<Greeting, End> {
    let options = &shared.options;
    incoming.fill(GREETING_PREFIX_BYTES).await?;
    let prefix = incoming.take(GREETING_PREFIX_BYTES);
    let length = Greeting::body_bytes(prefix.first_chunk().expect("so much was read"))?;
    incoming.fill(length).await?;
    let greeting = Greeting::decode(&incoming.take(length))?;
    let (own, from) = (options.node_id, greeting.from);
    if greeting.to != own {
        return Err(End::Refused(format!(
            "node {from} looks for node {} where node {own} listens; check controller.quorum.voters",
            greeting.to
        )));
    }
    if from == own {
        return Err(End::Refused(format!("two nodes have the id {own}; give one of them another node.id")));
    }
    let cluster_id = options.cluster_id.as_deref().unwrap_or_default();
    if !cluster_id.is_empty() && !greeting.cluster_id.is_empty() && greeting.cluster_id != cluster_id {
        return Err(End::Refused(format!(
            "node {from} belongs to the cluster {}, node {own} to {cluster_id}",
            greeting.cluster_id
        )));
    }
    Ok(greeting)
}

/// Reads messages until the stream ends.
async fn receive<E: Env, R: StreamReader, W: StreamWriter>(
    shared: &Shared<E>,
    incoming: &mut Incoming<R>,
    writer: &mut W,
    greeting: &Greeting,
) -> End {
    // Pings come far more often.
    let patience = Duration::from_millis(3 * shared.options.silent_ms_max);
    loop {
        let next = next(shared, incoming, greeting.stream, greeting.from, patience).await;
        match next {
            Ok(Some(event)) => (shared.tell)(event),
            Ok(None) => {
                if let Err(end) = send(shared, writer, Bytes::from_static(&[PONG])).await {
                    return end;
                }
            }
            Err(end) => return end,
        }
    }
}

/// The next message; `None` for a ping.
async fn next<E: Env, R: StreamReader>(
    shared: &Shared<E>,
    incoming: &mut Incoming<R>,
    kind: Kind,
    from: NodeId,
    patience: Duration,
) -> Result<Option<PeerEvent>, End> {
    if incoming.buffer.is_empty() {
        // A stream at rest holds no buffer.
        incoming.buffer = BytesMut::new();
    }
    timeout(patience, incoming.fill(FRAME_PREFIX_BYTES)).await.map_err(|_| End::Silent)??;
    let prefix = incoming.take(FRAME_PREFIX_BYTES);
    let prefix = Prefix::decode(prefix.first_chunk().expect("so much was read"))?;
    if prefix.is_ping() {
        return Ok(None);
    }
    let bytes = prefix.header_bytes + prefix.batches_bytes;
    let budget = match kind {
        Kind::Control => &shared.control_budget,
        Kind::Bulk => &shared.bulk_budget,
    };
    // Nobody is read from who sends more than is dealt with.
    let permit = budget.take((FRAME_PREFIX_BYTES + bytes) as u64).await;
    while incoming.buffer.len() < bytes {
        timeout(patience, incoming.more(bytes)).await.map_err(|_| End::Silent)??;
    }
    let header = incoming.take(prefix.header_bytes);
    let message = prefix.message(&header)?;
    let batches = incoming.take(prefix.batches_bytes);
    if message.from != from {
        return Err(End::Refused(format!("node {from} speaks as node {}", message.from)));
    }
    if message.is_bulk() == batches.is_empty() {
        return Err(FrameError::Invalid.into());
    }
    let batches = admit_batches(&batches)?;
    shared.options.metrics.received_bytes.inc_by((FRAME_PREFIX_BYTES + bytes) as u64);
    Ok(Some(PeerEvent::Said { message: Box::new(message), batches, permit }))
}

async fn send<E: Env, W: StreamWriter>(shared: &Shared<E>, writer: &mut W, bytes: Bytes) -> Result<(), End> {
    let mut pieces = [bytes];
    let stalled = Duration::from_millis(shared.options.stalled_ms_max);
    while !pieces[0].is_empty() {
        let written = timeout(stalled, writer.write_chain(&pieces)).await.map_err(|_| End::Silent)??;
        pieces[0] = pieces[0].slice(written..);
    }
    Ok(())
}

/// A stream and what was read ahead of it.
struct Incoming<R> {
    reader: R,
    buffer: BytesMut,
}

impl<R: StreamReader> Incoming<R> {
    /// Reads until there are `bytes`.
    async fn fill(&mut self, bytes: usize) -> Result<(), End> {
        while self.buffer.len() < bytes {
            self.more(bytes).await?;
        }
        Ok(())
    }

    /// Reads some of the `bytes` that there should be, and of what follows them. Room is made for what has arrived, not for
    /// what is announced.
    async fn more(&mut self, bytes: usize) -> Result<(), End> {
        let missing = bytes.saturating_sub(self.buffer.len());
        let room =
            missing.min(self.buffer.len().max(READ_BYTES)).max(READ_BYTES.min(missing.max(AHEAD_BYTES)));
        match self.reader.read_into(&mut self.buffer, room).await {
            Ok(0) if self.buffer.is_empty() => Err(End::Closed),
            Ok(0) => Err(End::Torn),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self, bytes: usize) -> Bytes {
        self.buffer.split_to(bytes).freeze()
    }
}
