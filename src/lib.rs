//! mongoferry moves a live MongoDB replica set to another MongoDB cluster, from one terminal wizard.
//!
//! # Bird's eye view
//! A client (the wizard in `tui`, plain lines in `plain`, the command line) sends [`model::Command`]s to an engine and
//! watches its [`model::Snapshot`] and numbered events. The engine runs the effects of a pure state machine (`machine`):
//! it copies, builds indexes, tails the oplog (`oplog` turns entries into writes), measures lag, cuts over, verifies and
//! cleans up, and keeps in the journal (`store`) what a restart needs.
//!
//! # Code map
//! `model` is the shared vocabulary; `machine` and `oplog` are pure; `mongo` is the only door to the driver; `validate`
//! holds the checks; `engine` owns all tasks; `store` is the journal on disk; `session` stands between clients and the engine; `tui` and `plain` are
//! clients; `demo` starts throwaway clusters.
//!
//! # Invariants (enforced by `tests/architecture.rs`)
//! 1. Only `mongo`, `validate`, `demo` and the effects in `engine` call the driver.
//! 2. `machine` and `oplog` have no IO, no async and never read a clock.
//! 3. `tui` and `plain` never see `engine` or `mongo`: every screen can be shown from a JSON snapshot.
//! 4. A [`secret::Secret`] is in no log, report or file.
//! 5. Every action that a key can trigger is a [`model::Command`]; a view mutates nothing.

pub mod cli;
pub mod config;
pub mod demo;
pub mod engine;
pub mod machine;
pub mod model;
pub mod mongo;
pub mod notify;
pub mod oplog;
pub mod paths;
pub mod pem;
pub mod plain;
pub mod profiles;
pub mod report;
pub mod roles;
pub mod route;
pub mod secret;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod tui;
pub mod uri;
pub mod validate;
