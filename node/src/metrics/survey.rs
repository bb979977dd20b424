//! What is not counted as it happens but looked at when somebody asks: partitions, groups, the quorum, the store. A scrape asks, the
//! driver looks a little at a time between its other work, and the scrape shows what was found.

use seedlog_core::broker::Counts;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a scrape waits for the driver. One that is not there, or too busy, is left out of what is shown.
const SURVEY_WAIT: Duration = Duration::from_secs(2);
/// Partitions that one scrape shows in detail, at most.
pub const PARTITIONS_SHOWN_MAX: usize = 20_000;

/// What one scrape shows of groups, at most: groups and the partitions that each committed offsets of, taken together.
pub const GROUP_PARTS_SHOWN_MAX: usize = 20_000;

/// The partitions of this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicaCounts {
    /// It has a replica of them.
    pub here: u64,
    /// It leads them.
    pub led: u64,
    /// It leads them, and a replica is out of sync.
    pub under_replicated: u64,
    /// It leads them, with fewer in sync than min.insync.replicas.
    pub under_min_isr: u64,
    /// It leads them, with exactly min.insync.replicas in sync.
    pub at_min_isr: u64,
    /// It leads them, and they are on their way to other brokers.
    pub reassigning: u64,
    /// Its replica is damaged.
    pub offline: u64,
}

/// What a controller knows of the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterCounts {
    /// This node decides.
    pub is_active: bool,
    /// All topics.
    pub topics: u64,
    /// All partitions.
    pub partitions: u64,
    /// Those without a leader.
    pub leaderless: u64,
    /// Those that are not led by their first replica.
    pub imbalanced: u64,
    /// Brokers that are not heard of.
    pub fenced_brokers: u64,
    /// The others.
    pub active_brokers: u64,
}

/// This node's view of the quorum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuorumState {
    /// The term.
    pub term: i32,
    /// Who leads, if it is known.
    pub leader: Option<i32>,
    /// Members.
    pub voters: u64,
    /// End of what is committed.
    pub committed: i64,
    /// End of the log.
    pub end: i64,
}

/// What the store did and has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreState {
    /// Groups written to the journal.
    pub groups: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of them.
    pub written_bytes: u64,
    /// Bytes written to segments.
    pub segment_bytes: u64,
    /// Cleaning passes that wrote new segments.
    pub compactions: u64,
    /// Bytes of segments that they read.
    pub compacted_bytes: u64,
    /// Bytes of segments that they wrote.
    pub compaction_written_bytes: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Batches that could not be read back.
    pub damaged_batches: u64,
    /// Size of the journal's files.
    pub journal_bytes: u64,
    /// Record bytes that are in no segment.
    pub unsegmented_bytes: u64,
    /// Appends wait for room.
    pub holds_appends: bool,
    /// The disk has too little room.
    pub disk_is_full: bool,
}

/// A topic, wherever its partitions are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u64,
}

/// A partition that this node speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionDetail {
    /// Index of its topic in [`Survey::topics`].
    pub topic: usize,
    /// Its own index.
    pub index: i32,
    /// Who leads it.
    pub leader: Option<i32>,
    /// How many replicas it has.
    pub replicas: usize,
    /// How many are in sync.
    pub in_sync: usize,
    /// It is led by its first replica.
    pub is_preferred: bool,
    /// Where the log starts, and its high watermark, once the leader knows them.
    pub offsets: Option<(i64, i64)>,
}

/// A group that this node coordinates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    /// Its name.
    pub name: String,
    /// How many members it has.
    pub members: u64,
    /// The topics that it committed offsets of.
    pub topics: Vec<GroupTopic>,
}

/// What a group committed in one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupTopic {
    /// The topic's name.
    pub topic: String,
    /// Each partition with a committed offset.
    pub partitions: Vec<GroupPartition>,
}

/// What a group committed in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPartition {
    /// The partition.
    pub index: i32,
    /// The next offset to be read.
    pub offset: i64,
    /// How many are behind it; `None`: this node does not know where the log ends.
    pub lag: Option<i64>,
}

