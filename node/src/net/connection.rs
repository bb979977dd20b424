//! One connection's task: a reader and a writer that are polled together. It ends when either does, and then the driver is
//! told once.

use super::frames::{FrameError, FrameReader, Purse};
use super::listener::{Guest, Told};
use super::outbox::{About, Answer, Next, Outbox};
use super::reply::{self, Lease, Written};
use super::{Event, Net};
use crate::budget::{Budget, Permit, Share};
use crate::env::{Env, Stream, StreamReader, StreamWriter};
use crate::metrics::NetMetrics;
use bytes::{Buf, Bytes};
use seedlog_core::door::{self, Admitted, DoorError};
use seedlog_core::ids::{ConnId, ListenerId};
use seedlog_core::wire::LENGTH_PREFIX_BYTES;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, info, warn};

/// Which connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) conn: ConnId,
    pub(super) peer: SocketAddr,
    pub(super) listener: ListenerId,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    /// The stream, or what came out of it.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The door.
    #[error("{error} (client id {client_id:?}, API {api_key})")]
    Refused {
        /// Why.
        error: DoorError,
        /// As far as it can be read.
        client_id: String,
        /// As the client wrote it.
        api_key: i16,
    },
    /// The writer's stream.
    #[error(transparent)]
    Write(io::Error),
    /// Nothing could be written for `connections.max.idle.ms`, or too little while others wait for the memory.
    #[error("the client does not read its replies")]
    Stalled,
    /// A reply that could not be encoded: a defect of ours.
    #[error("a reply cannot be encoded: {0}")]
    Encode(seedlog_core::wire::WireError),
    /// The core asked for it, or all is done.
    #[error("{0}")]
    Asked(&'static str),
}

impl End {
    const LAST_REPLY: Self = Self::Asked("the reply was the last one");
}

/// Runs a connection from its first byte to its end.
pub(super) async fn serve<E: Env, L: Lease, S: Stream>(
    net: Arc<Net<E, L>>,
    guest: Guest<E, L>,
    stream: S,
    place: Place,
) {
    let outbox = Arc::new(Outbox::new());
    let told = Told::open(&net, place, &outbox);
    let (reader, mut writer) = stream.split();
    let muted_ms = AtomicU64::new(0);
    let frames = FrameReader::new(reader, net.pool.clone(), net.limits.clone());
    let end = {
        let share = &guest.share;
        let mut write = pin!(write_replies(&net, share, &outbox, &mut writer, &muted_ms));
        let read = read_requests(&net, share, &outbox, frames, place.conn, &muted_ms);
        let end = tokio::select! {
            biased;
            end = &mut write => end,
            end = read => end,
        };
        if matches!(end, End::Refused { .. } | End::Frame(FrameError::Length { .. })) {
            // What came before was good and gets its answers, as if the client had waited for each.
            outbox.finish();
            let _ = timeout(Duration::from_millis(net.limits.drain_ms), write).await;
        }
        end
    };
    writer.close().await;
    log_end(&net.metrics, place, &end);
    drop((told, guest));
}

async fn read_requests<E: Env, L: Lease, R: StreamReader>(
    net: &Net<E, L>,
    share: &Share,
    outbox: &Outbox<L>,
    mut frames: FrameReader<R>,
    conn: ConnId,
    muted_ms: &AtomicU64,
) -> End {
    let limits = &net.limits;
    loop {
        outbox.wait_room((limits.pipeline_max, limits.questions_max), limits.unwritten_bytes_max).await;
        let mute = muted_ms.swap(0, Ordering::Relaxed);
        if mute > 0 {
            // KIP-219: the client was told; this is for those that do not listen.
            sleep(Duration::from_millis(mute)).await;
        }
        let purse = Purse { budget: &net.budget, share };
        let (frame, permit) = match frames.next(purse, || outbox.is_busy()).await {
            Ok(next) => next,
            Err(error) => return error.into(),
        };
        net.metrics.read_bytes.inc_by((frame.len() + LENGTH_PREFIX_BYTES) as u64);
        match admit(purse, &frame, permit).await {
            Ok((mut admitted, permit)) => {
                drop(frame);
                net.keys.check(&mut admitted.request.body).await;
                let about = About {
                    api: admitted.api_key,
                    version: admitted.reply_version,
                    correlation_id: admitted.correlation_id,
                };
                let number = outbox.open(about, permit);
                net.tell(Event::Request { conn, number, request: Box::new(admitted.request) });
            }
            Err(error) => return refused(error, &frame),
        }
    }
}

