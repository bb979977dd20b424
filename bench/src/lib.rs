//! Seedlog and Apache Kafka on the same machine, taking turns.
//!
//! * [`load`]: what clients do; * [`broker`]: clusters of processes, and what they use; * [`rows`]: what is done to a cluster and
//!   measured of it; * [`compare`]: the turns; * [`life`]: starting, coming back, many partitions; * [`sides`], [`table`]: what both
//!   are told, and how they tell.

pub mod broker;
pub mod compare;
pub mod life;
pub mod load;
pub mod rows;
mod say;
pub mod sides;
pub mod table;
