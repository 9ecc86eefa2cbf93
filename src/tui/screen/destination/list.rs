//! The table of destinations and what is known about the selected one.

use super::{Entry, State};
use crate::{
    model::{snapshot::DestinationTest, units::show_bytes},
    profiles,
    tui::{
        field::{TextField, rows},
        screen::View,
        widget::{place, table, text},
    },
};
use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

/// Draws the list, and the password question when a test needs it.
pub(super) fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State, password: Option<&TextField>) {
    let (entries, selected) = (&state.entries, state.selected);
    let columns = usize::from(body.width);
    let rows = usize::from(body.height);
    let wide = body.width >= 110;
    let table_columns = if wide { columns * 58 / 100 } else { columns };
    let detail_rows = if wide { 0 } else { rows / 2 };
    let table_rows = rows.saturating_sub(3 + detail_rows).clamp(2, entries.len() + 2);
    let mut lines = vec![Line::styled(" Where should the data go?", view.theme.strong), Line::raw("")];
    lines.extend(table_lines(view, entries, selected, (table_columns.saturating_sub(2), table_rows)));
    if wide {
        place::draw(frame, place::part(body, 0, 0, u16::try_from(table_columns).unwrap_or(80), body.height), lines);
        let from = u16::try_from(table_columns + 1).unwrap_or(80);
        let right = place::part(body, from, 2, body.width.saturating_sub(from), body.height.saturating_sub(3));
        place::draw(frame, right, details(view, entries.get(selected), usize::from(right.width)));
    } else {
        lines.push(Line::raw(""));
        lines.extend(details(view, entries.get(selected), columns));
        lines.truncate(rows.saturating_sub(1));
        place::draw(frame, body, lines);
    }
    let last = place::part(body, 0, body.height.saturating_sub(1), body.width, 1);
    if let Some(field) = password {
        let row =
            rows::field("Password", field, 33.min(columns.saturating_sub(25)), "Ctrl-R reveal", (true, false), view);
        rows::draw(frame, last, &[row]);
        return;
    }
    let note = format!(" Profiles live in {} (no passwords in it).", state.path);
    place::draw(frame, last, vec![Line::styled(text::cut(&note, columns), view.theme.dim)]);
}

fn table_lines(view: &View<'_>, entries: &[Entry], selected: usize, size: (usize, usize)) -> Vec<Line<'static>> {
    // The name is what is chosen; the addresses give way to it, and stand beside or below in full.
    let longest = entries.iter().map(|entry| text::width(&entry.profile.name)).max().unwrap_or(0).clamp(14, 32);
    let members = if size.0 >= 70 { 9 } else { 0 };
    let address = size.0.saturating_sub(longest + members + 26).clamp(15, 30);
    let titles = [
        table::Column::left("NAME", 14, 0),
        table::Column::left("ADDRESS", address, 1),
        table::Column::left("VERSION", 7, 3),
        table::Column::right("MEMBERS", 7, 4),
        table::Column::left("DATA", 11, 2),
    ];
    let mut rows: Vec<table::Row> = entries.iter().map(|entry| row(view, entry)).collect();
    rows.push(table::Row { cells: vec!["+ Add".into(), "connection string".into()], style: view.theme.text });
    let offset = table::offset_for(selected, rows.len(), size.1.saturating_sub(1).max(1));
    table::lines(&titles, &rows, size, Some(selected), offset, (view.theme, view.glyphs.pointer))
}

fn row(view: &View<'_>, entry: &Entry) -> table::Row {
    let cluster = entry.test.as_ref().and_then(|test| test.cluster.as_ref());
    let set = cluster.and_then(|cluster| cluster.set.clone()).map_or_else(String::new, |set| format!(" ({set})"));
    let (data, style) = match &entry.test {
        None => ("not tested".to_string(), view.theme.text),
        Some(test) if test.running => ("testing".into(), view.theme.text),
        Some(test) if test.problem.is_some() => ("FAIL".into(), view.theme.fail),
        Some(test) => data(test, view),
    };
    table::Row {
        cells: vec![
            entry.profile.name.clone(),
            format!("{}{set}", entry.endpoint().hosts()),
            cluster.and_then(|cluster| cluster.version.clone()).unwrap_or_else(|| "?".into()),
            cluster.map_or_else(|| "?".into(), |cluster| cluster.hosts.len().to_string()),
            data,
        ],
        style,
    }
}

fn data(test: &DestinationTest, view: &View<'_>) -> (String, Style) {
    match test.databases.len() {
        0 => ("empty".into(), view.theme.text),
        _ => (show_bytes(test.databases.iter().map(|(_, bytes)| bytes).sum()), view.theme.wait),
    }
}

/// What is known about the selected destination.
fn details(view: &View<'_>, entry: Option<&Entry>, columns: usize) -> Vec<Line<'static>> {
    let Some(entry) = entry else {
        return vec![Line::raw(" Enter asks for the connection string of a new destination.")];
    };
    let name = format!(" {} ", text::middle(&entry.profile.name, columns.saturating_sub(4)));
    let rule = view.glyphs.rule.repeat(columns.saturating_sub(text::width(&name)));
    let mut lines = vec![Line::from(vec![Span::styled(name, view.theme.strong), Span::styled(rule, view.theme.dim)])];
    let mut say = |label: &str, sentence: &str, style: Style| {
        let wrapped = text::labelled(&format!("   {label:<14} "), sentence, columns.saturating_sub(1));
        lines.extend(wrapped.into_iter().map(|line| Line::styled(line, style)));
    };
    if text::width(&entry.profile.name) + 4 > columns {
        say("name", &entry.profile.name, view.theme.text);
    }
    say("address", &entry.endpoint().hosts().replace(',', ", "), view.theme.text);
    let user = entry.profile.username.as_deref().map_or("none (no authentication)".into(), |user| {
        let known = if entry.password.is_some() { "password known for this run" } else { "password asked later" };
        format!("{user}, {known}")
    });
    say("user", &user, view.theme.text);
    let tls = match entry.profile.tls {
        profiles::ProfileTls::Off => "off",
        profiles::ProfileTls::PublicCa => "on, public CA",
        profiles::ProfileTls::PrivateCa => "on, private CA",
    };
    say("TLS", tls, view.theme.text);
    let Some(test) = &entry.test else {
        say("state", "not tested yet; t connects and looks, and writes nothing", view.theme.text);
        return lines;
    };
    if test.running {
        say("state", "connecting ..", view.theme.text);
        return lines;
    }
    if let Some(problem) = &test.problem {
        say("FAIL", &problem.what, view.theme.fail);
        say("why", &problem.why, view.theme.text);
        say("fix", &problem.fix, view.theme.text);
        return lines;
    }
    if let Some(cluster) = &test.cluster {
        let set = cluster.set.as_deref().unwrap_or("not known");
        let primary = cluster.primary.as_deref().unwrap_or("not known");
        say("replica set", &format!("{set}, primary {primary}"), view.theme.text);
        let members = cluster.hosts.join(", ");
        if members.replace(' ', "") != entry.endpoint().hosts().replace(' ', "") {
            say("members", &members, view.theme.text);
        }
    }
    if test.databases.is_empty() {
        say("user data", "none: nothing will be overwritten", view.theme.ok);
    } else {
        let shown: Vec<String> =
            test.databases.iter().map(|(name, bytes)| format!("{name} {}", show_bytes(*bytes))).collect();
        say("user data", &shown.join(", "), view.theme.wait);
        say("", "Keep or clear is chosen on the Connect page.", view.theme.text);
    }
    say("tested", &text::ago(test.at, view.now), view.theme.text);
    lines
}