/// Decodes a request and pays for its tables. What cannot be paid for at once is dropped, and decoded again when it can be:
/// nobody holds tables that the budget does not know of for longer than decoding takes.
async fn admit(purse: Purse<'_>, frame: &Bytes, permit: Permit) -> Result<(Admitted, Permit), DoorError> {
    let Purse { budget, share } = purse;
    let decode = || door::admit_within(frame.clone(), budget.tables_bytes_max());
    let admitted = decode()?;
    let Some(bytes) = Budget::tables_to_pay(frame.len(), admitted.tables_bytes) else {
        return Ok((admitted, permit));
    };
    if let Some(tables) = budget.try_take_tables(share, bytes) {
        return Ok((admitted, permit.with(Some(tables))));
    }
    drop(admitted);
    let tables = budget.take_tables(share, bytes).await;
    Ok((decode()?, permit.with(Some(tables))))
}

/// Reads again what of the header can be read, for the log alone.
fn refused(error: DoorError, frame: &Bytes) -> End {
    let mut rest = &frame[..];
    let api_key = rest.try_get_i16().unwrap_or(-1);
    let behind = rest.get(6..).unwrap_or_default();
    let name = behind.split_first_chunk().and_then(|(length, name)| {
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        name.get(..length.min(CLIENT_ID_BYTES_MAX))
    });
    let client_id = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
    End::Refused { error, client_id, api_key }
}

/// A client id in the log.
const CLIENT_ID_BYTES_MAX: usize = 128;

async fn write_replies<E: Env, L: Lease, W: StreamWriter>(
    net: &Net<E, L>,
    share: &Share,
    outbox: &Outbox<L>,
    writer: &mut W,
    muted_ms: &AtomicU64,
) -> End {
    let mut written = Written::default();
    loop {
        let end = match take_ready(outbox, &mut written, muted_ms) {
            Ready::Records(about, answer) => {
                // Records may have to be waited for: what is ready does not wait with them.
                if let Err(end) = write_all(net, outbox, writer, &mut written).await {
                    return end;
                }
                mute(muted_ms, answer.reply.throttle_ms);
                let close = answer.reply.close;
                // Held until the records are written.
                let permit = net.budget.take_reply(share, reply::fill_bytes(&answer.reply)).await;
                let mut filled = reply::fill(answer).await;
                let encoded = written.encode(about, &mut filled);
                drop(filled);
                if let Err(end) = write_held(net, share, outbox, writer, &mut written).await {
                    return end;
                }
                drop(permit);
                match encoded {
                    Ok(()) if close => Some(End::LAST_REPLY),
                    Ok(()) => continue,
                    Err(error) => Some(End::Encode(error)),
                }
            }
            Ready::End(end) => Some(end),
            Ready::More => None,
            Ready::Nothing if written.is_empty() => {
                outbox.wait_ready().await;
                continue;
            }
            Ready::Nothing => None,
        };
        if let Err(end) = write_all(net, outbox, writer, &mut written).await {
            return end;
        }
        if let Some(end) = end {
            return end;
        }
    }
}

/// Why the encoding of ready replies stopped.
enum Ready<L> {
    /// At one with records to fill in.
    Records(About, Answer<L>),
    /// There is enough for one write.
    More,
    /// No further one is ready.
    Nothing,
    /// The connection ends behind what was encoded.
    End(End),
}

/// Encodes what is ready, for one write.
fn take_ready<L: Lease>(outbox: &Outbox<L>, written: &mut Written, muted_ms: &AtomicU64) -> Ready<L> {
    while !written.is_full() {
        match outbox.next() {
            Next::Write(about, mut answer) if answer.reply.fills.is_empty() => {
                mute(muted_ms, answer.reply.throttle_ms);
                if let Err(error) = written.encode(about, &mut answer.reply.response) {
                    return Ready::End(End::Encode(error));
                }
                if answer.reply.close {
                    return Ready::End(End::LAST_REPLY);
                }
            }
            Next::Write(about, answer) => return Ready::Records(about, answer),
            Next::Wait => return Ready::Nothing,
            Next::End(reason) => return Ready::End(End::Asked(reason)),
        }
    }
    Ready::More
}

fn mute(muted_ms: &AtomicU64, throttle_ms: u32) {
    muted_ms.fetch_max(throttle_ms.into(), Ordering::Relaxed);
}

/// Writes a reply whose records are from the budget. Whoever takes none of them while others wait for the budget is not
/// waited for.
async fn write_held<E: Env, L: Lease, W: StreamWriter>(
    net: &Net<E, L>,
    share: &Share,
    outbox: &Outbox<L>,
    writer: &mut W,
    written: &mut Written,
) -> Result<(), End> {
    let (begun, total) = (Instant::now(), written.len());
    let look = Duration::from_millis(net.limits.look_ms());
    let mut write = pin!(write_all(net, outbox, writer, written));
    loop {
        if let Ok(done) = timeout(look, &mut write).await {
            return done;
        }
        let taken = total.saturating_sub(outbox.unwritten());
        let is_late = net.limits.is_late_in_a_crowd(begun.elapsed(), taken);
        if is_late && net.budget.lacks_reply_bytes(share) {
            return Err(End::Stalled);
        }
    }
}

