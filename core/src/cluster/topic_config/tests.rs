//! The table, its values, and both durable forms.

use super::*;
use crate::config::AdvertisedListener;
use crate::ids::{NodeId, PartitionIndex, TopicPartition, Uuid};
use crate::settings::{BrokerSetting, SettingType};

fn config() -> Config {
    Config::new(NodeId(1), Uuid([1; 16]), AdvertisedListener { host: "host".into(), port: 9092 })
}

fn own(settings: &[(&str, &str)]) -> Result<TopicConfig, String> {
    let settings = settings.iter().map(|&(name, value)| (name.to_string(), value.to_string()));
    TopicConfig::new(&settings.collect())
}

#[test]
fn the_table_is_that_of_kafka_4_3_in_order() {
    assert_eq!(TOPIC_KEYS.len(), 33);
    assert!(TOPIC_KEYS.is_sorted_by_key(|key| key.name));
    for key in TOPIC_KEYS {
        assert_eq!(topic_key(key.name), Some(key));
        assert_eq!(key.parse(key.default), Ok(key.default.to_string()), "{}", key.name);
        assert!(key.doc.ends_with('.'), "{}", key.name);
    }
    for unknown in ["prefix", "message.format.version", "message.downconversion.enable", "segment.byte", ""] {
        assert_eq!(topic_key(unknown), None);
        assert_eq!(own(&[(unknown, "1")]), Err(format!("Unknown topic config name: {unknown}")));
    }
}

/// Text that somebody may write: at the ends of ranges and beyond, words of the table, and nonsense.
fn candidates(key: &TopicKey) -> Vec<String> {
    let mut said: Vec<String> = [
        "", " ", "true", "False", "NaN", "-0", "inf", "0.25", "1", "1e-3", "*", "0:1,2:3", "0:1:2", "a,b",
        "+7",
    ]
    .map(String::from)
    .into();
    for number in [0, 1, -1, -2, 9, 17, 22, i64::from(i32::MAX), i64::MAX, i64::MIN, 1 << 20, -131_072] {
        let neighbours = [number, number.saturating_sub(1), number.saturating_add(1)];
        said.extend(neighbours.iter().map(|number| format!(" {number} ")));
    }
    if let Kind::Word(words) | Kind::Words(words) = key.kind {
        said.extend(words.iter().map(|word| (*word).to_string()));
        said.push(words.join(" , "));
        said.push(format!("{0},{0}", words[0]));
    }
    said
}

#[test]
fn what_is_told_of_a_value_is_taken_back_as_the_same() {
    for key in TOPIC_KEYS {
        let mut taken = 0;
        for text in candidates(key) {
            let Ok(value) = key.parse(&text) else { continue };
            taken += 1;
            assert_eq!(key.parse(&value), Ok(value.clone()), "{}={text}", key.name);
            let config = own(&[(key.name, &text)]).unwrap();
            assert_eq!(config.own().get(key.name), Some(&value));
            let bytes = postcard::to_allocvec(&config).unwrap();
            assert_eq!(postcard::from_bytes::<TopicConfig>(&bytes), Ok(config));
        }
        assert!(taken > 0, "{}", key.name);
    }
}

#[test]
fn every_value_that_is_told_can_be_set() {
    let config = config();
    for set in [TopicConfig::default(), own(&[("retention.ms", "5"), ("segment.bytes", "1048576")]).unwrap()]
    {
        let described: Vec<Described<_>> = set.describe(&config, 2).collect();
        assert!(described.iter().map(|it| it.key.name).eq(TOPIC_KEYS.iter().map(|key| key.name)));
        for one in &described {
            let is_own = set.own().contains_key(one.key.name);
            assert_eq!(one.source == SettingSource::Topic, is_own, "{}", one.key.name);
            let again = own(&[(one.key.name, &one.value)]).unwrap();
            let again = again.describe(&config, 2).find(|other| other.key == one.key).unwrap();
            assert_eq!((again.value, again.source), (one.value.clone(), SettingSource::Topic));
        }
    }
}

#[test]
fn a_refusal_names_value_key_and_range() {
    for (name, value, why) in [
        ("segment.bytes", "1048575", "it must be a number from 1048576 to 2147483647"),
        ("segment.ms", "soon", "it must be a number from 1 to 9223372036854775807"),
        ("compression.gzip.level", "0", "it must be a number from 1 to 9, or -1"),
        ("preallocate", "yes", "it must be true or false"),
        ("min.cleanable.dirty.ratio", "1.5", "it must be a decimal number from 0 to 1"),
        ("message.timestamp.type", "Create", "it must be one of: CreateTime, LogAppendTime"),
        ("cleanup.policy", "shred", "it must be a list of: compact, delete"),
        (
            "compression.type",
            "zstd",
            "only producer is supported, because this release keeps batches as producers compressed them",
        ),
        (
            "remote.storage.enable",
            "true",
            "only false is supported, because this release has no tiered storage",
        ),
        (
            "leader.replication.throttled.replicas",
            "0-1",
            "it must be * or a list as partition:broker,partition:broker of at most 32767 bytes",
        ),
    ] {
        let said = format!("Invalid value {value} for configuration {name}: {why}");
        assert_eq!(own(&[(name, value)]), Err(said));
    }
    let lags = own(&[("min.compaction.lag.ms", "5"), ("max.compaction.lag.ms", "4")]);
    let said = "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)";
    assert_eq!(lags, Err(said.to_string()));
    // A name that nobody knows is told before a value that is wrong.
    let both = own(&[("segment.bytes", "0"), ("what", "0")]);
    assert_eq!(both, Err("Unknown topic config name: what".to_string()));
}

