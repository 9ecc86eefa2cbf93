//! The frame around every screen: who and where, the rail, a rule, the body, one sentence, the keys.

use super::{KeyHint, View, help, running, small};
use crate::session::Link;
use crate::tui::{
    action::Screen,
    keymap,
    model::{Model, Overlay},
    widget::{place, text},
};
use ratatui::{
    Frame, Terminal,
    backend::TestBackend,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Span},
};

const RAIL: [&str; 7] = ["Destination", "Prepare", "Connect", "Validate", "Migrate", "Cut over", "Done"];

/// The step of the rail that a screen belongs to.
fn step(screen: Screen) -> usize {
    match screen {
        Screen::Destination => 0,
        Screen::Prepare => 1,
        Screen::Connect => 2,
        Screen::Validate => 3,
        Screen::Migrating | Screen::Following | Screen::Countdown => 4,
        Screen::StopApplication | Screen::Finalising | Screen::CheckData | Screen::ConnectNew => 5,
        Screen::Success => 6,
    }
}

/// The keys of what is on top.
pub fn keys(model: &Model) -> Vec<KeyHint> {
    match &model.overlay {
        Some(Overlay::Help(help)) => help.keys(help_scrolls(model, body_size(model))),
        Some(Overlay::Log(log)) => log.keys(),
        Some(Overlay::Confirm(question)) => question.keys(),
        None => model.screens.keys(model.screen, &model.view()),
    }
}

/// The footer: the keys of what is on top; the global ones belong to the screens, not to what lies over them. How to
/// leave a migration that goes on without the wizard always stands there.
pub fn footer(model: &Model, columns: usize) -> Line<'static> {
    let view = model.view();
    let keys = keys(model);
    if model.overlay.is_some() {
        let own: Vec<keymap::Entry> = keys.iter().map(keymap::entry).collect();
        return keymap::footer(&own, &[], columns, &view);
    }
    let typing = model.is_typing();
    let kept: &[(&str, &str)] = match typing {
        true => &[("F1", "Help")],
        false if model.is_running() && !model.ends_with_wizard() => &[("d", "Detach"), ("?", "Help")],
        false => &[("?", "Help")],
    };
    keymap::footer(&keymap::footer_hints(&keys, typing), kept, columns, &view)
}

/// The sentence of the status line.
pub fn status(model: &Model) -> String {
    let view = model.view();
    if let Some(said) = &model.said {
        return said.clone();
    }
    if model.engine_gone {
        return "The engine has ended; these are the last values known. q leaves.".into();
    }
    if let Link::Lost { is_dead, .. } = model.link {
        return if model.is_orphaned() {
            "No engine works on it; these values are old. R starts a new one, q leaves.".into()
        } else if is_dead {
            "Nobody listens where the engine was; these values are old. q leaves.".into()
        } else {
            "The engine does not answer; these values are old. It is tried again.".into()
        };
    }
    if let Some((what, since)) = model.waiting {
        let waited = text::between(since, model.now).as_secs();
        if waited >= 1 {
            return format!("Waiting for the engine: {what}, {waited} s.");
        }
    }
    match &model.overlay {
        Some(Overlay::Help(_)) => "Esc, ? or q closes this help.".into(),
        Some(Overlay::Log(log)) => log.status(&view),
        Some(Overlay::Confirm(question)) => question.status(),
        None => model.screens.status(model.screen, &view),
    }
}

/// ` mongoferry  rs0 -> prod-new                             up 03:21:02  engine ok`
fn header(model: &Model, columns: usize) -> Line<'static> {
    let view = model.view();
    let chosen = model.screens.connect.destination_name();
    let started = model.is_started();
    let route = if started {
        Some((running::source_name(&view), running::destination_name(&view)))
    } else {
        let set = view.snapshot.source.set.as_deref().filter(|_| model.screen == Screen::Validate);
        chosen.map(|name| (set.unwrap_or("?").to_string(), name.to_string()))
    };
    let mut right = model.screens.header(model.screen, &view);
    if model.engine_gone {
        right = "engine gone".into();
    } else if let Link::Lost { since, .. } = model.link {
        right = format!("engine lost {} s, retrying", text::between(since, model.now).as_secs());
    } else if model.watches && model.is_running() {
        right += "  only watching";
    } else if model.is_running() && right.starts_with("up ") {
        right += "  engine ok";
    }
    let is_way_back = started && view.snapshot.way_back_of.is_some();
    let mut left = format!(" mongoferry  {}", if is_way_back { "WAY BACK " } else { "" });
    let right = text::cut(&right, columns.saturating_sub(13));
    // At least one column stays free between them.
    let room = columns.saturating_sub(text::width(&right) + 2);
    if let Some((source, destination)) = route {
        left += &route_in(&source, &destination, room.saturating_sub(text::width(&left)));
    }
    Line::from(vec![
        Span::styled(text::left(&left, room), view.theme.strong),
        Span::raw(" "),
        Span::styled(format!("{right} "), view.theme.text),
    ])
}

