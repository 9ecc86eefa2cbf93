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
mod wizard;

use machine::Sets;

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct Wishes {
    parts: Vec<String>,
    /// 1 is the size named in the tables.
    pub scale: f64,
    shapes: Vec<String>,
    /// Rounds of which the median is shown.
    pub rounds: usize,
}

impl Wishes {
    fn read() -> Self {
        let mut wishes = Self { parts: Vec::new(), shapes: Vec::new(), scale: 1.0, rounds: 3 };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            if argument == "--shape" {
                wishes.shapes.push(arguments.next().expect("a shape"));
                continue;
            }
            let mut number = || arguments.next().and_then(|text| text.parse::<f64>().ok()).expect("a number");
            match argument.as_str() {
                // What `cargo bench` itself passes on.
                "--bench" => {}
                "--scale" => wishes.scale = number(),
                "--rounds" => wishes.rounds = (number() as usize).max(1),
                part if ["wizard", "copy", "catchup", "follow", "growth", "verify", "downtime"].contains(&part) => {
                    wishes.parts.push(part.into())
                }
                other => panic!("unknown argument {other}"),
            }
        }
        wishes
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    /// A shape that was named, or any when none was.
    pub fn wants_shape(&self, name: &str) -> bool {
        self.shapes.is_empty() || self.shapes.iter().any(|wanted| wanted == name)
    }

    /// A number of documents at this scale, at least `least`.
    pub fn scaled(&self, count: u64, least: u64) -> u64 {
        ((count as f64 * self.scale) as u64).max(least)
    }
}

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
