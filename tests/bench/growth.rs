//! How cost grows from one times the data to ten times: copying and comparing by bytes, catching up by operations, memory
//! not at all.

use crate::{
    catchup,
    ferry::Ferry,
    limits,
    machine::Sets,
    shapes::Shape,
    table::{self, ratio, seconds},
    verify::{self, Cost},
    wishes::Wishes,
};

const TIMES: [u64; 3] = [1, 3, 10];
/// Of the bare loop: what was best with this shape.
const STREAMS: usize = 4;

/// Prints the tables.
pub async fn measure(sets: &Sets, wishes: &Wishes) {
    let (mut copies, mut comparisons, mut catchups) = (Growth::default(), Growth::default(), Growth::default());
    for times in TIMES {
        sets.empty().await;
        let documents = wishes.scaled(60_000, 1_000) * times;
        let bytes = Shape::Rising.load(&sets.from, documents).await;
        let bare = limits::copied_and_indexed(sets, Shape::Rising, documents, STREAMS).await;
        let data = format!("{times}x ({} MB)", bytes / 1_000_000);
        let mut ferry = Ferry::start(sets, "verify = \"off\"");
        let cost = tokio::task::block_in_place(|| ferry.reach(&["following", "ready"]));
        tokio::task::block_in_place(|| ferry.stop());
        copies.add(&data, Cost(cost.seconds, cost.cpu, cost.peak_mib), bare);
        let scanned = verify::scanned(sets, Shape::Rising, documents).await;
        comparisons.add(&data, tokio::task::block_in_place(|| verify::compared(sets)), scanned);
    }
    for times in TIMES {
        let operations = wishes.scaled(60_000, 4_000) * times;
        let round = catchup::round(sets, operations, wishes.scaled(20_000, 2_000) * times).await;
        let (took, written) = (operations as f64 / round.applied, operations as f64 / round.written);
        let data = format!("{times}x ({operations} operations)");
        catchups.add(&data, Cost(took, round.cpu, round.peak_mib), written);
    }
    sets.empty().await;
    copies.print("How copying grows", ["bare loop and indexes", "start to caught up"]);
    comparisons.print("How comparing grows", ["plain scan of both", "verify --plan"]);
    catchups.print("How catching up grows", ["written by bulks of 1,000", "applied in"]);
}

/// Costs, each beside the first, and what the servers alone take.
#[derive(Default)]
struct Growth {
    first: Option<(Cost, f64)>,
    rows: Vec<Vec<String>>,
}

impl Growth {
    fn add(&mut self, data: &str, cost: Cost, limit: f64) {
        let (first, first_limit) = *self.first.get_or_insert((cost, limit));
        self.rows.push(vec![
            data.into(),
            format!("{} ({})", seconds(limit), ratio(limit / first_limit)),
            format!("{} ({})", seconds(cost.0), ratio(cost.0 / first.0)),
            format!("{} ({})", seconds(cost.1), ratio(cost.1 / first.1)),
            format!("{:.0} MiB ({})", cost.2, ratio(cost.2 / first.2)),
        ]);
    }

    fn print(&self, title: &str, [limit, took]: [&str; 2]) {
        table::print(title, &["data", limit, took, "own CPU", "peak memory"], &self.rows);
    }
}
