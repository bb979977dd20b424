//! The traits between messages and bytes, and the types a field can have. `Wire` and `Message` come from the derive;
//! the fields that are no structs are written out here.

use crate::{
    ids::Uuid,
    wire::{Chain, Decoder, Encoder, Float64, Kind, Records, Str, StructSchema, VersionRange, WireError},
};
use alloc::vec::Vec;
use bytes::Bytes;

/// A struct of the protocol. Derived; the attributes are described in `seedlog_wire_derive`.
pub trait Wire: Sized {
    /// Its fields, as data.
    const SCHEMA: &'static StructSchema;

    /// The fewest bytes that it can take in `version`.
    fn size_min(version: i16, flexible: bool) -> usize;

    /// Reads it in the decoder's version.
    fn decode(input: &mut Decoder) -> Result<Self, WireError>;

    /// Writes it in the encoder's version.
    fn encode(&self, out: &mut Encoder) -> Result<(), WireError>;
}

/// A whole message: a request, a response or a header.
pub trait Message: Wire {
    /// The versions that exist.
    const VERSIONS: VersionRange;
    /// The versions with compact lengths and tagged fields (KIP-482).
    const FLEXIBLE: VersionRange;

    /// Reads a body that fills `bytes` exactly.
    fn from_bytes(bytes: Bytes, version: i16) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes, version, Self::FLEXIBLE.contains(version));
        let message = Self::decode_whole(&mut input)?;
        input.finish()?;
        Ok(message)
    }

    /// The body in `version`, without header or length.
    fn to_chain(&self, version: i16) -> Result<Chain, WireError> {
        let mut out = Encoder::new(version, Self::FLEXIBLE.contains(version));
        self.encode_whole(&mut out)?;
        Ok(out.finish())
    }

    /// Reads it if the decoder's version exists.
    fn decode_whole(input: &mut Decoder) -> Result<Self, WireError> {
        check_version::<Self>(input.version())?;
        Self::decode(input)
    }

    /// Writes it if the encoder's version exists.
    fn encode_whole(&self, out: &mut Encoder) -> Result<(), WireError> {
        check_version::<Self>(out.version())?;
        self.encode(out)
    }
}

/// A request or a response.
pub trait ApiMessage: Message {
    /// The API that it belongs to.
    const KEY: i16;
}

/// Anything that a field can hold.
pub trait Field: Sized {
    /// What it is, as data.
    const KIND: Kind;

    /// The fewest bytes that it can take in `version`.
    fn size_min(version: i16, flexible: bool) -> usize;

    /// Reads a value; null is an error.
    fn decode(input: &mut Decoder) -> Result<Self, WireError>;

    /// Writes the value.
    fn encode(&self, out: &mut Encoder) -> Result<(), WireError>;
}

/// Anything that can be null.
pub trait Nullable: Field {
    /// The fewest bytes that a value or null can take.
    fn nullable_size_min(version: i16, flexible: bool) -> usize;

    /// Reads a value or null.
    fn decode_nullable(input: &mut Decoder) -> Result<Option<Self>, WireError>;

    /// Writes a value or null.
    fn encode_nullable(value: Option<&Self>, out: &mut Encoder) -> Result<(), WireError>;
}

fn check_version<M: Message>(version: i16) -> Result<(), WireError> {
    if M::VERSIONS.contains(version) { Ok(()) } else { Err(WireError::Version { api_key: None, version }) }
}

macro_rules! number_fields {
    ($($kind:ident $int:ty),+) => {$(
        impl Field for $int {
            const KIND: Kind = Kind::$kind;

            fn size_min(_version: i16, _flexible: bool) -> usize {
                size_of::<Self>()
            }

            fn decode(input: &mut Decoder) -> Result<Self, WireError> {
                input.array().map(Self::from_be_bytes)
            }

            fn encode(&self, out: &mut Encoder) -> Result<(), WireError> {
                out.put_slice(&self.to_be_bytes());
                Ok(())
            }
        }
    )+};
}

number_fields!(Int8 i8, Int16 i16, Int32 i32, Int64 i64, Uint16 u16, Uint32 u32);

impl Field for Float64 {
    const KIND: Kind = Kind::Float64;

    fn size_min(_version: i16, _flexible: bool) -> usize {
        size_of::<Self>()
    }

    fn decode(input: &mut Decoder) -> Result<Self, WireError> {
        input.array().map(f64::from_be_bytes).map(Self::from)
    }

