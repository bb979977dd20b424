//! Bytes of the journal: file headers and groups, written and read.

use super::entry::{Entry, Located};
use crate::ids::{Lsn, NodeId, Uuid};
use crate::records::{BATCH_HEADER_BYTES, BatchHeader};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::ops::Range;
use serde::{Deserialize, Serialize};

/// Groups start on multiples of this, and a durable block is never written again.
pub const BLOCK_BYTES: usize = 4096;
/// A file begins with its header and a copy of it, each in a block of its own.
pub const FILE_HEADER_BYTES: usize = 2 * BLOCK_BYTES;
/// Version of everything in this module. A reader refuses a newer one.
pub const FORMAT: u16 = 5;
/// Size of a group's prefix.
pub const PREFIX_BYTES: usize = 64;

const FILE_MAGIC: [u8; 8] = *b"SEEDJRNL";
const GROUP_MAGIC: u32 = 0x5047_4c53; // "SLGP", little endian

const _: () = assert!(BLOCK_BYTES.is_multiple_of(512));
const _: () = assert!(PREFIX_BYTES < BLOCK_BYTES);

/// What the first block of a journal file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHeader {
    /// The file's number; a recycled file gets a new one.
    pub seq: u64,
    /// Random; stands in every group of the file, so that no older byte is taken for one of them (SAFETY J1).
    pub salt: u64,
    /// The lsn of the first entry written here. Groups of earlier files from this lsn on are void (SAFETY J2).
    pub first_lsn: Lsn,
    /// The last lsn known to be on disk when this was written.
    pub durable: Lsn,
    /// The node.
    pub node_id: NodeId,
    /// The node's incarnation: drawn when its folder was first used.
    pub incarnation: Uuid,
    /// The file was begun by a recovery that cut something off behind this lsn: until a run has begun behind it, the next
    /// recovery must know (SAFETY J4).
    pub cut_at: Option<Lsn>,
}

/// Why bytes that look like ours cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatError {
    /// Not ours, torn, or damaged.
    Invalid,
    /// Written by a newer release.
    Newer {
        /// The format version found.
        format: u16,
    },
    /// Written by a release whose format this one does not read.
    Older {
        /// The format version found.
        format: u16,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("not a valid Seedlog structure"),
            Self::Newer { format } => write!(
                f,
                "written in format {format} by a newer release of Seedlog; this release reads up to format {FORMAT}: \
                 start the newer release"
            ),
            Self::Older { format } => write!(
                f,
                "written in format {format} by an older release of Seedlog, which this release does not read: start the older \
                 release and copy the topics, or begin with an empty folder"
            ),
        }
    }
}

/// Wraps a durable structure other than a group: magic, format, length, postcard, CRC-32C over all of it.
#[must_use]
pub fn seal<T: Serialize>(magic: [u8; 8], value: &T) -> Vec<u8> {
    let body = postcard::to_allocvec(value).expect("in-memory serialisation of plain data cannot fail");
    let mut bytes = Vec::with_capacity(18 + body.len());
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    let length = u32::try_from(body.len()).expect("durable structures stay below 4 GiB");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&body);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads what [`seal`] wrote; bytes behind it are ignored.
///
/// # Errors
/// [`FormatError::Newer`] for a later format, [`FormatError::Invalid`] for anything else that is not intact.
pub fn unseal<T: for<'a> Deserialize<'a>>(magic: [u8; 8], bytes: &[u8]) -> Result<T, FormatError> {
    if bytes.len() < 18 || bytes[..8] != magic {
        return Err(FormatError::Invalid);
    }
    let length = read_u32(bytes, 10) as usize;
    let end = length.checked_add(14).filter(|&end| end + 4 <= bytes.len()).ok_or(FormatError::Invalid)?;
    if crc32c::crc32c(&bytes[..end]) != read_u32(bytes, end) {
        return Err(FormatError::Invalid);
    }
    let format = u16::from_le_bytes([bytes[8], bytes[9]]);
    check_format(format)?;
    postcard::from_bytes(&bytes[14..end]).map_err(|_| FormatError::Invalid)
}

