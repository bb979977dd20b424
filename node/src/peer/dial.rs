//! The streams that we open: one task each, which dials, greets, sends what waits, and begins anew when that breaks.

use super::frame::{
    ANSWER_PREFIX_BYTES, FrameError, Greeting, RELEASE, SENTENCE_BYTES_MAX, Stream as Kind, answer_bytes,
    ping,
};
use super::outbox::{Message, Outbox};
use super::{Peer, PeerEvent, Records, Shared, framed};
use crate::env::{Env, Listener, Stream, StreamReader, StreamWriter};
use bytes::{Buf, Bytes, BytesMut};
use seedlog_core::time::MonoMs;
use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

type StreamOf<E> = <<E as Env>::Listener as Listener>::Stream;
type ReaderOf<E> = <StreamOf<E> as Stream>::Reader;
type WriterOf<E> = <StreamOf<E> as Stream>::Writer;

/// What is collected for one write.
const WRITE_BYTES: usize = 1 << 20;
/// A stream that lived for so long was good: the next dialling begins with the shortest wait.
const GOOD_MS: u64 = 2_000;
/// The log repeats the same complaint this often.
const TELL_INTERVAL_MS: u64 = 30_000;

/// Why a stream is not there.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("does not answer")]
    Silent,
    #[error("refuses this node: {0}")]
    Refused(String),
    #[error("closed the stream without a word; does it listen for controllers there?")]
    NoAnswer,
    #[error("answers with something else: {0}")]
    Strange(FrameError),
    #[error("closed the stream")]
    Closed,
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    #[error("does not read what it is sent")]
    Stalled,
    #[error("the other stream broke")]
    Other,
}

/// Keeps a stream to the peer until the peer is dropped.
pub(super) async fn keep<E: Env, R: Records>(shared: Arc<Shared<E>>, peer: Arc<Peer<R>>, kind: Kind) {
    let mut tries = 0;
    let mut complained: Option<(MonoMs, String)> = None;
    let keeping = async {
        loop {
            let began = shared.env.now().mono;
            let broken = run(&shared, &peer, kind).await;
            let now = shared.env.now().mono;
            tries = if now - began > GOOD_MS { 0 } else { tries + 1 };
            if kind == Kind::Control {
                complain(&peer, &broken, now, &mut complained);
                let is_first = !std::mem::replace(&mut peer.state().is_told_lost, true);
                if is_first {
                    (shared.tell)(PeerEvent::Lost { node: peer.node });
                }
            }
            wait_to_redial(&shared, &peer, tries).await;
        }
    };
    tokio::select! {
        biased;
        () = dropped(&peer) => {}
        () = keeping => {}
    }
    if kind == Kind::Control && std::mem::take(&mut peer.state().is_up) {
        shared.options.metrics.connected.dec();
        (shared.tell)(PeerEvent::Lost { node: peer.node });
    }
}

fn complain<R: Records>(
    peer: &Peer<R>,
    broken: &Broken,
    now: MonoMs,
    complained: &mut Option<(MonoMs, String)>,
) {
    let (host, port) = &peer.address;
    let sentence = broken.to_string();
    let is_new =
        complained.as_ref().is_none_or(|(at, before)| *before != sentence || now - *at >= TELL_INTERVAL_MS);
    if is_new {
        *complained = Some((now, sentence));
        match broken {
            Broken::Refused(_) | Broken::NoAnswer | Broken::Strange(_) => {
                warn!(node = peer.node.0, host, port, "peer: {broken}");
            }
            Broken::Unreachable(_)
            | Broken::Silent
            | Broken::Closed
            | Broken::Io(_)
            | Broken::Stalled
            | Broken::Other => info!(node = peer.node.0, host, port, "peer: {broken}"),
        }
    }
}

async fn dropped<R: Records>(peer: &Peer<R>) {
    wait_until(peer, |peer| peer.state().is_dropped).await;
}

