//! Helpers of the test suites: [`golden`] plays scenarios, [`fuzz`] takes any bytes.

pub mod fuzz;
pub mod golden;
