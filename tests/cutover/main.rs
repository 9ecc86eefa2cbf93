//! The cutover on real servers: its turns, its screens in a real terminal, and the report that it leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod held;
#[path = "../detached/home.rs"]
#[allow(dead_code)]
mod home;
mod report;
mod restart;
mod schema;
mod screens;
mod turns;
mod writer;

use common::turn::turn;
