//! Seedlog and Apache Kafka on the same machine, taking turns.
//!
//! * [`load`]: what clients do; * [`broker`]: clusters of processes, and what they use; * [`rows`]: what is done to a cluster and
//!   measured of it; * [`compare`]: the turns, the ratios and the table.

pub mod broker;
pub mod compare;
pub mod load;
pub mod rows;
