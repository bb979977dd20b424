//! The one table of settings. Everything that asks "which keys exist, of what type, with what default, meaning what?"
//! reads it: the loader, `--show-config`, DescribeConfigs and the documentation. The keys that are
//! known by name only are its second half, in `accepted.rs`.

use super::accepted::ACCEPTED;
use super::cluster::parse_voters;
use super::listeners::{parse_admin_listener, parse_endpoints, parse_overrides, parse_protocol_map};
use super::used::USED;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The key, as Kafka spells it where Kafka has it.
    pub key: &'static str,
    /// What its values look like.
    pub kind: Kind,
    /// The value when nobody sets it; `None` for "not set" or "computed from other settings", as `doc` says.
    pub default: Option<&'static str>,
    /// What it does, in a sentence or two.
    pub doc: &'static str,
    /// The first release that knows the key.
    pub since: &'static str,
    /// Whether setting it changes anything.
    pub status: Status,
}

/// Whether setting a key changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does.
    Used,
    /// Kafka knows it, Seedlog does not use it: one warning line names it.
    Accepted,
}

/// What the values of a setting look like: its type and its validator in one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number of 16 bits.
    Short(i64, i64),
    /// A whole number of 32 bits, between the two.
    Int(i64, i64),
    /// A whole number of 64 bits, between the two.
    Long(i64, i64),
    /// A decimal number.
    Double,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// Some of a few words, separated by commas.
    Choices(&'static [&'static str]),
    /// Any text.
    Text,
    /// 16 bytes as Kafka writes ids: 22 characters of base64url.
    Uuid,
    /// Text that is never printed.
    Secret,
    /// Texts separated by commas.
    List,
    /// `NAME://host:port`, separated by commas.
    Endpoints,
    /// `id@host:port`, separated by commas.
    Voters,
    /// `NAME:PROTOCOL`, separated by commas.
    ProtocolMap,
    /// `host:port` on loopback, or `off`.
    AdminListener,
    /// `address:count`, separated by commas.
    Overrides,
}

/// Keys of earlier Kafka releases; the advice stands in the error.
const REMOVED: &[&str] = &[
    "advertised.host.name",
    "advertised.port",
    "broker.id.generation.enable",
    "control.plane.listener.name",
    "controlled.shutdown.max.retries",
    "controlled.shutdown.retry.backoff.ms",
    "delegation.token.master.key",
    "host.name",
    "inter.broker.protocol.version",
    "leader.imbalance.per.broker.percentage",
    "log.message.downconversion.enable",
    "log.message.format.version",
    "log.message.timestamp.difference.max.ms",
    "offsets.commit.required.acks",
    "port",
    "reserved.broker.max.id",
];

/// The beginnings of keys that Kafka hands to plug-ins or to one listener. What they set is not used.
const PREFIXES: &[&str] =
    &["listener.name.", "security.", "ssl.", "sasl.", "config.providers.", "rlmm.config.", "rsm.config."];

/// What a key is to Seedlog.
#[derive(Debug, Clone, Copy)]
pub enum Lookup {
    /// It is in the table.
    Known(&'static Entry),
    /// It begins with one of Kafka's open prefixes: accepted, not used.
    Prefixed,
    /// Kafka had it before 4.0.
    Removed,
    /// Nobody knows it.
    Unknown,
}

/// Every entry: first those that are used, then those that are accepted, each in order of its key.
pub fn entries() -> impl Iterator<Item = &'static Entry> + Clone {
    USED.iter().chain(ACCEPTED)
}

/// The entry of a key.
pub fn find(key: &str) -> Option<&'static Entry> {
    entries().find(|entry| entry.key == key)
}

/// What a key is to Seedlog.
pub fn lookup(key: &str) -> Lookup {
    if let Some(entry) = find(key) {
        return Lookup::Known(entry);
    }
    if key.starts_with("zookeeper.") || key.starts_with("password.encoder.") || REMOVED.contains(&key) {
        return Lookup::Removed;
    }
    if PREFIXES.iter().any(|prefix| key.len() > prefix.len() && key.starts_with(prefix)) {
        return Lookup::Prefixed;
    }
    Lookup::Unknown
}

