//! 4.15 Below 60x16: a status card that says what matters most, down to a single line.

use super::{View, running};
use crate::{
    model::{Phase, units::show_duration},
    tui::widget::{place, text},
};
use ratatui::{Frame, layout::Rect, text::Line};
use std::time::Duration;

/// Draws the card over the whole screen; lines that do not fit are cut from the bottom.
pub fn draw(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, status: &str, focused: &str) {
    let snapshot = view.snapshot;
    let columns = usize::from(area.width);
    let pair = match snapshot.phase {
        Phase::Idle | Phase::Validating => String::new(),
        _ => format!("  {} -> {}", running::source_name(view), running::destination_name(view)),
    };
    let lag = snapshot.lag_ms.map_or("-".into(), |ms| show_duration(Duration::from_millis(ms)));
    let percent = text::percent(text::ratio(snapshot.copy.bytes, snapshot.copy.bytes_total));
    let number = match snapshot.phase {
        Phase::Copying => format!("Copying data  {percent}"),
        Phase::Indexing => format!("Indexes  {} of {}", snapshot.indexes.built, snapshot.indexes.total),
        Phase::Following | Phase::Ready | Phase::Cutover => format!("Lag {lag}"),
        phase => format!("Phase: {phase}"),
    };
    let mut lines = vec![
        format!("mongoferry{pair}"),
        number,
        status.to_string(),
        format!("full screen needs 80x24 ({}x{} now)", area.width, area.height),
        "? Help  q Quit".into(),
    ];
    if !focused.is_empty() {
        lines.insert(2, focused.to_string());
    }
    place::draw(frame, area, lines.into_iter().map(|line| Line::raw(text::cut(&line, columns))).collect());
}
