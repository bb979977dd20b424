//! L4 exactly one stable controller (INVARIANTS.md 3a): when all faults have ended one node decides, and all others follow it in
//! its term.

use super::Judge;
use seedlog_core::broker::Broker;
use seedlog_core::ids::{LeaderEpoch, NodeId};

/// Checks all live nodes.
///
/// # Errors
/// Who does not agree.
pub fn check<'a>(brokers: impl Iterator<Item = (NodeId, &'a Broker)>) -> Result<(), (Judge, String)> {
    let views = brokers.map(|(node, broker)| (node, broker.quorum().leader(), broker.is_controller()));
    check_views(&views.collect::<Vec<_>>()).map_err(|says| (Judge::L4, says))
}

type View = (NodeId, Option<(NodeId, LeaderEpoch)>, bool);

fn check_views(views: &[View]) -> Result<(), String> {
    let controllers: Vec<NodeId> =
        views.iter().filter(|(_, _, decides)| *decides).map(|(node, ..)| *node).collect();
    let [controller] = controllers[..] else {
        return Err(format!("the controllers are {controllers:?}"));
    };
    let term = views.iter().find(|(node, ..)| *node == controller).and_then(|(_, leader, _)| *leader);
    match views.iter().find(|(_, leader, _)| *leader != term) {
        None => Ok(()),
        Some((node, leader, _)) => {
            Err(format!("node {controller} decides as {term:?}, and node {node} follows {leader:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_controllers_and_a_stray_follower_are_found() {
        let leader = |node, term| Some((NodeId(node), LeaderEpoch(term)));
        let one = (NodeId(1), leader(1, 5), true);
        assert_eq!(check_views(&[one, (NodeId(2), leader(1, 5), false)]), Ok(()));
        assert!(check_views(&[one, (NodeId(2), leader(2, 6), true)]).is_err());
        assert!(check_views(&[one, (NodeId(2), leader(3, 4), false)]).unwrap_err().contains("node 2"));
        assert!(check_views(&[(NodeId(1), None, false)]).is_err());
    }
}
