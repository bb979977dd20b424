//! The real node as a process: started from its binary on a folder of its own, served over real sockets, killed, stopped,
//! restarted and lied to. The command line is the client, so both ends are what a person runs. What a run of many steps
//! in any order does is the simulation's business; here is what only a process, a kernel and a file system show.

#![expect(clippy::unwrap_used, reason = "a helper fails as its test does")]

#[path = "live_node/compaction.rs"]
mod compaction;
#[path = "live_node/crash.rs"]
mod crash;
#[path = "live_node/crowd.rs"]
mod crowd;
#[path = "live_node/damage.rs"]
mod damage;
#[path = "live_node/everyday.rs"]
mod everyday;
#[path = "live_node/groups.rs"]
mod groups;
#[path = "live_node/hostile.rs"]
mod hostile;
#[path = "live_node/inspect.rs"]
mod inspect;
#[path = "live_node/metrics.rs"]
mod metrics;
#[path = "live_node/refusals.rs"]
mod refusals;
#[path = "live_node/retention.rs"]
mod retention;
#[path = "live_node/roles.rs"]
mod roles;
#[path = "live_node/support.rs"]
mod support;
