//! The migration as a pure state machine: `(state, event or command, now) -> effects`.
//!
//! Owns the phases, the ready gate, the cutover timer and every rule about what may happen when. Never does IO, never
//! reads a clock, never names tokio or the driver, so the 120 h timer, its extension and every gate are table tests.

pub mod command;
pub mod cutover;
pub mod effect;
pub mod event;
pub mod gate;
mod notice;
pub mod pause;
pub mod restore;
pub mod state;
mod way_back;

pub use effect::Effect;
pub use event::{Event, Measurement};
pub use gate::Settings;
pub use restore::Saved;
pub use state::{CutoverState, Machine};