fn check_format(format: u16) -> Result<(), FormatError> {
    match format.cmp(&FORMAT) {
        Ordering::Less => Err(FormatError::Older { format }),
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(FormatError::Newer { format }),
    }
}

impl FileHeader {
    /// The file's first [`FILE_HEADER_BYTES`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut block = seal(FILE_MAGIC, self);
        assert!(block.len() <= 512, "a header must fit one sector");
        block.resize(BLOCK_BYTES, 0);
        let copy = block.clone();
        block.extend_from_slice(&copy);
        block
    }

    /// Reads a file's header from its first bytes, or from the copy when the first is damaged.
    ///
    /// # Errors
    /// As [`unseal`]: both copies are unreadable, or one is intact and of a newer format.
    pub fn decode(file: &[u8]) -> Result<Self, FormatError> {
        let first = unseal(FILE_MAGIC, file.get(..BLOCK_BYTES).unwrap_or(file));
        match first {
            Ok(_) | Err(FormatError::Newer { .. } | FormatError::Older { .. }) => first,
            Err(FormatError::Invalid) => {
                unseal(FILE_MAGIC, file.get(BLOCK_BYTES..FILE_HEADER_BYTES).unwrap_or(&[]))
            }
        }
    }
}

/// A group's prefix: the first [`PREFIX_BYTES`] of it. Its CRC covers the prefix and the table; the table holds the
/// batches' own CRCs, so that record bytes are hashed once, at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPrefix {
    /// Where the table starts, in bytes from the start of the group: after the payload.
    pub table_at: u32,
    /// Size of the table.
    pub table_bytes: u32,
    /// Entries in the table; 0 for a group that only vouches for earlier ones.
    pub entries: u32,
    /// The first entry's number. For a group without entries: the number that the next entry will take.
    pub first_lsn: Lsn,
    /// The last lsn known to be on disk when this group was written: it vouches for everything up to there (SAFETY J3).
    pub durable: Lsn,
    /// What the quorum's entries up to the end of this group come to: a later group proves that an earlier one, which is
    /// lost, held none that is missing (SAFETY J5).
    pub quorum: QuorumChain,
    /// Position in the file in blocks: a group that was written to the wrong place is not taken.
    pub block: u32,
    /// The file's salt.
    pub salt: u64,
    /// The file's number, low half.
    pub seq_low: u32,
}

impl GroupPrefix {
    /// Size of the group with its padding.
    #[must_use]
    pub fn padded_bytes(&self) -> usize {
        padded(self.table_at as usize + self.table_bytes as usize)
    }