/// Waits until something holds of the peer's state.
async fn wait_until<R: Records>(peer: &Peer<R>, holds: impl Fn(&Peer<R>) -> bool) {
    loop {
        let mut changed = pin!(peer.changed.notified());
        changed.as_mut().enable();
        if holds(peer) {
            return;
        }
        changed.await;
    }
}

/// Waits longer each time, and not at all once the peer itself was heard from.
async fn wait_to_redial<E: Env, R: Records>(shared: &Shared<E>, peer: &Peer<R>, tries: u32) {
    let (least, most) = shared.options.redial_ms;
    let wait = least.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(most);
    let mut random = [0; 2];
    // Without chance all nodes dial at the same time, which is no harm.
    let _ = shared.env.fill_random(&mut random);
    let jitter = wait / 2 * u64::from(u16::from_le_bytes(random)) / u64::from(u16::MAX);
    let mut greeted = shared.greeted.subscribe();
    greeted.mark_unchanged();
    let heard = async {
        loop {
            if greeted.changed().await.is_err() || *greeted.borrow_and_update() == Some(peer.node) {
                return;
            }
        }
    };
    // At least the shortest wait: two nodes that refuse each other must not keep each other busy.
    sleep(Duration::from_millis(least.min(wait))).await;
    let rest = (wait / 2 + jitter).saturating_sub(least);
    let _ = timeout(Duration::from_millis(rest), heard).await;
}

/// One life of a stream.
async fn run<E: Env, R: Records>(shared: &Arc<Shared<E>>, peer: &Arc<Peer<R>>, kind: Kind) -> Broken {
    if kind == Kind::Bulk {
        // Control goes first: what it finds out need not be found out twice.
        wait_until(peer, |peer| peer.state().is_up).await;
    }
    let greeting = timeout(Duration::from_millis(shared.options.greeting_ms_max), greet(shared, peer, kind));
    let (reader, mut writer) = match greeting.await {
        Ok(Ok(halves)) => halves,
        Ok(Err(broken)) => return broken,
        Err(_) => return Broken::Silent,
    };
    let outbox = peer.outbox(kind);
    if kind == Kind::Control {
        info!(node = peer.node.0, "peer: connected");
        peer.control.reopen(true);
        peer.bulk.reopen(true);
        {
            let mut state = peer.state();
            (state.is_up, state.is_told_lost) = (true, false);
        }
        shared.options.metrics.connected.inc();
        peer.changed.notify_waiters();
        (shared.tell)(PeerEvent::Up { node: peer.node });
    }
    let silent_ms_max = (kind == Kind::Control).then_some(shared.options.silent_ms_max);
    let other = async {
        if kind == Kind::Control {
            std::future::pending::<()>().await;
        }
        wait_until(peer, |peer| !peer.state().is_up).await;
    };
    let broken = tokio::select! {
        biased;
        broken = listen(reader, silent_ms_max) => broken,
        broken = write(shared, outbox, &mut writer) => broken,
        () = other => Broken::Other,
    };
    if kind == Kind::Control {
        peer.state().is_up = false;
        shared.options.metrics.connected.dec();
        peer.control.reopen(false);
        peer.bulk.reopen(false);
        peer.changed.notify_waiters();
    } else {
        outbox.clear();
    }
    broken
}

