//! Features with levels (KIP-584). What a cluster does depends on the release of its nodes alone; what is told says what clients and
//! consoles may expect (SAFETY K3): `metadata.version`, which release of Kafka that is like; `group.version`, that consumer groups
//! are served (KIP-848).

use super::Broker;
use crate::errors::ErrorCode;
use crate::ids::{ConnId, RequestNumber};
use crate::output::Outputs;
use crate::wire::api_versions::{FinalizedFeatureKey, SupportedFeatureKey};
use crate::wire::update_features::UpdatableFeatureResult;
use crate::wire::{Response, Str, UpdateFeaturesRequest, UpdateFeaturesResponse};
use alloc::format;
use alloc::vec::Vec;

/// Each feature with its level. No other level can be had, so each is the least and the greatest.
const LEVELS: [(&str, i16); 2] = [
    ("group.version", 1),
    // That of Kafka 4.3 (4.3-IV0).
    ("metadata.version", 30),
];

/// What this release can do.
pub(super) fn supported() -> Vec<SupportedFeatureKey> {
    let supported = LEVELS.map(|(name, level)| SupportedFeatureKey {
        name: Str::from_static(name),
        min_version: level,
        max_version: level,
    });
    supported.into()
}

/// What is in force.
pub(super) fn finalized() -> Vec<FinalizedFeatureKey> {
    let finalized = LEVELS.map(|(name, level)| FinalizedFeatureKey {
        name: Str::from_static(name),
        max_version_level: level,
        min_version_level: level,
    });
    finalized.into()
}

impl Broker {
    /// A request that changes nothing is carried out. In any other one fails, and then all do, as for Kafka, whether they are to be
    /// moved or only to be checked.
    pub(super) fn on_update_features(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &UpdateFeaturesRequest,
        out: &mut Outputs,
    ) {
        let mut response = UpdateFeaturesResponse::default();
        let stays = |name: &Str, level: i16| LEVELS.contains(&(&**name, level));
        let moved =
            request.feature_updates.iter().find(|update| !stays(&update.feature, update.max_version_level));
        let (code, why) = match moved {
            None => (ErrorCode::None, None),
            Some(moved) => {
                let why = Str::from(format!(
                    "Nothing was updated: the level {} of {} is not supported. With this release {}, and no other feature has levels.",
                    moved.max_version_level,
                    &*moved.feature,
                    LEVELS.map(|(name, level)| format!("{name} is {level}")).join(", ")
                ));
                (ErrorCode::InvalidUpdateVersion, Some(why))
            }
        };
        let results = request.feature_updates.iter().map(|update| UpdatableFeatureResult {
            feature: update.feature.detached(),
            error_code: code.code(),
            error_message: why.clone(),
        });
        response.results = results.collect();
        response.error_code = code.code();
        response.error_message = why;
        self.reply(conn, number, Response::UpdateFeatures(response), out);
    }
}
