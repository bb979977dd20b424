//! Settings of groups as the controller decides them: what they may take altogether, and that nothing else is in the way.

use seedlog_core::cluster::decide::configs::resource;
use seedlog_core::cluster::decide::decide_incremental_alter_configs;
use seedlog_core::cluster::image::Image;
use seedlog_core::config::{AdvertisedListener, Config};
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{NodeId, Uuid};
use seedlog_core::wire::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use seedlog_core::wire::{IncrementalAlterConfigsRequest, Str};

const SET: i8 = 0;
const DELETE: i8 = 1;
const SESSION: &str = "consumer.session.timeout.ms";

fn config(group_configs_bytes_max: usize) -> Config {
    let listener = AdvertisedListener { host: "host".into(), port: 9092 };
    Config { group_configs_bytes_max, ..Config::new(NodeId(1), Uuid([1; 16]), listener) }
}

fn change(group: &str, operation: i8, value: Option<&str>) -> AlterConfigsResource {
    let change = AlterableConfig {
        name: Str::from_static(SESSION),
        config_operation: operation,
        value: value.map(Str::from),
    };
    AlterConfigsResource {
        resource_type: resource::GROUP,
        resource_name: group.into(),
        configs: vec![change],
    }
}

/// Carries changes out in one request. Gives back the code of each.
fn alter(image: &mut Image, config: &Config, resources: Vec<AlterConfigsResource>) -> Vec<ErrorCode> {
    let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
    let decision = decide_incremental_alter_configs(image, config, &request);
    image.replay(image.end(), &decision.records);
    image.check_invariants();
    let codes = decision.response.responses.iter().map(|it| ErrorCode::from_code(it.error_code));
    codes.map(|code| code.expect("a code of Kafka's")).collect()
}

#[test]
fn settings_of_groups_have_a_limit_together() {
    const GROUPS: usize = 3;
    let mut image = Image::default();
    let one = |group: usize| change(&format!("group-{group}"), SET, Some("50000"));
    alter(&mut image, &config(usize::MAX), vec![one(0)]);
    let bytes = image.group_configs().iter().map(|(group, config)| config.bytes(group)).sum::<usize>();
    let config = config(bytes * GROUPS);
    // In one request and in several the same number is taken.
    assert_eq!(
        alter(&mut image, &config, vec![one(1), one(2), one(3)]),
        [ErrorCode::None, ErrorCode::None, ErrorCode::PolicyViolation]
    );
    assert_eq!(alter(&mut image, &config, vec![one(4)]), [ErrorCode::PolicyViolation]);
    // What is there can be changed and deleted; then there is room for another.
    assert_eq!(alter(&mut image, &config, vec![change("group-0", SET, Some("60000"))]), [ErrorCode::None]);
    assert_eq!(alter(&mut image, &config, vec![change("group-1", DELETE, None)]), [ErrorCode::None]);
    assert_eq!(alter(&mut image, &config, vec![one(4)]), [ErrorCode::None]);
    assert_eq!(image.group_configs().len(), GROUPS);
    // Under a limit that was lowered only deletion is left.
    let lowered = Config { group_configs_bytes_max: 0, ..config };
    assert_eq!(alter(&mut image, &lowered, vec![one(5)]), [ErrorCode::PolicyViolation]);
    assert_eq!(alter(&mut image, &lowered, vec![change("group-4", DELETE, None)]), [ErrorCode::None]);
    assert_eq!(image.group_configs().len(), GROUPS - 1);
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let mut image = Image::default();
    let config = config(usize::MAX);
    for (operation, value) in [(DELETE, None), (SET, Some("50000")), (SET, Some("050000"))] {
        let end = image.end();
        let request = IncrementalAlterConfigsRequest {
            resources: vec![change("readers", operation, value)],
            validate_only: false,
        };
        let decision = decide_incremental_alter_configs(&image, &config, &request);
        let is_news = value == Some("50000");
        assert_eq!(decision.records.is_empty(), !is_news, "{value:?}");
        if is_news {
            image.replay(end, &decision.records);
        }
    }
}
