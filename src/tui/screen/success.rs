//! 4.12 You have successfully migrated: the report in one look, and what is left for the operator.

use super::{KeyHint, View, running};
use crate::{
    model::{
        Command, Phase,
        left::{self, Left},
        snapshot::{StepLine, StepState, VerificationState},
        units::{plural, show_bytes, show_count, show_duration},
    },
    tui::{
        action::{Action, Confirmation},
        widget::{
            chart::{self, Chart, Merge},
            keys::{key, plain},
            place, table, text,
        },
    },
};
use crossterm::event::{KeyCode, KeyEvent};
use ratatui::{Frame, layout::Rect, text::Line};
use std::time::Duration;

/// What lifts the block of user writes.
const UNBLOCK: &str = "db.adminCommand({setUserWriteBlockMode: 1, global: false})";

/// How long the way back is kept that a key asks for.
const WAY_BACK_S: u64 = 72 * 3600;

/// Which of the things that are left is selected.
#[derive(Debug, Default)]
pub struct State {
    selected: usize,
}

/// The right end of line 1.
pub fn header(view: &View<'_>) -> String {
    view.snapshot.finished.map_or_else(|| running::uptime(view), |at| format!("finished {}", text::clock(at)))
}

/// One sentence: what now, or why not.
pub fn status(view: &View<'_>, _state: &State) -> String {
    let failed = failed(view).count();
    let differ = view.snapshot.verification.mismatches;
    match (view.snapshot.phase, failed) {
        (Phase::Completed, _) if differ > 0 => {
            format!("{} documents differ from the source; the list of them is in the report.", show_count(differ))
        }
        (Phase::Completed, 0) if is_blocked(view) => {
            "The source still refuses user writes; see what is left for you.".into()
        }
        (Phase::Completed, 0) => "Everything mongoferry created has been removed.".into(),
        (Phase::Completed, count) if unremoved(view).count() == count => {
            format!(
                "{} of mongoferry's own could not be removed; see the list.",
                text::counted(count, "thing", "things")
            )
        }
        (Phase::Completed, count) => {
            format!("{} failed; see what is left for you.", text::counted(count, "step", "steps"))
        }
        (phase, _) => format!("Not finished yet: {phase}."),
    }
}

/// The keys, most important first.
pub fn keys(_view: &View<'_>, _state: &State) -> Vec<KeyHint> {
    vec![
        key("q", "Close", "Leaves; the report is printed on the normal screen"),
        key("b", "Way back", "Follows the new cluster into the old one for 72 h"),
        key("Up/Down", "Select", "Moves through what is left for you"),
        key("y", "Copy", "Copies the command or the lines of the selected entry"),
        key("Y", "Copy all", "Copies everything that is left for you"),
        key("v", "View plain", "Shows all of it unwrapped, for the mouse"),
        key("w", "Save report as", "Writes this page to a file"),
        key("l", "Log", "Everything that happened, numbered"),
    ]
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, view: &View<'_>) -> Option<Action> {
    let left = left_for_you(view);
    let last = left.len().saturating_sub(1);
    match plain(key)? {
        KeyCode::Up | KeyCode::Char('k') => {
            state.selected = state.selected.min(last).saturating_sub(1);
            None
        }
        KeyCode::Down | KeyCode::Char('j') => {
            state.selected = (state.selected + 1).min(last);
            None
        }
        KeyCode::Char('q') | KeyCode::Enter => Some(Action::Quit),
        KeyCode::Char('w') => {
            let name = if view.snapshot.name.is_empty() { "migration" } else { &view.snapshot.name };
            Some(Action::Save { file_name: format!("{name}-report.md"), text: report(view) })
        }
        KeyCode::Char('y') => {
            let one = left.get(state.selected.min(last))?;
            Some(Action::Copy(one.exact.clone().unwrap_or_else(|| one.what.clone())))
        }
        KeyCode::Char('Y') => Some(Action::Copy(as_list(&left))),
        KeyCode::Char('v') => Some(Action::PlainView(as_list(&left))),
        KeyCode::Char('b') => Some(keep_way_back(view)),
        KeyCode::Char('l') => Some(Action::Log),
        _ => None,
    }
}

