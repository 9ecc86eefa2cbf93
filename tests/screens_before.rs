//! The wizard's frame and the screens before Start: what is drawn, and what keys lead to.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]
#[path = "screens_before/drawing.rs"]
mod drawing;
#[path = "screens_before/keys.rs"]
mod keys;
#[path = "screens_before/questions.rs"]
mod questions;
#[path = "common/styles.rs"]
mod styles;
#[path = "screens_before/whole.rs"]
mod whole;
#[path = "screens_before/wizard.rs"]
mod wizard;
