//! From bytes to named fields by a message's schema. Unlike the broker's own reading it keeps what it has read when it has
//! to stop. Lengths and limits are the decoder's.

use std::fmt::Write;

use bytes::Bytes;
use seedlog_core::ids::Uuid;
use seedlog_core::records::Batches;
use seedlog_core::wire::{Decoder, Field, FieldSchema, Float64, Kind, StructSchema, WireError};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::cli::batch::JsonBatch;

/// Values in one frame: more than any client sends, and few enough to keep.
const VALUES_MAX: usize = 1_000_000;

/// The value of a field.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(i64),
    Text(String),
    Records {
        bytes: usize,
        batches: Vec<JsonBatch>,
    },
    Array(Vec<Self>),
    Struct(Vec<(&'static str, Self)>),
    /// Tagged fields that the version does not know.
    Unknown(Vec<(u32, String)>),
}

/// Why reading stopped, and where.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) at: usize,
    pub(super) field: String,
    pub(super) what: String,
}

impl Stop {
    pub(super) fn new(at: usize, field: String, what: String) -> Self {
        Self { at, field, what }
    }
}

/// What was read, in part if reading stopped in it, and why it did.
type Read = (Option<Value>, Option<Stop>);

/// Reads one frame.
pub(super) struct Walk {
    input: Decoder,
    path: Vec<String>,
    values: usize,
}

impl Walk {
    pub(super) fn new(frame: Bytes, version: i16, flexible: bool) -> Self {
        Self { input: Decoder::new(frame, version, flexible), path: Vec::new(), values: 0 }
    }

    /// Goes on in another version: the body after its header.
    pub(super) fn go_on(&mut self, version: i16, flexible: bool) {
        self.input.set_version(version, flexible);
    }

    pub(super) fn position(&self) -> usize {
        self.input.position()
    }

    pub(super) fn remaining(&self) -> usize {
        self.input.remaining()
    }

    /// The broker does not take what was read here.
    pub(super) fn refused(&self, error: &WireError) -> Stop {
        Stop::new(self.position(), String::new(), error.to_string())
    }

    /// Reads all fields of a struct.
    pub(super) fn message(&mut self, schema: &'static StructSchema) -> Read {
        let version = self.input.version();
        let mut fields = Vec::with_capacity(schema.fields.len());
        let is_tagged =
            |field: &&FieldSchema| field.tag.is_some_and(|(_, versions)| versions.contains(version));
        let plain =
            schema.fields.iter().filter(|field| field.versions.contains(version) && !is_tagged(field));
        for field in plain {
            let (value, stop) = self.field(field);
            fields.extend(value.map(|value| (field.name, value)));
            if stop.is_some() {
                return (Some(Value::Struct(fields)), stop);
            }
        }
        let stop = if self.input.flexible() { self.tagged(schema, &mut fields).err() } else { None };
        (Some(Value::Struct(fields)), stop)
    }

