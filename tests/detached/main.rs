//! The engine in a process of its own: started, reached, left, lost and found again, by the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod compare;
mod corrupted;
mod hangup;
mod home;
mod idle;
#[path = "../verify/kinds.rs"]
mod kinds;
mod names;
mod plain;
mod protocol;
mod speed;
mod wizard;

use common::turn::{turn, turn_alone};
