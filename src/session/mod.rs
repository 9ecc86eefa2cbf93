//! Between clients and the engine: the channels, and later the socket. Clients see only this module and `model`.

pub mod client;

pub use client::{Client, EventLog, Order};
