//! 4.9 Almost done! The lines of finalizing and cleanup, and the moment when the destination accepts writes.

use super::{KeyHint, View, running};
use crate::{
    model::{
        Command, Phase,
        snapshot::{CutoverStep, StepLine, StepState},
        units::{show_clock, show_count},
    },
    tui::{
        action::{Action, Confirmation, Screen},
        widget::{
            boxed,
            keys::{key, key_unless, plain},
            place, steps, text,
        },
    },
};
use crossterm::event::{KeyCode, KeyEvent};
use ratatui::{Frame, layout::Rect, text::Line};
use std::time::Duration;

/// How far the lines are scrolled.
#[derive(Debug, Default)]
pub struct State {
    scroll: usize,
}

/// The right end of line 1.
pub fn header(view: &View<'_>) -> String {
    view.snapshot
        .cutover
        .as_ref()
        .map_or_else(String::new, |cutover| format!("cutover started {}", text::clock(cutover.started)))
}

fn all(view: &View<'_>) -> Vec<StepLine> {
    let lines = view.snapshot.cutover.iter().flat_map(|cutover| cutover.lines.iter());
    lines.chain(&view.snapshot.cleanup).cloned().collect()
}

fn failed(view: &View<'_>) -> usize {
    all(view).iter().filter(|line| line.state == StepState::Failed).count()
}

fn retry_blocked(view: &View<'_>) -> Option<String> {
    let problem = view.snapshot.error.is_some();
    (failed(view) == 0 && !problem).then(|| "Nothing to retry: no step has failed.".into())
}

/// Why the destination cannot be opened without what failed.
fn open_blocked(view: &View<'_>) -> Option<String> {
    if view.snapshot.can_write {
        return Some("The destination is open already.".into());
    }
    if view.snapshot.phase != Phase::Finalizing || failed(view) == 0 {
        return Some("No step of finalising has failed.".into());
    }
    let mut steps = view.snapshot.cutover.iter().flat_map(|cutover| &cutover.lines);
    steps.any(|line| line.state == StepState::Running).then(|| "A step still runs; wait for its end.".into())
}

/// Asks whether the destination may be opened without what failed.
fn open_without(view: &View<'_>) -> Action {
    let name = running::destination_name(view);
    let lines = all(view).into_iter().filter(|line| line.state == StepState::Failed);
    let mut body: Vec<String> = lines.map(|line| format!("{}: {}", line.label, line.detail)).collect();
    body.push(String::new());
    body.push(format!("{name} would be opened without this. Who agreed and when goes into the report."));
    Action::Confirm(Confirmation {
        title: format!("Open {name} although this failed?"),
        body,
        expected: name,
        expected_label: "the destination name".into(),
        button: "Open it".into(),
        then: Box::new(Action::Send(Command::ContinueCutover { assume_stopped: false })),
    })
}

/// Documents that differ on a destination that was opened first.
fn differing(view: &View<'_>) -> Option<u64> {
    let is_checking = view.snapshot.cutover.as_ref().is_some_and(|cutover| cutover.step == CutoverStep::CheckOpened);
    Some(view.snapshot.verification.mismatches).filter(|count| is_checking && *count > 0)
}

fn resume_blocked(view: &View<'_>) -> Option<String> {
    let phase = view.snapshot.phase;
    phase.is_over().then(|| format!("The migration has ended ({phase})."))
}

fn connect_blocked(view: &View<'_>) -> Option<String> {
    view.snapshot.connect.is_none().then(|| "Connection strings are shown once the destination accepts writes.".into())
}

fn done_blocked(view: &View<'_>) -> Option<String> {
    (view.snapshot.phase != Phase::Completed).then(|| "Not finished yet.".into())
}

/// One sentence: what now, or why not.
pub fn status(view: &View<'_>, _state: &State) -> String {
    let failed = failed(view);
    if running::is_halted(view) {
        return running::halted_status(view);
    }
    if let Some(problem) = &view.snapshot.error {
        return format!("{} (on {}). r tries again.", problem.what, problem.side);
    }
    if failed > 0 {
        let steps = text::counted(failed, "step", "steps");
        let open = if open_blocked(view).is_none() { ", O opens without" } else { "" };
        return format!("{steps} failed; the line says why. r tries again{open}.");
    }
    if let Some(count) = differing(view) {
        let verb = if count == 1 { "document differs" } else { "documents differ" };
        return format!("{} {verb} from the source: n shows which.", show_count(count));
    }
    if view.snapshot.can_write && view.snapshot.cleanup.iter().any(|line| line.detail.starts_with("held: ")) {
        return "Clean-up is held and goes on by itself; its line says why. You may leave: q.".into();
    }
    if let Some(sentence) = downtime(view) {
        return sentence;
    }
    if view.snapshot.can_write {
        return "The destination accepts writes; clean-up continues. Keep the wizard running.".into();
    }
    "Finalising; keep your application stopped and the wizard running.".into()
}

/// `Downtime 00:01:24 (last source write 18:06:07, ready 18:07:31).`
fn downtime(view: &View<'_>) -> Option<String> {
    let cutover = view.snapshot.cutover.as_ref()?;
    let clock = show_clock(Duration::from_millis(cutover.downtime_ms?));
    let from = cutover.last_source_write.map(|at| format!("last source write {}", text::clock(at)));
    let to = cutover.opened.map(|at| format!("ready {}", text::clock(at)));
    let evidence: Vec<String> = from.into_iter().chain(to).collect();
    Some(if evidence.is_empty() {
        format!("Downtime {clock}.")
    } else {
        format!("Downtime {clock} ({}).", evidence.join(", "))
    })
}

