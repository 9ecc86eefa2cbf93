//! The screens after Start, drawn from snapshots: every screen, both sizes, both glyph sets, and what the keys do.

#![allow(clippy::expect_used, clippy::panic)]
#[path = "screens_running/drawing.rs"]
mod drawing;
#[path = "screens_running/keys.rs"]
mod keys;
#[path = "screens_running/modes.rs"]
mod modes;
#[path = "screens_running/readme.rs"]
mod readme;
#[path = "screens_running/scene.rs"]
mod scene;
#[path = "common/styles.rs"]
mod styles;
#[path = "screens_running/whole.rs"]
mod whole;
