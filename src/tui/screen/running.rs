//! What the screens of a running migration share: names, uptime, events, the halted block, pause, log and stop keys.

use super::{KeyHint, View};
use crate::{
    model::{
        Command, Event, Phase, Severity,
        units::{show_bytes, show_clock, show_count_short},
    },
    tui::{
        action::{Action, Confirmation},
        widget::{
            keys::{key, key_unless},
            text,
        },
    },
};
use crossterm::event::KeyCode;
use ratatui::text::{Line, Span};

/// The source as an operator types it: its set name, else its label.
pub fn source_name(view: &View<'_>) -> String {
    let source = &view.snapshot.source;
    let name = source.set.clone().filter(|set| !set.is_empty()).unwrap_or_else(|| source.label.clone());
    if name.is_empty() { "source".into() } else { name }
}

/// The destination as an operator calls it.
pub fn destination_name(view: &View<'_>) -> String {
    let destination = &view.snapshot.destination;
    let label = Some(destination.label.clone()).filter(|label| !label.is_empty());
    label.or_else(|| destination.set.clone()).unwrap_or_else(|| "destination".into())
}

/// `up 01:12:44`; empty before the start.
pub fn uptime(view: &View<'_>) -> String {
    let end = view.snapshot.finished.unwrap_or(view.now);
    view.snapshot.started.map_or_else(String::new, |started| format!("up {}", show_clock(text::between(started, end))))
}

/// `115:02:11`: time until the cutover window ends; `None` before it is running.
pub fn left_to_cut_over(view: &View<'_>) -> Option<String> {
    view.snapshot.cutover_deadline.map(|deadline| show_clock(text::between(view.now, deadline)))
}

/// The word, its style and the reason of the lag: READY, WAIT, or FAIL when it has grown for ten minutes.
pub fn lag_word(view: &View<'_>) -> (&'static str, ratatui::style::Style) {
    if view.snapshot.can_cutover {
        ("READY", view.theme.ok)
    } else if lag_grew_for_ten_minutes(view) {
        ("FAIL", view.theme.fail)
    } else {
        ("WAIT", view.theme.wait)
    }
}

/// True when the worst lag of each of the last five two-minute spans is above the one before, and above the threshold.
pub fn lag_grew_for_ten_minutes(view: &View<'_>) -> bool {
    let history = &view.snapshot.history;
    let per_span =
        120_000_u64.checked_div(history.step_ms).and_then(|samples| usize::try_from(samples).ok()).unwrap_or(0);
    if per_span == 0 || history.lag_ms.len() < per_span * 5 {
        return false;
    }
    let newest = &history.lag_ms[history.lag_ms.len() - per_span * 5..];
    let worst: Vec<u64> = newest.chunks(per_span).map(|span| span.iter().copied().max().unwrap_or(0)).collect();
    worst.windows(2).all(|pair| pair[1] > pair[0]) && worst[4] > view.snapshot.thresholds.ready_lag_ms
}

