//! 4.4 Validation report: the checks as they come in, what to do about a failure, and Start Migration.

use super::{KeyHint, View};
use crate::{
    model::{
        Check, CheckId, CheckState, Command, Side, ValidationReport,
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

/// What is selected, what was accepted, and what the plan says.
#[derive(Debug, Default)]
pub struct State {
    /// The check that the operator moved to; `None`: the first failure, by itself.
    selected: Option<CheckId>,
    /// The focus is on Start Migration rather than in the list.
    in_list: bool,
    accepted: bool,
    destination: String,
}

impl State {
    /// A new validation begins on `destination`.
    pub fn begin(&mut self, destination: String) {
        *self = Self { destination, ..Self::default() };
    }

    fn current<'a>(&self, report: &'a ValidationReport) -> Option<&'a Check> {
        let of = |state: CheckState| report.checks.iter().find(move |check| check.state == state);
        match self.selected {
            Some(id) => report.checks.iter().find(|check| check.id == id),
            None => of(CheckState::Fail).or_else(|| of(CheckState::Warn).filter(|_| report.finished)),
        }
    }
}

fn report<'a>(view: &View<'a>) -> Option<&'a ValidationReport> {
    view.snapshot.validation.as_ref()
}

/// The right end of line 1.
pub fn header(view: &View<'_>) -> String {
    report(view).map_or_else(String::new, |report| {
        let took = show_duration(Duration::from_millis(report.took_ms));
        format!("{} checks, {took}", report.checks.len())
    })
}

/// Why Start Migration does nothing now.
fn start_blocked(view: &View<'_>, state: &State) -> Option<String> {
    let Some(report) = report(view) else { return Some("The checks have not begun.".into()) };
    let names = |wanted: CheckState| {
        let names: Vec<&str> =
            report.checks.iter().filter(|check| check.state == wanted).map(|check| check.label.as_str()).collect();
        names.join(", ")
    };
    let failed = report.count(CheckState::Fail);
    if !report.finished {
        let running = report.checks.iter().find(|check| check.state == CheckState::Running);
        let what = running.map_or_else(String::new, |check| format!(": {} of the {}", check.label, check.side));
        return Some(format!("Checking{what}."));
    }
    if failed > 0 {
        let warned = match report.count(CheckState::Warn) {
            0 => String::new(),
            count => format!(", {}", text::counted(count, "warning", "warnings")),
        };
        return Some(format!(
            "{failed} failed{warned}. Start Migration is disabled: fix {} first.",
            names(CheckState::Fail)
        ));
    }
    if !report.passed() {
        return Some(format!("Start Migration is disabled: {} could not run.", names(CheckState::Skip)));
    }
    if report.count(CheckState::Warn) > 0 && !state.accepted {
        return Some(format!("Space accepts the warning: {}. Then Enter starts.", names(CheckState::Warn)));
    }
    None
}

/// One sentence: what now, or why not.
pub fn status(view: &View<'_>, state: &State) -> String {
    start_blocked(view, state).unwrap_or_else(|| {
        if will_drop(view) {
            "All checks are well. Enter asks for the destination's name, then starts.".into()
        } else {
            "All checks are well. Enter starts the migration.".into()
        }
    })
}

fn will_drop(view: &View<'_>) -> bool {
    report(view).is_some_and(|report| report.passed() && !report.would_drop.is_empty())
}

fn run_again_blocked(view: &View<'_>) -> Option<String> {
    match report(view) {
        Some(report) if report.finished => None,
        _ => Some("The checks are still running.".into()),
    }
}

fn fix_of(check: &Check) -> Option<String> {
    check.fix_command.clone().or_else(|| Some(check.fix.clone()).filter(|fix| !fix.is_empty()))
}

fn copy_blocked(view: &View<'_>, state: &State) -> Option<String> {
    let fix = report(view).and_then(|report| state.current(report)).and_then(fix_of);
    fix.is_none().then(|| "There is nothing to fix in the selected check.".into())
}

