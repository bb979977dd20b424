//! What a node does not start with: each refusal is one sentence that names the cause and says what to do, with code 1.

use std::fs;
use std::net::TcpListener;

use crate::support::{Place, seedlog};

/// A refusal that says all of this.
fn refused(place: &Place, parts: &[&str]) {
    let stderr = place.refusal();
    for part in parts {
        assert!(stderr.contains(part), "{part:?} is not in {stderr}");
    }
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = Place::new().with("listeners", &format!("PLAINTEXT://{address}"));
    refused(
        &place,
        &[&format!("PLAINTEXT://{address}: another process listens there"), "choose another port"],
    );
    assert!(!place.data().exists(), "a node that cannot listen founds nothing");
    let place = Place::new().with("admin.listener", &address);
    refused(&place, &[&format!("admin.listener={address}"), "choose another port", "admin.listener=off"]);
    // 192.0.2.0/24 belongs to no machine (RFC 5737).
    let place = Place::new().with("listeners", "PLAINTEXT://192.0.2.1:0");
    refused(&place, &["listener PLAINTEXT://192.0.2.1:0", "write an address of this machine"]);
}

#[test]
fn a_folder_of_somebody_else() {
    let mut place = Place::new();
    let node = place.start();
    refused(&place, &["is in use by another process", "folder of its own"]);
    node.stop();
    place.set("node.id", "2");
    refused(&place, &["belongs to node 1, but node.id is 2", "log.dirs"]);
    place.set("node.id", "1");
    place.set("cluster.id", "MkU3OEVBNTcwNTJENDM2Qg");
    refused(&place, &["belongs to cluster", "but cluster.id is MkU3OEVBNTcwNTJENDM2Qg", "log.dirs"]);
}

#[test]
fn a_folder_that_is_none() {
    let place = Place::new();
    fs::write(place.data(), "a file").unwrap();
    refused(&place, &["cannot create the folder", &place.data().display().to_string()]);
}

#[test]
fn a_folder_whose_identity_is_lost_or_unknown() {
    let place = Place::new();
    let node = place.start();
    node.ok(&["produce", "--topic", "t", "--value", "v"]);
    node.stop();
    let meta = place.data().join("meta.properties");
    let good = fs::read_to_string(&meta).unwrap();
    fs::remove_file(&meta).unwrap();
    refused(&place, &["holds data but no meta.properties", "restore the file from a copy"]);
    fs::write(&meta, good.replace("version=2", "version=9")).unwrap();
    refused(&place, &["meta.properties has version 9", "start the newer release"]);
    for bad in ["", "version=one", "version=2\nnode.id=?\n"] {
        fs::write(&meta, bad).unwrap();
        refused(&place, &["meta.properties: it has no", "restore the file from a copy"]);
    }
    fs::write(&meta, good).unwrap();
    let node = place.start();
    assert_eq!(node.ends("t"), [1], "refusals change nothing");
    node.stop();
}

#[test]
fn a_configuration_that_is_wrong() {
    let place = Place::new().with("flush", "never").with("nodeid", "1").with("num.partitions", "0");
    refused(
        &place,
        &[
            "nodeid (--override): there is no such setting; did you mean node.id?",
            "flush=never (--override): the value must be one of: always, interval",
            "num.partitions=0 (--override): the value must be a whole number from 1 to 100000",
        ],
    );
    assert!(!place.data().exists(), "nothing is founded");
    let file = place.file("node.properties");
    fs::write(&file, "# comment\nnode.idd=3\n").unwrap();
    for (args, parts) in [
        (["--config", file.to_str().unwrap()], ["node.properties:2", "did you mean node.id?"]),
        (["--config", "nowhere.properties"], ["nowhere.properties", "cannot be read"]),
        (["--override", "node.id"], ["node.id", "="]),
        (["--override", "admin.listener=0.0.0.0:0"], ["admin.listener=0.0.0.0:0", "127.0.0.1"]),
        (["--override", "listeners=SSL://127.0.0.1:0"], ["SSL", "PLAINTEXT"]),
        (["--log-level", "seedlog=loud"], ["seedlog=loud", "--log-level"]),
    ] {
        let output = seedlog(&[&["node"][..], &args].concat()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{args:?}: {part:?} is not in {stderr}");
        }
    }
}