    /// The number of the last entry, or the one before [`GroupPrefix::first_lsn`] for a group without entries.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + u64::from(self.entries) - 1)
    }

    fn write(&self, prefix: &mut [u8; PREFIX_BYTES]) {
        prefix[0..4].copy_from_slice(&GROUP_MAGIC.to_le_bytes());
        prefix[4..6].copy_from_slice(&FORMAT.to_le_bytes());
        prefix[6..10].copy_from_slice(&self.table_at.to_le_bytes());
        prefix[10..14].copy_from_slice(&self.table_bytes.to_le_bytes());
        prefix[14..18].copy_from_slice(&self.entries.to_le_bytes());
        prefix[18..26].copy_from_slice(&self.first_lsn.0.to_le_bytes());
        prefix[26..34].copy_from_slice(&self.durable.0.to_le_bytes());
        prefix[34..42].copy_from_slice(&self.quorum.0.to_le_bytes());
        prefix[42..46].copy_from_slice(&self.block.to_le_bytes());
        prefix[46..54].copy_from_slice(&self.salt.to_le_bytes());
        prefix[54..58].copy_from_slice(&self.seq_low.to_le_bytes());
    }

    /// Reads the group that starts at `bytes[0]` and checks prefix and table; the payload is not touched.
    ///
    /// # Errors
    /// As [`unseal`]. Never panics, whatever the bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() < PREFIX_BYTES || read_u32(bytes, 0) != GROUP_MAGIC {
            return Err(FormatError::Invalid);
        }
        let prefix = Self {
            table_at: read_u32(bytes, 6),
            table_bytes: read_u32(bytes, 10),
            entries: read_u32(bytes, 14),
            first_lsn: Lsn(read_u64(bytes, 18)),
            durable: Lsn(read_u64(bytes, 26)),
            quorum: QuorumChain(read_u64(bytes, 34)),
            block: read_u32(bytes, 42),
            salt: read_u64(bytes, 46),
            seq_low: read_u32(bytes, 54),
        };
        let table = prefix.table().filter(|table| table.end <= bytes.len()).ok_or(FormatError::Invalid)?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..58]), &bytes[table]);
        if crc != read_u32(bytes, 58) {
            return Err(FormatError::Invalid);
        }
        let format = u16::from_le_bytes([bytes[4], bytes[5]]);
        check_format(format)?;
        let sane = prefix.first_lsn > Lsn::ZERO
            && prefix.durable < prefix.first_lsn
            && prefix.first_lsn.0.checked_add(u64::from(prefix.entries)).is_some()
            && prefix.table_at as usize >= PREFIX_BYTES;
        if sane { Ok(prefix) } else { Err(FormatError::Invalid) }
    }

    fn table(&self) -> Option<Range<usize>> {
        let end = (self.table_at as usize).checked_add(self.table_bytes as usize)?;
        Some(self.table_at as usize..end)
    }

    /// The group's entries in order. `group` starts at the prefix that this was read from.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] when the table does not say what the prefix promises.
    pub fn entries(&self, group: &[u8]) -> Result<Vec<Located>, FormatError> {
        let table = self.table().and_then(|table| group.get(table)).ok_or(FormatError::Invalid)?;
        // An entry takes at least one byte: the count cannot make us allocate more than the table justifies.
        if self.entries as usize > table.len() {
            return Err(FormatError::Invalid);
        }
        let mut found = Vec::with_capacity(self.entries as usize);
        let mut rest = table;
        let mut payload_at = u32::try_from(PREFIX_BYTES).expect("a small constant");
        for index in 0..self.entries {
            let (entry, after) =
                postcard::take_from_bytes::<Entry>(rest).map_err(|_| FormatError::Invalid)?;
            rest = after;
            let next = payload_at.checked_add(entry.payload_bytes()).filter(|&next| next <= self.table_at);
            let next = next.ok_or(FormatError::Invalid)?;
            found.push(Located { lsn: Lsn(self.first_lsn.0 + u64::from(index)), entry, payload_at });
            payload_at = next;
        }
        if rest.is_empty() && payload_at == self.table_at { Ok(found) } else { Err(FormatError::Invalid) }
    }
}

/// Where a group under construction collects its bytes. `Vec<u8>` is one; the node has an aligned one.
pub trait GroupBuffer {
    /// Bytes written so far.
    fn len(&self) -> usize;
    /// Nothing was written.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Adds bytes at the end.
    fn extend(&mut self, bytes: &[u8]);
    /// Overwrites the first bytes.
    fn patch_front(&mut self, bytes: &[u8]);
    /// It will hold `bytes` bytes in the end: room beyond those is not needed. A buffer that shares its room lets go of the rest.
    fn close(&mut self, _bytes: usize) {}
}

impl GroupBuffer for Vec<u8> {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn patch_front(&mut self, bytes: &[u8]) {
        self[..bytes.len()].copy_from_slice(bytes);
    }
}

/// Where [`GroupWriter::push`] put an entry's record bytes: bytes from the start of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The entry's number.
    pub lsn: Lsn,
    /// Start and length of the batch.
    pub at: u32,
    /// Size of the batch in bytes; 0 for an entry without payload.
    pub bytes: u32,
}

