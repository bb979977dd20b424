//! Helpers of the test suites: [`golden`] plays scenarios.

pub mod golden;
