//! Q1 one cluster is founded, once (SAFETY Q1): only when every configured voter was there and blank. That no second one is
//! founded is looked at where the entries are (`world::watch`): every folder's cluster is the first one's.

use seedlog_core::cluster::records::Voter;
use seedlog_core::ids::NodeId;

/// A node writes down the cluster that it belongs to. `configured`: the voters are the nodes 1 up to this.
///
/// # Errors
/// A configured voter had no part in it.
pub fn check(voters: &[Voter], configured: usize) -> Result<(), String> {
    let missing = (1..=configured).find(|&id| {
        let id = NodeId(i32::try_from(id).unwrap_or(i32::MAX));
        voters.iter().all(|voter| voter.node_id != id)
    });
    match missing {
        Some(id) => Err(format!("a cluster is founded without node {id}, which may found another one")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::ids::Uuid;

    #[test]
    fn a_founding_without_a_voter_is_found() {
        let voter = |id| Voter { node_id: NodeId(id), incarnation: Uuid::ZERO };
        assert_eq!(check(&[voter(1), voter(2), voter(3)], 3), Ok(()));
        assert!(check(&[voter(1), voter(3)], 3).unwrap_err().contains("without node 2"));
    }
}
