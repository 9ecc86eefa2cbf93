//! Between clients and the engine: the channels, the socket that carries the same over a process boundary, and the start
//! of an engine in a process of its own. Clients see only this module and `model`.
//!
//! Alone opens sockets. Never knows what an engine does: it passes commands in, snapshots and events out.

pub mod client;
mod handed;
pub mod launch;
pub mod place;
pub mod protocol;
pub mod remote;
pub mod server;
mod tables;

pub use client::{Client, EventLog, Link, Order};
