//! 4.15 Below 60x16: a status card instead of a screen, or the focused field of a form. Never a bare "too small".

use super::{frame, running};
use crate::{
    model::{Phase, snapshot::CutoverStep, units::show_duration},
    tui::{
        action::Screen,
        model::{Model, Overlay},
        widget::{bar, boxed, place, text},
    },
};
use ratatui::{Frame, layout::Rect, style::Style, text::Line};
use std::time::Duration;

/// Draws the card, cut from the bottom.
pub fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let framed = area.width >= 20 && area.height >= 5;
    let edge = usize::from(framed) * 2;
    let columns = usize::from(area.width).saturating_sub(edge);
    let rows = usize::from(area.height).saturating_sub(edge);
    let inside = columns.saturating_sub(if framed { 2 } else { 0 }).max(1);
    match &model.overlay {
        Some(Overlay::Log(log)) if area.width >= 30 => return log.draw(frame, area, &model.view()),
        Some(Overlay::Help(help)) if area.width >= 30 => {
            let typing = model.screens.is_typing(model.screen);
            return help.draw(frame, area, &model.view(), &frame::below_help(model), typing);
        }
        _ => {}
    }
    let mut lines = lines(model, inside, rows, area);
    // The keys stay when the card is cut: they are the way out.
    if lines.len() > rows && rows > 1 {
        let keys = lines.pop();
        lines.truncate(rows - 1);
        lines.extend(keys);
    }
    lines.truncate(rows);
    if framed {
        let mut padded: Vec<(String, Style)> =
            lines.into_iter().map(|(line, style)| (format!(" {}", text::cut(&line, inside)), style)).collect();
        padded.resize(rows, (String::new(), model.theme.text));
        let boxed = boxed::boxed(&padded, 0, usize::from(area.width), model.theme.text, &model.glyphs);
        place::draw(frame, area, boxed);
    } else {
        let cut = |(line, style): (String, Style)| Line::styled(text::cut(&line, inside), style);
        place::draw(frame, area, lines.into_iter().map(cut).collect());
    }
}

fn lines(model: &Model, columns: usize, rows: usize, area: Rect) -> Vec<(String, Style)> {
    let view = model.view();
    let theme = &model.theme;
    let size = format!("{}x{} small", area.width, area.height);
    let room = columns.saturating_sub(text::width(&size) + 13);
    let route = if model.is_started() {
        frame::route_in(&running::source_name(&view), &running::destination_name(&view), room)
    } else {
        model.screens.connect.destination_name().map_or_else(String::new, |name| frame::route_in("?", name, room))
    };
    let mut lines: Vec<(String, Style)> =
        vec![(text::ends(&format!("mongoferry  {route}"), &size, columns), theme.strong)];
    let question = match &model.overlay {
        Some(Overlay::Confirm(question)) => Some(question),
        _ => None,
    };
    if let Some(question) = question {
        lines.extend(question.short_lines().into_iter().map(|line| (line, theme.text)));
    } else if let Some((label, value)) = model.screens.focused(model.screen) {
        lines.push((format!("{label}: {value}"), theme.strong));
    } else if model.is_started() {
        lines.extend(running_lines(model, columns).into_iter().map(|line| (line, theme.text)));
    } else {
        lines.push((heading(model.screen).into(), theme.strong));
    }
    let room = rows.saturating_sub(lines.len() + 1).max(1);
    let said = text::wrap(&frame::status(model), columns);
    lines.extend(said.into_iter().take(room).map(|line| (line, theme.text)));
    if lines.len() + 1 < rows {
        lines.push(("full screen needs 80x24".into(), theme.dim));
    }
    lines.push((frame::footer(model, columns).to_string().trim().into(), theme.text));
    lines
}

fn heading(screen: Screen) -> &'static str {
    match screen {
        Screen::Destination => "Where should the data go?",
        Screen::Prepare => "Prepare",
        Screen::Connect => "Connect",
        Screen::Validate => "Validate",
        _ => "",
    }
}

fn running_lines(model: &Model, columns: usize) -> Vec<String> {
    let snapshot = &model.snapshot;
    let view = model.view();
    if running::is_halted(&view) {
        return running::halted(&view, columns).iter().map(|line| line.to_string().trim().to_string()).collect();
    }
    let copied = text::ratio(snapshot.copy.bytes, snapshot.copy.bytes_total);
    let eta = snapshot
        .copy
        .eta_ms
        .map_or_else(String::new, |ms| format!("  ETA {}", show_duration(Duration::from_millis(ms))));
    let mut lines = match snapshot.phase {
        Phase::Clearing => vec!["Clearing the destination".into()],
        Phase::Copying => vec![
            // Short, so that the smallest card has room for the number.
            format!("Copying {}{eta}", text::percent(copied)),
            bar::bar(columns, copied, &model.glyphs),
            format!(
                "{:.1} MB/s   {} of {} collections",
                snapshot.copy.bytes_per_s / 1e6,
                snapshot.copy.collections_done,
                snapshot.copy.collections_total
            ),
        ],
        Phase::Indexing => vec![format!("Building indexes  {} of {}", snapshot.indexes.built, snapshot.indexes.total)],
        Phase::Following | Phase::Ready => {
            let (word, _) = running::lag_word(&view);
            let left =
                running::left_to_cut_over(&view).map_or_else(String::new, |left| format!("   {left} to cut over"));
            // The word first: it is what is left of the line on the smallest card.
            vec![format!("{word}  lag {}{left}  following changes", text::ms(snapshot.lag_ms))]
        }
        Phase::Completed => vec![format!("Migrated to {}", running::destination_name(&view))],
        phase => vec![match snapshot.cutover.as_ref().map(|cutover| cutover.step) {
            Some(CutoverStep::StopApplication) => "Stop your application".into(),
            Some(CutoverStep::Drain) => "Applying the last changes".into(),
            Some(CutoverStep::CheckData | CutoverStep::CheckOpened) => "Checking the data".into(),
            Some(CutoverStep::Finalize | CutoverStep::Open) if snapshot.can_write => {
                "ACCEPTS WRITES, cleaning up".into()
            }
            Some(CutoverStep::Finalize | CutoverStep::Open) => "Finalising, keep the application stopped".into(),
            None => format!("Phase: {phase}"),
        }],
    };
    let left = snapshot.oplog_left_ms.map(|_| format!("   oplog left {}", text::ms(snapshot.oplog_left_ms)));
    if snapshot.ops_waiting > 0 || left.is_some() {
        lines.push(format!("buffered {}{}", running::waiting(&view), left.unwrap_or_default()));
    }
    lines
}
