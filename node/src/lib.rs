//! The Seedlog node: sockets, files, clocks and the command line around the core.

mod advice;
pub mod budget;
#[cfg(not(madsim))]
pub mod cli;
#[cfg(not(madsim))]
pub mod client;
pub mod clock;
pub mod codec;
pub mod config;
pub mod driver;
pub mod env;
#[cfg(not(madsim))]
pub mod http;
#[cfg(not(madsim))]
pub mod logging;
pub mod metrics;
pub mod net;
pub mod peer;
pub mod run;
#[cfg(not(madsim))]
pub mod shutdown;
pub mod store;
