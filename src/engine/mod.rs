//! Runs a migration: executes the effects of the state machine and owns every task that talks to a cluster.
//!
//! Doors: orders in (`mpsc`), snapshot out (`watch`), numbered events out. Never draws, never parses arguments.

pub mod connect_info;
pub mod context;
pub mod dirty;
pub mod gate;
pub mod metadata;
pub mod registry;
pub mod retry;
pub mod verify;
pub mod view;