/// The keys, most important first.
pub fn keys(view: &View<'_>, state: &State) -> Vec<KeyHint> {
    let mut keys = Vec::new();
    let passed = report(view).is_some_and(ValidationReport::passed);
    if passed {
        let help = "Starts copying; asks for the destination's name first when something is dropped";
        keys.push(key_unless("Enter", "Start Migration", help, start_blocked(view, state)));
    }
    if passed && report(view).is_some_and(|report| report.count(CheckState::Warn) > 0) {
        keys.push(key("Space", "Accept", "Accepts the warnings, by name; they are kept in the report"));
    }
    keys.push(key("Up/Down", "Select", "Moves in the list of checks; also j and k"));
    keys.push(key_unless(
        "r",
        "Run again",
        "Repeats what failed and what depends on it; the others keep their results",
        run_again_blocked(view),
    ));
    keys.push(key_unless(
        "y",
        "Copy fix",
        "Copies the command or the advice of the selected check",
        copy_blocked(view, state),
    ));
    keys.push(key("w", "Save report", "Writes the checks to a file"));
    keys.push(key("Esc", "Back", "Back to the connection form"));
    keys
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, view: &View<'_>) -> Option<Action> {
    match plain(key)? {
        KeyCode::Esc | KeyCode::Left => return Some(Action::Open(Screen::Connect)),
        KeyCode::Up | KeyCode::Char('k') => select(state, view, -1),
        KeyCode::Down | KeyCode::Char('j') => select(state, view, 1),
        KeyCode::Char('r') => {
            return Some(run_again_blocked(view).map_or(Action::Send(Command::Revalidate), Action::Say));
        }
        KeyCode::Char('y') => {
            let fix = report(view).and_then(|report| state.current(report)).and_then(fix_of);
            let nothing = || Action::Say("There is nothing to fix in the selected check.".into());
            return Some(fix.map_or_else(nothing, Action::Copy));
        }
        KeyCode::Char('w') => {
            let nothing = || Action::Say("There is no report yet.".into());
            let save = |report| Action::Save { file_name: "mongoferry-validation.txt".into(), text: as_text(report) };
            return Some(report(view).map_or_else(nothing, save));
        }
        KeyCode::Char(' ') if report(view).is_some_and(ValidationReport::passed) => state.accepted = !state.accepted,
        KeyCode::Enter => return Some(start_blocked(view, state).map_or_else(|| start(view, state), Action::Say)),
        _ => {}
    }
    None
}

fn select(state: &mut State, view: &View<'_>, by: isize) {
    let Some(report) = report(view) else { return };
    let at = state.current(report).and_then(|now| report.checks.iter().position(|check| check.id == now.id));
    let to = match at {
        None if by > 0 => 0,
        None => report.checks.len().saturating_sub(1),
        Some(at) => at.saturating_add_signed(by).min(report.checks.len().saturating_sub(1)),
    };
    state.in_list = true;
    state.selected = report.checks.get(to).map(|check| check.id);
}

fn start(view: &View<'_>, state: &State) -> Action {
    let warnings = state.accepted;
    if !will_drop(view) {
        return Action::Send(Command::Start(Consent { warnings, clear_destination: false }));
    }
    let name = &state.destination;
    let dropped = report(view).map(|report| report.would_drop.as_slice()).unwrap_or_default();
    let mut body = vec![
        format!("This DROPS {} on the DESTINATION,", text::counted(dropped.len(), "database", "databases")),
        "as far as the plan selects them, before copying:".into(),
        String::new(),
    ];
    body.extend(dropped.iter().flat_map(|database| {
        let count = usize::try_from(database.collections).unwrap_or(usize::MAX);
        let collections = text::counted(count, "collection", "collections");
        let row = |name: &str| format!("  {name:<20} {collections:>16}  {:>10}", show_bytes(database.bytes));
        // Whole: it is read before it is agreed to.
        match database.name.as_str() {
            name if text::width(name) > 20 => vec![format!("  {name}"), row("")],
            name => vec![row(name)],
        }
    }));
    body.extend([String::new(), "It cannot be undone. The source is not touched.".into()]);
    Action::Confirm(Confirmation {
        title: format!("Clear existing data on {name}?"),
        body,
        expected: name.clone(),
        expected_label: "the destination name".into(),
        button: "Drop and continue".into(),
        then: Box::new(Action::Send(Command::Start(Consent { warnings, clear_destination: true }))),
    })
}

