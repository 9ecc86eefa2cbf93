//! The demo: finds or fetches mongod, starts two throwaway replica sets, loads a shop, keeps writing to the source as
//! "the application". The tests start their servers through the same module.

pub mod releases;
pub mod replica_set;

pub use releases::Release;
pub use replica_set::{ReplicaSet, SetOptions};
