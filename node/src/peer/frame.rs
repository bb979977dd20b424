//! The bytes on a peer stream: a greeting, its answer, then frames. All numbers are little-endian.
//!
//! ```text
//! dialler ── greeting: magic | length u16 | format u16 | stream u8 | from i32 | to i32 | cluster id | release ──►
//!         ◄── answer: magic | format u16 | length u16 | a sentence; an empty one means welcome ──────────────────
//!         ── frame: magic | header length u32 | batches length u32 | CRC-32C u32 | header | batches ────────────►
//!         ── ping: a frame without header and batches ──────────────────────────────────────────────────────────►
//!         ◄── pong: one byte ────────────────────────────────────────────────────────────────────────────────────
//! ```
//!
//! A text is one byte of length and UTF-8. The CRC covers both lengths and the header; record batches have their own. The
//! first byte of a magic makes it a negative length in Kafka's protocol: neither side can take one for the other. Everything
//! here is a function of bytes; nothing allocates more than a few hundred bytes but for the header of an own message.

use super::Address;
use bytes::Bytes;
use seedlog_core::ids::NodeId;
use seedlog_core::peer::{BATCHES_BYTES_MAX, HEADER_BYTES_MAX, PEER_FORMAT, PeerFormatError, PeerMessage};

/// Begins a greeting and its answer.
pub(crate) const GREETING_MAGIC: [u8; 4] = [0xf5, b'S', b'D', b'L'];
const FRAME_MAGIC: [u8; 4] = [0xf5, b'S', b'D', b'M'];
/// Magic and length of a greeting.
pub(super) const GREETING_PREFIX_BYTES: usize = 6;
/// Most bytes of a greeting behind its prefix.
pub(super) const GREETING_BYTES_MAX: usize = 900;
/// Most bytes of a host's name.
const HOST_BYTES_MAX: usize = 255;
/// An answer without its sentence.
pub(super) const ANSWER_PREFIX_BYTES: usize = 8;
/// Most bytes of a sentence.
pub(super) const SENTENCE_BYTES_MAX: usize = 1024;
/// What stands before a frame's header.
pub(super) const FRAME_PREFIX_BYTES: usize = 16;
/// The answer to a ping.
pub(super) const PONG: u8 = 1;

/// Which of a peer's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Votes, beats, metadata, sessions, acknowledgements.
    Control,
    /// Record batches.
    Bulk,
}

/// Who dials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) stream: Stream,
    pub(super) from: NodeId,
    /// Whom it wants to talk to.
    pub(super) to: NodeId,
    /// Its cluster's id; empty while it knows none.
    pub(super) cluster_id: String,
    /// Its release.
    pub(super) release: String,
    /// Where it listens for other nodes itself: who is no voter, and not registered there, is not found otherwise.
    pub(super) address: Option<Address>,
}

