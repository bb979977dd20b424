//! The Seedlog node: sockets, files, clocks and the command line around the core.

pub mod codec;
pub mod config;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod store;
