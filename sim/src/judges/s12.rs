//! S12 an ack means copies (INVARIANTS.md 3a): when a success leaves a node, the record is in its log; for acks=all it is in
//! the logs of at least `min.insync.replicas` nodes. With flush=always it is on the platter there, not merely in the page
//! cache.

use super::node_log::NodeLog;
use super::shadow::ShadowBatch;
use super::truth::Truth;
use seedlog_core::broker::Broker;
use seedlog_core::ids::{Lsn, Offset, TopicPartition};

/// A copy's log, and what is on its platter.
#[derive(Debug, Clone, Copy)]
pub struct Copy<'a> {
    /// The log.
    pub log: Option<&'a NodeLog>,
    /// The last entry on the platter; the greatest there is where the mode does not ask for it.
    pub durable: Lsn,
}

impl Copy<'_> {
    /// It has a batch, on its platter.
    #[must_use]
    pub fn has(&self, batch: &ShadowBatch) -> bool {
        let held = self.log.and_then(|log| log.at(batch.header.base_offset));
        held.is_some_and(|held| held.batch.whole == batch.whole && held.lsn <= self.durable)
    }
}

/// Checks one acknowledged batch: the copy of the node that answers, and those of the others if acks=all.
///
/// # Errors
/// What the acknowledgement promised too early.
pub fn check_ack<'a>(
    own: Copy<'_>,
    all: Option<(impl Iterator<Item = Copy<'a>>, usize)>,
    base: Offset,
) -> Result<(), String> {
    let Some(held) = own.log.and_then(|log| log.at(base)) else {
        return Err(format!("offset {base} is acknowledged and no batch begins there"));
    };
    if !own.has(&held.batch) {
        return Err(format!("offset {base} is acknowledged before its group is on the platter"));
    }
    all.map_or(Ok(()), |(copies, needed)| check_copies(copies, needed, &held.batch))
}

fn check_copies<'a>(
    copies: impl Iterator<Item = Copy<'a>>,
    needed: usize,
    batch: &ShadowBatch,
) -> Result<(), String> {
    let count = copies.filter(|copy| copy.has(batch)).count();
    if count < needed {
        let base = batch.header.base_offset;
        return Err(format!(
            "offset {base} is acknowledged with {count} durable copies, {needed} are promised"
        ));
    }
    Ok(())
}

/// What is acknowledged to a producer.
#[derive(Debug, Clone, Copy)]
pub struct Acked<'a> {
    /// The copy of the node that answers.
    pub own: Copy<'a>,
    /// By the metadata that this node knows it is not in sync: its copy may have been let go of.
    pub is_out: bool,
    /// Bits were flipped under it.
    pub is_hit: bool,
    /// The partition.
    pub partition: TopicPartition,
    /// The batch.
    pub base: Offset,
    /// What the producer asked for: -1 for all.
    pub acks: i16,
}

/// By the metadata that a node knows it is not in sync with a partition.
#[must_use]
pub fn is_out(broker: &Broker, partition: TopicPartition) -> bool {
    let me = broker.config().node_id;
    broker.image().partition(partition).is_some_and(|held| !held.state.isr.contains(&me))
}

/// Checks an acknowledgement that leaves for a producer, and remembers it for S1.
///
/// # Errors
/// What it promised too early.
pub fn check_produced<'a>(
    truth: &mut Truth,
    acked: Acked<'_>,
    copies: impl Iterator<Item = Copy<'a>> + Clone,
) -> Result<(), String> {
    let Acked { own, is_out, is_hit, partition, base, acks } = acked;
    let is_beyond = truth.is_beyond(partition);
    let image = &truth.image;
    let held = image.partition(partition).filter(|_| acks == -1);
    let needed = held.map(|held| {
        let needed = truth.needed.get(&partition.topic_id).copied().unwrap_or(1);
        let lost = held.replicas().iter().filter(|node| truth.losers.contains(node)).count();
        usize::try_from(needed).unwrap_or(1).saturating_sub(lost)
    });
    // It was acknowledged here, and other parts of the request were waited for: meanwhile the partition moved elsewhere.
    let has_moved = is_out && own.log.is_none_or(|log| log.at(base).is_none());
    // The watermark that passed it may have gone with the copy, before anybody saw it.
    let committed = || Some(&truth.logs.get(&partition)?.at(base)?.batch);
    let elsewhere = || copies.clone().find_map(|copy| Some(&copy.log?.at(base)?.batch));
    let moved = if has_moved { committed().or_else(elsewhere) } else { None };
    let said = match needed {
        _ if is_beyond || is_hit => Ok(()),
        Some(needed) if let Some(batch) = moved => check_copies(copies, needed, batch),
        None if has_moved => Ok(()),
        Some(needed) => check_ack(own, Some((copies, needed)), base),
        None => check_ack(own, None::<(std::iter::Empty<Copy<'_>>, usize)>, base),
    };
    let said = said.map_err(|says| format!("{partition}: {says}"));
    if acks != -1 {
        return said;
    }
    match truth.log_mut(partition).at_mut(base) {
        Some(held) => held.acked = true,
        None if is_beyond || has_moved => {}
        None => {
            let says = format!("{partition}: offset {base} is acknowledged by all, and is not committed");
            return said.and(Err(says));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::oracle::tests::{oracle, partition};

    #[test]
    fn an_ack_before_the_sync_and_one_with_too_few_copies_are_found() {
        let oracle = oracle(2);
        let log = oracle.logs.get(&partition());
        let own = Copy { log, durable: Lsn(1) };
        let none = None::<(std::iter::Empty<Copy<'_>>, usize)>;
        assert_eq!(check_ack(own, none.clone(), Offset(0)), Ok(()));
        assert!(check_ack(own, none.clone(), Offset(2)).unwrap_err().contains("platter"));
        assert!(check_ack(own, none, Offset(1)).unwrap_err().contains("no batch begins"));
        let copies = [own, Copy { log, durable: Lsn(0) }];
        assert_eq!(check_ack(own, Some((copies.into_iter(), 1)), Offset(0)), Ok(()));
        assert!(check_ack(own, Some((copies.into_iter(), 2)), Offset(0)).unwrap_err().contains("1 durable"));
    }
}
