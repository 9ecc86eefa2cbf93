//! Collections, views, indexes and commands of every kind, whole migrations over every pair of releases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

#[path = "../common/mod.rs"]
mod common;

mod early;
mod filters;
mod listing;
mod moments;
mod objects;
mod script;
mod seen;
mod stage;
mod wide;