fn title(view: &View<'_>) -> String {
    let name = running::destination_name(view);
    let is_way_back = view.snapshot.way_back_of.is_some();
    if is_way_back && view.snapshot.phase == Phase::Completed {
        format!("You have successfully gone back to {name}")
    } else if is_way_back && view.snapshot.phase == Phase::Stopped {
        format!("The way back to {name} was not used")
    } else if view.snapshot.phase == Phase::Completed {
        format!("You have successfully migrated to {name}")
    } else {
        format!("The migration to {name} is not finished")
    }
}

/// Label and value of each line of the report.
fn facts(view: &View<'_>) -> Vec<(&'static str, String)> {
    let snapshot = view.snapshot;
    let (copy, verification) = (&snapshot.copy, &snapshot.verification);
    let differ = match verification.state {
        VerificationState::Done => format!("{} documents differ", show_count(verification.mismatches)),
        VerificationState::Skipped => format!("comparison SKIPPED ({} differ)", show_count(verification.mismatches)),
        VerificationState::Off => "NOT compared (off in the plan)".into(),
        VerificationState::Running | VerificationState::Waiting => "comparison not finished".into(),
    };
    let ended = snapshot.finished.unwrap_or(view.now);
    let time = snapshot.started.map_or_else(
        || "-".into(),
        |started| {
            format!(
                "{} ({} to {})",
                show_duration(text::between(started, ended)),
                text::date(started),
                text::date(ended)
            )
        },
    );
    let cutover = snapshot.cutover.as_ref();
    let mut downtime = cutover
        .and_then(|cutover| cutover.downtime_ms)
        .map_or_else(|| "not known".into(), |ms| format!("{} for writers", text::ms(Some(ms))));
    if let Some(by) = cutover
        .filter(|cutover| cutover.assumed_stopped)
        .map(|cutover| cutover.assumed_by.as_deref().unwrap_or("the operator"))
    {
        downtime.push_str(&format!("; quiet check overridden by {by}"));
    }
    let removed: Vec<&str> = snapshot
        .cleanup
        .iter()
        .filter(|line| line.state == StepState::Ok && !line.detail.starts_with("none"))
        .map(|line| line.label.trim_start_matches("remove "))
        .collect();
    let incidents = match snapshot.incidents.as_slice() {
        [] => "none".into(),
        list => list.join("; "),
    };
    let way_back = snapshot.way_back.clone().map(|told| ("way back", told));
    let facts = [
        (
            "data",
            match snapshot.way_back_of {
                Some(_) => format!("nothing was copied or built again, {differ}"),
                None => format!(
                    "{}, {}, {}, {differ}",
                    plural(copy.collections_done, "collection"),
                    show_bytes(copy.bytes),
                    plural(snapshot.indexes.built, "index")
                ),
            },
        ),
        (
            "changes",
            match snapshot.ops_applied {
                1 => "1 operation followed".into(),
                count => format!("{} operations followed", show_count(count)),
            },
        ),
        ("time", time),
        ("downtime", downtime),
        ("incidents", incidents),
        ("cleaned up", if removed.is_empty() { "nothing had to be removed".into() } else { removed.join(", ") }),
        ("kept", if is_blocked(view) { "source, which refuses user writes".into() } else { "source untouched".into() }),
        ("report", snapshot.report.clone().unwrap_or_else(|| "not written yet; w saves this page".into())),
    ];
    facts.into_iter().chain(way_back).collect()
}

