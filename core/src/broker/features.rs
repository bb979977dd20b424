//! UpdateFeatures (KIP-584). This cluster has no feature whose level could be moved: what it does depends on its release alone.

use super::Broker;
use crate::errors::ErrorCode;
use crate::ids::{ConnId, RequestNumber};
use crate::output::Outputs;
use crate::wire::update_features::UpdatableFeatureResult;
use crate::wire::{Response, Str, UpdateFeaturesRequest, UpdateFeaturesResponse};
use alloc::format;

impl Broker {
    /// A request that changes nothing is carried out. In any other a feature is named, and none can be: one that fails fails all, as
    /// for Kafka, whether they are to be moved or only to be checked.
    pub(super) fn on_update_features(
        &mut self,
        conn: ConnId,
        number: RequestNumber,
        request: &UpdateFeaturesRequest,
        out: &mut Outputs,
    ) {
        let mut response = UpdateFeaturesResponse::default();
        if let Some(first) = request.feature_updates.first() {
            let why = Str::from(format!(
                "Nothing was updated: the level {} of {} is not supported, because this cluster has no features with levels.",
                first.max_version_level, &*first.feature
            ));
            let error_code = ErrorCode::InvalidUpdateVersion.code();
            let results = request.feature_updates.iter().map(|update| UpdatableFeatureResult {
                feature: update.feature.detached(),
                error_code,
                error_message: Some(why.clone()),
            });
            response.results = results.collect();
            response.error_code = error_code;
            response.error_message = Some(why);
        }
        self.reply(conn, number, Response::UpdateFeatures(response), out);
    }
}
