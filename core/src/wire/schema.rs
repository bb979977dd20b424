//! The static description of a message: what the derive saw, as data. Tests generate frames from it and compare it with
//! Kafka's own; `seedlog proto decode` and `docs/protocol.md` print it. Decoding and encoding do not consult it.

use core::fmt;

/// Versions from `min` to `max`, both included. Empty if `min > max`; `max` is `i16::MAX` where the schema says "3+".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// The first version.
    pub min: i16,
    /// The last version.
    pub max: i16,
}

impl VersionRange {
    /// Whether `version` is one of them.
    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.min > self.max
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_empty(), self.max) {
            (true, _) => f.write_str("none"),
            (false, i16::MAX) => write!(f, "{}+", self.min),
            (false, max) if max == self.min => write!(f, "{max}"),
            (false, max) => write!(f, "{}-{max}", self.min),
        }
    }
}

/// One struct: its fields in the order of the wire.
#[derive(Debug, PartialEq, Eq)]
pub struct StructSchema {
    /// Kafka's name.
    pub name: &'static str,
    /// In wire order; tagged fields stand where they were declared.
    pub fields: &'static [FieldSchema],
}

/// One field.
#[derive(Debug, PartialEq, Eq)]
pub struct FieldSchema {
    /// Kafka's name in snake case.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// The versions that have it.
    pub versions: VersionRange,
    /// The versions in which it may be null.
    pub nullable: VersionRange,
    /// Its tag, and the versions in which it is sent as a tagged field.
    pub tag: Option<(u32, VersionRange)>,
    /// Its value where it was not sent.
    pub default: DefaultValue,
    /// Whether a version that lacks it drops the value silently.
    pub ignorable: bool,
    /// Whether it keeps old-style lengths in flexible versions.
    pub inflexible: bool,
}

/// What a field holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// One byte, 0 or 1.
    Bool,
    /// One byte.
    Int8,
    /// Two bytes, big endian.
    Int16,
    /// Four bytes, big endian.
    Int32,
    /// Eight bytes, big endian.
    Int64,
    /// Two bytes, unsigned.
    Uint16,
    /// Four bytes, unsigned.
    Uint32,
    /// Eight bytes, IEEE 754, big endian.
    Float64,
    /// Sixteen bytes.
    Uuid,
    /// UTF-8 with a length.
    String,
    /// Bytes with a length.
    Bytes,
    /// Record batches with a length.
    Records,
    /// A count and so many elements.
    Array(&'static Self),
    /// A struct.
    Struct(&'static StructSchema),
}

/// The value of a field that was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// Zero, false or empty.
    Zero,
    /// Null.
    Null,
    /// This number; 1 is true.
    Number(i64),
}
