//! S19 memory is the log (INVARIANTS.md 3a), and S15 for the group log: what a coordinator knows is what the last record of each
//! key in its own log says, whether it wrote these records or loaded them.

use super::node_log::NodeLog;
use seedlog_core::group::Groups;
use seedlog_core::group::records::GroupRecord;
use std::collections::BTreeMap;

/// What is known of a partition's groups is what its log adds up to.
///
/// # Errors
/// The first key of which something else is known.
pub fn check(groups: &Groups, log: Option<&NodeLog>) -> Result<(), String> {
    let mut due: BTreeMap<Vec<u8>, &GroupRecord> = BTreeMap::new();
    for record in log.into_iter().flat_map(|log| &log.batches).flat_map(|held| &held.batch.groups) {
        let (key, value) = record.encode();
        match value {
            Some(_) => due.insert(key, record),
            None => due.remove(&key),
        };
    }
    for known in groups.written() {
        let (key, _) = known.encode();
        match due.remove(&key) {
            Some(record) if *record == known => {}
            Some(record) => return Err(format!("the log has {record:?}, and it knows {known:?}")),
            None => return Err(format!("it knows {known:?}, and the log does not")),
        }
    }
    match due.into_values().next() {
        Some(record) => Err(format!("the log has {record:?}, and it does not know")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::node_log::Held;
    use crate::judges::shadow::shadow_of;
    use seedlog_core::group::GroupSettings;
    use seedlog_core::group::records::{OffsetCommitKey, OffsetCommitValue};
    use seedlog_core::ids::{Lsn, Offset, Uuid};
    use seedlog_core::records::{BatchBuilder, BatchHeader};
    use std::sync::Arc;

    fn commit(offset: Option<i64>) -> GroupRecord {
        let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 0 };
        let value = offset.map(|offset| OffsetCommitValue {
            offset,
            leader_epoch: -1,
            metadata: "".into(),
            commit_timestamp: 1,
            expire_timestamp: -1,
            topic_id: Uuid([1; 16]),
        });
        GroupRecord::Offset(key, value)
    }

    fn log(records: &[GroupRecord]) -> NodeLog {
        let mut builder = BatchBuilder::new();
        for record in records {
            let (key, value) = record.encode();
            builder.add(1, Some(&key), value.as_deref(), &[]);
        }
        let bytes = builder.finish();
        let shadow = shadow_of(&BatchHeader::parse(&bytes).unwrap(), &bytes);
        assert_eq!(shadow.groups, records);
        NodeLog { batches: vec![Held { batch: Arc::new(shadow), lsn: Lsn(1) }], ..NodeLog::default() }
    }

    #[test]
    fn memory_that_differs_from_the_log_is_found() {
        let mut groups = Groups::new(GroupSettings::default());
        groups.replay(Offset(1), &commit(Some(5)));
        assert_eq!(check(&groups, Some(&log(&[commit(Some(4)), commit(Some(5))]))), Ok(()));
        assert!(check(&groups, Some(&log(&[commit(Some(6))]))).unwrap_err().contains("offset: 6"));
        let forgotten = log(&[commit(Some(5)), commit(None)]);
        assert!(check(&groups, Some(&forgotten)).unwrap_err().contains("the log does not"));
        groups.replay(Offset(2), &commit(None));
        assert_eq!(check(&groups, Some(&forgotten)), Ok(()));
        assert!(check(&groups, Some(&log(&[commit(Some(5))]))).unwrap_err().contains("does not know"));
    }
}
