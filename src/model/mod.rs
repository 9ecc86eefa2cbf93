//! The shared vocabulary: plain data that every other module may use.
//!
//! Owns the words of a migration (plan, phase, snapshot, check, event, command, units). Never does IO, never reads a
//! clock, never names the driver. Everything that a screen shows is in a [`Snapshot`], which round-trips through JSON.

pub mod check;
pub mod command;
pub mod connect;
pub mod event;
pub mod filter;
pub mod left;
pub mod limit;
pub mod notice;
pub mod phase;
pub mod plan;
pub mod problem;
pub mod repaired;
pub mod rows;
pub mod shown;
pub mod snapshot;
pub mod units;

pub use check::{Check, CheckId, CheckState, ValidationReport};
pub use command::{Answer, Command, Refusal};
pub use event::{Event, Severity};
pub use filter::NamespaceFilter;
pub use limit::Limit;
pub use notice::{Notice, Notify};
pub use phase::Phase;
pub use plan::{CheckOrder, Endpoint, Options, PasswordFrom, Plan, RepairPolicy, Secrets, Tls, Verify, WayBack};
pub use problem::{Problem, Side};
pub use repaired::{Repaired, RepairedDocument};
pub use rows::Rows;
pub use shown::{ShownDocument, ShownField};
pub use snapshot::Snapshot;
pub use units::Optime;
