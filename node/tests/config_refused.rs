//! What does not start: protections that are not there, listeners that cannot work, settings that contradict each
//! other. And what must never be printed.

use seedlog::config::{Loaded, Sources, Warning, load};

fn sources(file: &str) -> Sources {
    Sources {
        file: Some(("server.properties".into(), file.to_owned())),
        hostname: "here".to_owned(),
        ..Sources::default()
    }
}

fn loaded(file: &str) -> Loaded {
    load(&sources(file)).unwrap_or_else(|errors| panic!("{file:?} was refused:\n{errors}"))
}

fn said(file: &str) -> Vec<String> {
    let errors = load(&sources(file)).expect_err(file).0;
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_protection_that_is_not_there_is_refused() {
    for file in [
        "listeners=SSL://127.0.0.1:9092",
        "listeners=SASL_PLAINTEXT://127.0.0.1:9092",
        "listeners=INSIDE://127.0.0.1:9092\nlistener.security.protocol.map=INSIDE:SASL_SSL",
        "ssl.client.auth=required",
        "ssl.client.auth=requested",
        "listener.name.plaintext.ssl.client.auth=required",
        "security.inter.broker.protocol=SSL",
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users=User:admin",
        "create.topic.policy.class.name=a.B",
        "delete.topic.enable=false",
        "config.providers=file",
        "controller.quorum.bootstrap.servers=a:9093,b:9093,c:9093",
        "default.replication.factor=3",
        "remote.log.storage.system.enable=true",
        "admin.listener=0.0.0.0:9644",
    ] {
        let said = said(file);
        assert!(said.len() == 1 && said[0].contains("(server.properties:1): "), "{said:?}");
    }
    for file in ["ssl.client.auth=none", "authorizer.class.name=", "delete.topic.enable=true"] {
        assert!(matches!(loaded(file).warnings.as_slice(), [Warning::Unused { .. }]), "{file}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let file = "ssl.key.password=hunter2\nlistener.name.plaintext.scram-sha-256.sasl.jaas.config=hunter2\n";
    let config = loaded(file);
    assert_eq!(config.warnings.len(), 2);
    assert!(!format!("{:?} {}", config.warnings, config.show()).contains("hunter2"));
    assert!(!format!("{:?}", config.settings).contains("hunter2"));
}

#[test]
fn listeners_that_cannot_work_are_refused() {
    let map = "\nlistener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT";
    for (file, expected) in [
        ("listeners=", "at least one NAME://host:port"),
        ("listeners=127.0.0.1:9092", "there is no `://`"),
        ("listeners=PLAINTEXT://127.0.0.1", "there is no port"),
        ("listeners=PLAINTEXT://127.0.0.1:70000", "the port is not a number from 0 to 65535"),
        ("listeners=PLAINTEXT://::1:9092", "an IPv6 address needs brackets"),
        ("listeners=PLAINTEXT://[x]:9092", "the brackets hold no IPv6 address"),
        ("listeners=PLAINTEXT://a/b:9092", "the host is neither a name nor an address"),
        ("listeners=INSIDE://127.0.0.1:9092", "add INSIDE:PLAINTEXT to listener.security.protocol.map"),
        (&format!("listeners=A://:1,A://:2{map}"), "the name A is there twice"),
        (&format!("listeners=A://:1,B://127.0.0.1:1{map}"), "A and B share port 1"),
        ("advertised.listeners=PLAINTEXT://0.0.0.0:9092", "clients cannot connect to PLAINTEXT's address"),
        ("advertised.listeners=PLAINTEXT://a:0", "clients cannot connect to PLAINTEXT's address"),
        ("listeners=PLAINTEXT://:1\ncontroller.listener.names=PLAINTEXT", "there is no listener for clients"),
        ("controller.listener.names=CONTROLLER", "CONTROLLER is not in `listeners`"),
        (&format!("listeners=A://:1,B://:2\nadvertised.listeners=A://a:1{map}"), "listener B is missing"),
        ("admin.listener=example.org:1", "`off`, or a loopback address"),
    ] {
        let said = said(file);
        assert!(said.len() == 1 && said[0].contains(expected), "{file}: {said:?}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (file, expected) in [
        ("min.insync.replicas=2", "may be at most 1, because this node is a cluster of its own"),
        ("message.max.bytes=200000000", "may be at most 104857600 with socket.request.max.bytes"),
        ("message.max.bytes=8000000", "may be at most 4190208 with group.bytes.max=4194304"),
        ("group.bytes.max=67108864", "may be at most 67104768 with journal.file.bytes=67108864"),
        (
            "journal.bytes.max=200000000",
            "may be at most 50000000 with journal.bytes.max=200000000 (server.pro",
        ),
        ("journal.file.bytes=67108865", "must be a multiple of 4096"),
        ("memory.tail.cache.bytes=300000000", "may be at most 268435456 with memory.budget.bytes"),
        ("memory.budget.bytes=134217728", "may be at most 46137344 with memory.budget.bytes=134217728"),
        ("process.roles=broker", "list the controllers in controller.quorum.voters"),
        ("log.dirs=a,b", "this release takes one folder"),
        ("log.dirs=,", "must name a folder"),
        ("node.id=1\nbroker.id=2", "differs from node.id=1"),
    ] {
        let said = said(file);
        assert!(said.iter().any(|line| line.contains(expected)), "{file}: {said:?}");
    }
}

#[test]
fn settings_of_consumer_groups_keep_their_bounds() {
    let refused = [
        ("group.consumer.session.timeout.ms=44999", "between group.consumer.min.session.timeout.ms"),
        ("group.consumer.session.timeout.ms=60001", "between group.consumer.min.session.timeout.ms"),
        ("group.consumer.heartbeat.interval.ms=16000", "between group.consumer.min.heartbeat.interval.ms"),
        ("group.consumer.assignment.interval.ms=15001", "between group.consumer.min.assignment.interval.ms"),
        ("group.consumer.assignors=uniform,sticky", "uniform, range, or both, each once"),
        ("group.consumer.assignors=range,range", "uniform, range, or both, each once"),
        ("group.consumer.migration.policy=sideways", "one of disabled, upgrade, downgrade, bidirectional"),
        (
            "group.consumer.min.session.timeout.ms=1\ngroup.consumer.session.timeout.ms=5000",
            "must be greater than group.consumer.heartbeat.interval.ms",
        ),
    ];
    for (file, rule) in refused {
        let said = said(file);
        assert!(said.len() == 1 && said[0].contains(rule), "{said:?}");
    }
    for file in [
        "group.consumer.assignors=org.apache.kafka.coordinator.group.assignor.RangeAssignor,uniform",
        "group.consumer.migration.policy=DISABLED",
        "group.consumer.session.timeout.ms=60000",
    ] {
        assert!(loaded(file).warnings.is_empty(), "{file}");
    }
}
