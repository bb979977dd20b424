//! A group's settings: those of its own (KIP-848, KIP-1263), and how clients are told of them. What is not set follows the
//! broker's `group.consumer.*`.
//!
//! A group may have settings before anybody is in it, and keeps them when nobody is left.
//!
//! Not here: who may change them and what follows from it (`decide::configs`), and what a group makes of them
//! ([`crate::group::ConsumerSettings::with`]). Kafka's keys for share groups and streams groups are unknown here, like these
//! groups.

use crate::cluster::topic_config::{Described, Kind, described_value, synonyms_of_broker};
use crate::config::Config;
use crate::group::{Bounds, ConsumerSettings, OwnSettings};
use crate::settings::SettingSource;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One setting of a group.
#[derive(Debug, PartialEq)]
pub struct GroupKey {
    /// Kafka's name.
    pub name: &'static str,
    /// Type and range.
    pub kind: Kind,
    /// Kafka's default.
    pub default: &'static str,
    /// The broker's setting that a group without its own goes by, in the form of topics' settings.
    pub synonyms: &'static [&'static str],
    /// The broker's settings that say what the setting must not be below, and what it must not be above.
    pub bounds: (&'static str, &'static str),
    /// What it does.
    pub doc: &'static str,
}

const ASSIGNMENT_INTERVAL: &str = "consumer.assignment.interval.ms";
const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";
const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";

/// Every key, in order: those of consumer groups among what `GroupConfig.CONFIG_DEF` of Kafka 4.3.1 has.
pub const GROUP_KEYS: &[GroupKey] = &[
    GroupKey {
        name: ASSIGNMENT_INTERVAL,
        kind: Kind::Int(0, i32::MAX),
        default: "1000",
        synonyms: &["group.consumer.assignment.interval.ms"],
        bounds: ("group.consumer.min.assignment.interval.ms", "group.consumer.max.assignment.interval.ms"),
        doc: "How long the group goes on with what its members were given before it may assign anew.",
    },
    GroupKey {
        name: HEARTBEAT_INTERVAL,
        kind: Kind::Int(1, i32::MAX),
        default: "5000",
        synonyms: &["group.consumer.heartbeat.interval.ms"],
        bounds: ("group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
        doc: "How often members of the consumer protocol are told to let themselves be heard.",
    },
    GroupKey {
        name: SESSION_TIMEOUT,
        kind: Kind::Int(1, i32::MAX),
        default: "45000",
        synonyms: &["group.consumer.session.timeout.ms"],
        bounds: ("group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
        doc: "How long a member of the consumer protocol may be silent before it is out.",
    },
];

/// The key with this name.
#[must_use]
pub fn group_key(name: &str) -> Option<&'static GroupKey> {
    GROUP_KEYS.iter().find(|key| key.name == name)
}

/// A group's own settings, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupConfig {
    /// By Kafka's names, in the spelling that they are told in.
    own: BTreeMap<String, String>,
    /// What the group goes by, so that no heartbeat parses text.
    typed: OwnSettings,
}

impl GroupConfig {
    /// Takes settings by Kafka's names, within the bounds that the broker has for them.
    ///
    /// # Errors
    /// A sentence for the client: a key is unknown, a value is not what it must be, or two do not go together.
    pub fn new(settings: &BTreeMap<String, String>, broker: &ConsumerSettings) -> Result<Self, String> {
        // As in Kafka, an unknown name is told before a wrong value.
        if let Some(unknown) = settings.keys().find(|name| group_key(name).is_none()) {
            return Err(format!("Unknown group config name: {unknown}"));
        }
        let mut own = BTreeMap::new();
        for (name, value) in settings {
            let Some(key) = group_key(name) else { continue };
            let parsed = key.kind.parse(value).map_err(|allowed| {
                format!("Invalid value {value} for configuration {name}: it must be {allowed}")
            })?;
            own.insert(name.clone(), parsed);
        }
        let typed = typed(&own);
        check_bounds(HEARTBEAT_INTERVAL, typed.heartbeat_interval_ms, broker.heartbeat_interval_ms_bounds)?;
        check_bounds(SESSION_TIMEOUT, typed.session_timeout_ms, broker.session_timeout_ms_bounds)?;
        check_bounds(
            ASSIGNMENT_INTERVAL,
            typed.assignment_interval_ms,
            broker.assignment_interval_ms_bounds,
        )?;
        let session_ms = typed.session_timeout_ms.map_or(broker.session_timeout_ms, milliseconds);
        let heartbeat_ms = typed.heartbeat_interval_ms.unwrap_or(broker.heartbeat_interval_ms);
        if session_ms <= milliseconds(heartbeat_ms) {
            return Err(format!("{SESSION_TIMEOUT} must be greater than {HEARTBEAT_INTERVAL}"));
        }
        Ok(Self { own, typed })
    }

