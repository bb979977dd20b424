//! The part of an administrator that changes settings of topics or groups, and checks that what was answered is committed.

use super::Context;
use super::catalog::stable_name;
use crate::judges::Judge;
use crate::plan::TopicPlan;
use seedlog_core::cluster::decide::configs::resource;
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use seedlog_core::wire::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, Request, Str};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Alterer {
    /// A change whose outcome nobody told may be committed at any later time.
    is_unsure: bool,
}

/// A setting and what it was changed to; `None` to follow the brokers again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alteration {
    pub(super) of: Of,
    pub(super) key: &'static str,
    pub(super) value: Option<String>,
}

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Of {
    Topic(String),
    Group(String),
}

impl Alterer {
    pub(super) fn ask(&self, ctx: &mut Context<'_>, topics: &[TopicPlan]) -> (Alteration, Request, i16) {
        let index = ctx.rng.index(topics.len());
        let topic = topics[index];
        let (key, value) = match ctx.rng.below(8) {
            0 => ("segment.ms", Some(ctx.rng.range(1, 5_000).to_string())),
            1 => ("segment.ms", None),
            2 => ("max.message.bytes", Some(ctx.rng.pick(&[400_u64, 20_000, 1 << 20]).to_string())),
            3 => ("max.message.bytes", None),
            _ => {
                // Never less than the plan counts on.
                let least = u64::try_from(topic.min_insync).unwrap_or(1);
                let most = u64::try_from(topic.replicas).unwrap_or(1).max(least);
                ("min.insync.replicas", Some(ctx.rng.range(least, most).to_string()))
            }
        };
        let alteration = Alteration { of: Of::Topic(stable_name(index)), key, value };
        let version = i16::try_from(ctx.rng.below(2)).unwrap_or(0);
        (alteration.clone(), alteration.request().into(), version)
    }

    pub(super) fn on_altered(
        &mut self,
        ctx: &mut Context<'_>,
        alteration: &Alteration,
        response: &IncrementalAlterConfigsResponse,
    ) {
        let code = response.responses.first().map(|response| response.error_code);
        if code != Some(ErrorCode::None.code()) {
            self.lose_track();
            return;
        }
        if self.is_unsure {
            return;
        }
        let Alteration { of, key, value } = alteration;
        let image = &ctx.truth.image;
        let held = match of {
            Of::Topic(name) => image.topic_named(name).map(|(_, held)| held.config.own().get(*key)),
            // A group without settings has none that is told apart from one that nobody knows.
            Of::Group(id) => Some(image.group_config(id).and_then(|config| config.own().get(*key))),
        };
        if held != Some(value.as_ref()) {
            let says = format!("{of:?}: {key}={value:?} is answered, and {held:?} is committed");
            ctx.hear(Judge::S1, Err(says));
        }
    }

    /// Nobody knows what became of a change.
    pub(super) fn lose_track(&mut self) {
        self.is_unsure = true;
    }
}

impl Alteration {
    pub(super) fn request(&self) -> IncrementalAlterConfigsRequest {
        let change = AlterableConfig {
            name: Str::from_static(self.key),
            config_operation: i8::from(self.value.is_none()),
            value: self.value.as_deref().map(Str::from),
        };
        let (resource_type, name) = match &self.of {
            Of::Topic(name) => (resource::TOPIC, name),
            Of::Group(id) => (resource::GROUP, id),
        };
        let resource = AlterConfigsResource {
            resource_type,
            resource_name: Str::from(name.as_str()),
            configs: vec![change],
        };
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }
    }
}
