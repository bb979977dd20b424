//! An event as a JSON object and back. Any field may be missing in the text; an [`Event`] has what its function needs.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Event, Offset, Operation, Partition, Phase, Polled, Position, Process, Read, Sent, Value};

const FUNCTIONS: &str = "send, poll, assign, subscribe, seek, crash, trim, final, note";

/// All fields that a line can have.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLine<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    time_us: u64,
    process: Process,
    #[serde(rename = "type")]
    phase: Phase,
    #[serde(borrow)]
    f: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Body::is_missing")]
    value: Body<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    assignment: Option<Vec<Place>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rebalanced: Vec<Place>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What `value` can be.
#[derive(Default)]
enum Body<'a> {
    #[default]
    Missing,
    Text(String),
    List(Vec<Entry<'a>>),
}

/// What stands in a list: a record, a partition, or a topic's name alone.
enum Entry<'a> {
    Topic(String),
    Fields(Fields<'a>),
}

/// All fields that a record or a partition can have.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<Offset>,
    #[serde(default, skip_serializing_if = "is_false")]
    repeats: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A text that is borrowed from the line where it can be: serde borrows no `Option<Cow>`.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    topic: String,
    partition: u32,
}

impl RawLine<'_> {
    /// The event, if the line has what its function needs and nothing else.
    pub(super) fn parse(self) -> Result<Event, String> {
        let Self { index, time_us, process, phase, f, value, assignment, rebalanced, error } = self;
        if f != "poll" && (assignment.is_some() || !rebalanced.is_empty()) {
            return Err(format!("{f} has no assignment and no rebalanced partitions: poll has"));
        }
        let operation = match &*f {
            "send" => Operation::Send(sent(value, phase)?),
            "poll" => Operation::Poll(Polled {
                records: read(value, phase)?,
                assignment: assignment.map(places),
                rebalanced: places(rebalanced),
            }),
            "assign" => Operation::Assign(positions(value, &f)?),
            "seek" => Operation::Seek(positions(value, &f)?),
            "subscribe" => Operation::Subscribe(topics(value)?),
            "crash" => match value {
                Body::Missing => Operation::Crash,
                Body::Text(_) | Body::List(_) => return Err("crash has no value".to_owned()),
            },
            "trim" => Operation::Trim(trimmed(value, phase)?),
            "final" => Operation::Final(final_partitions(value)?),
            "note" => match value {
                Body::Missing => Operation::Note(String::new()),
                Body::Text(text) => Operation::Note(text),
                Body::List(_) => return Err("the value of a note is a string".to_owned()),
            },
            other => return Err(format!("there is no function {other:?}: f is one of {FUNCTIONS}")),
        };
        Ok(Event { index, time_us, process, phase, operation, error })
    }
}

impl<'a> From<&'a Event> for RawLine<'a> {
    fn from(event: &'a Event) -> Self {
        let mut assignment = None;
        let mut rebalanced = Vec::new();
        let value = match &event.operation {
            Operation::Send(records) => list(records, Fields::from),
            Operation::Poll(polled) => {
                assignment =
                    polled.assignment.as_ref().map(|places| places.iter().map(Place::from).collect());
                rebalanced = polled.rebalanced.iter().map(Place::from).collect();
                if polled.records.is_empty() { Body::Missing } else { list(&polled.records, Fields::from) }
            }
            Operation::Assign(positions) | Operation::Seek(positions) | Operation::Trim(positions) => {
                list(positions, Fields::from)
            }
            Operation::Subscribe(topics) => Body::List(topics.iter().cloned().map(Entry::Topic).collect()),
            Operation::Crash | Operation::Final(None) => Body::Missing,
            Operation::Final(Some(partitions)) => list(partitions, Fields::from),
            Operation::Note(text) => Body::Text(text.clone()),
        };
        Self {
            index: event.index,
            time_us: event.time_us,
            process: event.process,
            phase: event.phase,
            f: Cow::Borrowed(event.operation.name()),
            value,
            assignment,
            rebalanced,
            error: event.error.clone(),
        }
    }
}