/// What only the moment of writing can say of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPlace {
    /// The file's number.
    pub seq: u64,
    /// The file's salt.
    pub salt: u64,
    /// Position in the file in bytes, a multiple of [`BLOCK_BYTES`].
    pub position: u64,
    /// The last lsn known to be on disk.
    pub durable: Lsn,
}

/// A digest of all entries of a journal that the quorum rests on (votes, founding, the metadata log), in order. Two journals
/// with the same digest have the same such entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuorumChain(u64);

impl QuorumChain {
    /// The digest with one more entry; entries of other kinds change nothing.
    #[must_use]
    pub fn with(self, entry: &Entry) -> Self {
        let numbers = match entry {
            Entry::Metadata { offset, epoch, records } => [
                1,
                offset.0.cast_unsigned(),
                u64::from(epoch.0.cast_unsigned()),
                u64::from(crc32c::crc32c(records)),
            ],
            Entry::MetadataCut { to } => [2, to.0.cast_unsigned(), 0, 0],
            Entry::MetadataImage { end, from, bytes, .. } => {
                [3, end.0.cast_unsigned(), *from, u64::from(crc32c::crc32c(bytes))]
            }
            Entry::Vote { epoch, candidate } => {
                let candidate = candidate.map_or(0, |node| 1 + u64::from(node.0.cast_unsigned()));
                [4, u64::from(epoch.0.cast_unsigned()), candidate, 0]
            }
            Entry::Founded { cluster_id, .. } => [5, u64::from(crc32c::crc32c(&cluster_id.0)), 0, 0],
            Entry::Append(_)
            | Entry::EpochStart { .. }
            | Entry::ProducersExpired { .. }
            | Entry::Dropped { .. }
            | Entry::Started { .. }
            | Entry::Stopped
            | Entry::Cut { .. }
            | Entry::Reset { .. }
            | Entry::Dropping { .. }
            | Entry::Trusted { .. }
            | Entry::Damaged { .. }
            | Entry::LogStart { .. }
            | Entry::Compacted { .. } => return self,
        };
        // The finaliser of SplitMix64 over each number.
        Self(numbers.iter().fold(self.0, |chain, number| {
            let mixed = (chain ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }))
    }
}

/// Builds one group in a buffer. Record bytes are copied once, here; the batch's header is stamped in the copy.
#[derive(Debug)]
pub struct GroupWriter<B> {
    buffer: B,
    table: Vec<u8>,
    entries: u32,
    first_lsn: Lsn,
    quorum: QuorumChain,
}

impl<B: GroupBuffer> GroupWriter<B> {
    /// Starts a group whose first entry takes `first_lsn`, in an empty buffer. `quorum` is the digest before the
    /// group.
    pub fn new(mut buffer: B, first_lsn: Lsn, quorum: QuorumChain) -> Self {
        assert!(buffer.is_empty(), "a group begins in an empty buffer");
        assert!(first_lsn > Lsn::ZERO, "entries are numbered from 1");
        buffer.extend(&[0; PREFIX_BYTES]);
        Self { buffer, table: Vec::new(), entries: 0, first_lsn, quorum }
    }

