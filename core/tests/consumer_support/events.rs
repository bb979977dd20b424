//! What may happen to a consumer group.

use proptest::prelude::*;

use super::{CLASSICS, CLIENTS, TOPICS};

#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// The client lets itself be heard; its answer may be lost.
    Beat {
        client: usize,
        is_lost: bool,
    },
    /// It wants something else from its next heartbeat on.
    Want {
        client: usize,
        what: usize,
    },
    /// It lets go of what it was told to, or of all.
    Revoke {
        client: usize,
    },
    /// It says that it goes, for good or for now.
    Leave {
        client: usize,
        comes_back: bool,
    },
    /// It begins anew, under another id.
    Forget {
        client: usize,
    },
    /// A classic member joins, with an id if it has one.
    Join {
        client: usize,
    },
    Sync {
        client: usize,
    },
    Heartbeat {
        client: usize,
    },
    LeaveGroup {
        client: usize,
    },
    /// All classic members do what such members do.
    Classics,
    /// All others leave.
    Desert,
    Commit {
        client: usize,
        topic: usize,
    },
    /// A topic comes, grows or goes.
    Change {
        topic: usize,
    },
    /// The group gets settings of its own, or loses them.
    Configure {
        has_some: bool,
    },
    Advance {
        ms: u64,
    },
    Expire,
    Delete,
    /// Another node reads the log.
    Restart,
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    let (client, classic) = (0..CLIENTS, 0..CLASSICS);
    prop_oneof![
        16 => (client.clone(), prop::bool::weighted(0.1))
            .prop_map(|(client, is_lost)| Event::Beat { client, is_lost }),
        2 => (client.clone(), 0..6_usize).prop_map(|(client, what)| Event::Want { client, what }),
        6 => client.clone().prop_map(|client| Event::Revoke { client }),
        1 => (client.clone(), prop::bool::ANY)
            .prop_map(|(client, comes_back)| Event::Leave { client, comes_back }),
        1 => client.clone().prop_map(|client| Event::Forget { client }),
        3 => (client, 0..TOPICS).prop_map(|(client, topic)| Event::Commit { client, topic }),
        2 => (0..TOPICS).prop_map(|topic| Event::Change { topic }),
        1 => prop::bool::ANY.prop_map(|has_some| Event::Configure { has_some }),
        6 => prop_oneof![Just(1), Just(1_000), Just(5_000), Just(20_000), Just(50_000)]
            .prop_map(|ms| Event::Advance { ms }),
        2 => classic.clone().prop_map(|client| Event::Join { client }),
        2 => classic.clone().prop_map(|client| Event::Sync { client }),
        2 => classic.clone().prop_map(|client| Event::Heartbeat { client }),
        8 => Just(Event::Classics),
        1 => Just(Event::Desert),
        1 => classic.prop_map(|client| Event::LeaveGroup { client }),
        1 => Just(Event::Expire),
        1 => Just(Event::Delete),
        1 => Just(Event::Restart),
    ]
}