fn word(state: CheckState, view: &View<'_>) -> (&'static str, Style) {
    match state {
        CheckState::Waiting => ("", view.theme.dim),
        CheckState::Running => ("...", view.theme.text),
        CheckState::Ok => ("OK", view.theme.ok),
        CheckState::Warn => ("WARN", view.theme.wait),
        CheckState::Fail => ("FAIL", view.theme.fail),
        CheckState::Skip => ("SKIP", view.theme.dim),
    }
}

/// The report as plain text, for a file.
fn as_text(report: &ValidationReport) -> String {
    let mut out = String::from("mongoferry validation\n");
    for side in [Side::Source, Side::Destination] {
        out += &format!("\n{side}\n");
        for check in report.checks.iter().filter(|check| check.side == side) {
            let word = match check.state {
                CheckState::Waiting => "-",
                CheckState::Running => "...",
                CheckState::Ok => "OK",
                CheckState::Warn => "WARN",
                CheckState::Fail => "FAIL",
                CheckState::Skip => "SKIP",
            };
            out += &format!("  {word:<5} {:<15} {}\n", check.label, check.evidence);
            for (label, sentence) in [("why", &check.explanation), ("fix", &check.fix)] {
                if !sentence.is_empty() {
                    out += &format!("        {label}: {sentence}\n");
                }
            }
            if let Some(command) = &check.fix_command {
                out += &format!("        run: {command}\n");
            }
        }
    }
    let list = |title: &str, lines: &[String]| -> String {
        let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
        if lines.is_empty() { lines } else { format!("\n{title}\n{lines}") }
    };
    out += &list("Start Migration would", &report.summary);
    out + &list("Left behind", &report.left_behind)
}

/// One line of the list: a heading, a check, or several fine checks of the destination in one.
struct Row {
    id: Option<CheckId>,
    line: Line<'static>,
}

/// Fine checks that share a line when there are fewer lines than checks, and what that line says.
const TOGETHER: [(&[CheckId], &str); 2] = [
    (
        &[
            CheckId::DestinationNetwork,
            CheckId::DestinationTls,
            CheckId::DestinationSignIn,
            CheckId::DestinationReplicaSet,
            CheckId::DestinationPermissions,
            CheckId::DestinationVersion,
            CheckId::DestinationIdentity,
            CheckId::DestinationClocks,
        ],
        "network, TLS, sign in, set, permissions, version, identity, clocks",
    ),
    (&[CheckId::SourceNetwork, CheckId::SourceTls, CheckId::SourceSignIn], "network, TLS, sign in"),
];

