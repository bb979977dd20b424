//! The cluster's metadata: a log of records, the image that replaying them gives, and the decisions that write them.
//!
//! `decide_*` functions read an image and return records and an answer; they change nothing. [`image::Image::replay`]
//! applies a record and answers nothing. The controller works on one copy of the image, in which its own records show at
//! once; brokers act on another, in which only committed records show (SAFETY Q3).

pub mod assignment;
pub mod decide;
pub mod group_config;
pub mod image;
pub mod records;
pub mod snapshot;
pub mod topic_config;
