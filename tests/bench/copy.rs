//! Start to caught up, by shape of data, beside the limits.

use crate::{
    ferry::{Cost, Ferry},
    limits::{self, Limits, STREAMS},
    machine::Sets,
    shapes::Shape,
    table::{self, median, ratio, seconds},
    wishes::Wishes,
};

/// Prints the table.
pub async fn measure(sets: &Sets, wishes: &Wishes) {
    let mut rows = Vec::new();
    for shape in Shape::ALL.into_iter().filter(|shape| wishes.wants_shape(shape.name())) {
        sets.empty().await;
        let documents = shape.documents(wishes);
        let bytes = shape.load(&sets.from, documents).await;
        let (mut limits, mut costs): (Vec<Limits>, Vec<Cost>) = (Vec::new(), Vec::new());
        for _ in 0..wishes.rounds {
            limits.push(limits::measure(sets, shape, documents).await);
            let mut ferry = Ferry::start(sets, "verify = \"off\"");
            let cost = tokio::task::block_in_place(|| ferry.reach(&["following", "ready"]));
            tokio::task::block_in_place(|| ferry.stop());
            costs.push(cost);
            sets.empty_destination().await;
        }
        let of = |pick: fn(&Limits) -> f64| median(&limits.iter().map(pick).collect::<Vec<_>>());
        let bare = |streams: usize| {
            let all = |pick: fn((f64, f64)) -> f64| {
                median(&limits.iter().map(|limits| pick(limits.bare[streams])).collect::<Vec<_>>())
            };
            (all(|bare| bare.0), all(|bare| bare.1), STREAMS[streams])
        };
        // At its best parallelism.
        let (bare, bare_cpu, streams) =
            (0..STREAMS.len()).map(bare).min_by(|a, b| a.0.total_cmp(&b.0)).expect("it was tried");
        let cost = |pick: fn(&Cost) -> f64| median(&costs.iter().map(pick).collect::<Vec<_>>());
        let floor = bare + of(|limits| limits.indexes.0);
        let floor_cpu = bare_cpu + of(|limits| limits.indexes.1);
        rows.push(vec![
            shape.label().to_string(),
            format!("{documents} ({} MB)", bytes / 1_000_000),
            seconds(of(|limits| limits.scan)),
            seconds(of(|limits| limits.insert)),
            format!("{} ({streams})", seconds(bare)),
            seconds(of(|limits| limits.indexes.0)),
            seconds(cost(|cost| cost.seconds)),
            ratio(cost(|cost| cost.seconds) / floor),
            ratio(cost(|cost| cost.copy) / bare),
            format!("{} / {}", seconds(cost(|cost| cost.cpu)), seconds(floor_cpu)),
            format!("{:.0} MiB", cost(|cost| cost.peak_mib)),
        ]);
        println!("{}\n", rows.last().map(|row| row.join("  ")).unwrap_or_default());
    }
    let head = [
        "data",
        "documents",
        "scan",
        "insert",
        "bare loop (streams)",
        "indexes",
        "mongoferry",
        "to bare + indexes",
        "copy to bare",
        "own CPU / of bare + indexes",
        "peak memory",
    ];
    table::print("Copy: start to caught up", &head, &rows);
}