    fn tagged(
        &mut self,
        schema: &'static StructSchema,
        fields: &mut Vec<(&'static str, Value)>,
    ) -> Result<(), Stop> {
        let version = self.input.version();
        let known = |tag: u32| {
            schema.fields.iter().find(|field| {
                let at = field.tag.filter(|&(_, versions)| versions.contains(version));
                at.is_some_and(|(number, _)| number == tag)
            })
        };
        let mut unknown = Vec::new();
        let mut tags = self.input.open_tagged_fields().map_err(|error| self.stop(&error))?;
        while let Some(tag) = self.input.open_tag(&mut tags).map_err(|error| self.stop(&error))? {
            if let Some(field) = known(tag) {
                let (value, stop) = self.field(field);
                fields.extend(value.map(|value| (field.name, value)));
                stop.map_or(Ok(()), Err)?;
            } else {
                let length = self.input.remaining();
                let bytes = self.input.slice(length).map_err(|error| self.stop(&error))?;
                self.count()?;
                unknown.push((tag, hex(&bytes)));
            }
            self.input.close_tag(&tags).map_err(|error| self.stop(&error))?;
        }
        if !unknown.is_empty() {
            fields.push(("unknown_tagged_fields", Value::Unknown(unknown)));
        }
        Ok(())
    }

    fn field(&mut self, field: &'static FieldSchema) -> Read {
        self.path.push(field.name.to_owned());
        self.input.at_field(field.name);
        let flexible = self.input.flexible();
        if field.inflexible {
            self.input.set_flexible(false);
        }
        let is_nullable = field.nullable.contains(self.input.version());
        let read = self.value(&field.kind, is_nullable);
        self.input.set_flexible(flexible);
        if read.1.is_none() {
            self.path.pop();
        }
        read
    }

    fn value(&mut self, kind: &'static Kind, is_nullable: bool) -> Read {
        if let Err(stop) = self.count() {
            return (None, Some(stop));
        }
        let read = match kind {
            Kind::Bool => bool::decode(&mut self.input).map(Value::Bool),
            Kind::Int8 => i8::decode(&mut self.input).map(|it| Value::Number(it.into())),
            Kind::Int16 => i16::decode(&mut self.input).map(|it| Value::Number(it.into())),
            Kind::Int32 => i32::decode(&mut self.input).map(|it| Value::Number(it.into())),
            Kind::Int64 => i64::decode(&mut self.input).map(Value::Number),
            Kind::Uint16 => u16::decode(&mut self.input).map(|it| Value::Number(it.into())),
            Kind::Uint32 => u32::decode(&mut self.input).map(|it| Value::Number(it.into())),
            Kind::Float64 => Float64::decode(&mut self.input).map(|it| Value::Text(it.get().to_string())),
            Kind::Uuid => Uuid::decode(&mut self.input).map(|it| Value::Text(it.to_string())),
            Kind::String => {
                let text = self.input.str();
                self.present(text, is_nullable, |text| Value::Text(text.to_string()))
            }
            Kind::Bytes => {
                let bytes = self.input.bytes();
                self.present(bytes, is_nullable, |bytes| Value::Text(hex(&bytes)))
            }
            Kind::Records => {
                let records = self.input.records();
                self.present(records, is_nullable, |records| batches(&records.to_bytes()))
            }
            Kind::Array(of) => return self.array(of, is_nullable),
            Kind::Struct(schema) => return self.nested(schema, is_nullable),
        };
        match read {
            Ok(value) => (Some(value), None),
            Err(error) => (None, Some(self.stop(&error))),
        }
    }

    fn present<T>(
        &self,
        read: Result<Option<T>, WireError>,
        is_nullable: bool,
        value: impl FnOnce(T) -> Value,
    ) -> Result<Value, WireError> {
        match read? {
            None if is_nullable => Ok(Value::Null),
            read => self.input.not_null(read).map(value),
        }
    }

    fn array(&mut self, of: &'static Kind, is_nullable: bool) -> Read {
        let count = match self.input.length() {
            Ok(Some(count)) => count,
            Ok(None) if is_nullable => return (Some(Value::Null), None),
            Ok(None) => {
                let error = self.input.not_null(None::<()>).err();
                return (None, error.map(|error| self.stop(&error)));
            }
            Err(error) => return (None, Some(self.stop(&error))),
        };
        if count > self.input.remaining() {
            let what = format!("{count} elements cannot fit into {} bytes", self.input.remaining());
            return (None, Some(self.stop_with(what)));
        }
        let mut elements = Vec::new();
        for index in 0..count {
            self.path.push(format!("[{index}]"));
            let (value, stop) = self.value(of, false);
            elements.extend(value);
            if stop.is_some() {
                return (Some(Value::Array(elements)), stop);
            }
            self.path.pop();
        }
        (Some(Value::Array(elements)), None)
    }

    /// A nullable struct has one byte in front.
    fn nested(&mut self, schema: &'static StructSchema, is_nullable: bool) -> Read {
        if is_nullable {
            match i8::decode(&mut self.input) {
                Ok(..0) => return (Some(Value::Null), None),
                Ok(0..) => {}
                Err(error) => return (None, Some(self.stop(&error))),
            }
        }
        self.message(schema)
    }

    fn count(&mut self) -> Result<(), Stop> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(self.stop_with(format!("the frame has more than {VALUES_MAX} values")));
        }
        Ok(())
    }

    fn stop(&self, error: &WireError) -> Stop {
        let what = error.to_string();
        // The path names the field already, and more exactly.
        let field = self.path.iter().rev().find(|step| !step.starts_with('[')).map_or("", String::as_str);
        let what = what.strip_prefix(field).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&what);
        self.stop_with(what.to_owned())
    }

    fn stop_with(&self, what: String) -> Stop {
        let mut field = String::new();
        for step in &self.path {
            let is_name = !step.starts_with('[');
            if is_name && !field.is_empty() {
                field.push('.');
            }
            field.push_str(step);
        }
        Stop::new(self.position(), field, what)
    }
}

