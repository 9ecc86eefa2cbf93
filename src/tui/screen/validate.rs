//! 4.4 Validation report: checks stream in, a failure explains itself, Start Migration when all is well.

use super::{KeyHint, View, running};
use crate::{
    model::{
        Check, CheckState, Command, Phase, Side, ValidationReport,
        command::Consent,
        units::{show_bytes, show_duration},
    },
    tui::{
        action::{Action, Confirmation, Screen},
        widget::{
            buttons::{self, Button},
            keys::{key, key_unless, plain},
            place, text,
        },
    },
};
use crossterm::event::{KeyCode, KeyEvent};
use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};
use std::time::Duration;

/// The selected check, and whether warnings are accepted.
#[derive(Debug, Default)]
pub struct State {
    /// `None`: the first failure, or the Start button.
    selected: Option<usize>,
    accepted: bool,
}

fn report<'a>(view: &View<'a>) -> Option<&'a ValidationReport> {
    view.snapshot.validation.as_ref()
}

impl State {
    /// What Enter and the explanation are about: the chosen check, else the first one that failed.
    fn current(&self, report: &ValidationReport) -> Option<usize> {
        let chosen = self.selected.filter(|at| *at < report.checks.len());
        chosen.or_else(|| report.checks.iter().position(|check| check.state == CheckState::Fail))
    }
}

fn warnings(report: &ValidationReport) -> usize {
    report.count(CheckState::Warn)
}

/// Why Start Migration does nothing now.
fn start_disabled(view: &View<'_>, state: &State) -> Option<String> {
    let Some(report) = report(view) else { return Some("Nothing has been validated yet.".into()) };
    if view.snapshot.phase != Phase::Validating {
        return Some("The migration has been started.".into());
    }
    if !report.finished {
        let running = report.checks.iter().find(|check| check.state == CheckState::Running);
        let what = running.map_or("the next check".to_string(), |check| format!("{} ({})", check.label, check.side));
        return Some(format!("The checks are still running: {what}."));
    }
    if !report.passed() {
        let failed = report.checks.iter().find(|check| check.state == CheckState::Fail);
        let first = failed.map_or(String::new(), |check| format!(": fix {} first", check.label));
        let count = text::counted(report.count(CheckState::Fail), "check failed", "checks failed");
        return Some(format!("{count}. Start Migration is disabled{first}."));
    }
    if warnings(report) > 0 && !state.accepted {
        return Some("Space accepts the warnings; then Enter starts the migration.".into());
    }
    None
}

/// The right end of line 1.
pub fn header(view: &View<'_>) -> String {
    match report(view) {
        Some(report) => {
            format!("{} checks, {}", report.checks.len(), show_duration(Duration::from_millis(report.took_ms)))
        }
        None => "step 4 of 7".into(),
    }
}

/// One sentence: what now, or why not.
pub fn status(view: &View<'_>, state: &State) -> String {
    start_disabled(view, state).unwrap_or_else(|| "All is well. Enter starts the migration.".into())
}

/// The keys, most important first.
pub fn keys(view: &View<'_>, state: &State) -> Vec<KeyHint> {
    let running = report(view).is_none_or(|report| !report.finished);
    let busy = running.then(|| "The checks are still running.".to_string());
    let no_fix = fix(view, state).is_none().then(|| "The selected check has no command to copy.".to_string());
    let mut keys =
        vec![key_unless("Enter", "Start", "Starts the migration when every check passed", start_disabled(view, state))];
    if report(view).is_some_and(|report| warnings(report) > 0) {
        keys.push(key("Space", "Accept warnings", "Accepts the warnings, once for all; the report names them"));
    }
    keys.push(key_unless("r", "Run again", "Runs the checks again after something was fixed", busy));
    keys.push(key_unless("y", "Copy fix", "Copies the command that fixes the selected check", no_fix));
    keys.push(key("Up/Down", "Select", "Selects a check; its explanation is shown below"));
    keys.push(key("w", "Save report", "Writes the report into the current folder"));
    keys.push(key("Esc", "Back", "Back to the connection form; nothing has been written"));
    keys
}