/// Why bytes are refused. Each is a sentence for the other side, or for our own log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// Not a peer: most likely a client.
    #[error(
        "what came is not Seedlog's peer protocol; this port is for the nodes of the cluster, clients connect to the other \
         listeners"
    )]
    NotAPeer,
    /// It says something that no release says.
    #[error("what came cannot be read")]
    Invalid,
    /// Another format.
    #[error(
        "{who} speaks format {theirs} of the peer protocol, release {release} speaks format {PEER_FORMAT}: run releases \
         that are next to each other, upgrade one node after the other"
    )]
    Format { who: String, theirs: u16, release: &'static str },
    /// Lengths beyond the limits.
    #[error("a message of {header} and {batches} bytes is larger than any may be")]
    TooLarge { header: usize, batches: usize },
    /// The bytes changed on the way.
    #[error("a message arrived damaged")]
    Damaged,
    /// The message itself.
    #[error(transparent)]
    Message(#[from] PeerFormatError),
}

/// This release.
pub(super) const RELEASE: &str = env!("CARGO_PKG_VERSION");

impl Greeting {
    pub(super) fn encode(&self) -> Bytes {
        let mut body = PEER_FORMAT.to_le_bytes().to_vec();
        body.push(match self.stream {
            Stream::Control => 0,
            Stream::Bulk => 1,
        });
        body.extend_from_slice(&self.from.0.to_le_bytes());
        body.extend_from_slice(&self.to.0.to_le_bytes());
        push_text(&mut body, &self.cluster_id);
        push_text(&mut body, &self.release);
        // What does not fit names no host.
        let address = self.address.as_ref().filter(|(host, _)| host.len() <= HOST_BYTES_MAX);
        let (host, port) = address.map_or(("", 0), |(host, port)| (host, *port));
        push_text(&mut body, host);
        body.extend_from_slice(&port.to_le_bytes());
        let mut bytes = GREETING_MAGIC.to_vec();
        bytes.extend_from_slice(&u16::try_from(body.len()).expect("two short texts").to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.into()
    }

    /// Reads a prefix: how many bytes follow.
    pub(super) fn body_bytes(prefix: &[u8; GREETING_PREFIX_BYTES]) -> Result<usize, FrameError> {
        let (magic, length) = prefix.split_at(4);
        if magic != GREETING_MAGIC {
            return Err(FrameError::NotAPeer);
        }
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        if length > GREETING_BYTES_MAX { Err(FrameError::Invalid) } else { Ok(length) }
    }

    /// Reads what follows the prefix. What is new in a later format may stand behind.
    pub(super) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut rest = body;
        let format = u16::from_le_bytes(take(&mut rest)?);
        let [stream] = take(&mut rest)?;
        let from = NodeId(i32::from_le_bytes(take(&mut rest)?));
        let to = NodeId(i32::from_le_bytes(take(&mut rest)?));
        let cluster_id = take_text(&mut rest)?;
        let release = take_text(&mut rest)?;
        if format != PEER_FORMAT {
            let who = format!("node {from} of release {release}");
            return Err(FrameError::Format { who, theirs: format, release: RELEASE });
        }
        let stream = match stream {
            0 => Stream::Control,
            1 => Stream::Bulk,
            _ => return Err(FrameError::Invalid),
        };
        let (host, port) = (take_text(&mut rest)?, u16::from_le_bytes(take(&mut rest)?));
        let address = (!host.is_empty() && port > 0).then_some((host, port));
        Ok(Self { stream, from, to, cluster_id, release, address })
    }
}

/// An answer to a greeting: a reason for refusing, or welcome.
pub(super) fn encode_answer(refusal: Option<&str>) -> Bytes {
    let sentence = refusal.unwrap_or_default();
    let mut end = sentence.len().min(SENTENCE_BYTES_MAX);
    while !sentence.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = GREETING_MAGIC.to_vec();
    bytes.extend_from_slice(&PEER_FORMAT.to_le_bytes());
    bytes.extend_from_slice(&u16::try_from(end).expect("it was shortened").to_le_bytes());
    bytes.extend_from_slice(&sentence.as_bytes()[..end]);
    bytes.into()
}

/// Reads an answer's prefix: how long its sentence is. The format is the business of who refuses.
pub(super) fn answer_bytes(prefix: &[u8; ANSWER_PREFIX_BYTES]) -> Result<usize, FrameError> {
    if prefix[..4] != GREETING_MAGIC {
        return Err(FrameError::NotAPeer);
    }
    let length = usize::from(u16::from_le_bytes([prefix[6], prefix[7]]));
    if length > SENTENCE_BYTES_MAX { Err(FrameError::Invalid) } else { Ok(length) }
}

/// Prefix and header of a frame that `batches` bytes follow. `None` when that is more than a frame may have.
pub(super) fn encode_frame(message: &PeerMessage, batches: usize) -> Option<Bytes> {
    let header = message.encode();
    if header.len() > HEADER_BYTES_MAX || batches > BATCHES_BYTES_MAX {
        return None;
    }
    Some(frame(&header, batches))
}

/// A frame that only wants an answer.
pub(super) fn ping() -> Bytes {
    frame(&[], 0)
}

fn frame(header: &[u8], batches: usize) -> Bytes {
    let lengths = [header.len(), batches].map(|length| u32::try_from(length).expect("both are limited"));
    let mut bytes = Vec::with_capacity(FRAME_PREFIX_BYTES + header.len());
    bytes.extend_from_slice(&FRAME_MAGIC);
    bytes.extend(lengths.into_iter().flat_map(u32::to_le_bytes));
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[4..12]), header);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(header);
    bytes.into()
}

/// A frame's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) header_bytes: usize,
    pub(super) batches_bytes: usize,
    lengths_crc: u32,
    crc: u32,
}

impl Prefix {
    pub(super) fn decode(bytes: &[u8; FRAME_PREFIX_BYTES]) -> Result<Self, FrameError> {
        let mut rest = &bytes[..];
        if take::<4>(&mut rest)? != FRAME_MAGIC {
            return Err(FrameError::Invalid);
        }
        let header = u32::from_le_bytes(take(&mut rest)?) as usize;
        let batches = u32::from_le_bytes(take(&mut rest)?) as usize;
        if header > HEADER_BYTES_MAX || batches > BATCHES_BYTES_MAX {
            return Err(FrameError::TooLarge { header, batches });
        }
        let crc = u32::from_le_bytes(take(&mut rest)?);
        Ok(Self {
            header_bytes: header,
            batches_bytes: batches,
            lengths_crc: crc32c::crc32c(&bytes[4..12]),
            crc,
        })
    }

