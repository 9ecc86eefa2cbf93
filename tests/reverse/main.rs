//! The way back of a completed migration on real servers: what the application wrote to the new cluster is on the old one
//! when it returns, byte for byte, and whatever would make that untrue is refused by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../validate/certificates.rs"]
#[allow(dead_code)]
mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod encrypted;
mod ends;
mod guarded;
#[path = "../detached/home.rs"]
#[allow(dead_code)]
mod home;
mod refused;
mod returns;
#[path = "../validate/guarded.rs"]
#[allow(dead_code)]
mod sets;
mod shop;

use common::turn::turn;
