//! `seedlog consume --group`: reads what the group gives this member, from where the group stopped.
//!
//! What counts as read is what went out on standard output: it is committed after the flush and never before, so that a
//! record is printed by somebody at least once, whoever ends in between. While nobody takes what is printed, the member is
//! silent, and after its session timeout the group goes on without it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::output::{CliResult, Output};
use super::{ConsumeArgs, Patience, TOPIC_PATIENCE, print};
use crate::client::admin::{self, EARLIEST, LATEST};
use crate::client::groups::{self, CommitPoint, Commits};
use crate::client::{
    ClientError, Cluster, Consumer, ConsumerOptions, FetchedBatch, Member, MemberOptions, PartitionName,
};
use crate::shutdown;
use tokio::time::sleep;

/// How long what is printed may wait for its commit.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How long the last commit is tried.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);
/// How long until something is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long others wait for this member in a rebalance.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a member is heard, unless its session is short.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
/// How often the leader looks whether topics have more partitions.
const TOPICS_INTERVAL: Duration = Duration::from_secs(30);

/// Reads until there is enough, or somebody asks this process to stop; then commits and leaves.
pub(super) async fn run(args: &ConsumeArgs, group: &str, cluster: Cluster, output: &mut Output) -> CliResult {
    let mut session = Session::new(args, group, cluster);
    let outcome = tokio::select! {
        biased;
        () = shutdown::asked() => Ok(()),
        outcome = session.read(output) => outcome,
    };
    // Whatever ended it: what was printed is printed.
    let committed = session.end().await;
    outcome.and(committed)
}

/// Why one generation ended.
enum End {
    /// The group calls its members together.
    Rebalance,
    /// There is enough.
    Enough,
}

struct Session<'a> {
    args: &'a ConsumeArgs,
    group: &'a str,
    cluster: Cluster,
    member: Member,
    patience: Patience,
    left: u64,
    /// How far the partitions of this generation are printed; what is committed of it is taken out.
    printed: Commits,
    committed_at: Instant,
}

impl<'a> Session<'a> {
    fn new(args: &'a ConsumeArgs, group: &'a str, cluster: Cluster) -> Self {
        let session_timeout = Duration::from_millis(u64::from(args.session_timeout_ms));
        let options = MemberOptions {
            group: group.to_owned(),
            instance_id: args.group_instance_id.clone(),
            topics: args.topics().into_iter().map(str::to_owned).collect(),
            session_timeout,
            rebalance_timeout: REBALANCE_TIMEOUT.max(session_timeout),
            heartbeat_interval: HEARTBEAT_INTERVAL.min(session_timeout / 3),
            outage_max: ConsumerOptions::default().outage_max,
        };
        Self {
            args,
            group,
            member: Member::new(cluster.clone(), options),
            cluster,
            patience: Patience::of(args),
            left: args.max_messages.unwrap_or(u64::MAX),
            printed: Commits::new(),
            committed_at: Instant::now(),
        }
    }

    /// Reads one generation after the other.
    async fn read(&mut self, output: &mut Output) -> CliResult {
        for topic in self.args.topics() {
            self.cluster.topic_within(topic, false, TOPIC_PATIENCE).await?;
        }
        loop {
            self.printed.clear();
            let membership = self.member.join().await?;
            self.patience.renew();
            self.look_up(&membership.partitions).await?;
            let positions = self.starting_positions(&membership.partitions).await?;
            let options =
                ConsumerOptions { beyond_end: Some(self.reset_place()), ..ConsumerOptions::default() };
            let consumer = Consumer::of(self.cluster.clone(), positions, options);
            match self.read_generation(consumer, output).await? {
                End::Enough => return Ok(()),
                End::Rebalance => {}
            }
        }
    }

