//! The types of the wire that are views of a frame: `Str` and `Records`. Both keep the frame they were cut from alive;
//! what outlives a request is copied out first (`Str::detached`).

use super::encoder::STRING_LEN_MAX;
use alloc::string::String;
use bytes::{Bytes, BytesMut};
use core::{borrow::Borrow, fmt, hash, ops::Deref};
use smallvec::SmallVec;

/// A string: UTF-8 that was checked when it was made, as a slice of a frame. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Str(Bytes);

impl Str {
    /// A string that lives as long as the program.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Takes the bytes if they are UTF-8.
    #[must_use]
    pub fn from_utf8(bytes: Bytes) -> Option<Self> {
        core::str::from_utf8(&bytes).is_ok().then_some(Self(bytes))
    }

    /// The text. Checks the bytes again, because the alternative is unsafe code: names on the wire are short.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("every constructor takes only UTF-8, and Bytes cannot change")
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The beginning of a text: as many whole characters as take no more than so many bytes.
    #[must_use]
    pub fn beginning(text: &str, bytes_max: usize) -> Self {
        Self::from(&text[..text.floor_char_boundary(bytes_max)])
    }

    /// Words for people, cut where a string of the protocol ends: they may quote what somebody sent.
    #[must_use]
    pub fn message(text: &str) -> Self {
        Self::beginning(text, STRING_LEN_MAX)
    }

    /// A copy that does not keep the frame alive.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

// `Borrow<str>` demands the hash of `str`. Equality and order of the bytes are those of the text already.
impl hash::Hash for Str {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(Bytes::from(text.into_bytes()))
    }
}

impl From<Str> for Bytes {
    fn from(text: Str) -> Self {
        text.0
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

/// Record batches as they travel: a chain of byte slices that no one copies. Decoding makes one slice of the frame;
/// a fetch response is built from as many as the log has pieces.
#[derive(Clone, Default)]
pub struct Records {
    pieces: SmallVec<[Bytes; 1]>,
    len: usize,
}

impl Records {
    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push(piece);
        }
    }

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

    /// All bytes in one piece; copies only if there are several.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        concat(&self.pieces, self.len)
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        let mut records = Self::default();
        records.push(bytes);
        records
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut records = Self::default();
        for piece in pieces {
            records.push(piece);
        }
        records
    }
}

/// By content: how the bytes are cut does not matter.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.pieces.iter().flatten().eq(other.pieces.iter().flatten())
    }
}

impl Eq for Records {}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} bytes)", self.len)
    }
}

/// `pieces`, `len` bytes together, in one piece.
pub(super) fn concat(pieces: &[Bytes], len: usize) -> Bytes {
    match pieces {
        [] => Bytes::new(),
        [only] => only.clone(),
        several => {
            let mut joined = BytesMut::with_capacity(len);
            for piece in several {
                joined.extend_from_slice(piece);
            }
            joined.freeze()
        }
    }
}

/// A number of 64 bits with a fraction. Two are equal if their bits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Float64(u64);

impl Float64 {
    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl From<f64> for Float64 {
    fn from(number: f64) -> Self {
        Self(number.to_bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeMap, format};

    #[test]
    fn str_is_text_and_finds_itself_in_a_map_by_text() {
        let name = Str::from("orders");
        assert_eq!(format!("{name:?} {name}"), "\"orders\" orders");
        assert_eq!(Str::from_utf8(Bytes::from_static(&[0xff])), None);
        let map: BTreeMap<Str, i32> = [(name, 7)].into();
        assert_eq!(map.get("orders"), Some(&7));
        assert!(Str::default().is_empty());
    }

    #[test]
    fn records_compare_by_content_not_by_cut() {
        let whole = Records::from(Bytes::from_static(b"abcdef"));
        let cut: Records = [&b"ab"[..], b"", b"cdef"].into_iter().map(Bytes::copy_from_slice).collect();
        assert_eq!(whole, cut);
        assert_eq!(cut.pieces().len(), 2);
        assert_eq!(cut.to_bytes(), whole.to_bytes());
        assert_ne!(whole, Records::from(Bytes::from_static(b"abcdeg")));
        assert_ne!(whole, Records::default());
    }
}
