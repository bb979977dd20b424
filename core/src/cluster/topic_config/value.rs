//! What the values of topic settings look like: parsing, ranges, and the one spelling in which they are kept.

use crate::settings::SettingType;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Lists of throttled replicas are the only values without a length of their own.
const VALUE_BYTES_MAX: usize = 32_767;

/// Type and range of a setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Boolean,
    /// A whole number of 32 bits, from the first to the second.
    Int(i32, i32),
    /// The same, or one number outside of the range.
    IntOr(i32, i32, i32),
    /// A whole number of 64 bits, from the first to the second.
    Long(i64, i64),
    /// A decimal number from 0 to 1.
    Ratio,
    /// One of a few words.
    Word(&'static [&'static str]),
    /// Some of a few words, separated by commas.
    Words(&'static [&'static str]),
    /// `*`, or `partition:broker` separated by commas.
    Replicas,
}

impl Kind {
    /// The value in the spelling that it is kept and told in.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(self, value: &str) -> Result<String, String> {
        let value = value.trim();
        let parsed = match self {
            Self::Boolean => value.to_ascii_lowercase().parse::<bool>().ok().map(|it| it.to_string()),
            Self::Int(least, most) => whole(value, least, most),
            Self::IntOr(other, least, most) => {
                whole(value, least, most).or_else(|| whole(value, other, other))
            }
            Self::Long(least, most) => whole(value, least, most),
            Self::Ratio => value
                .parse::<f64>()
                .ok()
                .filter(|ratio| (0.0..=1.0).contains(ratio))
                // Kafka's spelling of a whole number has a decimal too.
                .map(|ratio| format!("{:?}", ratio.abs())),
            Self::Word(words) => words.contains(&value).then(|| value.to_string()),
            Self::Words(words) => {
                let items = split_list(value);
                let all_known = items.iter().all(|item| words.contains(item));
                let are_distinct = items.iter().enumerate().all(|(at, item)| !items[..at].contains(item));
                (all_known && are_distinct).then(|| items.join(","))
            }
            Self::Replicas => {
                let items = split_list(value);
                let is_good = items == ["*"] || items.iter().all(|item| is_replica(item));
                Some(items.join(",")).filter(|value| is_good && value.len() <= VALUE_BYTES_MAX)
            }
        };
        parsed.ok_or_else(|| self.allowed())
    }

    /// What a value must be, to follow "it must be".
    #[must_use]
    pub fn allowed(self) -> String {
        match self {
            Self::Boolean => "true or false".to_string(),
            Self::Int(least, most) => format!("a number from {least} to {most}"),
            Self::IntOr(other, least, most) => format!("a number from {least} to {most}, or {other}"),
            Self::Long(least, most) => format!("a number from {least} to {most}"),
            Self::Ratio => "a decimal number from 0 to 1".to_string(),
            Self::Word(words) => format!("one of: {}", words.join(", ")),
            Self::Words(words) => format!("a list of: {}", words.join(", ")),
            Self::Replicas => {
                format!("* or a list as partition:broker,partition:broker of at most {VALUE_BYTES_MAX} bytes")
            }
        }
    }

    /// Kafka's type.
    #[must_use]
    pub fn setting_type(self) -> SettingType {
        match self {
            Self::Boolean => SettingType::Boolean,
            Self::Int(..) | Self::IntOr(..) => SettingType::Int,
            Self::Long(..) => SettingType::Long,
            Self::Ratio => SettingType::Double,
            Self::Word(_) => SettingType::String,
            Self::Words(_) | Self::Replicas => SettingType::List,
        }
    }
}

fn whole<T>(value: &str, least: T, most: T) -> Option<String>
where
    T: core::str::FromStr + PartialOrd + ToString,
{
    value
        .parse::<T>()
        .ok()
        .filter(|number| *number >= least && *number <= most)
        .map(|number| number.to_string())
}

/// The items of a list, without blanks around them and without empty ones.
pub(super) fn split_list(value: &str) -> Vec<&str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

fn is_replica(item: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    item.split_once(':').is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
}
