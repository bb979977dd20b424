//! Every message that is declared here, held against the JSON schemas inside Kafka's own jar of clients: fields, types, version
//! ranges, nullability, tags and defaults. `KAFKA_MESSAGES` names the folder with the schemas, which `clients/java/get-kafka.sh`
//! takes out of the jar; without it nothing is compared, and that is printed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use seedlog_core::wire::{
    APIS, ApiKey, DefaultValue, DeleteTopicsRequest, Described, FieldSchema, Kind, RequestHeader,
    ResponseHeader, StructSchema, VersionRange,
};
use seedlog_tests::protocol::ABSENT;
use serde_json::Value;

const NONE: VersionRange = VersionRange { min: 0, max: -1 };

#[test]
fn every_message_is_declared_as_kafka_declares_it() {
    let Some(folder) = std::env::var_os("KAFKA_MESSAGES") else {
        println!("skipped: KAFKA_MESSAGES does not name the folder of Kafka's schemas");
        return;
    };
    let schemas = read_schemas(folder.as_ref());
    let mut found = Vec::new();
    let headers =
        [Described::of::<RequestHeader>(), Described::of::<ResponseHeader>()].map(|header| (None, header));
    for (key, ours) in &headers {
        compare_message(*key, ours, &schemas, &mut found);
    }
    for api in APIS {
        for ours in [&api.request, &api.response] {
            compare_message(Some(api.api_key.as_i16()), ours, &schemas, &mut found);
        }
    }
    found.extend(schemas.values().filter_map(unmentioned));
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

/// An API for brokers that is neither served nor named as absent.
fn unmentioned(schema: &Value) -> Option<String> {
    let key = i16::try_from(schema["apiKey"].as_i64()?).ok()?;
    let is_request = schema["type"] == "request" && schema["validVersions"] != "none";
    let is_for_brokers = schema["listeners"].as_array()?.iter().any(|listener| listener == "broker");
    let absent = ABSENT.iter().flat_map(|(apis, _)| *apis);
    let is_known = ApiKey::from_i16(key).is_some()
        || absent
            .into_iter()
            .any(|(absent, name)| *absent == key && schema["name"] == format!("{name}Request"));
    let is_missing = is_request && is_for_brokers && !is_known;
    is_missing.then(|| format!("{}: neither served nor said to be absent", schema["name"]))
}

/// The schemas by name.
fn read_schemas(folder: &Path) -> BTreeMap<String, Value> {
    let mut schemas = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the folder of schemas can be read") {
        let path = entry.expect("it can be read to its end").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a schema is text");
        let schema: Value =
            serde_json::from_str(&without_comments(&text)).expect("a schema is JSON with comments");
        schemas.insert(schema["name"].as_str().expect("a schema has a name").to_owned(), schema);
    }
    assert!(schemas.len() > 100, "the schemas are where they used to be");
    schemas
}

/// Takes out what stands behind `//`, outside of strings.
fn without_comments(text: &str) -> String {
    let line = |line: &str| {
        let (mut in_string, mut before) = (false, ' ');
        for (at, letter) in line.char_indices() {
            match letter {
                '"' if before != '\\' => in_string = !in_string,
                '/' if before == '/' && !in_string => return line[..at - 1].to_owned(),
                _ => {}
            }
            before = letter;
        }
        line.to_owned()
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn compare_message(
    key: Option<i16>,
    ours: &Described,
    schemas: &BTreeMap<String, Value>,
    found: &mut Vec<String>,
) {
    let name = ours.schema.name;
    let Some(theirs) = schemas.get(name) else {
        found.push(format!("{name}: Kafka has no such message"));
        return;
    };
    let mut differ = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            found.push(format!("{name}: {what} {ours} here, {theirs} in Kafka"));
        }
    };
    differ("API key", format!("{key:?}"), format!("{:?}", theirs["apiKey"].as_i64().map(|key| key as i16)));
    let versions = ours.versions;
    differ("versions", versions.to_string(), range(&theirs["validVersions"]).to_string());
    let flexible = within(range(&theirs["flexibleVersions"]), versions);
    differ("flexible versions", within(ours.flexible, versions).to_string(), flexible.to_string());
    let types = theirs["commonStructs"].as_array().into_iter().flatten();
    let types: BTreeMap<&str, &Value> = types
        .map(|common| (common["name"].as_str().expect("a struct has a name"), &common["fields"]))
        .collect();
    compare_struct(name, ours.schema, &theirs["fields"], versions, &types, found);
}

