//! Nodes with one role each: a controller without clients, and brokers that are no voters.

use super::support::{Node, Place, wait_for};
use std::net::TcpListener;
use std::process::{Child, Stdio};

/// A controller: it serves no client, so it never says that it is ready.
struct Controller(Child);

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A place of a cluster whose only voter is node 1.
fn place(id: i32, roles: &str, voter_port: u16) -> Place {
    Place::new()
        .with("node.id", &id.to_string())
        .with("process.roles", roles)
        .with("controller.quorum.voters", &format!("1@127.0.0.1:{voter_port}"))
        .with("controller.listener.names", "CONTROLLER")
}

fn controller(place: &Place) -> Controller {
    let log = std::fs::File::create(place.file("node.log")).unwrap();
    Controller(place.command(&[]).stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

#[test]
fn brokers_that_are_no_voters_find_their_controller_and_are_found_where_they_are() {
    let port = free_port();
    let of_controller =
        place(1, "controller", port).with("listeners", &format!("CONTROLLER://127.0.0.1:{port}"));
    let running = controller(&of_controller);
    // The port where other nodes find a broker is another one at each start: only its own word can tell.
    let listeners = "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0";
    let (two, three) = (place(2, "broker", port), place(3, "broker", port));
    let two = two.with("listeners", listeners);
    let three = three.with("listeners", listeners);
    let (broker, other) = (two.start_with(1), three.start_with(1));
    broker.ok(&["topic", "create", "--topic", "t", "--replication-factor", "2"]);
    broker.produce(&["--topic", "t"], b"a\n");
    let values = |node: &Node, count| -> Vec<String> {
        node.read("t", count).iter().map(|record| record["value"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&other, 1), ["a"]);

    // All of them elsewhere, with what they know of each other out of date.
    broker.kill();
    other.kill();
    drop(running);
    let _running = controller(&of_controller);
    let (broker, other) = (two.start_with(1), three.start_with(1));
    let in_sync = || -> Option<usize> {
        let described = &broker.json(&["topic", "describe", "--topic", "t"])[0][0];
        let partition = &described["partitions"][0];
        partition["isr"].as_array().map(Vec::len).filter(|&count| count == 2)
    };
    wait_for("full ISR", in_sync);
    broker.produce(&["--topic", "t"], b"b\n");
    assert_eq!(values(&other, 2), ["a", "b"]);
}
