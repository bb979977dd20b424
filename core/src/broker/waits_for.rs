//! What keeps a node from serving, to be told to whoever runs it.

use crate::ids::NodeId;
use alloc::vec::Vec;

/// What keeps a node from serving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitsFor {
    /// A cluster that it is part of: it is founded once all configured voters are there and blank (SAFETY Q1).
    Founding {
        /// Voters that have not said anything.
        silent: Vec<NodeId>,
    },
    /// A leader of the quorum: a majority of the voters must be there.
    Leader {
        /// Voters that are not heard of.
        silent: Vec<NodeId>,
    },
    /// The controller, to take it for a part of the cluster.
    Registration,
}

impl core::fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (what, silent) = match self {
            Self::Founding { silent } => ("for its cluster to be founded, by all voters together", silent),
            Self::Leader { silent } => ("for a leader of the quorum, by a majority of the voters", silent),
            Self::Registration => return f.write_str("for the controller to register it"),
        };
        f.write_str(what)?;
        for (at, node) in silent.iter().enumerate() {
            write!(f, "{}{node}", if at == 0 { "; not heard of: node " } else { ", " })?;
        }
        Ok(())
    }
}