/// The whole batches in a field of records; a fetch may end within one.
fn batches(bytes: &Bytes) -> Value {
    let found = Batches::new(bytes).map(|(header, range)| JsonBatch::of(&header, &bytes[range]));
    Value::Records { bytes: bytes.len(), batches: found.collect() }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Number(value) => to.serialize_i64(*value),
            Self::Text(value) => to.serialize_str(value),
            Self::Records { bytes, batches } => {
                let mut map = to.serialize_map(Some(2))?;
                map.serialize_entry("bytes", bytes)?;
                map.serialize_entry("batches", batches)?;
                map.end()
            }
            Self::Array(values) => {
                let mut seq = to.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| seq.serialize_element(value))?;
                seq.end()
            }
            Self::Struct(fields) => {
                let mut map = to.serialize_map(Some(fields.len()))?;
                fields.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
            Self::Unknown(tags) => {
                let mut map = to.serialize_map(Some(tags.len()))?;
                tags.iter().try_for_each(|(tag, bytes)| map.serialize_entry(&tag.to_string(), bytes))?;
                map.end()
            }
        }
    }
}

impl Value {
    /// As an indented tree.
    pub(super) fn print(&self, depth: usize, text: &mut String) {
        let indent = "  ".repeat(depth);
        let mut line = |words: std::fmt::Arguments<'_>| {
            writeln!(text, "{indent}{words}").expect("writing to a string cannot fail");
        };
        match self {
            Self::Struct(fields) => {
                for (name, value) in fields {
                    value.print_named(name, depth, text);
                }
            }
            Self::Array(values) => {
                for (index, value) in values.iter().enumerate() {
                    value.print_named(&format!("[{index}]"), depth, text);
                }
            }
            Self::Records { batches, .. } => {
                for batch in batches {
                    line(format_args!("batch  {}", batch.text()));
                }
            }
            Self::Unknown(tags) => {
                for (tag, bytes) in tags {
                    line(format_args!("{tag}: {bytes}"));
                }
            }
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => line(format_args!("{self}")),
        }
    }

    fn print_named(&self, name: &str, depth: usize, text: &mut String) {
        let indent = "  ".repeat(depth);
        let is_inner = match self {
            Self::Array(values) => !values.is_empty(),
            Self::Struct(_) | Self::Unknown(_) => true,
            Self::Records { batches, .. } => !batches.is_empty(),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => false,
        };
        let after = match self {
            Self::Records { bytes, .. } => format!(": {bytes} bytes"),
            Self::Array(values) if values.is_empty() => ": []".to_owned(),
            Self::Struct(_) | Self::Unknown(_) | Self::Array(_) => String::new(),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => format!(": {self}"),
        };
        writeln!(text, "{indent}{name}{after}").expect("writing to a string cannot fail");
        if is_inner {
            self.print(depth + 1, text);
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Records { bytes, .. } => write!(f, "{bytes} bytes"),
            Self::Array(values) => write!(f, "{} elements", values.len()),
            Self::Struct(fields) => write!(f, "{} fields", fields.len()),
            Self::Unknown(tags) => write!(f, "{} fields", tags.len()),
        }
    }
}