fn list<'a, T>(entries: &'a [T], fields: impl Fn(&'a T) -> Fields<'a>) -> Body<'a> {
    Body::List(entries.iter().map(|entry| Entry::Fields(fields(entry))).collect())
}

fn places(places: Vec<Place>) -> Vec<Partition> {
    places.into_iter().map(|place| Partition { topic: place.topic, index: place.partition }).collect()
}

/// The records or partitions of a value that is a list of objects.
fn fields<'a>(value: Body<'a>, of: &str) -> Result<Vec<Fields<'a>>, String> {
    let wrong = || format!("the value of {of} is a list of objects");
    match value {
        Body::Missing => Ok(Vec::new()),
        Body::Text(_) => Err(wrong()),
        Body::List(entries) => entries
            .into_iter()
            .map(|entry| match entry {
                Entry::Fields(fields) => Ok(fields),
                Entry::Topic(_) => Err(wrong()),
            })
            .collect(),
    }
}

fn sent(value: Body<'_>, phase: Phase) -> Result<Vec<Sent>, String> {
    let records = fields(value, "send")?;
    if records.is_empty() {
        return Err("a send has at least one record".to_owned());
    }
    let parse = |(number, fields): (usize, Fields<'_>)| {
        let which = || format!("record {} of the send", number + 1);
        let value = fields.value.ok_or_else(|| format!("{} has no value", which()))?;
        if phase == Phase::Invoke && fields.offset.is_some() {
            return Err(format!("{} has an offset before it is acknowledged", which()));
        }
        if phase == Phase::Ok && fields.partition.is_none() {
            return Err(format!("{} was acknowledged but has no partition", which()));
        }
        Ok(Sent {
            topic: fields.topic.into_owned(),
            partition: fields.partition,
            key: fields.key.map(|key| key.0.into_owned()),
            value,
            offset: fields.offset,
            repeats: fields.repeats,
        })
    };
    records.into_iter().enumerate().map(parse).collect()
}

fn read(value: Body<'_>, phase: Phase) -> Result<Vec<Read>, String> {
    let records = fields(value, "poll")?;
    if phase != Phase::Ok && !records.is_empty() {
        return Err(format!("a poll of type {phase} has no records"));
    }
    let parse = |(number, fields): (usize, Fields<'_>)| {
        let missing = |what| format!("record {} of the poll has no {what}", number + 1);
        if fields.repeats {
            return Err(format!("record {} of the poll repeats: only one that is sent does", number + 1));
        }
        let index = fields.partition.ok_or_else(|| missing("partition"))?;
        Ok(Read {
            partition: Partition { topic: fields.topic.into_owned(), index },
            offset: fields.offset.ok_or_else(|| missing("offset"))?,
            key: fields.key.map(|key| key.0.into_owned()),
            value: fields.value.ok_or_else(|| missing("value"))?,
        })
    };
    records.into_iter().enumerate().map(parse).collect()
}

fn positions(value: Body<'_>, of: &str) -> Result<Vec<Position>, String> {
    let parse = |fields: Fields<'_>| {
        if fields.value.is_some() || fields.key.is_some() || fields.repeats {
            return Err(format!("the partitions of {of} have no value, no key and do not repeat"));
        }
        let index = fields.partition.ok_or_else(|| format!("{} in {of} has no partition", fields.topic))?;
        let partition = Partition { topic: fields.topic.into_owned(), index };
        Ok(Position { partition, offset: fields.offset })
    };
    fields(value, of)?.into_iter().map(parse).collect()
}

