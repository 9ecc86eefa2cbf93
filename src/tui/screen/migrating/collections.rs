//! The collection table of the migrating screen: order, filter, rows, and the details of one collection.

use super::{Pane, Sort, State, is_indexing};
use crate::{
    model::{
        snapshot::{CollectionRow, CollectionState, FailedIndex},
        units::{show_bytes, show_count, show_count_short, show_namespace},
    },
    tui::{
        screen::View,
        widget::{bar, table, text},
    },
};
use ratatui::text::Line;
use std::cmp::Reverse;

/// The collections in the chosen order.
pub(super) fn rows<'a>(view: &View<'a>, state: &State) -> Vec<&'a CollectionRow> {
    let mut rows: Vec<&CollectionRow> =
        view.snapshot.collections.iter().filter(|row| show_namespace(&row.namespace).contains(&state.filter)).collect();
    match state.sort {
        Sort::Progress => rows.sort_by_key(|row| match row.state {
            CollectionState::Copying | CollectionState::Indexing => 0,
            CollectionState::Queued => 1,
            CollectionState::Done => 2,
        }),
        Sort::Size => rows.sort_by_key(|row| Reverse(row.bytes_total)),
        Sort::Name => rows.sort_by_key(|row| show_namespace(&row.namespace)),
        Sort::Speed => rows.sort_by(|a, b| b.bytes_per_s.total_cmp(&a.bytes_per_s)),
    }
    rows
}

pub(super) fn table(view: &View<'_>, state: &State, columns: usize, height: usize) -> Vec<Line<'static>> {
    let rows = rows(view, state);
    if rows.is_empty() {
        let why = if state.filter.is_empty() { "No collections yet." } else { "No collection matches the filter." };
        return vec![Line::raw(format!(" {why}"))];
    }
    let indexing = is_indexing(view);
    let titles = [
        table::Column::left("COLLECTION", 16, 0),
        table::Column::left("DONE", if columns > 60 { 16 } else { 8 }, 0),
        table::Column::right(if indexing { "INDEX" } else { "DOCS" }, 5, 1),
        table::Column::right("SIZE", 10, 3),
        table::Column::right("MB/s", 5, 2),
    ];
    // The short frame has no room for both; size gives way to speed there by its priority.
    let cells: Vec<table::Row> = rows.iter().map(|row| table_row(row, indexing, columns > 60, view)).collect();
    let selected = state.selected.min(rows.len() - 1);
    let shown = height.saturating_sub(2);
    let offset = table::offset_for(selected, rows.len(), shown);
    let mut lines = table::lines(
        &titles,
        &cells,
        (columns.saturating_sub(1), shown + 1),
        (state.focus(view) == Pane::Collections).then_some(selected),
        offset,
        (view.theme, view.glyphs.pointer),
    );
    lines.push(rest(&rows, offset, shown, state, view));
    lines
}

fn table_row(row: &CollectionRow, indexing: bool, wide: bool, view: &View<'_>) -> table::Row {
    let ratio = if row.bytes_total > 0 {
        text::ratio(row.bytes, row.bytes_total)
    } else {
        text::ratio(row.documents, row.documents_total)
    };
    let built = text::ratio(u64::from(row.indexes_built), u64::from(row.indexes_total));
    let cells = if wide { 10 } else { 4 };
    let progress = |ratio: Option<f64>| {
        let number = ratio.map_or_else(|| "-".into(), |ratio| format!("{:.0}%", (ratio * 100.0).floor()));
        format!("{}{}", bar::cells(cells, ratio, view.glyphs), text::right(&number, if wide { 6 } else { 4 }))
    };
    let failed = view.snapshot.indexes.failed.iter().any(|index| is_of(index, row));
    let (done, style) = match row.state {
        _ if indexing && failed => ("FAIL".to_string(), view.theme.fail),
        CollectionState::Copying => (progress(ratio), view.theme.text),
        CollectionState::Indexing => (progress(built), view.theme.text),
        CollectionState::Queued => ("queued".to_string(), view.theme.text),
        CollectionState::Done => ("done".to_string(), view.theme.text),
    };
    let copying = row.state == CollectionState::Copying;
    let speed = if copying { text::rate(row.bytes_per_s / 1e6) } else { "-".into() };
    let third = if indexing {
        format!("{}/{}", row.indexes_built, row.indexes_total)
    } else {
        show_count_short(row.documents_total)
    };
    table::Row { cells: vec![show_namespace(&row.namespace), done, third, show_bytes(row.bytes_total), speed], style }
}

/// The index may be called by the time series, the row by its buckets.
fn is_of(index: &FailedIndex, row: &CollectionRow) -> bool {
    show_namespace(&index.namespace) == show_namespace(&row.namespace)
}

fn rest(rows: &[&CollectionRow], offset: usize, shown: usize, state: &State, view: &View<'_>) -> Line<'static> {
    let hidden: Vec<&&CollectionRow> = rows.iter().take(offset).chain(rows.iter().skip(offset + shown)).collect();
    let in_state = |wanted: CollectionState| hidden.iter().filter(|row| row.state == wanted).count();
    let parts = [
        (in_state(CollectionState::Done), "done"),
        (in_state(CollectionState::Queued), "queued"),
        (in_state(CollectionState::Copying) + in_state(CollectionState::Indexing), "running"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let filter = if state.filter.is_empty() { String::new() } else { format!(" [{}]", state.filter) };
    let more = if hidden.is_empty() { String::new() } else { format!("{} more: {}", hidden.len(), parts.join(", ")) };
    Line::styled(format!(" {more}{filter}"), view.theme.dim)
}

pub(super) fn details(view: &View<'_>, state: &State, columns: usize) -> Vec<Line<'static>> {
    let rows = rows(view, state);
    let Some(row) = rows.get(state.selected.min(rows.len().saturating_sub(1))) else { return Vec::new() };
    let word = match row.state {
        CollectionState::Copying => "copying",
        CollectionState::Queued => "queued",
        CollectionState::Indexing => "building indexes",
        CollectionState::Done => "done",
    };
    let speed = if row.state == CollectionState::Copying {
        format!("{}/s", show_bytes(row.bytes_per_s.max(0.0) as u64))
    } else {
        "-".into()
    };
    let (name, is_buckets) = (show_namespace(&row.namespace), row.namespace.contains(".system.buckets."));
    let name = if is_buckets { format!("{name}, a time-series collection") } else { name };
    let unit = if is_buckets { "buckets  " } else { "documents" };
    let name = text::labelled(" ", &name, columns.saturating_sub(1)).into_iter();
    let mut lines: Vec<Line<'static>> = name.map(|line| Line::styled(line, view.theme.strong)).collect();
    lines.extend([
        Line::raw(format!("   state      {word}")),
        Line::raw(format!("   {unit}  {} of {}", show_count(row.documents), show_count(row.documents_total))),
        Line::raw(format!("   bytes      {} of {}", show_bytes(row.bytes), show_bytes(row.bytes_total))),
        Line::raw(format!("   speed      {speed}")),
        Line::raw(format!("   indexes    {} of {} built", row.indexes_built, row.indexes_total)),
    ]);
    for index in view.snapshot.indexes.failed.iter().filter(|index| is_of(index, row)) {
        let wrapped =
            text::labelled("   FAIL ", &format!("{}: {}", index.index, index.reason), columns.saturating_sub(1));
        lines.extend(wrapped.into_iter().map(|line| Line::styled(line, view.theme.fail)));
    }
    lines
}
