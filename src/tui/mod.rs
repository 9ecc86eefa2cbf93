//! The full-screen client: a loop over input, snapshots and events. Sees `session::Client` and `model`, nothing else.

pub mod action;
pub mod screen;
pub mod theme;
pub mod widget;