fn trimmed(value: Body<'_>, phase: Phase) -> Result<Vec<Position>, String> {
    let positions = positions(value, "trim")?;
    if positions.is_empty() {
        return Err("a trim has at least one partition".to_owned());
    }
    if phase == Phase::Ok && positions.iter().any(|position| position.offset.is_none()) {
        return Err("a trim that is done says where each log starts".to_owned());
    }
    Ok(positions)
}

fn final_partitions(value: Body<'_>) -> Result<Option<Vec<Partition>>, String> {
    if value.is_missing() {
        return Ok(None);
    }
    let positions = positions(value, "final")?;
    if positions.iter().any(|position| position.offset.is_some()) {
        return Err("the partitions of final have no offset".to_owned());
    }
    Ok(Some(positions.into_iter().map(|position| position.partition).collect()))
}

fn topics(value: Body<'_>) -> Result<Vec<String>, String> {
    let wrong = || "the value of subscribe is a list of topics' names".to_owned();
    match value {
        Body::Missing => Ok(Vec::new()),
        Body::Text(_) => Err(wrong()),
        Body::List(entries) => entries
            .into_iter()
            .map(|entry| match entry {
                Entry::Topic(topic) => Ok(topic),
                Entry::Fields(_) => Err(wrong()),
            })
            .collect(),
    }
}

impl<'a> From<&'a Sent> for Fields<'a> {
    fn from(sent: &'a Sent) -> Self {
        Self {
            topic: Cow::Borrowed(&sent.topic),
            partition: sent.partition,
            key: sent.key.as_deref().map(|key| Text(Cow::Borrowed(key))),
            value: Some(sent.value.clone()),
            offset: sent.offset,
            repeats: sent.repeats,
        }
    }
}

impl<'a> From<&'a Read> for Fields<'a> {
    fn from(read: &'a Read) -> Self {
        Self {
            key: read.key.as_deref().map(|key| Text(Cow::Borrowed(key))),
            value: Some(read.value.clone()),
            offset: Some(read.offset),
            ..Self::from(&read.partition)
        }
    }
}

impl<'a> From<&'a Position> for Fields<'a> {
    fn from(position: &'a Position) -> Self {
        Self { offset: position.offset, ..Self::from(&position.partition) }
    }
}

impl<'a> From<&'a Partition> for Fields<'a> {
    fn from(partition: &'a Partition) -> Self {
        let topic = Cow::Borrowed(&*partition.topic);
        Self { topic, partition: Some(partition.index), key: None, value: None, offset: None, repeats: false }
    }
}

impl From<&Partition> for Place {
    fn from(partition: &Partition) -> Self {
        Self { topic: partition.topic.clone(), partition: partition.index }
    }
}

impl Body<'_> {
    fn is_missing(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Text(_) | Self::List(_) => false,
        }
    }
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Missing => serializer.serialize_none(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(entries) => serializer.collect_seq(entries),
        }
    }
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Topic(topic) => serializer.serialize_str(topic),
            Self::Fields(fields) => fields.serialize(serializer),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Text(value) => serializer.serialize_str(value),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Body<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wanted;
        impl<'de> Visitor<'de> for Wanted {
            type Value = Body<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list, or a string for a note")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Body::Missing)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Body::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = entries.next_element()? {
                    list.push(entry);
                }
                Ok(Body::List(list))
            }
        }
        deserializer.deserialize_any(Wanted)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entry<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wanted;
        impl<'de> Visitor<'de> for Wanted {
            type Value = Entry<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a topic, or a topic's name")
            }

            fn visit_str<E: Error>(self, topic: &str) -> Result<Self::Value, E> {
                Ok(Entry::Topic(topic.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Fields::deserialize(MapAccessDeserializer::new(map)).map(Entry::Fields)
            }
        }
        deserializer.deserialize_any(Wanted)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wanted;
        impl Visitor<'_> for Wanted {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an integer of 64 bits")
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Value::Integer(value))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
                let signed = i64::try_from(value);
                signed
                    .map(Value::Integer)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(value), &self))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Value::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Wanted)
    }
}