    /// Learns of what was assigned: the leader may know of partitions that are newer than what is known here, or to the
    /// broker that is asked.
    async fn look_up(&self, partitions: &BTreeSet<PartitionName>) -> CliResult {
        let topics: BTreeSet<&str> = partitions.iter().map(|place| &*place.topic).collect();
        for topic in topics {
            let of_topic = partitions.iter().filter(|place| *place.topic == *topic);
            let last = of_topic.map(|place| place.partition).max().unwrap_or(0);
            let since = Instant::now();
            loop {
                let view = self.cluster.topic_within(topic, false, TOPIC_PATIENCE).await?;
                match view.partition(last) {
                    Ok(_) => break,
                    Err(_) if since.elapsed() < TOPIC_PATIENCE => sleep(PAUSE).await,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Where the group stopped; in partitions of which it committed nothing, where the arguments say.
    async fn starting_positions(
        &mut self,
        partitions: &BTreeSet<PartitionName>,
    ) -> CliResult<BTreeMap<PartitionName, i64>> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let patience = self.args.remote.request_timeout();
        let mut positions = groups::committed_offsets(&self.cluster, self.group, patience).await?;
        positions.retain(|place, _| partitions.contains(place));
        let mut fresh: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
        for place in partitions.iter().filter(|place| !positions.contains_key(*place)) {
            fresh.entry(&place.topic).or_default().insert(place.partition, self.reset_place());
        }
        for (topic, wanted) in fresh {
            let found = admin::list_offsets(&self.cluster, topic, &wanted, patience).await?;
            for (partition, offset) in found {
                let (place, offset) = (PartitionName::new(topic, partition), offset.unwrap_or(0));
                // It is committed even if nothing is read: whoever comes next must not begin at a later end.
                self.printed.insert(place.clone(), CommitPoint::at(offset));
                positions.insert(place, offset);
            }
        }
        Ok(positions)
    }

    async fn read_generation(&mut self, mut consumer: Consumer, output: &mut Output) -> CliResult<End> {
        let mut topics_looked_at = Instant::now();
        if !self.commit().await? {
            return Ok(End::Rebalance);
        }
        while self.left > 0 {
            let Some(wait) = self.patience.wait() else { break };
            // Who is lost begins anew from what is committed, so that an answer that is given up is no loss.
            let batches = tokio::select! {
                biased;
                refusal = self.member.lost() => return self.on_lost(refusal).await,
                batches = consumer.poll(wait.min(COMMIT_INTERVAL)) => batches?,
            };
            self.print(&batches, output)?;
            for notice in consumer.take_notices() {
                output.notice(&notice);
            }
            if self.committed_at.elapsed() >= COMMIT_INTERVAL && !self.commit().await? {
                return Ok(End::Rebalance);
            }
            if topics_looked_at.elapsed() >= TOPICS_INTERVAL {
                topics_looked_at = Instant::now();
                // What cannot be asked today is asked again later.
                if self.member.deals_anew().await.unwrap_or(false) {
                    self.commit_last().await?;
                    return Ok(End::Rebalance);
                }
            }
        }
        Ok(End::Enough)
    }

    /// Prints, flushes, and only then takes it for printed.
    fn print(&mut self, batches: &[FetchedBatch], output: &mut Output) -> CliResult {
        let mut reached = Commits::new();
        for batch in batches {
            let printed = print::batch(self.args, batch, self.left, output)?;
            if printed.records > 0 {
                self.patience.renew();
            }
            if printed.next > batch.from {
                let leader_epoch = batch.header.leader_epoch.0;
                reached.insert(batch.place.clone(), CommitPoint { offset: printed.next, leader_epoch });
            }
            self.left -= printed.records;
        }
        output.flush()?;
        self.printed.append(&mut reached);
        Ok(())
    }

    /// The generation is over: what was printed is committed, if that still counts.
    async fn on_lost(&mut self, refusal: ClientError) -> CliResult<End> {
        if !self.member.may_join_again(&refusal) {
            return Err(refusal.into());
        }
        self.commit_last().await?;
        Ok(End::Rebalance)
    }

    /// Commits what was printed, or leaves it for later if the coordinator is not to be had. `false`: the generation is over,
    /// and others print it again.
    async fn commit(&mut self) -> CliResult<bool> {
        self.committed_at = Instant::now();
        if self.printed.is_empty() {
            return Ok(true);
        }
        match self.member.commit(&self.printed).await {
            Ok(()) => {
                self.printed.clear();
                Ok(true)
            }
            Err(error) if self.member.may_join_again(&error) => Ok(error.is_transient()),
            Err(error) => Err(error.into()),
        }
    }

    /// The same for the last time in a generation: waits a little for the coordinator.
    async fn commit_last(&mut self) -> CliResult {
        let since = Instant::now();
        while self.commit().await? && !self.printed.is_empty() && since.elapsed() < COMMIT_PATIENCE {
            sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn end(mut self) -> CliResult {
        let committed = self.commit_last().await;
        // Who cannot say that it leaves is missed after its session timeout.
        drop(self.member.leave().await);
        committed
    }

    fn reset_place(&self) -> i64 {
        if self.args.from_beginning { EARLIEST } else { LATEST }
    }
}
