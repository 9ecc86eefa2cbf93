//! Runs a migration: executes the effects of the state machine and owns every task that talks to a cluster.
//!
//! Doors: orders in (`mpsc`), snapshot out (`watch`), numbered events out. Never draws, never parses arguments.
//! In this version the engine lives in the process that started it: when that process ends, the migration ends.

pub mod cleanup;
pub mod clear;
pub mod connect_info;
pub mod context;
pub mod copy;
pub mod create;
pub mod ddl;
pub mod dirty;
pub mod fetch;
pub mod finalize;
pub mod follow;
pub mod gate;
pub mod history;
pub mod index;
pub mod lag;
pub mod lane;
pub mod metadata;
pub mod registry;
pub mod repair;
pub mod retry;
pub mod spool;
pub mod throttle;
pub mod verify;
pub mod view;
pub mod watermark;
pub mod writers;