    fn encode(&self, out: &mut Encoder) -> Result<(), WireError> {
        out.put_slice(&self.get().to_be_bytes());
        Ok(())
    }
}

impl Field for bool {
    const KIND: Kind = Kind::Bool;

    fn size_min(_version: i16, _flexible: bool) -> usize {
        1
    }

    fn decode(input: &mut Decoder) -> Result<Self, WireError> {
        let [byte] = input.array()?;
        Ok(byte != 0)
    }

    fn encode(&self, out: &mut Encoder) -> Result<(), WireError> {
        out.put_slice(&[u8::from(*self)]);
        Ok(())
    }
}

impl Field for Uuid {
    const KIND: Kind = Kind::Uuid;

    fn size_min(_version: i16, _flexible: bool) -> usize {
        16
    }

    fn decode(input: &mut Decoder) -> Result<Self, WireError> {
        input.array().map(Self)
    }

    fn encode(&self, out: &mut Encoder) -> Result<(), WireError> {
        out.put_slice(&self.0);
        Ok(())
    }
}

/// A value with a length prefix: null is one of the lengths, so that its nullable form is no longer than itself.
macro_rules! prefixed_field {
    ($type:ty $(, over $param:ident)?; $kind:expr, $old_prefix:literal, $read:ident, $null:ident, $write:expr) => {
        impl $(<$param: Field>)? Field for $type {
            const KIND: Kind = $kind;

            fn size_min(_version: i16, flexible: bool) -> usize {
                if flexible { 1 } else { $old_prefix }
            }

            fn decode(input: &mut Decoder) -> Result<Self, WireError> {
                let value = input.$read()?;
                input.not_null(value)
            }

            fn encode(&self, out: &mut Encoder) -> Result<(), WireError> {
                let write: fn(&Self, &mut Encoder) -> Result<(), WireError> = $write;
                write(self, out)
            }
        }

        impl $(<$param: Field>)? Nullable for $type {
            fn nullable_size_min(version: i16, flexible: bool) -> usize {
                Self::size_min(version, flexible)
            }

            fn decode_nullable(input: &mut Decoder) -> Result<Option<Self>, WireError> {
                input.$read()
            }

            fn encode_nullable(value: Option<&Self>, out: &mut Encoder) -> Result<(), WireError> {
                match value {
                    Some(value) => value.encode(out),
                    None => {
                        out.$null();
                        Ok(())
                    }
                }
            }
        }
    };
}

prefixed_field!(Str; Kind::String, 2, str, put_null_str, |text, out| out.put_str(text.as_bytes()));
prefixed_field!(Bytes; Kind::Bytes, 4, bytes, put_null, |bytes, out| {
    out.put_length(bytes.len())?;
    out.put_slice(bytes);
    Ok(())
});
prefixed_field!(Records; Kind::Records, 4, records, put_null, |records, out| {
    out.put_length(records.len())?;
    out.put_records(records);
    Ok(())
});
prefixed_field!(Vec<T>, over T; Kind::Array(&T::KIND), 4, vec, put_null, |elements, out| {
    out.put_length(elements.len())?;
    elements.iter().try_for_each(|element| element.encode(out))
});

impl<T: Wire> Field for T {
    const KIND: Kind = Kind::Struct(T::SCHEMA);

    fn size_min(version: i16, flexible: bool) -> usize {
        <T as Wire>::size_min(version, flexible)
    }

    fn decode(input: &mut Decoder) -> Result<Self, WireError> {
        <T as Wire>::decode(input)
    }

    fn encode(&self, out: &mut Encoder) -> Result<(), WireError> {
        <T as Wire>::encode(self, out)
    }
}

/// A nullable struct has one byte in front: 1, or -1 for null.
impl<T: Wire> Nullable for T {
    fn nullable_size_min(_version: i16, _flexible: bool) -> usize {
        1
    }

    fn decode_nullable(input: &mut Decoder) -> Result<Option<Self>, WireError> {
        let [present] = input.array()?;
        if i8::from_be_bytes([present]) < 0 { Ok(None) } else { <T as Wire>::decode(input).map(Some) }
    }

    fn encode_nullable(value: Option<&Self>, out: &mut Encoder) -> Result<(), WireError> {
        match value {
            Some(value) => {
                out.put_slice(&[1]);
                <T as Wire>::encode(value, out)
            }
            None => {
                out.put_slice(&[0xff]);
                Ok(())
            }
        }
    }
}