/// Opens a stream and says who we are.
async fn greet<E: Env, R: Records>(
    shared: &Shared<E>,
    peer: &Peer<R>,
    kind: Kind,
) -> Result<(ReaderOf<E>, WriterOf<E>), Broken> {
    let (host, port) = &peer.address;
    let stream = shared.env.connect(host, *port).await.map_err(Broken::Unreachable)?;
    let (mut reader, mut writer) = stream.split();
    let greeting = Greeting {
        stream: kind,
        from: shared.options.node_id,
        to: peer.node,
        cluster_id: shared.options.cluster_id.clone().unwrap_or_default(),
        release: RELEASE.to_owned(),
        address: shared.options.address.clone(),
    };
    let mut pieces = VecDeque::from([greeting.encode()]);
    while !pieces.is_empty() {
        let bytes = writer.write_chain(pieces.make_contiguous()).await?;
        advance(&mut pieces, bytes);
    }
    let mut answer = BytesMut::new();
    read_exactly(&mut reader, &mut answer, ANSWER_PREFIX_BYTES).await?;
    let prefix = answer.first_chunk().expect("so much was read");
    let length = answer_bytes(prefix).map_err(Broken::Strange)?;
    assert!(length <= SENTENCE_BYTES_MAX, "the prefix was checked");
    read_exactly(&mut reader, &mut answer, ANSWER_PREFIX_BYTES + length).await?;
    if length > 0 {
        let sentence = String::from_utf8_lossy(&answer[ANSWER_PREFIX_BYTES..]);
        return Err(Broken::Refused(sentence.chars().filter(|letter| !letter.is_control()).collect()));
    }
    Ok((reader, writer))
}

async fn read_exactly<S: StreamReader>(
    reader: &mut S,
    buffer: &mut BytesMut,
    bytes: usize,
) -> Result<(), Broken> {
    while buffer.len() < bytes {
        match reader.read_into(buffer, bytes - buffer.len()).await {
            Ok(0) => return Err(Broken::NoAnswer),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits for signs of life until there are none.
async fn listen<S: StreamReader>(mut reader: S, silent_ms_max: Option<u64>) -> Broken {
    let mut pongs = BytesMut::new();
    loop {
        pongs.clear();
        let read = reader.read_into(&mut pongs, 64);
        let read = match silent_ms_max {
            Some(ms) => timeout(Duration::from_millis(ms), read).await,
            None => Ok(read.await),
        };
        match read {
            Ok(Ok(0)) => return Broken::Closed,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return Broken::Silent,
        }
    }
}

/// Writes what waits, all of it at once, and asks for a sign of life from time to time.
async fn write<E: Env, R: Records, W: StreamWriter>(
    shared: &Shared<E>,
    outbox: &Outbox<R>,
    writer: &mut W,
) -> Broken {
    let options = &shared.options;
    let stalled = Duration::from_millis(options.stalled_ms_max);
    let mut pieces = VecDeque::new();
    let mut pinged = shared.env.now().mono;
    loop {
        let taken = take(outbox, &mut pieces).await;
        let now = shared.env.now().mono;
        if now - pinged >= options.ping_ms {
            pinged = now;
            pieces.push_back(ping());
        }
        if pieces.is_empty() {
            outbox.written(taken);
            let _ = timeout(Duration::from_millis(options.ping_ms), outbox.wait()).await;
            continue;
        }
        while !pieces.is_empty() {
            match timeout(stalled, writer.write_chain(pieces.make_contiguous())).await {
                Ok(Ok(bytes)) => {
                    options.metrics.sent_bytes.inc_by(bytes as u64);
                    advance(&mut pieces, bytes);
                }
                Ok(Err(error)) => return error.into(),
                Err(_) => return Broken::Stalled,
            }
        }
        outbox.written(taken);
    }
}

/// Takes messages for one write; gives what they count for. One whose records must be read first ends it, so that what is
/// ready does not wait for a disk.
async fn take<R: Records>(outbox: &Outbox<R>, pieces: &mut VecDeque<Bytes>) -> usize {
    let mut taken = 0;
    while taken < WRITE_BYTES {
        let Some((message, bytes)) = outbox.pop() else { break };
        taken += bytes;
        match message {
            Message::Ready(ready) => pieces.extend(ready),
            Message::Unread(message, records) => {
                let read = records.read().await.filter(|read| !read.is_empty());
                if let Some((ready, _)) = read.and_then(|read| framed(&message, read)) {
                    pieces.extend(ready);
                }
                break;
            }
        }
    }
    taken
}

/// So many bytes from the front are written.
fn advance(pieces: &mut VecDeque<Bytes>, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        let first = pieces.front_mut().expect("no more is written than there was");
        if first.len() > left {
            first.advance(left);
            return;
        }
        left -= first.len();
        pieces.pop_front();
    }
}