/// Asks before anything is followed.
fn keep_way_back(view: &View<'_>) -> Action {
    let (old, new) = (running::source_name(view), running::destination_name(view));
    Action::Confirm(Confirmation {
        title: format!("Keep a way back to {old} for 72 h?"),
        body: vec![
            format!("{new} is followed into {old}, so that going back loses nothing that is written meanwhile."),
            format!("{old} is written to; nothing may have been written there since the cutover."),
            "It is a migration of its own, with its own lag and cutover; after 72 h it ends by itself.".into(),
            "Other times: mongoferry reverse NAME --for TIME.".into(),
        ],
        expected: String::new(),
        expected_label: String::new(),
        button: "Keep it".into(),
        then: Box::new(Action::Send(Command::KeepWayBack { seconds: WAY_BACK_S })),
    })
}

/// Completed, everything compared, nothing differs: the only state in which the title is green.
fn is_clean(view: &View<'_>) -> bool {
    let (snapshot, verification) = (view.snapshot, &view.snapshot.verification);
    snapshot.phase == Phase::Completed
        && verification.state == VerificationState::Done
        && verification.mismatches == 0
        && verification.metadata_differences.is_empty()
        && snapshot.indexes.failed.is_empty()
}

/// What only the operator can do.
fn left_for_you(view: &View<'_>) -> Vec<Left> {
    let snapshot = view.snapshot;
    let mut left = Vec::new();
    if is_blocked(view) {
        left.push(Left::with("the source still refuses user writes; when it shall take them again", UNBLOCK));
    }
    left.extend(failed(view).map(|line| Left::only(format!("{}: {}", line.label, line.detail))));
    left.extend(
        snapshot
            .indexes
            .failed
            .iter()
            .map(|index| Left::only(format!("build index {} on {}: {}", index.index, index.namespace, index.reason))),
    );
    let differences = &snapshot.verification.metadata_differences;
    left.extend(differences.iter().map(|difference| Left::only(format!("differs: {difference}"))));
    left.extend(snapshot.left_behind.iter().map(|object| Left::only(format!("not carried: {object}"))));
    left.extend(left::to_close(snapshot));
    left.push(Left::only("keep the source read-only for a few days, then retire it"));
    left
}

/// For the clipboard and the mouse: what, and below it exactly what to run or to remove.
fn as_list(left: &[Left]) -> String {
    let mut text = String::new();
    for one in left {
        text.push_str(&format!("- {}\n", one.what));
        for line in one.exact.iter().flat_map(|exact| exact.lines()) {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text
}

/// Steps of finalising that failed, and what could not be cleaned up.
fn failed<'a>(view: &View<'a>) -> impl Iterator<Item = &'a StepLine> {
    let steps = view.snapshot.cutover.iter().flat_map(|cutover| &cutover.lines);
    steps.filter(|line| line.state == StepState::Failed).chain(unremoved(view))
}

fn unremoved<'a>(view: &View<'a>) -> impl Iterator<Item = &'a StepLine> {
    view.snapshot.cleanup.iter().filter(|line| line.state != StepState::Ok)
}

fn is_blocked(view: &View<'_>) -> bool {
    view.snapshot.cutover.as_ref().is_some_and(|cutover| cutover.source_blocked)
}

/// This page as Markdown.
pub fn report(view: &View<'_>) -> String {
    let mut text = format!("# {}\n\n", title(view));
    for (label, value) in facts(view) {
        text.push_str(&format!("- {label}: {value}\n"));
    }
    text.push_str("\n## Left for you\n\n");
    for line in left_for_you(view) {
        text.push_str(&format!("- [ ] {}\n", line.line()));
    }
    text
}