fn compare_struct(
    path: &str,
    ours: &StructSchema,
    theirs: &Value,
    versions: VersionRange,
    types: &BTreeMap<&str, &Value>,
    found: &mut Vec<String>,
) {
    let theirs: Vec<&Value> = theirs
        .as_array()
        .into_iter()
        .flatten()
        .filter(|field| !within(range(&field["versions"]), versions).is_empty())
        .collect();
    let our_names: Vec<String> = ours.fields.iter().map(|field| field.name.replace('_', "")).collect();
    let their_names: Vec<String> =
        theirs.iter().map(|field| field["name"].as_str().unwrap_or_default().to_lowercase()).collect();
    if our_names != their_names {
        found.push(format!("{path}: the fields {our_names:?} here, {their_names:?} in Kafka"));
        return;
    }
    for (ours, theirs) in ours.fields.iter().zip(theirs) {
        compare_field(&format!("{path}.{}", ours.name), ours, theirs, versions, types, found);
    }
}

fn compare_field(
    path: &str,
    ours: &FieldSchema,
    theirs: &Value,
    versions: VersionRange,
    types: &BTreeMap<&str, &Value>,
    found: &mut Vec<String>,
) {
    let mut differ = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            found.push(format!("{path}: {what} {ours} here, {theirs} in Kafka"));
        }
    };
    let of = |key: &str| within(range(&theirs[key]), versions);
    let held = of("versions");
    differ("versions", within(ours.versions, versions).to_string(), held.to_string());
    differ(
        "nullable",
        within(ours.nullable, held).to_string(),
        within(of("nullableVersions"), held).to_string(),
    );
    let our_tag = ours.tag.map(|(tag, tagged)| format!("{tag} in {}", within(tagged, held)));
    let their_tag = theirs["tag"].as_u64().map(|tag| format!("{tag} in {}", of("taggedVersions")));
    differ("tag", format!("{our_tag:?}"), format!("{their_tag:?}"));
    differ("default", format!("{:?}", normal(ours.default)), format!("{:?}", default(&theirs["default"])));
    differ(
        "ignorable",
        ours.ignorable.to_string(),
        theirs["ignorable"].as_bool().unwrap_or(false).to_string(),
    );
    differ("inflexible", ours.inflexible.to_string(), (theirs["flexibleVersions"] == "none").to_string());
    let their_type = theirs["type"].as_str().unwrap_or_default();
    let (our_type, inner) = type_of(&ours.kind);
    let (arrays, element) = their_type.strip_prefix("[]").map_or(("", their_type), |element| ("[]", element));
    let is_struct = element.starts_with(char::is_uppercase);
    differ("type", our_type, if is_struct { format!("{arrays}struct") } else { their_type.to_owned() });
    if let (Some(inner), true) = (inner, is_struct) {
        let fields = types.get(element).copied().unwrap_or(&theirs["fields"]);
        compare_struct(path, inner, fields, held, types, found);
    }
}

