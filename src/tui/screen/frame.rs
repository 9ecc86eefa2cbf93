//! The frame of every screen (UX.md rule 1): who and where, the rail, a rule, the body, one sentence, the keys.

use super::{
    check_data, confirm, connect, connect_new, countdown, destination, finalising, following, help, log, migrating,
    prepare, running, small, stop_application, success, validate,
};
use crate::{
    model::Phase,
    tui::{
        action::Screen,
        model::{Overlay, Wizard},
        update,
        widget::{place, text},
    },
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

/// Narrower or lower than this: no rail.
const FULL: (u16, u16) = (80, 24);
/// Narrower or lower than this: the status card.
const NARROW: (u16, u16) = (60, 16);

/// The stations of the rail and the screens that belong to them.
const RAIL: [(&str, &[Screen]); 7] = [
    ("Destination", &[Screen::Destination]),
    ("Prepare", &[Screen::Prepare]),
    ("Connect", &[Screen::Connect]),
    ("Validate", &[Screen::Validate]),
    ("Migrate", &[Screen::Migrating, Screen::Following, Screen::Countdown]),
    ("Cut over", &[Screen::StopApplication, Screen::Finalising, Screen::CheckData, Screen::ConnectNew]),
    ("Done", &[Screen::Success]),
];

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, wizard: &Wizard) {
    let area = frame.area();
    let sentence = sentence(wizard);
    if area.width < NARROW.0 || area.height < NARROW.1 {
        return small::draw(frame, area, &wizard.view(), &sentence, "");
    }
    let columns = usize::from(area.width);
    let full = area.width >= FULL.0 && area.height >= FULL.1;
    let view = wizard.view();
    let mut top = vec![text::ends(&who(wizard), &format!("{} ", header(wizard)), columns)]
        .into_iter()
        .map(|line| Line::styled(line, view.theme.strong))
        .collect::<Vec<_>>();
    if full {
        top.push(rail(wizard));
    }
    top.push(Line::styled(view.glyphs.rule.repeat(columns), view.theme.dim));
    let head = u16::try_from(top.len()).unwrap_or(3);
    place::draw(frame, place::part(area, 0, 0, area.width, head), top);
    let body = place::part(area, 0, head, area.width, area.height.saturating_sub(head + 2));
    draw_body(frame, body, wizard);
    let bottom = vec![Line::raw(text::cut(&format!(" {sentence}"), columns)), footer(wizard, columns)];
    place::draw(frame, place::part(area, 0, area.height - 2, area.width, 2), bottom);
}

fn who(wizard: &Wizard) -> String {
    let view = wizard.view();
    let destination = match (&wizard.destination, wizard.snapshot.phase) {
        (_, phase) if !matches!(phase, Phase::Idle | Phase::Validating) => running::destination_name(&view),
        (Some((name, _)), _) => name.clone(),
        (None, _) => return " mongoferry".into(),
    };
    let source = match wizard.snapshot.phase {
        Phase::Idle => "?".to_string(),
        _ => running::source_name(&view),
    };
    format!(" mongoferry  {source} -> {destination}")
}

fn header(wizard: &Wizard) -> String {
    if wizard.engine_gone {
        return "ENGINE LOST".into();
    }
    let view = wizard.view();
    match wizard.screen {
        Screen::Destination => destination::header(&view),
        Screen::Prepare => prepare::header(&view),
        Screen::Connect => connect::header(&view),
        Screen::Validate => validate::header(&view),
        Screen::Migrating => migrating::header(&view),
        Screen::Following => following::header(&view),
        Screen::Countdown => countdown::header(&view),
        Screen::StopApplication => stop_application::header(&view),
        Screen::Finalising => finalising::header(&view),
        Screen::CheckData => check_data::header(&view),
        Screen::ConnectNew => connect_new::header(&view),
        Screen::Success => success::header(&view),
    }
}