    /// The own settings by name, in order.
    #[must_use]
    pub fn own(&self) -> &BTreeMap<String, String> {
        &self.own
    }

    /// What the group goes by.
    #[must_use]
    pub fn typed(&self) -> OwnSettings {
        self.typed
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// About what they take in the metadata, with the group's name, in bytes.
    #[must_use]
    pub fn bytes(&self, group: &str) -> usize {
        /// About what a group takes beside the text: places in maps, and numbers.
        const GROUP_BYTES: usize = 256;
        let own = self.own.iter().map(|(name, value)| name.len() + value.len());
        GROUP_BYTES + group.len() + own.sum::<usize>()
    }

    /// All settings as clients are told of them, in order: as they were set, also where a broker's bounds have become
    /// narrower since.
    pub fn describe<'a>(
        &'a self,
        config: &'a Config,
    ) -> impl Iterator<Item = Described<&'static GroupKey>> + 'a {
        GROUP_KEYS.iter().map(move |key| {
            let own = self.own.get(key.name).map(|value| (key.name, value.as_str(), SettingSource::Group));
            let synonyms = synonyms_of_broker(config, own, key.synonyms);
            let inherited = inherited(&config.groups.consumer, key.name);
            let (value, source) = described_value(&synonyms, own, inherited, key.default);
            Described { key, value, source, synonyms }
        })
    }
}

fn check_bounds(name: &str, value: Option<i32>, bounds: Bounds) -> Result<(), String> {
    let Some((value, key)) = value.zip(group_key(name)) else { return Ok(()) };
    let (min, max) = key.bounds;
    if value < bounds.min {
        Err(format!("{name} must be greater than or equal to {min}"))
    } else if value > bounds.max {
        Err(format!("{name} must be less than or equal to {max}"))
    } else {
        Ok(())
    }
}

fn milliseconds(value: i32) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The broker's value of a group's setting.
fn inherited(broker: &ConsumerSettings, name: &str) -> Option<String> {
    Some(match name {
        ASSIGNMENT_INTERVAL => broker.assignment_interval_ms.to_string(),
        HEARTBEAT_INTERVAL => broker.heartbeat_interval_ms.to_string(),
        SESSION_TIMEOUT => broker.session_timeout_ms.to_string(),
        _ => return None,
    })
}

fn typed(own: &BTreeMap<String, String>) -> OwnSettings {
    let number = |name: &str| own.get(name)?.parse().ok();
    OwnSettings {
        session_timeout_ms: number(SESSION_TIMEOUT),
        heartbeat_interval_ms: number(HEARTBEAT_INTERVAL),
        assignment_interval_ms: number(ASSIGNMENT_INTERVAL),
    }
}

/// The first byte of the durable form.
const FORMAT: u8 = 1;

