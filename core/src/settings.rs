//! Settings as clients are told of them: types, sources, and those of this broker. What a topic's settings are is in
//! [`crate::cluster::topic_config`]; what a broker's are, the driver knows, because it reads the files.

use alloc::string::String;

/// What the values of a setting look like, by Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum SettingType {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// A whole number of 32 bits.
    Int = 3,
    /// A whole number of 16 bits.
    Short = 4,
    /// A whole number of 64 bits.
    Long = 5,
    /// A decimal number.
    Double = 6,
    /// Texts separated by commas.
    List = 7,
    /// Text that is told to nobody.
    Password = 9,
}

impl SettingType {
    /// Kafka's number of it in DescribeConfigs.
    #[must_use]
    pub fn code(self) -> i8 {
        self as i8
    }

    /// Kafka's name of the type with this number.
    #[must_use]
    pub fn name_of(code: i8) -> Option<&'static str> {
        Some(match code {
            1 => "boolean",
            2 => "string",
            3 => "int",
            4 => "short",
            5 => "long",
            6 => "double",
            7 => "list",
            8 => "class",
            9 => "password",
            _ => return None,
        })
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum SettingSource {
    /// The topic's own settings.
    Topic = 1,
    /// The broker's configuration when it was started.
    Broker = 4,
    /// Nobody set it.
    Default = 5,
    /// The group's own settings.
    Group = 8,
}

impl SettingSource {
    /// Kafka's number of it in DescribeConfigs.
    #[must_use]
    pub fn code(self) -> i8 {
        self as i8
    }

    /// Kafka's name of the source with this number.
    #[must_use]
    pub fn name_of(code: i8) -> Option<&'static str> {
        Some(match code {
            1 => "topic",
            2 => "dynamic broker",
            3 => "dynamic default broker",
            4 => "broker",
            5 => "default",
            6 => "dynamic broker logger",
            7 => "client metrics",
            8 => "group",
            _ => return None,
        })
    }
}

/// One setting of this broker. It was read when the broker started and stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerSetting {
    /// Its key.
    pub key: &'static str,
    /// Its value; `None` where it has none, and for a secret.
    pub value: Option<String>,
    /// Its value when nobody sets it.
    pub default: Option<&'static str>,
    /// Somebody set it.
    pub is_set: bool,
    /// What its values look like.
    pub kind: SettingType,
    /// What it does.
    pub doc: &'static str,
}

impl BrokerSetting {
    /// Where its value comes from.
    #[must_use]
    pub fn source(&self) -> SettingSource {
        if self.is_set { SettingSource::Broker } else { SettingSource::Default }
    }

    /// Its value is told to nobody.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.kind == SettingType::Password
    }
}