/// The 19 lines between rule and status line.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    let columns = usize::from(body.width);
    let height = usize::from(body.height);
    let theme = view.theme;
    let style = if is_clean(view) { theme.ok } else { theme.wait };
    let title = text::labelled(" ", &title(view), columns.saturating_sub(1)).into_iter();
    let mut lines = vec![Line::raw("")];
    lines.extend(title.map(|line| Line::styled(line, style)));
    lines.push(Line::raw(""));
    let most = if height >= 30 { 4 } else { 2 };
    // What is left to do stands in a short frame too: it is the only part that cannot be looked up in the report.
    let most = if height < 17 { 1 } else { most };
    let facts_end = lines.len() + height.saturating_sub(lines.len() + 5).max(1);
    for (label, value) in facts(view) {
        let mut wrapped = text::labelled(&format!("   {label:<12} "), &value, columns.saturating_sub(1));
        if wrapped.len() > most {
            let first = text::left(&format!("   {label:<12} {value}"), columns.saturating_sub(1));
            wrapped = vec![first];
        }
        lines.extend(wrapped.into_iter().map(Line::raw));
    }
    lines.truncate(facts_end.max(3));
    lines.push(Line::raw(""));
    lines.push(Line::styled(" Left for you", theme.strong));
    let room = height.saturating_sub(lines.len()).max(1);
    lines.extend(list(view, state, columns, room));
    if height.saturating_sub(lines.len()) >= 9 {
        lines.extend(closing_picture(view, columns));
    }
    place::draw(frame, body, lines);
}

/// The entries around the selected one, as many as there is room for; that one in full.
fn list(view: &View<'_>, state: &State, columns: usize, room: usize) -> Vec<Line<'static>> {
    let left = left_for_you(view);
    let selected = state.selected.min(left.len().saturating_sub(1));
    let columns = columns.saturating_sub(1);
    let whole = |at: usize, one: &Left| -> Vec<Line<'static>> {
        let is_selected = at == selected;
        let mark = if is_selected { view.glyphs.pointer } else { " " };
        let style = if is_selected { view.theme.strong } else { view.theme.text };
        let rows = text::labelled(&format!(" {mark} [ ] "), &one.what, columns);
        let exact = one.exact.iter().flat_map(|exact| exact.lines());
        // Whole, not cut: what is typed from a screen must be right.
        let exact = exact.flat_map(|line| text::labelled("         ", line, columns));
        rows.into_iter().map(|row| Line::styled(row, style)).chain(exact.map(Line::raw)).collect()
    };
    let entries: Vec<Vec<Line<'static>>> = left.iter().enumerate().map(|(at, one)| whole(at, one)).collect();
    if entries.iter().map(Vec::len).sum::<usize>() <= room {
        return entries.into_iter().flatten().collect();
    }
    let extra = entries.get(selected).map_or(0, |rows| rows.len().saturating_sub(1));
    let shown = room.saturating_sub(1 + extra).max(1);
    let from = table::offset_for(selected, left.len(), shown);
    let mut lines: Vec<Line<'static>> = Vec::new();
    for (at, (one, rows)) in left.iter().zip(entries).enumerate().skip(from).take(shown) {
        if at == selected {
            lines.extend(rows);
        } else {
            lines.push(Line::raw(text::cut(&format!("   [ ] {}", one.what), columns)));
        }
    }
    lines.truncate(room.saturating_sub(1).max(1));
    let hidden = left.len().saturating_sub(shown);
    let more = if hidden > 0 { format!("{hidden} more: ") } else { String::new() };
    lines.push(Line::styled(format!("   {more}Down selects, v shows all in full"), view.theme.dim));
    lines
}

/// Lag over the whole migration, where there is room.
fn closing_picture(view: &View<'_>, columns: usize) -> Vec<Line<'static>> {
    let history = &view.snapshot.history;
    if history.lag_ms.is_empty() {
        return Vec::new();
    }
    let span = history.lag_ms.len() as u64 * history.step_ms;
    let worst = history.lag_ms.iter().copied().max().unwrap_or(0);
    let rows = chart::even_rows(worst.div_ceil(1000), 4, |seconds| format!("{seconds} s"));
    let rows = rows.into_iter().map(|(bound, label)| (bound * 1000, label)).collect();
    let chart = Chart { samples: &history.lag_ms, merge: Merge::Max, rows, ready: None, axis: "end".into() };
    let mut lines = vec![
        Line::raw(""),
        Line::styled(format!(" Lag, last {}", show_duration(Duration::from_millis(span))), view.theme.strong),
    ];
    lines.extend(chart.lines(columns.saturating_sub(2), view.glyphs, view.theme));
    lines
}