/// A type in Kafka's words, and the struct in it.
fn type_of(kind: &Kind) -> (String, Option<&'static StructSchema>) {
    let plain = |name: &str| (name.to_owned(), None);
    match kind {
        Kind::Bool => plain("bool"),
        Kind::Int8 => plain("int8"),
        Kind::Int16 => plain("int16"),
        Kind::Int32 => plain("int32"),
        Kind::Int64 => plain("int64"),
        Kind::Uint16 => plain("uint16"),
        Kind::Uint32 => plain("uint32"),
        Kind::Float64 => plain("float64"),
        Kind::Uuid => plain("uuid"),
        Kind::String => plain("string"),
        Kind::Bytes => plain("bytes"),
        Kind::Records => plain("records"),
        Kind::Array(element) => {
            let (name, inner) = type_of(element);
            (format!("[]{name}"), inner)
        }
        Kind::Struct(inner) => ("struct".to_owned(), Some(inner)),
    }
}

/// Zero has two names.
fn normal(default: DefaultValue) -> DefaultValue {
    if default == DefaultValue::Number(0) { DefaultValue::Zero } else { default }
}

fn default(theirs: &Value) -> DefaultValue {
    let text = match theirs {
        Value::String(text) => text.as_str(),
        Value::Bool(true) => "true",
        Value::Null | Value::Bool(false) | Value::Number(_) | Value::Array(_) | Value::Object(_) => "",
    };
    let number =
        text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| i64::from_str_radix(hex, 16).ok());
    match (text, number.or_else(|| theirs.as_i64())) {
        ("null", _) => DefaultValue::Null,
        ("true", _) => DefaultValue::Number(1),
        (_, Some(number)) if number != 0 => DefaultValue::Number(number),
        _ => DefaultValue::Zero,
    }
}

fn range(text: &Value) -> VersionRange {
    let number = |text: &str| text.parse::<i16>().expect("versions are numbers");
    match text.as_str() {
        None | Some("none") => NONE,
        Some(text) => match (text.strip_suffix('+'), text.split_once('-')) {
            (Some(min), _) => VersionRange { min: number(min), max: i16::MAX },
            (None, Some((min, max))) => VersionRange { min: number(min), max: number(max) },
            (None, None) => VersionRange { min: number(text), max: number(text) },
        },
    }
}

/// What is in both.
fn within(one: VersionRange, other: VersionRange) -> VersionRange {
    VersionRange { min: one.min.max(other.min), max: one.max.min(other.max) }
}

#[test]
fn a_difference_is_told_with_its_place() {
    let theirs = r#"{
        "apiKey": 20, "name": "DeleteTopicsRequest", "validVersions": "1-7", // One more.
        "flexibleVersions": "4+",
        "fields": [
            { "name": "Topics", "type": "[]DeleteTopicState", "versions": "6+", "fields": [
                { "name": "Name", "type": "string", "versions": "6+", "about": "See http://kafka.apache.org" },
                { "name": "TopicId", "type": "int64", "versions": "6+" }]},
            { "name": "TopicNames", "type": "[]string", "versions": "0-5", "ignorable": true },
            { "name": "TimeoutMs", "type": "int32", "versions": "0+", "taggedVersions": "6+", "tag": 3, "default": "7" }
        ]
    }"#;
    let theirs: Value = serde_json::from_str(&without_comments(theirs)).unwrap();
    let schemas = BTreeMap::from([("DeleteTopicsRequest".to_owned(), theirs)]);
    let mut found = Vec::new();
    let ours = Described::of::<DeleteTopicsRequest>();
    compare_message(Some(20), &ours, &schemas, &mut found);
    assert_eq!(
        found,
        [
            "DeleteTopicsRequest: versions 1-6 here, 1-7 in Kafka",
            "DeleteTopicsRequest.topics.name: nullable 6 here, none in Kafka",
            "DeleteTopicsRequest.topics.name: default Null here, Zero in Kafka",
            "DeleteTopicsRequest.topics.topic_id: type uuid here, int64 in Kafka",
            "DeleteTopicsRequest.timeout_ms: tag None here, Some(\"3 in 6\") in Kafka",
            "DeleteTopicsRequest.timeout_ms: default Zero here, Number(7) in Kafka",
        ]
    );
}