/// The rows with the first `level` groups of [`TOGETHER`] on one line each, if all in them are fine and none is selected.
fn rows(view: &View<'_>, state: &State, report: &ValidationReport, columns: usize, level: usize) -> Vec<Row> {
    let current = state.current(report).map(|check| check.id);
    let mut rows = Vec::new();
    let heading = |side: &str, label: &str| Row {
        id: None,
        line: Line::styled(text::cut(&format!(" {side} {label}"), columns), view.theme.strong),
    };
    let fine = |id: CheckId| report.checks.iter().any(|check| check.id == id && check.state == CheckState::Ok);
    let whole = |(group, _): &&(&[CheckId], &str)| {
        group.iter().all(|id| fine(*id)) && !current.is_some_and(|id| state.in_list && group.contains(&id))
    };
    let together: Vec<(&[CheckId], &str)> = TOGETHER.iter().take(level).filter(whole).copied().collect();
    for check in &report.checks {
        if check.id == CheckId::SourceNetwork {
            rows.push(heading("Source", &view.snapshot.source.label));
        }
        if check.id == CheckId::DestinationNetwork {
            let label =
                if state.destination.is_empty() { &view.snapshot.destination.label } else { &state.destination };
            rows.push(heading("Destination", label));
        }
        if let Some((group, labels)) = together.iter().find(|(group, _)| group.contains(&check.id)) {
            if group.first() == Some(&check.id) {
                let spans = vec![
                    Span::raw("   "),
                    Span::styled(format!("{:<6}", "OK"), view.theme.ok),
                    Span::raw(text::cut(labels, columns.saturating_sub(10))),
                ];
                rows.push(Row { id: Some(check.id), line: Line::from(spans) });
            }
            continue;
        }
        let (word, style) = word(check.state, view);
        let selected = current == Some(check.id);
        let pointer = if selected { view.glyphs.pointer } else { " " };
        let rest = format!("{:<15} {}", check.label, check.evidence);
        let rest = text::cut(&rest, columns.saturating_sub(10));
        let body = if selected { view.theme.selected } else { view.theme.text };
        let line = Line::from(vec![
            Span::raw(format!(" {pointer} ")),
            Span::styled(format!("{word:<6}"), style),
            Span::styled(rest, body),
        ]);
        rows.push(Row { id: Some(check.id), line });
    }
    rows
}

/// The block at the bottom: the selected check explained, or what Start will do.
fn bottom(view: &View<'_>, state: &State, report: &ValidationReport, columns: usize) -> Vec<Line<'static>> {
    if report.passed() && !state.in_list {
        return summary(view, state, report, columns);
    }
    let Some(check) = state.current(report) else { return Vec::new() };
    let (word, style) = word(check.state, view);
    let sentence = if check.explanation.is_empty() { &check.evidence } else { &check.explanation };
    let mut wrapped =
        text::labelled(&format!(" {word} {}: ", check.label), sentence, columns.saturating_sub(1)).into_iter();
    let mut lines: Vec<Line<'static>> = wrapped.next().map(|line| Line::styled(line, style)).into_iter().collect();
    lines.extend(wrapped.map(Line::from));
    if !check.fix.is_empty() {
        lines.extend(text::labelled("   Fix  ", &check.fix, columns.saturating_sub(1)).into_iter().map(Line::from));
    }
    if let Some(command) = &check.fix_command {
        lines.extend(text::labelled(label_of(check), command, columns.saturating_sub(1)).into_iter().map(Line::from));
    }
    if matches!(check.state, CheckState::Fail | CheckState::Warn) {
        let copy = if check.fix_command.is_some() { "y copies it; then press r" } else { "Then press r" };
        let sentence = format!("{copy}. Nothing has been written to either cluster.");
        lines.extend(text::labelled("   ", &sentence, columns.saturating_sub(1)).into_iter().map(Line::from));
    }
    if report.passed() {
        lines.push(button(view, state, columns));
    }
    lines
}

/// What a firewall needs is an address, and everybody else a command.
fn label_of(check: &Check) -> &'static str {
    let is_address = check.fix_command.as_deref().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok());
    if is_address { "   Allow  " } else { "   Run  " }
}