async fn write_all<E: Env, L: Lease, W: StreamWriter>(
    net: &Net<E, L>,
    outbox: &Outbox<L>,
    writer: &mut W,
    written: &mut Written,
) -> Result<(), End> {
    if written.is_empty() {
        return Ok(());
    }
    net.metrics.written_bytes.inc_by(written.len() as u64);
    outbox.set_unwritten(written.len());
    while !written.is_empty() {
        let write = writer.write_chain(written.pieces());
        let bytes = match net.limits.idle_ms_max {
            Some(ms) => timeout(Duration::from_millis(ms), write).await.map_err(|_| End::Stalled)?,
            None => write.await,
        };
        written.advance(bytes.map_err(End::Write)?);
        outbox.set_unwritten(written.len());
    }
    Ok(())
}

/// What a client does wrong is worth a line; what ends as it should is not.
fn log_end(metrics: &NetMetrics, place: Place, end: &End) {
    let (conn, peer) = (place.conn.0, place.peer);
    match end {
        End::Refused { .. } | End::Frame(FrameError::Length { .. } | FrameError::Torn | FrameError::Peer) => {
            metrics.bad_requests.inc();
            warn!(conn, %peer, "connection closed: {end}");
        }
        End::Frame(FrameError::Slow) | End::Stalled => info!(conn, %peer, "connection closed: {end}"),
        End::Frame(FrameError::Closed | FrameError::Idle | FrameError::Io(_))
        | End::Write(_)
        | End::Asked(_) => {
            debug!(conn, %peer, "connection closed: {end}");
        }
        End::Encode(_) => error!(conn, %peer, "connection closed: {end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::budget_for_tests;
    use seedlog_core::wire::{
        MetadataRequest, ProduceRequest, Request, Str, WireError, decode_request, encode_request, metadata,
        produce,
    };
    use std::task::{Context, Waker};

    /// A question about so many topics with names of one letter.
    fn question(topics: usize) -> Bytes {
        let topic = metadata::MetadataRequestTopic { name: Some(Str::from("t")), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic; topics]), ..Default::default() };
        encode_request(1, 7, None, &Request::from(request)).unwrap().to_bytes().slice(LENGTH_PREFIX_BYTES..)
    }

    #[test]
    fn tables_that_cannot_be_paid_for_wait_outside_of_memory() {
        let budget = budget_for_tests(12 << 20);
        let (share, other) = (budget.share(), budget.share());
        let purse = Purse { budget: &budget, share: &share };
        let frame = question(20_000);
        let tables = door::admit(frame.clone()).unwrap().tables_bytes;
        assert!(frame.len() < 100_000 && tables > 500_000, "{} {tables}", frame.len());
        let paid = async |purse| {
            let permit = budget.take_request(&share, frame.len() as u64).await;
            admit(purse, &frame, permit).await.unwrap()
        };
        let mut context = Context::from_waker(Waker::noop());

        let half = budget.tables.bytes() / 2;
        let held = [&other, &budget.share()].map(|share| budget.try_take_tables(share, half).unwrap());
        let mut waits = pin!(paid(purse));
        assert!(waits.as_mut().poll(&mut context).is_pending());
        drop(held);
        let std::task::Poll::Ready((admitted, permit)) = waits.as_mut().poll(&mut context) else {
            panic!("there is room now");
        };
        assert_eq!(admitted, door::admit(frame.clone()).unwrap());
        assert!(budget.tables.used_bytes() >= (tables - 512) as u64);
        drop(permit);
        assert_eq!((budget.tables.used_bytes(), budget.requests.used_bytes()), (0, 0));

        let too_many = question(400_000);
        let permit = budget.requests.try_take(1).unwrap();
        let refused = pin!(admit(purse, &too_many, permit)).poll(&mut context);
        let is_refused = |end: &DoorError| matches!(end, DoorError::Wire(WireError::Memory { .. }));
        assert!(matches!(refused, std::task::Poll::Ready(Err(error)) if is_refused(&error)));
    }

    #[test]
    fn the_checked_form_of_a_produce_request_is_what_counts() {
        let data = produce::PartitionProduceData { index: 0, records: None };
        let topic = produce::TopicProduceData { partition_data: vec![data; 10_000], ..Default::default() };
        let request = ProduceRequest { acks: 1, topic_data: vec![topic], ..Default::default() };
        let frame = encode_request(8, 7, None, &Request::from(request)).unwrap();
        let frame = frame.to_bytes().slice(LENGTH_PREFIX_BYTES..);
        let decoded = decode_request(frame.clone()).unwrap().tables_bytes;
        let checked = door::admit(frame.clone()).unwrap().tables_bytes;
        assert!(checked > decoded, "{checked} {decoded}");
        assert!(door::admit_within(frame.clone(), checked).is_ok());
        let refused = door::admit_within(frame, checked - 1);
        assert!(matches!(refused, Err(DoorError::Wire(WireError::Memory { .. }))));
    }
}
