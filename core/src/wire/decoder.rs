//! Reading hostile bytes: a cursor over one frame that checks every length against the bytes that remain before anything
//! is allocated. What is read where is decided by the messages (`wire-derive`).

use crate::wire::{Records, Str, WireError, encoder::STRING_LEN_MAX};
use alloc::vec::Vec;
use bytes::Bytes;
use core::mem;

/// Arrays may take so many bytes of memory for each byte of the frame. A count that lies is found out by comparing it
/// with the bytes that remain; this is for counts that are true but of tiny elements, such as a million empty strings.
/// A message with names of one letter stays below.
const MEMORY_PER_BYTE_MAX: usize = 16;

/// What small frames may take beyond that.
const MEMORY_FREE_BYTES: usize = 64 * 1024;

/// Reads one message in one version from one frame.
pub struct Decoder {
    frame: Bytes,
    at: usize,
    /// Where reading must stop: the end of the frame, or of the tagged field being read.
    end: usize,
    version: i16,
    flexible: bool,
    place: &'static str,
    reserved: usize,
    reserved_max: usize,
}

/// The tagged fields at the end of a struct while they are read.
pub struct TaggedFields {
    left: u32,
    /// The smallest tag that may follow.
    next: u32,
    /// Where the open field ends.
    end: usize,
    /// The limit to go back to after it.
    outer_end: usize,
}

impl Decoder {
    /// A decoder at the start of `frame`; `flexible` says whether lengths are compact and structs carry tags (KIP-482).
    #[must_use]
    pub fn new(frame: Bytes, version: i16, flexible: bool) -> Self {
        let end = frame.len();
        let reserved_max = MEMORY_FREE_BYTES.saturating_add(end.saturating_mul(MEMORY_PER_BYTE_MAX));
        Self { frame, at: 0, end, version, flexible, place: "frame", reserved: 0, reserved_max }
    }

    /// Arrays may take no more bytes of memory than this, whatever the frame's size gives them.
    pub fn reserve_at_most(&mut self, bytes: usize) {
        self.reserved_max = self.reserved_max.min(bytes);
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

    /// Notes the field about to be read, for errors.
    pub fn at_field(&mut self, place: &'static str) {
        self.place = place;
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.need(N)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.frame[self.at..self.at + N]);
        self.at += N;
        Ok(bytes)
    }

    /// The next `length` bytes as a slice of the frame.
    pub fn slice(&mut self, length: usize) -> Result<Bytes, WireError> {
        self.need(length)?;
        let slice = self.frame.slice(self.at..self.at + length);
        self.at += length;
        Ok(slice)
    }

