//! How cost grows from one times the data to ten times: copy and verification by bytes, memory not at all.

use crate::{
    ferry::Ferry,
    machine::Sets,
    shapes::Shape,
    table::{self, ratio, seconds},
    wishes::Wishes,
};

/// Prints the table.
pub async fn measure(sets: &Sets, wishes: &Wishes) {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut first: Option<(f64, f64, f64)> = None;
    for times in [1, 3, 10] {
        sets.empty().await;
        let documents = wishes.scaled(60_000, 1_000) * times;
        let bytes = Shape::Rising.load(&sets.from, documents).await;
        let mut ferry = Ferry::start(sets, "");
        let cost = tokio::task::block_in_place(|| ferry.reach(&["following", "ready"]));
        let peak = ferry.so_far().1;
        tokio::task::block_in_place(|| ferry.stop());
        let one = *first.get_or_insert((cost.seconds, cost.cpu, peak));
        rows.push(vec![
            format!("{times}x ({} MB)", bytes / 1_000_000),
            format!("{} ({})", seconds(cost.seconds), ratio(cost.seconds / one.0)),
            format!("{} ({})", seconds(cost.cpu), ratio(cost.cpu / one.1)),
            format!("{peak:.0} MiB ({})", ratio(peak / one.2)),
        ]);
    }
    let head = ["data", "start to caught up", "own CPU", "peak memory"];
    table::print("How cost grows", &head, &rows);
}