impl Serialize for GroupConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (FORMAT, &self.own).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for GroupConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (format, own) = <(u8, BTreeMap<String, String>)>::deserialize(deserializer)?;
        if format != FORMAT {
            return Err(D::Error::custom("a group's settings were written by a newer release"));
        }
        Ok(Self { typed: typed(&own), own })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(settings: &[(&str, &str)]) -> Result<GroupConfig, String> {
        let own = settings.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string()));
        GroupConfig::new(&own.collect(), &ConsumerSettings::default())
    }

    #[test]
    fn keys_are_in_order_and_have_their_defaults() {
        assert!(GROUP_KEYS.is_sorted_by(|one, other| one.name < other.name));
        for key in GROUP_KEYS {
            assert_eq!(key.kind.parse(key.default).as_deref(), Ok(key.default), "{}", key.name);
            assert_eq!(inherited(&ConsumerSettings::default(), key.name).as_deref(), Some(key.default));
        }
    }

    /// What `GroupConfig.validate` of Kafka 4.3.1 says of the same.
    #[test]
    fn what_kafka_refuses_is_refused_in_the_order_in_which_it_looks() {
        let (session, beat, assignment) = (SESSION_TIMEOUT, HEARTBEAT_INTERVAL, ASSIGNMENT_INTERVAL);
        let below = |name: &str, min: &str| format!("{name} must be greater than or equal to {min}");
        let above = |name: &str, max: &str| format!("{name} must be less than or equal to {max}");
        for (settings, why) in [
            (&[(session, "44999")][..], below(session, "group.consumer.min.session.timeout.ms")),
            (&[(session, "60001")], above(session, "group.consumer.max.session.timeout.ms")),
            (&[(beat, "4999")], below(beat, "group.consumer.min.heartbeat.interval.ms")),
            (&[(beat, "15001")], above(beat, "group.consumer.max.heartbeat.interval.ms")),
            (&[(assignment, "15001")], above(assignment, "group.consumer.max.assignment.interval.ms")),
            (&[(session, "1"), (beat, "1")], below(beat, "group.consumer.min.heartbeat.interval.ms")),
            (&[(session, "x"), ("other", "1")], "Unknown group config name: other".to_string()),
            (
                &[("share.session.timeout.ms", "45000")],
                "Unknown group config name: share.session.timeout.ms".into(),
            ),
        ] {
            assert_eq!(config(settings).map(|_| ()), Err(why), "{settings:?}");
        }
        for value in ["", "x", "0", "-1", "99999999999", "45000.5"] {
            let refused = config(&[(session, value)]).expect_err(value);
            assert!(refused.starts_with("Invalid value"), "{refused}");
        }
    }

    #[test]
    fn a_session_is_longer_than_the_time_between_heartbeats_whoever_says_either() {
        let wide = Bounds { min: 1, max: i32::MAX };
        let broker = ConsumerSettings {
            session_timeout_ms_bounds: wide,
            heartbeat_interval_ms_bounds: wide,
            ..ConsumerSettings::default()
        };
        let taken = |settings: &[(&str, &str)]| {
            let own = settings.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string()));
            GroupConfig::new(&own.collect(), &broker).is_ok()
        };
        assert!(!taken(&[(SESSION_TIMEOUT, "5000")]));
        assert!(taken(&[(SESSION_TIMEOUT, "5001")]));
        assert!(!taken(&[(HEARTBEAT_INTERVAL, "45000")]));
        assert!(taken(&[(HEARTBEAT_INTERVAL, "44999")]));
        assert!(!taken(&[(SESSION_TIMEOUT, "9"), (HEARTBEAT_INTERVAL, "9")]));
        assert!(taken(&[(SESSION_TIMEOUT, "9"), (HEARTBEAT_INTERVAL, "8")]));
    }

    /// What `GroupConfig.evaluate` of Kafka 4.3.1 makes of the same.
    #[test]
    fn where_bounds_are_narrower_than_they_were_they_count() {
        let own = OwnSettings {
            session_timeout_ms: Some(1_000_000),
            heartbeat_interval_ms: Some(1),
            assignment_interval_ms: Some(60_000),
        };
        let settings = ConsumerSettings::default().with(own);
        assert_eq!(settings.session_timeout_ms, 60_000);
        assert_eq!(settings.heartbeat_interval_ms, 5_000);
        assert_eq!(settings.assignment_interval_ms, 15_000);
        assert_eq!(ConsumerSettings::default().with(OwnSettings::default()), ConsumerSettings::default());
    }

    #[test]
    fn values_are_told_in_one_spelling() {
        let config = config(&[(SESSION_TIMEOUT, " +050000 ")]).expect("Java reads it too");
        assert_eq!(config.own().get(SESSION_TIMEOUT).map(String::as_str), Some("50000"));
        assert_eq!(config.typed().session_timeout_ms, Some(50_000));
    }

    proptest! {
        #[test]
        fn settings_are_read_as_they_were_written(
            session in prop::option::of(45_000..=60_000),
            beat in prop::option::of(5_000..=15_000),
            assignment in prop::option::of(0..=15_000),
            behind in any::<u32>(),
        ) {
            let all: [(&str, Option<i32>); 3] = [(SESSION_TIMEOUT, session), (HEARTBEAT_INTERVAL, beat), (ASSIGNMENT_INTERVAL, assignment)];
            let own = all.iter().filter_map(|(name, ms)| Some(((*name).to_string(), (*ms)?.to_string())));
            let config = GroupConfig::new(&own.collect(), &ConsumerSettings::default()).unwrap();
            let bytes = postcard::to_allocvec(&(&config, behind)).unwrap();
            prop_assert_eq!(postcard::from_bytes::<(GroupConfig, u32)>(&bytes).unwrap(), (config.clone(), behind));
            prop_assert_eq!(config.typed().session_timeout_ms, session);
        }
    }

    #[test]
    fn what_a_newer_release_wrote_is_refused() {
        assert!(postcard::from_bytes::<GroupConfig>(&[2, 0]).is_err());
        assert!(postcard::from_bytes::<GroupConfig>(&[1]).is_err());
        assert_eq!(postcard::from_bytes::<GroupConfig>(&[1, 0]), Ok(GroupConfig::default()));
    }
}
