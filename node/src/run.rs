//! Running a node: [`Node`] in any world, and a process around it in the real one.

mod assemble;
#[cfg(not(madsim))]
mod process;
#[cfg(not(madsim))]
mod told;

pub use assemble::{Address, Node, StartError, Stopper};
#[cfg(not(madsim))]
pub use process::{NodeOptions, run_node};
