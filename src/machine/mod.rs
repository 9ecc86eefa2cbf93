//! The migration as a pure state machine: no tokio, no clock, no IO.