/// The rule with a name in it, `columns` wide: `EVENTS -----`.
pub fn heading(name: &str, columns: usize, view: &View<'_>) -> Line<'static> {
    let rule = view.glyphs.rule.repeat(columns.saturating_sub(text::width(name) + 2));
    Line::from(vec![Span::styled(format!(" {name} "), view.theme.strong), Span::styled(rule, view.theme.dim)])
}

/// The newest `rows` events, oldest first.
pub fn events(view: &View<'_>, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let from = view.events.len().saturating_sub(rows);
    view.events[from..].iter().map(|event| event_line(event, columns, view)).collect()
}

fn event_line(event: &Event, columns: usize, view: &View<'_>) -> Line<'static> {
    let style = match event.severity {
        Severity::Info => view.theme.text,
        Severity::Warn => view.theme.wait,
        Severity::Error => view.theme.fail,
    };
    let start = format!(" {} ", text::clock(event.at));
    let room = columns.saturating_sub(text::width(&start) + 11);
    Line::from(vec![
        Span::raw(start),
        Span::styled(text::left(&event.kind, 10), style),
        Span::raw(format!(" {}", text::cut(&event.text, room))),
    ])
}

/// `1.9M ops (2.1 GiB)`: changes fetched and not yet applied, and their size on local disk when there is any.
pub fn waiting(view: &View<'_>) -> String {
    let operations = format!("{} ops", show_count_short(view.snapshot.ops_waiting));
    match view.snapshot.spool_bytes {
        0 => operations,
        bytes => format!("{operations} ({})", show_bytes(bytes)),
    }
}

/// `at least 8.7 h`: how long the source's oplog still reaches back to what is fetched next.
pub fn oplog_left(view: &View<'_>) -> String {
    let left = view.snapshot.oplog_left_ms;
    left.map_or_else(|| "measuring".into(), |_| format!("at least {}", text::ms(left)))
}

/// What is waited for while nothing is written for the sake of the destination's secondaries.
pub fn holding_back(view: &View<'_>) -> String {
    let why = view.snapshot.holding_back.as_deref().unwrap_or_default();
    format!("WAIT: holding back: {why}. It goes on by itself.")
}

/// True when syncing does not go on by itself.
pub fn is_halted(view: &View<'_>) -> bool {
    matches!(view.snapshot.phase, Phase::Paused | Phase::Failed | Phase::Stopped | Phase::Expired)
}

/// One sentence about a migration that does not go on by itself.
pub fn halted_status(view: &View<'_>) -> String {
    match (view.snapshot.phase, &view.snapshot.error) {
        (Phase::Paused, Some(problem)) => format!("Paused: {}. p resumes when it is fixed.", problem.what),
        (Phase::Paused, None) => "Paused by the operator; p resumes from the kept position.".into(),
        (Phase::Expired, _) => {
            "The cutover window passed; p resumes syncing if the oplog still covers the position.".into()
        }
        (Phase::Stopped, _) => "The migration was stopped; start a new one to migrate.".into(),
        (_, Some(problem)) => format!("Failed: {}.", problem.what),
        (_, None) => "Failed; l shows the log.".into(),
    }
}

/// What halted the migration, in full: state, what, why, fix, what has been written, whether retrying helps.
pub fn halted(view: &View<'_>, columns: usize) -> Vec<Line<'static>> {
    let snapshot = view.snapshot;
    let (word, style) = match snapshot.phase {
        Phase::Failed => ("FAILED", view.theme.fail),
        Phase::Stopped => ("STOPPED", view.theme.wait),
        Phase::Expired => ("EXPIRED", view.theme.wait),
        _ => ("PAUSED", view.theme.wait),
    };
    let left = snapshot.left_phase.map_or_else(String::new, |phase| format!(", while {phase}"));
    let mut lines = vec![Line::from(vec![
        Span::styled(format!(" {word}"), style),
        Span::raw(format!(" since {} UTC{left}", text::clock(snapshot.since))),
    ])];
    let mut say = |label: &str, sentence: &str| {
        lines.extend(text::labelled(label, sentence, columns.saturating_sub(1)).into_iter().map(Line::from));
    };
    if let Some(problem) = &snapshot.error {
        say(" What     ", &format!("{} (on {})", problem.what, problem.side));
        say(" Why      ", &problem.why);
        say(" Fix      ", &problem.fix);
        say(" Written  ", &problem.written);
        let retry =
            if problem.retry_helps { "may succeed without a change" } else { "does not help until the cause is fixed" };
        say(" Retrying ", retry);
    } else {
        say(" ", halted_without_error(view));
    }
    if snapshot.phase == Phase::Paused {
        let ageing = match snapshot.oplog_left_ms {
            Some(_) => {
                format!("The source's oplog keeps ageing: at least {} left.", text::ms(snapshot.oplog_left_ms))
            }
            None => "The source's oplog keeps ageing; how long is left is not known.".into(),
        };
        say(" ", &format!("The position is kept; p resumes. {ageing}"));
    }
    lines
}

fn halted_without_error(view: &View<'_>) -> &'static str {
    match view.snapshot.phase {
        Phase::Paused => "Paused by the operator.",
        Phase::Stopped => "Ended by the operator. The destination keeps what it has; the source is not changed.",
        Phase::Expired => {
            "The cutover window passed: changes are not followed any more. Everything copied so far is kept."
        }
        _ => "No reason was recorded; the log may tell more.",
    }
}

/// The halted block as plain text, for the clipboard and for the mouse.
pub fn halted_text(view: &View<'_>) -> String {
    halted(view, 100).iter().map(|line| format!("{}\n", line.to_string().trim())).collect()
}

/// Why a test of the notices does nothing.
fn no_notices(view: &View<'_>) -> Option<String> {
    let none = "No notices are set up: see [notify] in the README.";
    view.snapshot.notices.is_empty().then(|| none.into())
}

/// Keys that every running screen has: pause or resume, log, stop, and the problem as text while there is one.
pub fn keys(view: &View<'_>) -> Vec<KeyHint> {
    let mut keys = Vec::new();
    if matches!(view.snapshot.phase, Phase::Paused | Phase::Expired) {
        keys.push(key("p", "Resume", "Goes on from the kept position"));
    } else {
        keys.push(key_unless("p", "Pause", "Keeps the position; the source's oplog still ages", over(view)));
    }
    if view.snapshot.error.is_some() {
        keys.push(key("v", "Plain view", "Shows the problem as plain text, for the mouse"));
        keys.push(key("y", "Copy problem", "Copies what, why and fix to the clipboard"));
    }
    keys.push(key("l", "Log", "Everything that happened, numbered"));
    keys.push(key_unless("X", "Stop...", "Ends the migration for good; asks you to type a name first", over(view)));
    keys.push(key_unless("n", "Test notices", "Sends a test by every channel of [notify]", no_notices(view)));
    keys
}

/// Why a command makes no sense any more, once the migration is over.
pub fn over(view: &View<'_>) -> Option<String> {
    let phase = view.snapshot.phase;
    phase.is_over().then(|| format!("The migration has ended ({phase})."))
}

/// The action of a key that every running screen has.
pub fn on_key(code: KeyCode, view: &View<'_>) -> Option<Action> {
    let refused = |action: Action| over(view).map_or(action, Action::Say);
    match code {
        KeyCode::Char('p') => Some(refused(Action::Send(match view.snapshot.phase {
            Phase::Paused | Phase::Expired => Command::Resume,
            _ => Command::Pause,
        }))),
        KeyCode::Char('v') if view.snapshot.error.is_some() => Some(Action::PlainView(halted_text(view))),
        KeyCode::Char('y') if view.snapshot.error.is_some() => Some(Action::Copy(halted_text(view))),
        KeyCode::Char('l') => Some(Action::Log),
        KeyCode::Char('n') => Some(no_notices(view).map_or(Action::Send(Command::TestNotices), Action::Say)),
        KeyCode::Char('X') => Some(refused(stop(view))),
        _ => None,
    }
}

fn stop(view: &View<'_>) -> Action {
    let (source, destination) = (source_name(view), destination_name(view));
    Action::Confirm(Confirmation {
        title: format!("Stop the migration {source} -> {destination}?"),
        body: vec![
            "Copying and following changes end for good; it cannot be resumed.".into(),
            format!("{destination} keeps the data it has, and it will be OUT OF DATE."),
            format!("{source} is not touched."),
            "To interrupt only for a while, cancel and press p (Pause).".into(),
        ],
        expected: source,
        expected_label: "the source name".into(),
        button: "Stop the migration".into(),
        then: Box::new(Action::Send(Command::Stop)),
    })
}