#[test]
fn what_is_not_set_follows_the_broker() {
    let mut config = config();
    let set = own(&[("segment.bytes", "2000000"), ("retention.ms", "-1")]).unwrap();
    let settings = set.resolve(&config.topic);
    assert_eq!((settings.segment_bytes, settings.segment_ms), (2_000_000, 604_800_000));
    assert_eq!((settings.retention_ms, settings.retention_bytes), (None, None));
    assert_eq!(TopicConfig::default().resolve(&config.topic).retention_ms, Some(604_800_000));
    let setting = |key, value: &str, default, is_set| BrokerSetting {
        key,
        value: Some(value.to_string()),
        default,
        is_set,
        kind: SettingType::Long,
        doc: "It does.",
    };
    config.topic.segment_ms = 7_200_000;
    config.settings = alloc::vec![
        setting("log.flush.interval.messages", "10", Some("9"), true),
        setting("log.roll.hours", "2", Some("168"), true),
        setting("log.segment.bytes", "1073741824", Some("1073741824"), false),
    ];
    let told = |name: &str| set.describe(&config, 1).find(|one| one.key.name == name).unwrap();
    let synonyms = |name: &str| -> Vec<(&str, String, SettingSource)> {
        told(name).synonyms.into_iter().map(|it| (it.name, it.value, it.source)).collect()
    };
    let flush = told("flush.messages");
    assert_eq!((&*flush.value, flush.source), ("10", SettingSource::Broker));
    // Hours are told as hours where they were set, and count as milliseconds.
    let roll = told("segment.ms");
    assert_eq!((&*roll.value, roll.source), ("7200000", SettingSource::Broker));
    let broker = SettingSource::Broker;
    assert_eq!(
        synonyms("segment.ms"),
        [("log.roll.hours", "2".into(), broker), ("log.roll.hours", "168".into(), SettingSource::Default)]
    );
    assert_eq!(
        synonyms("segment.bytes"),
        [
            ("segment.bytes", "2000000".into(), SettingSource::Topic),
            ("log.segment.bytes", "1073741824".into(), SettingSource::Default)
        ]
    );
}

#[test]
fn what_must_be_cleaned_in_time_leaves_the_segment_that_takes_appends() {
    let partition = TopicPartition { topic_id: Uuid([1; 16]), partition: PartitionIndex(0) };
    let segment_ms = |settings: &[(&str, &str)]| {
        own(settings).unwrap().resolve(&config().topic).segment_limits(partition).segment_ms
    };
    let (lag, long) = (("max.compaction.lag.ms", "5000"), ("segment.ms", "9000"));
    assert_eq!(segment_ms(&[lag, long]), 9_000, "nobody cleans it");
    assert_eq!(segment_ms(&[lag, long, ("cleanup.policy", "compact")]), 5_000);
    assert_eq!(segment_ms(&[lag, long, ("cleanup.policy", "compact,delete")]), 5_000);
    assert_eq!(segment_ms(&[lag, ("segment.ms", "3000"), ("cleanup.policy", "compact")]), 3_000);
}

#[test]
fn lists_are_edited_by_item() {
    assert_eq!(edit_list("0:1", "2:3,0:1", true), "0:1,2:3");
    assert_eq!(edit_list("", "0:1", true), "0:1");
    assert_eq!(edit_list("0:1,2:3", "0:1,7:7", false), "2:3");
}

/// What builds before the table wrote: a struct of six options.
#[derive(Serialize)]
struct FirstForm {
    segment_bytes: Option<u32>,
    message_bytes_max: Option<u32>,
    log_append_time: Option<bool>,
    timestamp_before_ms_max: Option<i64>,
    timestamp_after_ms_max: Option<i64>,
    min_insync_replicas: Option<i32>,
}

#[test]
fn the_first_durable_form_is_read() {
    let none = FirstForm {
        segment_bytes: None,
        message_bytes_max: None,
        log_append_time: None,
        timestamp_before_ms_max: None,
        timestamp_after_ms_max: None,
        min_insync_replicas: None,
    };
    let some = FirstForm {
        segment_bytes: Some(1 << 20),
        log_append_time: Some(true),
        min_insync_replicas: Some(2),
        ..none
    };
    let read = |form: &FirstForm| {
        let bytes = postcard::to_allocvec(&(form, 77_u8)).unwrap();
        let (config, behind): (TopicConfig, u8) = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(behind, 77, "it ends where the form ends");
        config
    };
    assert_eq!(read(&none), TopicConfig::default());
    let settings = [
        ("segment.bytes", "1048576"),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.insync.replicas", "2"),
    ];
    assert_eq!(read(&some), own(&settings).unwrap());
    assert!(postcard::from_bytes::<TopicConfig>(&[3, 0]).is_err(), "of a newer release");
    assert!(postcard::from_bytes::<TopicConfig>(&[1, 7]).is_err(), "too short");
}
