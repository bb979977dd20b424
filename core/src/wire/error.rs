//! Why a frame could not be read, or a message not be written.

use crate::wire::ApiKey;
use core::fmt;

/// Why a frame could not be read, or a message not be written. `place` is `Struct.field`; `at` counts bytes from the
/// start of the frame (without its length prefix).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireError {
    /// The frame ends inside a value.
    Truncated {
        /// The field being read.
        place: &'static str,
        /// Where reading stopped.
        at: usize,
        /// How many bytes were still missing.
        missing: usize,
    },
    /// A varint is longer than five bytes or does not fit 32 bits.
    Varint {
        /// The field being read.
        place: &'static str,
        /// Where it starts.
        at: usize,
    },
    /// A length is negative (and does not stand for a permitted null) or longer than its type allows.
    Length {
        /// The field being read.
        place: &'static str,
        /// Where the value would start.
        at: usize,
        /// The length as sent.
        length: i64,
    },
    /// An array claims more elements than the remaining bytes can hold.
    Count {
        /// The field being read.
        place: &'static str,
        /// Where the first element would start.
        at: usize,
        /// The number as sent.
        count: usize,
    },
    /// Arrays of tiny elements would take far more memory than the frame has bytes.
    Memory {
        /// The field being read.
        place: &'static str,
        /// Where the first element would start.
        at: usize,
    },
    /// Null in a version in which the field cannot be null.
    Null {
        /// The field being read or written.
        place: &'static str,
    },
    /// A string is not UTF-8.
    Utf8 {
        /// The field being read.
        place: &'static str,
        /// Where the string starts.
        at: usize,
    },
    /// A tagged field repeats or precedes the tag before it, or one struct claims more tagged fields than fit.
    Tags {
        /// The field read last.
        place: &'static str,
        /// Where the tag stands.
        at: usize,
    },
    /// The value of a tagged field is longer or shorter than the size sent with it.
    TagSize {
        /// The field being read.
        place: &'static str,
        /// Where reading stopped.
        at: usize,
    },
    /// Bytes follow the end of the message.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A value that the version to be written has no field for.
    NotInThisVersion {
        /// The field being written.
        place: &'static str,
        /// The version being written.
        version: i16,
    },
    /// A value too long for its length prefix.
    TooLong {
        /// The field being written.
        place: &'static str,
        /// Its length.
        length: usize,
    },
    /// The message has no such version.
    Version {
        /// The message's API, if it has one.
        api_key: Option<ApiKey>,
        /// The version asked for.
        version: i16,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { place, at, missing } => {
                write!(f, "{place}: the frame ends at byte {at}, {missing} bytes too early")
            }
            Self::Varint { place, at } => write!(f, "{place}: varint at byte {at} does not fit 32 bits"),
            Self::Length { place, at, length } => {
                write!(f, "{place}: impossible length {length} at byte {at}")
            }
            Self::Count { place, at, count } => {
                write!(f, "{place}: {count} elements cannot fit into the bytes after byte {at}")
            }
            Self::Memory { place, at } => {
                write!(f, "{place}: the array at byte {at} takes more memory than there is for it")
            }
            Self::Null { place } => write!(f, "{place}: null is not permitted in this version"),
            Self::Utf8 { place, at } => write!(f, "{place}: string at byte {at} is not UTF-8"),
            Self::Tags { place, at } => {
                write!(f, "tags out of order or too many at byte {at}, after {place}")
            }
            Self::TagSize { place, at } => {
                write!(f, "{place}: tagged field ends at byte {at}, not where its size says")
            }
            Self::Trailing { bytes } => write!(f, "{bytes} bytes follow the end of the message"),
            Self::NotInThisVersion { place, version } => {
                write!(f, "{place}: version {version} has no such field, and the value would be lost")
            }
            Self::TooLong { place, length } => {
                write!(f, "{place}: {length} bytes are too long for this field")
            }
            Self::Version { api_key: Some(api_key), version } => {
                write!(f, "{} has no version {version}", api_key.name())
            }
            Self::Version { api_key: None, version } => {
                write!(f, "there is no version {version} of this message")
            }
        }
    }
}

impl core::error::Error for WireError {}
