//! `cargo bench`: what a migration costs, beside what the servers themselves cost, in one run on real servers.
//!
//! Everything is a ratio to a limit that was measured on the same data in the same run: reading it, inserting it from
//! memory, a bare loop of raw batches, building its indexes, writing the same changes to the source.
//!
//! `cargo bench -- [wizard|copy|catchup|follow|growth|verify|downtime ...] [--scale F] [--rounds N]
//! [--shape rising|random|large|many|wide]`; without a name: all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod catchup;
mod copy;
mod downtime;
mod ferry;
mod follow;
mod growth;
mod limits;
mod machine;
mod shapes;
mod table;
mod verify;
mod wishes;
mod wizard;

use machine::Sets;
use wishes::Wishes;

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let wishes = Wishes::read();
    println!("{}\n", machine::describe());
    if wishes.wants("wizard") {
        wizard::measure(&wishes);
    }
    if wishes.parts == ["wizard"] {
        return;
    }
    let sets = Sets::start().await;
    if wishes.wants("copy") {
        copy::measure(&sets, &wishes).await;
    }
    if wishes.wants("catchup") {
        catchup::measure(&sets, &wishes).await;
    }
    if wishes.wants("follow") {
        follow::measure(&sets, &wishes).await;
    }
    if wishes.wants("growth") {
        growth::measure(&sets, &wishes).await;
    }
    if wishes.wants("verify") {
        verify::measure_touched(&wishes);
        verify::measure(&sets, &wishes).await;
    }
    if wishes.wants("downtime") {
        downtime::measure(&sets, &wishes).await;
    }
}