/// `rs0 -> prod-new` in at most `columns`; long names are cut in their middle, the shorter one last.
pub fn route_in(source: &str, destination: &str, columns: usize) -> String {
    let room = columns.saturating_sub(4);
    let (long, short) = (text::width(destination), text::width(source));
    let for_source = short.min((room / 2).max(room.saturating_sub(long)));
    let source = text::middle(source, for_source);
    let destination = text::middle(destination, room.saturating_sub(text::width(&source)));
    format!("{source} -> {destination}")
}

/// ` +Destination  [Prepare]  Connect  Validate  Migrate  Cut over  Done`
fn rail(model: &Model) -> Line<'static> {
    let now = step(model.screen);
    let mut spans = vec![Span::raw(" ")];
    for (at, name) in RAIL.iter().enumerate() {
        let (word, style) = match at.cmp(&now) {
            std::cmp::Ordering::Less => (format!("{}{name}", model.glyphs.done), model.theme.text),
            std::cmp::Ordering::Equal => (format!("[{name}]"), model.theme.strong),
            std::cmp::Ordering::Greater => ((*name).to_string(), model.theme.dim),
        };
        spans.push(Span::styled(word, style));
        spans.push(Span::raw("  "));
    }
    Line::from(spans)
}

/// Draws everything into the whole frame, as its size allows.
pub fn draw(frame: &mut Frame<'_>, model: &Model) {
    let area = frame.area();
    if area.is_empty() {
        return;
    }
    if is_small((area.width, area.height)) {
        small::draw(frame, area, model);
        return;
    }
    let view = model.view();
    let columns = usize::from(area.width);
    let mut top = vec![header(model, columns)];
    if has_rail((area.width, area.height)) {
        top.push(rail(model));
    }
    top.push(Line::styled(model.glyphs.rule.repeat(columns), model.theme.dim));
    let above = u16::try_from(top.len()).unwrap_or(3);
    place::draw(frame, place::part(area, 0, 0, area.width, above), top);
    let said = sentence(model, columns);
    let below = u16::try_from(said.len() + 1).unwrap_or(2);
    let body = place::part(area, 0, above, area.width, area.height.saturating_sub(above + below));
    draw_body(frame, body, model, &view);
    if model.link != Link::Up || model.engine_gone {
        // What is shown is old: the header and the status line say so in words.
        frame.buffer_mut().set_style(body, Style::new().add_modifier(Modifier::DIM));
    }
    let is_mistake = said.first().is_some_and(|line| line.starts_with(" ! "));
    let style = if is_mistake { view.theme.fail } else { view.theme.text };
    let mut lines: Vec<Line<'static>> = said.into_iter().map(|line| Line::styled(line, style)).collect();
    lines.push(footer(model, columns));
    place::draw(frame, place::below(area, area.height.saturating_sub(below)), lines);
}

/// The status line; a sentence with long names takes a second one from the body rather than losing its end.
fn sentence(model: &Model, columns: usize) -> Vec<String> {
    let room = columns.saturating_sub(2);
    let mut lines = text::wrap(&status(model), room).into_iter();
    let first = lines.next().unwrap_or_default();
    let rest = lines.collect::<Vec<String>>().join(" ");
    let second = (!rest.is_empty()).then(|| text::cut(&rest, room));
    std::iter::once(first).chain(second).map(|line| format!(" {line}")).collect()
}

/// True where a card stands instead of the screen, without a footer of its own.
pub fn is_small((columns, rows): (u16, u16)) -> bool {
    columns < 60 || rows < 16
}

fn has_rail((columns, rows): (u16, u16)) -> bool {
    columns >= 80 && rows >= 24
}

fn draw_body(frame: &mut Frame<'_>, body: Rect, model: &Model, view: &View<'_>) {
    match &model.overlay {
        Some(Overlay::Log(log)) => log.draw(frame, body, view),
        Some(Overlay::Help(help)) => {
            help.draw(frame, body, view, &below_help(model), model.screens.is_typing(model.screen))
        }
        Some(Overlay::Confirm(question)) => question.draw(frame, body, view),
        None => model.screens.draw(model.screen, frame, body, view),
    }
}

/// The keys that the help explains.
pub fn below_help(model: &Model) -> Vec<KeyHint> {
    model.screens.keys(model.screen, &model.view())
}

/// How far the help can be scrolled in a body of this size.
pub fn help_scrolls(model: &Model, (columns, rows): (usize, usize)) -> usize {
    let typing = model.screens.is_typing(model.screen);
    help::lines(columns, &model.view(), &below_help(model), typing).len().saturating_sub(rows)
}

/// The size of the body in a terminal of the model's size.
pub fn body_size(model: &Model) -> (usize, usize) {
    let (width, height) = (usize::from(model.size.0), usize::from(model.size.1));
    let around = if has_rail(model.size) { 4 } else { 3 } + sentence(model, width).len();
    (width, height.saturating_sub(around))
}

/// The screen as plain text of `width` x `height`, trailing blanks left out.
pub fn as_text(model: &Model, width: u16, height: u16) -> String {
    // A test backend cannot fail: its error has no value.
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width.max(1), height.max(1)));
    let Ok(drawn) = terminal.draw(|frame| draw(frame, model));
    let buffer = drawn.buffer;
    let row = |y: u16| -> String { (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect() };
    (0..buffer.area.height).map(|y| format!("{}\n", row(y).trim_end())).collect()
}