/// The keys, most important first.
pub fn keys(view: &View<'_>, _state: &State) -> Vec<KeyHint> {
    let mut keys = vec![
        key("n", "Check data", "Next: how the copy was compared"),
        key_unless("i", "Connect info", "Connection strings of the new cluster", connect_blocked(view)),
        key_unless("r", "Retry", "Tries the failed steps again", retry_blocked(view)),
    ];
    if failed(view) > 0 && !view.snapshot.can_write {
        let why = open_blocked(view);
        keys.push(key_unless("O", "Open anyway...", "Goes on without what failed; asks you to type a name first", why));
    }
    if view.snapshot.phase == Phase::Completed {
        keys.insert(0, key("Enter", "Done", "Shows the success report"));
    }
    if running::is_halted(view) {
        keys.insert(0, key_unless("p", "Resume", "Goes on from the kept position", resume_blocked(view)));
    }
    if all(view).len() > 1 {
        keys.push(key("Up/Down", "Scroll", "Moves the list"));
    }
    keys.push(key("l", "Log", "Everything that happened, numbered"));
    keys
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, view: &View<'_>) -> Option<Action> {
    match plain(key)? {
        KeyCode::Char('n') => Some(Action::Open(Screen::CheckData)),
        KeyCode::Char('i') => Some(connect_blocked(view).map_or(Action::Open(Screen::ConnectNew), Action::Say)),
        KeyCode::Char('p') if running::is_halted(view) => {
            Some(resume_blocked(view).map_or(Action::Send(Command::Resume), Action::Say))
        }
        KeyCode::Char('r') => Some(retry_blocked(view).map_or(Action::Send(Command::Retry), Action::Say)),
        KeyCode::Char('O') => Some(open_blocked(view).map_or_else(|| open_without(view), Action::Say)),
        KeyCode::Enter => Some(done_blocked(view).map_or(Action::Open(Screen::Success), Action::Say)),
        KeyCode::Char('l') => Some(Action::Log),
        KeyCode::Up | KeyCode::Char('k') => {
            state.scroll = state.scroll.saturating_sub(1);
            None
        }
        KeyCode::Down | KeyCode::Char('j') => {
            state.scroll = (state.scroll + 1).min(all(view).len().saturating_sub(1));
            None
        }
        _ => None,
    }
}

/// The 19 lines between rule and status line.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    let columns = usize::from(body.width);
    let title = match view.snapshot.phase {
        Phase::Completed => " Done. Everything is cleaned up.",
        _ => " Almost done! Waiting for mongoferry to finish and clean up ...",
    };
    let mut foot = Vec::new();
    if view.snapshot.can_write {
        foot.push(Line::raw(""));
        foot.extend(accepts_writes(view, columns));
        // In a short frame the lines above are worth more; the keys stand in the footer.
        if body.height >= 18 {
            foot.push(Line::raw(""));
            foot.push(Line::raw("   n   next: check the data            i   connection strings now"));
        }
    }
    if let Some(problem) = &view.snapshot.error {
        let what = format!("{}: {}", problem.what, problem.why);
        let fix = format!("{} {}", problem.fix, problem.written);
        for (label, sentence) in [(" FAIL  ", what), (" Fix   ", fix)] {
            let wrapped = text::labelled(label, &sentence, columns.saturating_sub(1));
            foot.extend(
                wrapped
                    .into_iter()
                    .map(|line| Line::styled(line, if label == " FAIL  " { view.theme.fail } else { view.theme.text })),
            );
        }
    }
    let mut lines = vec![Line::styled(title, view.theme.strong), Line::raw("")];
    let list = steps::lines(&all(view), columns, view.theme);
    let room = usize::from(body.height).saturating_sub(lines.len() + foot.len());
    let from = state.scroll.min(list.len().saturating_sub(room));
    let hidden = list.len().saturating_sub(from + room);
    if list.is_empty() {
        lines.push(Line::raw("   No step has begun yet."));
    }
    lines.extend(list.into_iter().skip(from).take(if hidden > 0 { room.saturating_sub(1) } else { room }));
    if hidden > 0 {
        lines.push(Line::styled(format!("   {} more lines, Down scrolls", hidden + 1), view.theme.dim));
    }
    lines.extend(foot);
    place::draw(frame, body, lines);
}

fn accepts_writes(view: &View<'_>, columns: usize) -> Vec<Line<'static>> {
    let name = running::destination_name(view);
    let theme = view.theme;
    let again = if view.snapshot.phase == Phase::Completed {
        "  You may retire the source when you are ready.".to_string()
    } else {
        "  Do not delete the source until this screen says Done.".to_string()
    };
    let width = columns.saturating_sub(2).min(100);
    let now = format!("{name} ACCEPTS WRITES NOW. You may start your application on it.");
    let mut rows: Vec<_> =
        text::labelled("  ", &now, width.saturating_sub(3)).into_iter().map(|row| (row, theme.ok)).collect();
    rows.push((again, theme.text));
    boxed::boxed(&rows, 1, width, theme.ok, view.glyphs)
}