    /// It only wants an answer.
    pub(super) fn is_ping(&self) -> bool {
        self.header_bytes == 0 && self.batches_bytes == 0 && self.crc == self.lengths_crc
    }

    /// Reads the header.
    pub(super) fn message(&self, header: &[u8]) -> Result<PeerMessage, FrameError> {
        if crc32c::crc32c_append(self.lengths_crc, header) != self.crc {
            return Err(FrameError::Damaged);
        }
        Ok(PeerMessage::decode(header)?)
    }
}

fn push_text(body: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).expect("ids and releases are short");
    body.push(length);
    body.extend_from_slice(text.as_bytes());
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], FrameError> {
    let (taken, after) = rest.split_first_chunk().ok_or(FrameError::Invalid)?;
    *rest = after;
    Ok(*taken)
}

fn take_text(rest: &mut &[u8]) -> Result<String, FrameError> {
    let [length] = take(rest)?;
    let (text, after) = rest.split_at_checked(length.into()).ok_or(FrameError::Invalid)?;
    *rest = after;
    Ok(std::str::from_utf8(text).map_err(|_| FrameError::Invalid)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use seedlog_core::ids::{LeaderEpoch, RunId, Uuid};
    use seedlog_core::peer::{Beat, PeerBody};

    fn greeting() -> Greeting {
        let (from, to) = (NodeId(1), NodeId(2));
        let cluster_id = "AQEBAQEBAQEBAQEBAQEBAQ".to_owned();
        let address = Some(("node-2.example".to_owned(), 9093));
        Greeting { stream: Stream::Bulk, from, to, cluster_id, release: RELEASE.to_owned(), address }
    }

    fn message() -> PeerMessage {
        PeerMessage {
            from: NodeId(1),
            incarnation: Uuid([7; 16]),
            run: RunId(3),
            to_run: None,
            cluster_id: None,
            body: PeerBody::Beat(Beat { epoch: LeaderEpoch(4), number: 9, session: None }),
        }
    }

    #[test]
    fn greetings_answers_and_frames_read_back() {
        let bytes = greeting().encode();
        let (prefix, body) = bytes.split_first_chunk().expect("it has a prefix");
        assert_eq!(Greeting::body_bytes(prefix), Ok(body.len()));
        assert_eq!(Greeting::decode(body), Ok(greeting()));
        assert!(i32::from_be_bytes(GREETING_MAGIC) < 0, "no length of Kafka's");
        let answer = encode_answer(Some(&"ü".repeat(SENTENCE_BYTES_MAX)));
        let (prefix, sentence) = answer.split_first_chunk().expect("it has a prefix");
        assert_eq!(answer_bytes(prefix), Ok(sentence.len()));
        assert!(std::str::from_utf8(sentence).is_ok());
        let frame = encode_frame(&message(), 77).expect("it is small");
        let (prefix, header) = frame.split_first_chunk().expect("it has a prefix");
        let prefix = Prefix::decode(prefix).expect("it is ours");
        assert_eq!((prefix.header_bytes, prefix.batches_bytes), (header.len(), 77));
        assert_eq!(prefix.message(header), Ok(message()));
        let ping = ping();
        let prefix = Prefix::decode(ping.first_chunk().expect("it has a prefix")).expect("it is ours");
        assert!(prefix.is_ping());
    }

    #[test]
    fn another_format_is_refused_with_both_releases() {
        let mut bytes = greeting().encode().to_vec();
        bytes[6] = 9;
        let error = Greeting::decode(&bytes[6..]).expect_err("it is newer").to_string();
        assert!(error.contains("node 1") && error.contains("format 9") && error.contains(RELEASE), "{error}");
    }

    #[test]
    fn no_changed_bit_goes_unnoticed() {
        let frame = encode_frame(&message(), 0).expect("it is small");
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let (prefix, header) = changed.split_first_chunk().expect("it has a prefix");
            let read = Prefix::decode(prefix).and_then(|prefix| {
                assert!(!prefix.is_ping());
                prefix.message(header)
            });
            assert!(read.is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = Greeting::decode(&bytes);
            if let Some(prefix) = bytes.first_chunk() {
                let _ = Greeting::body_bytes(prefix);
            }
            if let Some(prefix) = bytes.first_chunk() {
                let _ = answer_bytes(prefix);
            }
            if let Some((prefix, rest)) = bytes.split_first_chunk() {
                let _ = Prefix::decode(prefix).and_then(|prefix| prefix.message(rest));
            }
        }
    }
}
