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

/// One test at a time: a process that is started while another test opens a terminal would keep that terminal open.
async fn turn() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}