fn fix(view: &View<'_>, state: &State) -> Option<String> {
    let report = report(view)?;
    report.checks.get(state.current(report)?)?.fix_command.clone()
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, view: &View<'_>) -> Option<Action> {
    let count = report(view).map_or(0, |report| report.checks.len());
    let at = report(view).and_then(|report| state.current(report));
    match plain(key)? {
        KeyCode::Up | KeyCode::Char('k') => {
            state.selected = Some(at.map_or(count.saturating_sub(1), |at| at.saturating_sub(1)));
            None
        }
        KeyCode::Down | KeyCode::Char('j') => {
            state.selected = Some(at.map_or(0, |at| (at + 1).min(count.saturating_sub(1))));
            None
        }
        KeyCode::Char(' ') => {
            state.accepted = !state.accepted;
            None
        }
        KeyCode::Char('r') if report(view).is_some_and(|report| report.finished) => {
            (state.selected, state.accepted) = (None, false);
            Some(Action::Send(Command::Revalidate))
        }
        KeyCode::Char('r') => Some(Action::Say("The checks are still running.".into())),
        KeyCode::Char('y') => Some(match fix(view, state) {
            Some(command) => Action::Copy(command),
            None => Action::Say("The selected check has no command to copy.".into()),
        }),
        KeyCode::Char('w') => report(view)
            .map(|report| Action::Save { file_name: "mongoferry-validation.txt".into(), text: plain_report(report) }),
        KeyCode::Enter => Some(match start_disabled(view, state) {
            Some(why) => Action::Say(why),
            None => start(view),
        }),
        KeyCode::Esc => Some(Action::Open(Screen::Connect)),
        _ => None,
    }
}

fn start(view: &View<'_>) -> Action {
    let consent = Consent { warnings: true, clear_destination: true };
    let dropped = report(view).map(|report| report.would_drop.as_slice()).unwrap_or_default();
    if dropped.is_empty() {
        return Action::Send(Command::Start(Consent { clear_destination: false, ..consent }));
    }
    let destination = running::destination_name(view);
    let count = text::counted(dropped.len(), "database", "databases");
    let mut body =
        vec![format!("This DROPS collections of {count} on the DESTINATION, before copying:"), String::new()];
    for database in dropped {
        let collections = usize::try_from(database.collections).unwrap_or(usize::MAX);
        let collections = text::counted(collections, "collection", "collections");
        body.push(format!("  {:<20} {collections:<16} {}", database.name, show_bytes(database.bytes)));
    }
    body.extend([String::new(), "It cannot be undone. The source is not touched.".into()]);
    Action::Confirm(Confirmation {
        title: format!("Clear existing data on {destination}?"),
        body,
        expected: destination,
        expected_label: "the destination name".into(),
        button: "Drop and continue".into(),
        then: Box::new(Action::Send(Command::Start(consent))),
    })
}

/// The report as plain lines, for a file.
fn plain_report(report: &ValidationReport) -> String {
    let mut out = String::new();
    for check in &report.checks {
        out.push_str(&format!("{:<5} {} {}: {}\n", word(check.state), check.side, check.label, check.evidence));
        for extra in [&check.explanation, &check.fix].into_iter().filter(|extra| !extra.is_empty()) {
            out.push_str(&format!("      {extra}\n"));
        }
        if let Some(command) = &check.fix_command {
            out.push_str(&format!("      {command}\n"));
        }
    }
    out
}

fn word(state: CheckState) -> &'static str {
    match state {
        CheckState::Waiting => "",
        CheckState::Running => "...",
        CheckState::Ok => "OK",
        CheckState::Warn => "WARN",
        CheckState::Fail => "FAIL",
        CheckState::Skip => "SKIP",
    }
}

fn style(state: CheckState, view: &View<'_>) -> Style {
    match state {
        CheckState::Ok => view.theme.ok,
        CheckState::Warn => view.theme.wait,
        CheckState::Fail => view.theme.fail,
        CheckState::Waiting | CheckState::Running | CheckState::Skip => view.theme.dim,
    }
}

