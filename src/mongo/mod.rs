//! The driver's only door: everything else talks to clusters through this module.
//!
//! Owns connecting, TLS, topology, privileges, the catalog (databases, collections, options, indexes) and namespaces.
//! Never decides what a migration does next.

pub mod accounts;
pub mod catalog;
pub mod cluster;
pub mod connect;
pub mod errors;
pub mod id_range;
pub mod link;
pub mod login;
pub mod memory_file;
pub mod namespace;
pub mod oplog_window;
mod options;
pub mod privileges;
pub mod probe;
pub mod secondaries;
pub mod seen_catalog;
mod sign_in;
mod sizes;
pub mod tally;
pub mod tls;
pub mod topology;
pub mod users;

pub use cluster::{Cluster, LastWrite, ServerVersion};
pub use namespace::Namespace;
pub use oplog_window::OplogWindow;
pub use seen_catalog::SeenCatalog;