impl Kind {
    /// Says what is allowed when `value` is not.
    pub fn check(self, value: &str) -> Result<(), String> {
        match self {
            Self::Boolean => one_of(value, &["true", "false"], true),
            Self::Short(min, max) | Self::Int(min, max) | Self::Long(min, max) => whole(value, min, max),
            Self::Double => match value.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(()),
                Ok(_) | Err(_) => Err(format!("a decimal number such as 0.5{}", comment_hint(value))),
            },
            Self::Choice(words) => one_of(value, words, false),
            Self::Choices(words) => match split_list(value).as_slice() {
                [] => Err(format!("one or more of: {}", words.join(", "))),
                items => items.iter().try_for_each(|item| one_of(item, words, false)),
            },
            Self::Uuid => uuid(value),
            Self::Text | Self::Secret | Self::List => Ok(()),
            Self::Endpoints => parse_endpoints(value).map(drop),
            Self::Voters => parse_voters(value).map(drop),
            Self::ProtocolMap => parse_protocol_map(value).map(drop),
            Self::AdminListener => parse_admin_listener(value).map(drop),
            Self::Overrides => parse_overrides(value).map(drop),
        }
    }

    /// Kafka's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Short(..) => "short",
            Self::Int(..) => "int",
            Self::Long(..) => "long",
            Self::Double => "double",
            Self::Choice(_) | Self::Text | Self::Uuid | Self::AdminListener | Self::Overrides => "string",
            Self::Choices(_) | Self::List | Self::Endpoints | Self::Voters | Self::ProtocolMap => "list",
            Self::Secret => "password",
        }
    }

    /// What values may be.
    pub fn values(self) -> String {
        match self {
            Self::Boolean => "true or false".to_owned(),
            Self::Short(min, max) | Self::Int(min, max) | Self::Long(min, max) => {
                format!("a whole number from {min} to {max}")
            }
            Self::Double => "a decimal number".to_owned(),
            Self::Choice(words) => format!("one of: {}", words.join(", ")),
            Self::Choices(words) => format!("one or more of: {}", words.join(", ")),
            Self::Text | Self::Secret => "any text".to_owned(),
            Self::Uuid => "an id of 22 characters".to_owned(),
            Self::List => "texts separated by commas".to_owned(),
            Self::Endpoints => "NAME://host:port, separated by commas".to_owned(),
            Self::Voters => "id@host:port, separated by commas".to_owned(),
            Self::ProtocolMap => "NAME:PROTOCOL, separated by commas".to_owned(),
            Self::AdminListener => "host:port on loopback, or off".to_owned(),
            Self::Overrides => "address:count, separated by commas".to_owned(),
        }
    }

    /// Whether values must never be printed.
    pub fn is_secret(self) -> bool {
        self == Self::Secret
    }
}

/// The items of a comma-separated list, without blanks around them and without empty ones.
pub fn split_list(value: &str) -> Vec<&str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

fn whole(value: &str, min: i64, max: i64) -> Result<(), String> {
    match value.parse::<i64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(()),
        Ok(_) => Err(format!("a whole number from {min} to {max}")),
        Err(_) => Err(format!("a whole number from {min} to {max}{}", comment_hint(value))),
    }
}

fn uuid(value: &str) -> Result<(), String> {
    let base64url = value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    // 22 characters hold 132 bits; the last four are not part of the id.
    let good = value.len() == 22 && base64url && value.ends_with(['A', 'Q', 'g', 'w']);
    if good && value.bytes().any(|b| b != b'A') {
        return Ok(());
    }
    Err("an id of 22 characters as Kafka's `kafka-storage random-uuid` prints it".to_owned())
}

fn one_of(value: &str, words: &[&str], any_case: bool) -> Result<(), String> {
    let equal = |word: &&str| **word == *value || (any_case && word.eq_ignore_ascii_case(value));
    if words.iter().any(equal) {
        return Ok(());
    }
    Err(format!("one of: {}{}", words.join(", "), comment_hint(value)))
}

fn comment_hint(value: &str) -> &'static str {
    if value.contains('#') { " (a comment needs a line of its own)" } else { "" }
}