/// Draws the body.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    let Some(report) = report(view) else {
        return place::draw(frame, body, vec![Line::raw(" Nothing has been validated yet; Esc goes back.")]);
    };
    let columns = usize::from(body.width);
    let below = explanation(view, state, report, columns);
    let room = usize::from(body.height).saturating_sub(below.len() + 1);
    let rows = checks(view, state, report, columns);
    let at = rows.iter().position(|(selected, _)| *selected).unwrap_or(0);
    let skip = (at + 2).saturating_sub(room).min(rows.len().saturating_sub(room));
    let mut lines: Vec<Line<'static>> = rows.into_iter().skip(skip).take(room).map(|(_, line)| line).collect();
    lines.push(Line::styled(format!(" {}", view.glyphs.rule.repeat(columns.saturating_sub(2))), view.theme.dim));
    lines.extend(below);
    place::draw(frame, body, lines);
}

fn checks(view: &View<'_>, state: &State, report: &ValidationReport, columns: usize) -> Vec<(bool, Line<'static>)> {
    let current = state.current(report);
    let mut lines = Vec::new();
    let mut side = None;
    for (index, check) in report.checks.iter().enumerate() {
        if side != Some(check.side) {
            side = Some(check.side);
            let name = if check.side == Side::Source {
                format!(" Source {}", running::source_name(view))
            } else {
                format!(" Destination {}", running::destination_name(view))
            };
            lines.push((false, Line::styled(text::cut(&name, columns), view.theme.strong)));
        }
        lines.push((current == Some(index), row(check, current == Some(index), view, columns)));
    }
    lines
}

fn row(check: &Check, selected: bool, view: &View<'_>, columns: usize) -> Line<'static> {
    let pointer = if selected { view.glyphs.pointer } else { " " };
    let evidence = text::cut(&check.evidence, columns.saturating_sub(26));
    let label = text::left(&check.label, 15);
    let label_style = if selected { view.theme.selected } else { view.theme.text };
    Line::from(vec![
        Span::raw(format!(" {pointer} ")),
        Span::styled(text::left(word(check.state), 6), style(check.state, view)),
        Span::styled(label, label_style),
        Span::raw(format!(" {evidence}")),
    ])
}

fn explanation(view: &View<'_>, state: &State, report: &ValidationReport, columns: usize) -> Vec<Line<'static>> {
    let current = state.current(report).and_then(|at| report.checks.get(at));
    match current.filter(|check| !check.explanation.is_empty() || !check.fix.is_empty()) {
        Some(check) => explained(check, view, columns),
        None if report.passed() => ready(view, state, report, columns),
        None => vec![Line::styled(" Nothing has been written to either cluster.", view.theme.dim)],
    }
}

fn explained(check: &Check, view: &View<'_>, columns: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let head = format!(" {} {}: {}", word(check.state), check.label, check.explanation);
    for (index, line) in text::wrap(&head, columns.saturating_sub(2)).into_iter().take(3).enumerate() {
        let style = if index == 0 { style(check.state, view) } else { view.theme.text };
        lines.push(Line::styled(if index == 0 { line } else { format!("   {line}") }, style));
    }
    for line in text::wrap(&check.fix, columns.saturating_sub(4)).into_iter().take(3) {
        lines.push(Line::raw(format!("   {line}")));
    }
    if let Some(command) = &check.fix_command {
        for line in text::pieces(command, columns.saturating_sub(6)).into_iter().take(3) {
            lines.push(Line::styled(format!("     {line}"), view.theme.strong));
        }
        lines.push(Line::raw("   y copies this; then press r. Nothing has been written to either cluster."));
    }
    lines
}

fn ready(view: &View<'_>, state: &State, report: &ValidationReport, columns: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> =
        report.summary.iter().take(4).map(|line| Line::raw(text::cut(&format!(" {line}"), columns))).collect();
    for what in report.left_behind.iter().take(2) {
        lines.push(Line::styled(text::cut(&format!(" not carried: {what}"), columns), view.theme.wait));
    }
    let count = warnings(report);
    if count > 0 {
        let mark = if state.accepted { "[x]" } else { "[ ]" };
        let what = text::counted(count, "warning", "warnings");
        lines.push(Line::raw(format!(" {mark} I accept {what}   (Space)")));
    }
    let enabled = start_disabled(view, state).is_none();
    let button = Button { label: "Start Migration".into(), enabled };
    lines.push(buttons::row(&[button], 0, columns.saturating_sub(19) / 2, view.theme));
    lines
}
