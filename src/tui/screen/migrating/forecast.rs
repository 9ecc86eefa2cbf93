//! The right pane of the migrating screen: throughput, what waits, and whether the oplog outlasts the copy.

use super::is_indexing;
use crate::{
    model::units::{show_count, show_count_short, show_rate},
    tui::{
        screen::{View, running},
        widget::{
            bar,
            chart::{self, Chart, Merge},
            text,
        },
    },
};
use ratatui::text::{Line, Span};

/// The right pane: throughput, then what waits and how long the oplog still covers it.
pub(super) fn side(view: &View<'_>, columns: usize, height: usize) -> Vec<Line<'static>> {
    let (snapshot, copy) = (view.snapshot, &view.snapshot.copy);
    // A rate from before the halt would look like work going on.
    let halted = running::is_halted(view);
    let rate = |value: f64, unit: &str| if halted { "-".into() } else { format!("{}{unit}", text::rate(value)) };
    let chart_rows = if height > 20 { 3 } else { 2 };
    let (title, now, samples) = if is_indexing(view) {
        ("Changes waiting", format!("{} ops", show_count_short(snapshot.ops_waiting)), &snapshot.history.ops_waiting)
    } else {
        ("Throughput", rate(copy.bytes_per_s / 1e6, " MB/s"), &snapshot.history.bytes_per_s)
    };
    let mut lines =
        vec![Line::styled(text::ends(&format!(" {title}"), &now, columns.saturating_sub(1)), view.theme.strong)];
    lines.extend(history_chart(view, samples, chart_rows, columns.saturating_sub(1), !is_indexing(view)));
    let documents = if halted { "-".into() } else { show_count(copy.documents_per_s.max(0.0).round() as u64) };
    let readers = if halted || copy.readers == 0 { "-".into() } else { copy.readers.to_string() };
    lines.push(Line::raw(if is_indexing(view) {
        String::new()
    } else {
        format!(" docs/s {documents}   readers {readers}")
    }));
    if height > 20 && !is_indexing(view) {
        lines.push(Line::raw(""));
        lines.push(Line::styled(
            text::ends(" Changes waiting", &running::waiting(view), columns.saturating_sub(1)),
            view.theme.strong,
        ));
        lines.extend(history_chart(view, &snapshot.history.ops_waiting, 2, columns.saturating_sub(1), false));
    }
    lines.push(Line::raw(snapshot.throttle.map_or_else(String::new, |rate| format!(" limit {}", show_rate(rate)))));
    lines.push(Line::styled(" Changes since start", view.theme.strong));
    lines.push(Line::raw(format!("  buffered   {}", running::waiting(view))));
    lines.push(Line::raw(format!("  arriving   {}", rate(snapshot.ops_in_per_s, " ops/s"))));
    lines.push(Line::raw(format!("  oplog left {}", running::oplog_left(view))));
    lines.push(margin(view));
    if height > 20 {
        lines.extend(race(view, columns));
    }
    if height > 20 {
        lines.extend(clusters(view, columns));
    }
    lines
}

/// "Copy ends in / oplog rolls over in": the number that decides success.
fn margin(view: &View<'_>) -> Line<'static> {
    let start = Span::raw("  worst case margin ");
    let ends_in = if is_indexing(view) { None } else { view.snapshot.copy.eta_ms };
    match (ends_in, view.snapshot.oplog_left_ms) {
        (Some(eta), Some(left)) if eta > 0 => {
            let margin = left as f64 / eta as f64;
            let (word, style) = match margin {
                margin if margin > 2.0 => ("OK", view.theme.ok),
                margin if margin < 1.2 => ("FAIL", view.theme.fail),
                _ => ("WAIT", view.theme.wait),
            };
            let shown = if margin > 99.0 { ">99x".into() } else { format!("{margin:.1}x") };
            Line::from(vec![start, Span::raw(format!("{shown}  ")), Span::styled(word, style)])
        }
        _ => Line::from(vec![start, Span::raw("measuring")]),
    }
}

/// The same two times as bars of one scale: the copy has to end before the oplog does.
fn race(view: &View<'_>, columns: usize) -> Vec<Line<'static>> {
    let ends_in = view.snapshot.copy.eta_ms.filter(|_| !is_indexing(view));
    let (Some(eta), Some(left)) = (ends_in, view.snapshot.oplog_left_ms) else { return Vec::new() };
    let longest = eta.max(left).max(1);
    let row = |name: &str, time: u64| {
        let start = format!("  {name:<11}{:>9} ", text::ms(Some(time)));
        let cells = columns.saturating_sub(text::width(&start) + 2);
        Line::raw(start + &bar::cells(cells, text::ratio(time, longest), view.glyphs))
    };
    vec![row("copy ends in", eta), row("oplog lasts", left)]
}

fn history_chart(view: &View<'_>, samples: &[u64], rows: usize, columns: usize, is_rate: bool) -> Vec<Line<'static>> {
    let max = samples.iter().copied().max().unwrap_or(0);
    let rows = match is_rate {
        true => chart::even_rows(max.div_ceil(1_000_000), rows, |mb| mb.to_string()),
        false => chart::even_rows(max, rows, show_count_short),
    };
    let unit = if is_rate { 1_000_000 } else { 1 };
    let rows: Vec<(u64, String)> = rows.into_iter().map(|(bound, label)| (bound * unit, label)).collect();
    let labels = rows.iter().map(|(_, label)| text::width(label)).max().unwrap_or(0) + 2;
    let drawn = columns.saturating_sub(labels);
    let span = chart::span_ms(samples.len(), drawn, view.snapshot.history.step_ms);
    let axis = if samples.is_empty() { "now".into() } else { text::ms(Some(span)) };
    let merge = if is_rate { Merge::Mean } else { Merge::Max };
    Chart { samples, merge, rows, ready: None, axis }.lines(columns, view.glyphs, view.theme)
}

fn clusters(view: &View<'_>, columns: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::raw("")];
    for (name, cluster) in [("Source", &view.snapshot.source), ("Target", &view.snapshot.destination)] {
        let version = cluster.version.clone().unwrap_or_else(|| "version not known".into());
        let primary = cluster.primary.clone().unwrap_or_else(|| "primary not known".into());
        lines.push(Line::raw(text::cut(
            &format!(" {name}  {primary}  {version}  {}", text::counted(cluster.hosts.len(), "member", "members")),
            columns,
        )));
    }
    lines
}
