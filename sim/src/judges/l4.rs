//! L4 exactly one stable controller (INVARIANTS.md 3a): when all faults have ended one node decides, and all others follow it in
//! its term.

use super::Judge;
use seedlog_core::broker::Broker;
use seedlog_core::cluster::records::Voter;
use seedlog_core::ids::{LeaderEpoch, NodeId};

/// Checks all live nodes.
///
/// # Errors
/// Who does not agree.
pub fn check<'a>(brokers: impl Iterator<Item = (NodeId, &'a Broker)>) -> Result<(), (Judge, String)> {
    let views = brokers.map(|(node, broker)| (node, broker.quorum().leader(), broker.is_controller()));
    check_views(&views.collect::<Vec<_>>()).map_err(|says| (Judge::L4, says))
}

/// A node, whom it follows in which term, and whether it decides.
pub type View = (NodeId, Option<(NodeId, LeaderEpoch)>, bool);

/// As [`check`], of what was seen of the nodes.
///
/// # Errors
/// Who does not agree.
pub fn check_views(views: &[View]) -> Result<(), String> {
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

/// What has a folder open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing, for good.
    Dead,
    /// Nothing yet.
    Starting,
    /// A broker.
    Up {
        /// It decides.
        is_controller: bool,
        /// Its quorum log is in doubt.
        is_doubtful: bool,
    },
}

/// Nobody can lead the quorum: the folder of a voter is lost, and of the others too few are in no doubt. A doubtful vote counts
/// only where every voter says yes (SAFETY J4, Q1); the cluster stands until its voters are changed.
#[must_use]
pub fn has_lost_quorum(voters: &[Voter], folders: impl Iterator<Item = (Voter, Standing)>) -> bool {
    let (mut present, mut firm) = (0, 0);
    for (_, standing) in folders.filter(|(folder, _)| voters.contains(folder)) {
        match standing {
            Standing::Dead => {}
            Standing::Starting | Standing::Up { is_controller: true, .. } => return false,
            Standing::Up { is_doubtful, .. } => {
                present += 1;
                firm += usize::from(!is_doubtful);
            }
        }
    }
    present < voters.len() && firm <= voters.len() / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::ids::Uuid;

    #[test]
    fn a_quorum_in_doubt_that_lost_a_folder_may_have_no_leader() {
        let voter = |node| Voter { node_id: NodeId(node), incarnation: Uuid([1; 16]) };
        let up = |is_controller, is_doubtful| Standing::Up { is_controller, is_doubtful };
        let lost = |folders: [Standing; 3]| {
            let voters = [voter(1), voter(2), voter(3)];
            has_lost_quorum(&voters, (1..).map(voter).zip(folders))
        };
        let (firm, doubtful) = (up(false, false), up(false, true));
        assert!(lost([firm, doubtful, Standing::Dead]));
        assert!(!lost([firm, doubtful, doubtful]), "all of them may agree");
        assert!(!lost([firm, firm, Standing::Dead]), "they are a majority");
        assert!(!lost([firm, doubtful, Standing::Starting]), "somebody is on its way");
        assert!(!lost([up(true, false), doubtful, Standing::Dead]), "somebody leads");
    }

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
