//! The focus among the panes of the migrating screen: which one the keys act on, its mark, and scrolling through events.

use super::State;
use crate::tui::{
    screen::{View, running},
    widget::place,
};
use crossterm::event::KeyCode;
use ratatui::{Frame, layout::Rect, text::Line};

/// The parts of the screen; the one with the focus is what Up, Down, Enter and z act on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pane {
    #[default]
    Collections,
    Forecast,
    Events,
}

/// Keys that move a selection or scroll.
pub(super) fn moves(code: KeyCode) -> bool {
    use KeyCode::{Char, Down, End, Home, PageDown, PageUp, Up};
    matches!(code, Up | Down | PageUp | PageDown | Home | End | Char('j' | 'k'))
}

/// Scrolls the events; false when the key does not.
pub(super) fn scrolls(state: &mut State, code: KeyCode, most: usize) -> bool {
    let back = state.events_back.min(most);
    state.events_back = match code {
        KeyCode::Up | KeyCode::Char('k') => back + 1,
        KeyCode::Down | KeyCode::Char('j') => back.saturating_sub(1),
        KeyCode::PageUp => back + 10,
        KeyCode::PageDown => back.saturating_sub(10),
        KeyCode::Home => most,
        KeyCode::End => 0,
        _ => return false,
    }
    .min(most);
    true
}

/// The pointer in front of the heading of the pane with the focus; in the collections the selected row bears it.
pub(super) fn mark(frame: &mut Frame<'_>, area: Rect, pane: Pane, view: &View<'_>, state: &State) {
    if pane == state.focus(view) {
        let pointer = Line::styled(view.glyphs.pointer, view.theme.selected);
        place::draw(frame, place::part(area, 0, 0, 1, 1), vec![pointer]);
    }
}

pub(super) fn events(view: &View<'_>, state: &State, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let shown = rows.saturating_sub(1);
    let back = state.events_back.min(view.events.len().saturating_sub(shown));
    let upto = View { events: &view.events[..view.events.len() - back], ..*view };
    let name = if back == 0 { "EVENTS".to_string() } else { format!("EVENTS, {back} newer below") };
    let mut lines = vec![running::heading(&name, columns, view)];
    lines.extend(running::events(&upto, columns, shown));
    lines
}