/// What one look at a node found. A look at thousands of partitions takes several turns of the driver; what changes in
/// between may show in one number and not yet in another.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Survey {
    /// The wish it answers.
    pub number: u64,
    /// Clients are let in.
    pub is_serving: bool,
    /// Partitions here.
    pub replicas: ReplicaCounts,
    /// The cluster; controllers know it.
    pub cluster: Option<ClusterCounts>,
    /// The quorum.
    pub quorum: QuorumState,
    /// The store.
    pub store: StoreState,
    /// What of the memory budget is taken, by part.
    pub memory: Vec<(super::MemoryPart, u64)>,
    /// Bytes copied from leaders.
    pub replicated_bytes: u64,
    /// What the broker counts.
    pub counts: Counts,
    /// Quantiles of recent times in ms, by request.
    pub request_ms: Vec<(&'static str, Vec<(&'static str, f64)>)>,
    /// The topics, for the active controller and for details.
    pub topics: Vec<TopicState>,
    /// The partitions that this node speaks for, if that was wished for.
    pub partitions: Vec<PartitionDetail>,
    /// How many of those are left out.
    pub partitions_left_out: u64,
    /// The groups that this node coordinates.
    pub groups: Vec<GroupState>,
    /// How many of those are left out.
    pub groups_left_out: u64,
}

/// What a scrape wishes to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Its number.
    pub number: u64,
    /// Each partition by itself.
    pub details: bool,
}

/// Tells the driver that there is a wish; `false` if there is no driver.
type Bell = Box<dyn Fn() -> bool + Send + Sync>;

#[derive(Default)]
struct State {
    last: u64,
    wish: Option<Wish>,
    bell: Option<Bell>,
}

/// Where scrapes and the driver meet. Scrapes that come before the driver has begun to look share one look.
pub(super) struct Desk {
    state: Mutex<State>,
    done: watch::Sender<Option<Arc<Survey>>>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), done: watch::Sender::new(None) }
    }

    pub(super) fn set_bell(&self, bell: Bell) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).bell = Some(bell);
    }

    /// The wish that no look has begun for.
    pub(super) fn take_wish(&self) -> Option<Wish> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).wish.take()
    }

    pub(super) fn give(&self, survey: Survey) {
        self.done.send_replace(Some(Arc::new(survey)));
    }

    /// A look that begins after this call; `None` without a driver, or if that takes too long.
    pub(super) async fn look(&self, details: bool) -> Option<Arc<Survey>> {
        let mut done = self.done.subscribe();
        let number = self.wish(details)?;
        let is_newer =
            |survey: &Option<Arc<Survey>>| survey.as_ref().is_some_and(|found| found.number >= number);
        let found = timeout(SURVEY_WAIT, done.wait_for(is_newer)).await.ok()?.ok()?;
        found.clone()
    }

    fn wish(&self, details: bool) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wish) = &mut state.wish {
            wish.details |= details;
            return Some(wish.number);
        }
        if !state.bell.as_ref().is_some_and(|ring| ring()) {
            return None;
        }
        state.last += 1;
        let number = state.last;
        state.wish = Some(Wish { number, details });
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn scrapes_share_a_look_and_none_takes_one_that_began_before_it() {
        let desk = Arc::new(Desk::new());
        assert_eq!(desk.look(false).await, None, "there is no driver");
        desk.set_bell(Box::new(|| true));
        let ask = |details| {
            let desk = Arc::clone(&desk);
            tokio::spawn(async move { desk.look(details).await.map(|found| found.number) })
        };
        let (first, second) = (ask(false), ask(true));
        tokio::task::yield_now().await;
        assert_eq!(desk.take_wish(), Some(Wish { number: 1, details: true }));
        let third = ask(false);
        tokio::task::yield_now().await;
        desk.give(Survey { number: 1, ..Survey::default() });
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (Some(1), Some(1)));
        assert_eq!(desk.take_wish(), Some(Wish { number: 2, details: false }));
        desk.give(Survey { number: 2, ..Survey::default() });
        assert_eq!(third.await.unwrap(), Some(2));
        assert_eq!(desk.take_wish(), None);
    }
}
