//! The stable JSON of records: keys and values as text where they are UTF-8, otherwise as base64.

use seedlog_core::records::{Record, TimestampType};
use serde::Serialize;

/// Bytes in JSON: a string if they are UTF-8, otherwise `{"base64": "..."}`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum JsonBytes<'a> {
    /// UTF-8.
    Text(&'a str),
    /// Anything else.
    Binary {
        /// RFC 4648, with padding.
        base64: String,
    },
}

impl<'a> From<&'a [u8]> for JsonBytes<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Binary { base64: base64(bytes) },
        }
    }
}

/// A record as `seedlog consume --json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct JsonRecord<'a> {
    topic: &'a str,
    partition: i32,
    #[serde(flatten)]
    record: JsonRecordBody<'a>,
}

/// A record without the place of its partition.
#[derive(Debug, Serialize)]
pub(super) struct JsonRecordBody<'a> {
    offset: i64,
    timestamp: Option<i64>,
    timestamp_type: &'static str,
    key: Option<JsonBytes<'a>>,
    value: Option<JsonBytes<'a>>,
    headers: Vec<JsonHeader<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonHeader<'a> {
    key: JsonBytes<'a>,
    value: Option<JsonBytes<'a>>,
}

impl<'a> JsonRecord<'a> {
    pub(super) fn new(topic: &'a str, partition: i32, kind: TimestampType, record: &Record<'a>) -> Self {
        Self { topic, partition, record: JsonRecordBody::new(kind, record) }
    }
}

impl<'a> JsonRecordBody<'a> {
    pub(super) fn new(kind: TimestampType, record: &Record<'a>) -> Self {
        let header = |(key, value): (&'a [u8], Option<&'a [u8]>)| JsonHeader {
            key: key.into(),
            value: value.map(JsonBytes::from),
        };
        Self {
            offset: record.offset.0,
            timestamp: Some(record.timestamp).filter(|&timestamp| timestamp >= 0),
            timestamp_type: match kind {
                TimestampType::CreateTime => "create_time",
                TimestampType::LogAppendTime => "log_append_time",
            },
            key: record.key.map(JsonBytes::from),
            value: record.value.map(JsonBytes::from),
            headers: record.headers.map(header).collect(),
        }
    }

    /// On one line.
    pub(super) fn text(&self) -> String {
        let shown = |bytes: &Option<JsonBytes<'_>>| match bytes {
            Some(JsonBytes::Text(text)) => format!("{text:?}"),
            Some(JsonBytes::Binary { base64 }) => format!("base64:{base64}"),
            None => "null".to_owned(),
        };
        let time = self.timestamp.map_or_else(|| "none".to_owned(), super::batch::time);
        let (offset, key, value) = (self.offset, shown(&self.key), shown(&self.value));
        let mut text = format!("offset {offset}  time {time}  key {key}  value {value}");
        for header in &self.headers {
            let name = match &header.key {
                JsonBytes::Text(text) => (*text).to_owned(),
                JsonBytes::Binary { base64 } => format!("base64:{base64}"),
            };
            text.push_str(&format!("  header {name}={}", shown(&header.value)));
        }
        text
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, &byte| (bits << 8) | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let six = (bits >> (18 - 6 * place)) & 0x3f;
            text.push(if place <= chunk.len() { char::from(ALPHABET[six as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::records::{BatchBuilder, BatchHeader, RecordIter};

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn records_in_json() {
        let mut builder = BatchBuilder::new();
        builder.add(
            1_700_000_000_000,
            Some(b"k"),
            Some(b"\xff\x00"),
            &[(b"trace", Some(b"1")), (b"none", None)],
        );
        builder.add(1_700_000_000_001, None, None, &[]);
        let batch = builder.finish();
        let header = BatchHeader::parse(&batch).unwrap();
        let lines: Vec<String> = RecordIter::new(&header, &batch[61..])
            .map(|record| JsonRecord::new("orders", 3, header.timestamp_type(), &record.unwrap()))
            .map(|record| serde_json::to_string(&record).unwrap())
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        {"topic":"orders","partition":3,"offset":0,"timestamp":1700000000000,"timestamp_type":"create_time","key":"k","value":{"base64":"/wA="},"headers":[{"key":"trace","value":"1"},{"key":"none","value":null}]}
        {"topic":"orders","partition":3,"offset":1,"timestamp":1700000000001,"timestamp_type":"create_time","key":null,"value":null,"headers":[]}
        "#);
    }
}
