//! Writing: the encoder grows one buffer and hangs record bytes between its parts, so that records are never copied; the
//! finished `Chain` goes to a vectored write. What is written where is decided by the messages (`wire-derive`).

use crate::wire::{Records, WireError, types::concat};
use bytes::{BufMut, Bytes, BytesMut};
use core::mem;
use smallvec::SmallVec;

/// Strings keep Kafka's old limit in compact form too.
pub(super) const STRING_LEN_MAX: usize = i16::MAX as usize;

/// An encoded message: pieces to be written one after the other.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    pieces: SmallVec<[Bytes; 4]>,
    len: usize,
}

impl Chain {
    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces, none of them empty.
    #[must_use]
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// The pieces, none of them empty.
    #[must_use]
    pub fn into_pieces(self) -> SmallVec<[Bytes; 4]> {
        self.pieces
    }

    /// All bytes in one piece; copies if there are several.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        concat(&self.pieces, self.len)
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push(piece);
        }
    }
}

/// Writes one message in one version.
pub struct Encoder {
    version: i16,
    flexible: bool,
    place: &'static str,
    /// The first part, still writable: the frame's length goes there last. Empty until something was hung behind it.
    head: BytesMut,
    /// What follows the head, up to `buffer`.
    chain: Chain,
    /// The part being written.
    buffer: BytesMut,
}

impl Encoder {
    /// An encoder for `version`; `flexible` says whether lengths are compact and structs carry tags (KIP-482).
    #[must_use]
    pub fn new(version: i16, flexible: bool) -> Self {
        Self {
            version,
            flexible,
            place: "frame",
            head: BytesMut::new(),
            chain: Chain::default(),
            buffer: BytesMut::with_capacity(256),
        }
    }

    /// Goes on in another version: the body after its header.
    pub fn set_version(&mut self, version: i16, flexible: bool) {
        self.version = version;
        self.flexible = flexible;
    }

    /// Switches compact lengths on or off; answers what they were.
    pub fn set_flexible(&mut self, flexible: bool) -> bool {
        mem::replace(&mut self.flexible, flexible)
    }

    /// Notes the field about to be written, for errors.
    pub fn at_field(&mut self, place: &'static str) {
        self.place = place;
    }

    /// Appends bytes by copying them.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// Appends a number in base 128, least significant group first.
    pub fn put_unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    /// Appends the length or count of an array, bytes or records.
    pub fn put_length(&mut self, length: usize) -> Result<(), WireError> {
        // One more than the length must fit, because compact lengths count from one.
        if length >= i32::MAX as usize {
            return Err(WireError::TooLong { place: self.place, length });
        }
        if self.flexible {
            self.put_unsigned_varint(length as u32 + 1);
        } else {
            self.buffer.put_i32(length as i32);
        }
        Ok(())
    }

    /// Appends the null of an array, bytes or records.
    pub fn put_null(&mut self) {
        if self.flexible {
            self.put_unsigned_varint(0);
        } else {
            self.buffer.put_i32(-1);
        }
    }

    /// Appends a string with its length.
    pub fn put_str(&mut self, text: &[u8]) -> Result<(), WireError> {
        if text.len() > STRING_LEN_MAX {
            return Err(WireError::TooLong { place: self.place, length: text.len() });
        }
        if self.flexible {
            self.put_unsigned_varint(text.len() as u32 + 1);
        } else {
            self.buffer.put_i16(text.len() as i16);
        }
        self.buffer.put_slice(text);
        Ok(())
    }

    /// Appends a null string.
    pub fn put_null_str(&mut self) {
        if self.flexible {
            self.put_unsigned_varint(0);
        } else {
            self.buffer.put_i16(-1);
        }
    }

    /// Appends record bytes without copying them.
    pub fn put_records(&mut self, records: &Records) {
        for piece in records.pieces() {
            self.hang(piece.clone());
        }
    }

    /// Appends a value that must not be null here.
    pub fn put_not_null<T: super::Field>(&mut self, value: Option<&T>) -> Result<(), WireError> {
        match value {
            Some(value) => value.encode(self),
            None => Err(WireError::Null { place: self.place }),
        }
    }

    /// Appends a tagged field: its tag, its size, and what `write` writes.
    pub fn put_tagged(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Self) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let mut inner = Self { place: self.place, ..Self::new(self.version, self.flexible) };
        write(&mut inner)?;
        let size = inner.len();
        if size > i32::MAX as usize {
            return Err(WireError::TooLong { place: self.place, length: size });
        }
        self.put_unsigned_varint(tag);
        self.put_unsigned_varint(size as u32);
        if inner.chain.is_empty() {
            self.put_slice(&inner.buffer);
        } else {
            for piece in inner.finish().pieces {
                self.hang(piece);
            }
        }
        Ok(())
    }

    /// The finished chain.
    #[must_use]
    pub fn finish(self) -> Chain {
        let mut chain = Chain::default();
        chain.push(self.head.freeze());
        for piece in self.chain.pieces {
            chain.push(piece);
        }
        chain.push(self.buffer.freeze());
        chain
    }

    /// The finished chain as a frame: its first four bytes, which the caller left free, become its length.
    pub fn finish_frame(mut self) -> Result<Chain, WireError> {
        let length = self.len() - size_of::<i32>();
        let Ok(prefix) = i32::try_from(length) else {
            return Err(WireError::TooLong { place: "frame", length });
        };
        let head = if self.head.is_empty() { &mut self.buffer } else { &mut self.head };
        head[..size_of::<i32>()].copy_from_slice(&prefix.to_be_bytes());
        Ok(self.finish())
    }

    /// The version being written.
    #[must_use]
    pub fn version(&self) -> i16 {
        self.version
    }

    /// Whether lengths are compact and structs carry tags.
    #[must_use]
    pub fn flexible(&self) -> bool {
        self.flexible
    }

    /// The error for a value that this version has no field for.
    #[must_use]
    pub fn not_in_this_version(&self) -> WireError {
        WireError::NotInThisVersion { place: self.place, version: self.version }
    }

    fn len(&self) -> usize {
        self.head.len() + self.chain.len + self.buffer.len()
    }

    /// Ends the part being written and puts `piece` behind it.
    fn hang(&mut self, piece: Bytes) {
        let part = self.buffer.split();
        if self.head.is_empty() && self.chain.is_empty() {
            self.head = part;
        } else {
            self.chain.push(part.freeze());
        }
        self.chain.push(piece);
    }
}