fn rail(wizard: &Wizard) -> Line<'static> {
    let view = wizard.view();
    let now = RAIL.iter().position(|(_, screens)| screens.contains(&wizard.screen)).unwrap_or(0);
    let mut spans = vec![Span::raw(" ")];
    for (index, (name, _)) in RAIL.iter().enumerate() {
        let (word, style) = match index.cmp(&now) {
            std::cmp::Ordering::Less => (format!("{}{name}", view.glyphs.done), view.theme.ok),
            std::cmp::Ordering::Equal => (format!("[{name}]"), view.theme.strong),
            std::cmp::Ordering::Greater => ((*name).to_string(), view.theme.dim),
        };
        spans.push(Span::styled(word, style));
        spans.push(Span::raw("  "));
    }
    Line::from(spans)
}

fn draw_body(frame: &mut Frame<'_>, body: Rect, wizard: &Wizard) {
    let (view, screens) = (wizard.view(), &wizard.screens);
    match &wizard.overlay {
        Some(Overlay::Help(from)) => {
            let hints = update::screen_hints(wizard);
            return help::draw(frame, body, &view, &hints, *from);
        }
        Some(Overlay::Log(state)) => return log::draw(frame, body, &view, state),
        Some(Overlay::Confirm(state)) => return confirm::draw(frame, body, &view, state),
        None => {}
    }
    match wizard.screen {
        Screen::Destination => destination::draw(frame, body, &view, &screens.destination),
        Screen::Prepare => prepare::draw(frame, body, &view, &screens.prepare),
        Screen::Connect => connect::draw(frame, body, &view, &screens.connect),
        Screen::Validate => validate::draw(frame, body, &view, &screens.validate),
        Screen::Migrating => migrating::draw(frame, body, &view, &screens.migrating),
        Screen::Following => following::draw(frame, body, &view, &screens.following),
        Screen::Countdown => countdown::draw(frame, body, &view, &screens.countdown),
        Screen::StopApplication => stop_application::draw(frame, body, &view, &screens.stop_application),
        Screen::Finalising => finalising::draw(frame, body, &view, &screens.finalising),
        Screen::CheckData => check_data::draw(frame, body, &view, &screens.check_data),
        Screen::ConnectNew => connect_new::draw(frame, body, &view, &screens.connect_new),
        Screen::Success => success::draw(frame, body, &view, &screens.success),
    }
}

/// The status line: what was just said, else what the screen says.
fn sentence(wizard: &Wizard) -> String {
    if let Some(message) = &wizard.message {
        return message.clone();
    }
    let (view, screens) = (wizard.view(), &wizard.screens);
    match &wizard.overlay {
        Some(Overlay::Help(_)) => return help::status(),
        Some(Overlay::Log(state)) => return log::status(&view, state),
        Some(Overlay::Confirm(state)) => return confirm::status(state),
        None => {}
    }
    match wizard.screen {
        Screen::Destination => destination::status(&view, &screens.destination),
        Screen::Prepare => prepare::status(&view, &screens.prepare),
        Screen::Connect => connect::status(&view, &screens.connect),
        Screen::Validate => validate::status(&view, &screens.validate),
        Screen::Migrating => migrating::status(&view, &screens.migrating),
        Screen::Following => following::status(&view, &screens.following),
        Screen::Countdown => countdown::status(&view, &screens.countdown),
        Screen::StopApplication => stop_application::status(&view, &screens.stop_application),
        Screen::Finalising => finalising::status(&view, &screens.finalising),
        Screen::CheckData => check_data::status(&view, &screens.check_data),
        Screen::ConnectNew => connect_new::status(&view, &screens.connect_new),
        Screen::Success => success::status(&view, &screens.success),
    }
}

/// The keys that fit, most important first; `? Help` always.
fn footer(wizard: &Wizard, columns: usize) -> Line<'static> {
    let view = wizard.view();
    let help = if wizard.is_typing() { "F1 Help" } else { "? Help" };
    let mut room = columns.saturating_sub(text::width(help) + 2);
    let mut spans = vec![Span::raw(" ")];
    for hint in update::hints(wizard) {
        let word = format!("{} {}  ", hint.key, hint.label);
        let width = text::width(&word);
        if width > room {
            break;
        }
        room -= width;
        let style = if hint.disabled.is_some() { view.theme.dim } else { view.theme.text };
        spans.push(Span::styled(word, style));
    }
    spans.push(Span::raw(help));
    Line::from(spans)
}