fn summary(view: &View<'_>, state: &State, report: &ValidationReport, columns: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if !report.summary.is_empty() || !report.would_drop.is_empty() || !report.left_behind.is_empty() {
        lines.push(Line::styled(" Start Migration will", view.theme.strong));
    }
    let dropped = &report.would_drop;
    if !dropped.is_empty() {
        let names: Vec<&str> = dropped.iter().map(|database| database.name.as_str()).collect();
        let sentence = format!("DROP on {}: {}", state.destination, names.join(", "));
        let wrapped = text::labelled("   ", &sentence, columns.saturating_sub(1));
        lines.extend(wrapped.into_iter().map(|line| Line::styled(line, view.theme.wait)));
    }
    for sentence in &report.summary {
        lines.extend(text::labelled("   ", sentence, columns.saturating_sub(1)).into_iter().map(Line::from));
    }
    if !report.left_behind.is_empty() {
        let count = text::counted(report.left_behind.len(), "object", "objects");
        let sentence = format!("leave {count} behind: {}", report.left_behind.join("; "));
        let wrapped = text::labelled("   ", &sentence, columns.saturating_sub(1));
        lines.extend(wrapped.into_iter().map(|line| Line::styled(line, view.theme.wait)));
    }
    let warned: Vec<String> = report
        .checks
        .iter()
        .filter(|check| check.state == CheckState::Warn)
        .map(|check| format!("{} ({})", check.label, check.evidence))
        .collect();
    if !warned.is_empty() {
        let tick = if state.accepted { "[x]" } else { "[ ]" };
        let wrapped = text::labelled(&format!(" {tick} I accept: "), &warned.join("; "), columns.saturating_sub(1));
        lines.extend(wrapped.into_iter().map(|line| Line::styled(line, view.theme.wait)));
    }
    lines.push(button(view, state, columns));
    lines
}

fn button(view: &View<'_>, state: &State, columns: usize) -> Line<'static> {
    let row = [Button { label: "Start Migration".into(), enabled: start_blocked(view, state).is_none() }];
    buttons::row(&row, 0, columns.saturating_sub(buttons::columns(&row)) / 2, (view.theme, view.glyphs.pointer))
}

/// The 19 lines between rule and status line.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    let columns = usize::from(body.width);
    let height = usize::from(body.height);
    let Some(report) = report(view) else {
        place::draw(frame, body, vec![Line::raw(" The checks have not begun.")]);
        return;
    };
    let mut bottom = bottom(view, state, report, columns);
    // The button stays when the block is cut; the list keeps at least half of the lines.
    let every = rows(view, state, report, columns, 0).len();
    let most = (height / 2).max(height.saturating_sub(every + 1));
    if bottom.len() > most && most > 0 {
        let last = bottom.pop();
        bottom.truncate(most - 1);
        bottom.extend(last);
    }
    let list_height = height.saturating_sub(bottom.len() + usize::from(!bottom.is_empty()));
    let levels = (0..=TOGETHER.len()).map(|level| rows(view, state, report, columns, level));
    let fitting = levels.reduce(|kept, next| if kept.len() <= list_height { kept } else { next });
    let rows = fitting.unwrap_or_default();
    let current = state.current(report).map(|check| check.id);
    let at = rows.iter().position(|row| row.id.is_some() && row.id == current).unwrap_or(0);
    let progress = rows.iter().rposition(|row| {
        let is_active = |check: &Check| Some(check.id) == row.id && check.state == CheckState::Running;
        report.checks.iter().any(is_active)
    });
    let follow = if state.in_list || report.finished { at } else { at.max(progress.unwrap_or(0)) };
    let offset = (follow + 2).saturating_sub(list_height).min(rows.len().saturating_sub(list_height));
    let below = rows.len().saturating_sub(offset + list_height);
    let mut lines: Vec<Line<'static>> = rows.into_iter().skip(offset).take(list_height).map(|row| row.line).collect();
    if !bottom.is_empty() {
        while lines.len() < list_height && height < 25 {
            lines.push(Line::raw(""));
        }
        let more = if below > 0 { format!(" {below} more below ") } else { String::new() };
        let dashes = columns.saturating_sub(2 + text::width(&more));
        let rule = format!(" {}{more}", view.glyphs.rule.repeat(dashes));
        lines.push(Line::styled(rule, view.theme.dim));
        lines.extend(bottom);
    }
    place::draw(frame, body, lines);
}