    /// A number in base 128, least significant group first, of at most five bytes.
    pub fn unsigned_varint(&mut self) -> Result<u32, WireError> {
        let start = self.at;
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let group = u32::from(byte & 0x7f);
            if shift == 28 && group > 0xf {
                break;
            }
            value |= group << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Varint { place: self.place, at: start })
    }

    /// The length or count of an array, bytes or records; `None` for null.
    pub fn length(&mut self) -> Result<Option<usize>, WireError> {
        let length = if self.flexible {
            i64::from(self.unsigned_varint()?) - 1
        } else {
            i64::from(i32::from_be_bytes(self.array()?))
        };
        self.checked_length(length, i32::MAX as usize)
    }

    /// Bytes with their length; `None` for null.
    pub fn bytes(&mut self) -> Result<Option<Bytes>, WireError> {
        match self.length()? {
            None => Ok(None),
            Some(length) => self.slice(length).map(Some),
        }
    }

    /// Records with their length; `None` for null.
    pub fn records(&mut self) -> Result<Option<Records>, WireError> {
        Ok(self.bytes()?.map(Records::from))
    }

    /// A string with its length; `None` for null.
    pub fn str(&mut self) -> Result<Option<Str>, WireError> {
        let length = if self.flexible {
            i64::from(self.unsigned_varint()?) - 1
        } else {
            i64::from(i16::from_be_bytes(self.array()?))
        };
        let Some(length) = self.checked_length(length, STRING_LEN_MAX)? else { return Ok(None) };
        let at = self.at;
        match Str::from_utf8(self.slice(length)?) {
            Some(text) => Ok(Some(text)),
            None => Err(WireError::Utf8 { place: self.place, at }),
        }
    }

    /// An array with its count; `None` for null. Memory is reserved only for as many elements as the remaining bytes
    /// can hold.
    pub fn vec<T: super::Field>(&mut self) -> Result<Option<Vec<T>>, WireError> {
        let Some(count) = self.length()? else { return Ok(None) };
        let element_min = T::size_min(self.version, self.flexible).max(1);
        if count > self.remaining() / element_min {
            return Err(WireError::Count { place: self.place, at: self.at, count });
        }
        self.reserve(count.saturating_mul(size_of::<T>()))?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(T::decode(self)?);
        }
        Ok(Some(elements))
    }

    /// A value, which must not be null here.
    pub fn not_null<T>(&self, value: Option<T>) -> Result<T, WireError> {
        value.ok_or(WireError::Null { place: self.place })
    }

    /// Starts on the tagged fields of a struct.
    pub fn open_tagged_fields(&mut self) -> Result<TaggedFields, WireError> {
        let at = self.at;
        let left = self.unsigned_varint()?;
        // A tagged field takes at least its tag and its size.
        if left as usize > self.remaining() / 2 {
            return Err(WireError::Tags { place: self.place, at });
        }
        Ok(TaggedFields { left, next: 0, end: self.at, outer_end: self.end })
    }

    /// The next tag, with reading limited to its field; `None` after the last.
    pub fn open_tag(&mut self, tags: &mut TaggedFields) -> Result<Option<u32>, WireError> {
        if tags.left == 0 {
            return Ok(None);
        }
        let at = self.at;
        let tag = self.unsigned_varint()?;
        let size = self.unsigned_varint()? as usize;
        if tag < tags.next || tag == u32::MAX {
            return Err(WireError::Tags { place: self.place, at });
        }
        self.need(size)?;
        tags.left -= 1;
        tags.next = tag + 1;
        tags.end = self.at + size;
        self.end = tags.end;
        Ok(Some(tag))
    }

    /// Skips the field of a tag that this version does not know.
    pub fn skip_tag(&mut self, tags: &TaggedFields) {
        self.at = tags.end;
    }

    /// Ends the field of a tag: it must have been read to its end.
    pub fn close_tag(&mut self, tags: &TaggedFields) -> Result<(), WireError> {
        if self.at != tags.end {
            return Err(WireError::TagSize { place: self.place, at: self.at });
        }
        self.end = tags.outer_end;
        Ok(())
    }

    /// Skips all tagged fields of a struct that knows none.
    pub fn skip_tagged_fields(&mut self) -> Result<(), WireError> {
        let mut tags = self.open_tagged_fields()?;
        while self.open_tag(&mut tags)?.is_some() {
            self.skip_tag(&tags);
            self.close_tag(&tags)?;
        }
        Ok(())
    }

    /// Ends the message: nothing may follow.
    pub fn finish(&self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            bytes => Err(WireError::Trailing { bytes }),
        }
    }

    /// The version being read.
    #[must_use]
    pub fn version(&self) -> i16 {
        self.version
    }

    /// Whether lengths are compact and structs carry tags.
    #[must_use]
    pub fn flexible(&self) -> bool {
        self.flexible
    }

    /// The bytes read so far: where in the frame the next value begins.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes not yet read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// Bytes of memory taken for arrays so far: all that decoding ever allocates.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// What `reserved` may come to for this frame.
    #[must_use]
    pub fn reserved_max(&self) -> usize {
        self.reserved_max
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), WireError> {
        let reserved = self.reserved.saturating_add(bytes);
        if reserved > self.reserved_max {
            return Err(WireError::Memory { place: self.place, at: self.at });
        }
        self.reserved = reserved;
        Ok(())
    }

    fn need(&self, bytes: usize) -> Result<(), WireError> {
        match bytes.checked_sub(self.remaining()) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(WireError::Truncated { place: self.place, at: self.end, missing }),
        }
    }

    fn checked_length(&self, length: i64, max: usize) -> Result<Option<usize>, WireError> {
        match usize::try_from(length) {
            Ok(length) if length <= max => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Ok(_) | Err(_) => Err(WireError::Length { place: self.place, at: self.at, length }),
        }
    }
}
