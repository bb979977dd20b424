//! What clients are told of a node's configuration (DescribeConfigs): every key of the table, with its value, type and
//! sentence. Secrets are not even kept.

use crate::config::Settings;
use crate::config::registry::{self, Entry, Kind};
use seedlog_core::settings::{BrokerSetting, SettingType};

/// Every key of the table, in order.
pub(super) fn broker_settings(settings: &Settings) -> Vec<BrokerSetting> {
    let mut told: Vec<BrokerSetting> =
        registry::entries().map(|entry| broker_setting(entry, settings)).collect();
    told.sort_unstable_by_key(|setting| setting.key);
    told
}

fn broker_setting(entry: &Entry, settings: &Settings) -> BrokerSetting {
    let value = settings.get(entry.key).and_then(|setting| setting.value.clone());
    BrokerSetting {
        key: entry.key,
        value: value.filter(|_| !entry.kind.is_secret()),
        default: entry.default,
        is_set: settings.origin(entry.key).is_explicit(),
        kind: setting_type(entry.kind),
        doc: entry.doc,
    }
}

fn setting_type(kind: Kind) -> SettingType {
    match kind {
        Kind::Boolean => SettingType::Boolean,
        Kind::Short(..) => SettingType::Short,
        Kind::Int(..) => SettingType::Int,
        Kind::Long(..) => SettingType::Long,
        Kind::Double => SettingType::Double,
        Kind::Secret => SettingType::Password,
        Kind::Choices(_) | Kind::List | Kind::Endpoints | Kind::Voters | Kind::ProtocolMap => {
            SettingType::List
        }
        Kind::Choice(_) | Kind::Text | Kind::Uuid | Kind::AdminListener | Kind::Overrides => {
            SettingType::String
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn every_key_is_told_once_and_no_secret_is() {
        let file = "num.partitions=3\nssl.keystore.password=hush\nlog.roll.hours=2\n";
        let sources = Sources { file: Some(("file".into(), file.to_owned())), ..Sources::default() };
        let loaded = load(&sources).expect("it is sound");
        let told = broker_settings(&loaded.settings);
        assert!(told.is_sorted_by(|one, other| one.key < other.key));
        assert_eq!(told.len(), registry::entries().count());
        let of = |key: &str| told.iter().find(|setting| setting.key == key).expect("it is in the table");
        assert_eq!((of("num.partitions").value.as_deref(), of("num.partitions").is_set), (Some("3"), true));
        assert_eq!((of("log.segment.bytes").is_set, of("log.segment.bytes").kind), (false, SettingType::Int));
        let secret = of("ssl.keystore.password");
        assert_eq!((&secret.value, secret.is_secret(), secret.is_set), (&None, true, true));
        assert_eq!(loaded.node.segment_ms, 7_200_000);
    }
}