    /// Adds an entry. For an append, `header` is the stamped header that replaces the first 61 bytes of `batch`.
    pub fn push(&mut self, entry: &Entry, batch: Option<(&BatchHeader, &[u8])>) -> Placed {
        let at = u32::try_from(self.buffer.len()).expect("a group stays below 4 GiB");
        let lsn = self.next_lsn();
        if let Some((header, bytes)) = batch {
            assert!(entry.payload_bytes() as usize == bytes.len(), "the table must state the batch's size");
            assert!(bytes.len() >= BATCH_HEADER_BYTES, "a batch is never shorter than its header");
            let mut stamped = [0; BATCH_HEADER_BYTES];
            header.write(&mut stamped);
            self.buffer.extend(&stamped);
            self.buffer.extend(&bytes[BATCH_HEADER_BYTES..]);
        } else {
            assert!(entry.payload_bytes() == 0, "an append comes with its batch");
        }
        self.quorum = self.quorum.with(entry);
        // Serialising into the vector that is there avoids an allocation an entry.
        let table = core::mem::take(&mut self.table);
        self.table =
            postcard::to_extend(entry, table).expect("in-memory serialisation of plain data cannot fail");
        self.entries += 1;
        Placed { lsn, at, bytes: entry.payload_bytes() }
    }

    /// The number that the next entry takes.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + u64::from(self.entries))
    }

    /// The digest after the entries so far.
    #[must_use]
    pub fn quorum(&self) -> QuorumChain {
        self.quorum
    }

    /// Size of the group if it were finished at this point, padding included.
    #[must_use]
    pub fn padded_bytes(&self) -> usize {
        padded(self.buffer.len() + self.table.len())
    }

    /// Entries so far.
    #[must_use]
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// No entry follows: the group may still wait for its place.
    pub fn close(&mut self) {
        let bytes = self.padded_bytes();
        self.buffer.close(bytes);
    }

    /// Completes the group for its place in a file. The buffer then holds a whole number of blocks.
    pub fn finish(mut self, place: GroupPlace) -> (GroupPrefix, B) {
        let prefix = GroupPrefix {
            table_at: u32::try_from(self.buffer.len()).expect("a group stays below 4 GiB"),
            table_bytes: u32::try_from(self.table.len()).expect("a table stays below 4 GiB"),
            entries: self.entries,
            first_lsn: self.first_lsn,
            durable: place.durable,
            quorum: self.quorum,
            block: block_of(place.position),
            salt: place.salt,
            seq_low: seq_low(place.seq),
        };
        assert!(place.durable < self.first_lsn, "a group cannot be durable before it is written");
        let sealed = sealed_prefix(&prefix, &self.table);
        self.buffer.extend(&self.table);
        let padding = padded(self.buffer.len()) - self.buffer.len();
        self.buffer.extend(&[0; BLOCK_BYTES][..padding]);
        self.buffer.patch_front(&sealed);
        (prefix, self.buffer)
    }
}

/// Moves an intact group to another place, in the bytes given: what recovery does with what it accepts above the last
/// vouched lsn (SAFETY J2).
///
/// # Errors
/// [`FormatError`] when the bytes are no group.
pub fn rewrite_group(group: &mut [u8], place: GroupPlace) -> Result<GroupPrefix, FormatError> {
    let old = GroupPrefix::read(group)?;
    let prefix = GroupPrefix {
        durable: place.durable,
        block: block_of(place.position),
        salt: place.salt,
        seq_low: seq_low(place.seq),
        ..old
    };
    let table = old.table().ok_or(FormatError::Invalid)?;
    let sealed = sealed_prefix(&prefix, &group[table]);
    group[..PREFIX_BYTES].copy_from_slice(&sealed);
    Ok(prefix)
}

fn sealed_prefix(prefix: &GroupPrefix, table: &[u8]) -> [u8; PREFIX_BYTES] {
    let mut bytes = [0; PREFIX_BYTES];
    prefix.write(&mut bytes);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..58]), table);
    bytes[58..62].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Rounds up to whole blocks.
#[must_use]
pub fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// The half of a file's number that its groups repeat.
#[must_use]
pub fn seq_low(seq: u64) -> u32 {
    u32::try_from(seq & u64::from(u32::MAX)).expect("masked to 32 bits")
}

fn block_of(position: u64) -> u32 {
    assert!(position.is_multiple_of(BLOCK_BYTES as u64), "groups start on block boundaries");
    u32::try_from(position / BLOCK_BYTES as u64).expect("a journal file stays below 16 TiB")
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
