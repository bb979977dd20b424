//! Helpers of the test suites: [`golden`] plays scenarios, [`fuzz`] takes any bytes, [`protocol`] writes the page about the
//! protocol.

pub mod fuzz;
pub mod golden;
pub mod protocol;
