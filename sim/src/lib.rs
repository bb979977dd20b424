//! The simulator: brokers on an event queue over modelled disks, faults drawn from a seed, and judges that watch.
//!
//! A run is a function of (build, plan), and a plan is drawn from (scenario, seed). `plan` draws, [`world`] runs, [`judges`]
//! judge, [`trace`] tells, [`history`] keeps what clients saw, [`marks`] say what a range of seeds has seen; [`disk`] and [`store`] model what the node's driver
//! does with its disk; [`clients`] speak the real wire. Start with [`run`].
//!
//! Not here: shrinking (it comes with the stories that it tells).

pub mod cli;
pub mod clients;
pub mod disk;
pub mod hash;
pub mod history;
pub mod judges;
pub mod marks;
pub mod plan;
pub mod rng;
pub mod run;
pub mod store;
pub mod trace;
pub mod world;
