//! Features with levels (KIP-584). What a cluster does depends on the release of its nodes alone; the one feature that is told,
//! `metadata.version`, says which release of Kafka that is like: consoles go by it (SAFETY K3).

use super::Broker;
use crate::errors::ErrorCode;
use crate::ids::{ConnId, RequestNumber};
use crate::output::Outputs;
use crate::wire::api_versions::{FinalizedFeatureKey, SupportedFeatureKey};
use crate::wire::update_features::UpdatableFeatureResult;
use crate::wire::{Response, Str, UpdateFeaturesRequest, UpdateFeaturesResponse};
use alloc::format;
use alloc::vec::Vec;

const METADATA_VERSION: &str = "metadata.version";
/// The level of Kafka 4.3 (4.3-IV0).
const LEVEL: i16 = 30;

/// What this release can do.
pub(super) fn supported() -> Vec<SupportedFeatureKey> {
    let name = Str::from_static(METADATA_VERSION);
    alloc::vec![SupportedFeatureKey { name, min_version: LEVEL, max_version: LEVEL }]
}

/// What is in force.
pub(super) fn finalized() -> Vec<FinalizedFeatureKey> {
    let name = Str::from_static(METADATA_VERSION);
    alloc::vec![FinalizedFeatureKey { name, max_version_level: LEVEL, min_version_level: LEVEL }]
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
        let stays = |name: &Str, level: i16| **name == *METADATA_VERSION && level == LEVEL;
        let moved =
            request.feature_updates.iter().find(|update| !stays(&update.feature, update.max_version_level));
        let (code, why) = match moved {
            None => (ErrorCode::None, None),
            Some(moved) => {
                let why = Str::from(format!(
                    "Nothing was updated: the level {} of {} is not supported. {METADATA_VERSION} is {LEVEL} with this release, \
                     and no other feature has levels.",
                    moved.max_version_level, &*moved.feature
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
