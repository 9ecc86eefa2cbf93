//! 4.8 Guided cutover: stop your application, who still writes, and the drain of the last changes.

use super::{KeyHint, View, running};
use crate::{
    model::{
        CheckOrder, Command,
        snapshot::{Cutover, CutoverStep, VerificationState, Writer},
        units::show_count,
    },
    tui::{
        action::{Action, Confirmation, Screen},
        widget::{
            bar,
            buttons::{self, Button},
            chart,
            keys::{key, key_unless, plain},
            place, table, text,
        },
    },
};
use crossterm::event::{KeyCode, KeyEvent};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

/// From here on the source is called silent and the seconds are counted; below, writes are still arriving.
const SILENT_MS: u64 = 10_000;

/// Open transactions that are listed; what can be copied has all.
const OPEN_SHOWN: usize = 3;

/// The selected writer and the focused button.
#[derive(Debug, Default)]
pub struct State {
    selected: usize,
    on_go_back: bool,
}

/// The right end of line 1.
pub fn header(view: &View<'_>) -> String {
    let lag = format!("lag {}", text::ms(view.snapshot.lag_ms));
    running::left_to_cut_over(view).map_or(lag.clone(), |left| format!("{lag}  {left} left"))
}

/// Waiting for the operator and for quiet; false once the drain began or before the cutover did.
fn is_waiting(view: &View<'_>) -> bool {
    view.snapshot.cutover.as_ref().is_some_and(|cutover| cutover.step == CutoverStep::StopApplication)
}

/// Namespaces written within the quiet period.
fn active(view: &View<'_>) -> usize {
    let quiet_for = view.snapshot.thresholds.quiet_for_ms;
    let recent = |writer: &&Writer| text::between(writer.last_write, view.now).as_millis() < u128::from(quiet_for);
    view.snapshot.writers.iter().filter(recent).count()
}

/// Why Continue does nothing now.
fn continue_blocked(view: &View<'_>) -> Option<String> {
    let snapshot = view.snapshot;
    let quiet_for = snapshot.thresholds.quiet_for_ms;
    let needed = text::threshold(quiet_for);
    if !is_waiting(view) {
        return Some(match &snapshot.cutover {
            Some(_) => "Continue was pressed already; the last changes are being applied.".into(),
            None => "The cutover has not begun: press c (Prepare to cutover) on the Migrate screen.".into(),
        });
    }
    if snapshot.blocks_source {
        return snapshot
            .cutover
            .as_ref()
            .filter(|cutover| cutover.waiting_by.is_some())
            .map(|_| "user writes are being blocked on the source.".into());
    }
    match (snapshot.source_quiet_ms, active(view)) {
        (Some(quiet), _) if quiet >= quiet_for => {
            snapshot.open_transactions.first().map(|_| "a transaction is open and may still write.".into())
        }
        (None, _) => Some("how long the source is quiet is not known yet.".into()),
        (Some(quiet), count) if count == 0 || quiet >= SILENT_MS => {
            Some(format!("quiet for {} of {needed}.", seconds(quiet)))
        }
        (Some(_), 1) => Some(format!("1 namespace was written in the last {needed}.")),
        (Some(_), count) => Some(format!("{count} namespaces were written in the last {needed}.")),
    }
}

fn seconds(ms: u64) -> u64 {
    ms / 1000
}

/// Why pressing Continue does nothing now. Before the source is quiet it is pressed for later.
fn press_blocked(view: &View<'_>) -> Option<String> {
    let waiting = view.snapshot.cutover.as_ref().is_some_and(|cutover| cutover.waiting_by.is_some());
    match continue_blocked(view) {
        Some(why) if !is_waiting(view) => Some(why),
        Some(_) if waiting => Some("Continue was pressed already: the step goes on by itself.".into()),
        _ => None,
    }
}

/// Why the source still takes writes although the plan says to block them and Continue was pressed.
fn was_not_blocked<'a>(view: &View<'a>) -> Option<&'a str> {
    let cutover =
        view.snapshot.cutover.as_ref().filter(|cutover| view.snapshot.blocks_source && !cutover.source_blocked);
    cutover?.late_write.as_deref()
}

/// Why the override does nothing now.
fn override_blocked(view: &View<'_>) -> Option<String> {
    match continue_blocked(view) {
        None if was_not_blocked(view).is_some() => None,
        None if view.snapshot.blocks_source => Some("No override needed: Continue blocks user writes.".into()),
        None => Some("No override needed: the source is quiet; press Continue.".into()),
        Some(why) if !is_waiting(view) => Some(why),
        Some(_) => None,
    }
}

fn go_back_blocked(view: &View<'_>) -> Option<String> {
    let opened =
        view.snapshot.can_write || view.snapshot.cutover.as_ref().is_some_and(|cutover| cutover.opened.is_some());
    opened.then(|| "There is no way back any more: the destination was opened for writes.".into())
}

/// Why `a` does nothing now, in the demo.
fn demo_blocked(view: &View<'_>) -> Option<String> {
    view.snapshot
        .application
        .filter(|application| !application.running)
        .map(|_| "The demo's application has stopped already.".into())
}

/// Whether the data is checked before or after the opening.
fn order(view: &View<'_>) -> CheckOrder {
    view.snapshot.cutover.as_ref().map(|cutover| cutover.check).unwrap_or_default()
}

/// Why the order of check and opening cannot be chosen now.
fn order_blocked(view: &View<'_>) -> Option<String> {
    if view.snapshot.verification.state == VerificationState::Off {
        return Some("The plan switched verification off: nothing is checked.".into());
    }
    match view.snapshot.cutover.as_ref().map(|cutover| cutover.step) {
        Some(CutoverStep::StopApplication | CutoverStep::Drain) => None,
        Some(_) => Some("The last changes are applied: the order is fixed for this cutover.".into()),
        None => Some("The cutover has not begun.".into()),
    }
}

/// `quiet for 2 of 60 s`.
fn quiet_so_far(view: &View<'_>) -> String {
    let needed = text::threshold(view.snapshot.thresholds.quiet_for_ms);
    view.snapshot.source_quiet_ms.map_or_else(
        || "how long the source is quiet is not known".into(),
        |quiet| format!("quiet for {} of {needed}", seconds(quiet)),
    )
}

/// One sentence: what now, or why not.
pub fn status(view: &View<'_>, _state: &State) -> String {
    if running::is_halted(view) {
        return running::halted_status(view);
    }
    let Some(cutover) = &view.snapshot.cutover else {
        return continue_blocked(view).unwrap_or_default();
    };
    match cutover.step {
        CutoverStep::StopApplication => match (&cutover.late_write, continue_blocked(view)) {
            _ if was_not_blocked(view).is_some() => {
                "The source was not blocked: Enter tries again, O goes on without, Esc goes back.".into()
            }
            (_, None) if view.snapshot.blocks_source => {
                "Enter blocks user writes on the source and goes on; going back lifts that.".into()
            }
            (_, Some(_)) if view.snapshot.blocks_source => "Blocking user writes on the source.".into(),
            (Some(_), Some(_)) => format!("A late write reopened this step: {}.", quiet_so_far(view)),
            (None, Some(why)) if cutover.waiting_by.is_some() => format!("Goes on by itself when quiet: {why}"),
            (None, Some(why)) => format!("Not quiet yet: {why}"),
            (_, None) => "The source is quiet: Enter continues. Keep the application stopped.".into(),
        },
        CutoverStep::Drain => format!("Applying the last changes: {} to go. Esc still goes back.", operations(view)),
        CutoverStep::CheckData => "Comparing documents that changed since their last check.".into(),
        CutoverStep::Finalize | CutoverStep::CheckOpened | CutoverStep::Open => {
            "Finalising; the last change is applied.".into()
        }
    }
}

fn operations(view: &View<'_>) -> String {
    match view.snapshot.ops_waiting {
        1 => "1 operation".into(),
        count => format!("{} operations", show_count(count)),
    }
}

/// The keys, most important first.
pub fn keys(view: &View<'_>, state: &State) -> Vec<KeyHint> {
    if running::is_halted(view) {
        return running::keys(view);
    }
    let mut keys = Vec::new();
    if view.snapshot.application.is_some() && demo_blocked(view).is_none() {
        keys.push(key("a", "Stop the application", "Demo only: stops the application that writes to the source"));
    }
    let focused = if state.on_go_back { go_back_blocked(view) } else { press_blocked(view) };
    keys.push(key_unless(
        "Enter",
        if state.on_go_back { "Go back" } else { "Continue" },
        "Presses the focused button",
        focused,
    ));
    keys.push(key_unless(
        "Esc",
        "Go back",
        "Leaves the cutover; syncing continues, nothing has changed",
        go_back_blocked(view),
    ));
    keys.push(key_unless(
        "O",
        "Override...",
        "Continues although writes arrive; asks you to type the source name first",
        override_blocked(view),
    ));
    let nobody = view.snapshot.writers.is_empty().then(|| "Nothing to copy: no writes seen lately.".to_string());
    keys.push(key_unless("y", "Copy clients", "Copies who writes, to ask them to stop", nobody.clone()));
    let (label, help) = match order(view) {
        CheckOrder::First => {
            ("Open first", "Opens the destination before the check; its result arrives while the application writes")
        }
        CheckOrder::After => ("Check first", "Checks the data before the destination is opened"),
    };
    keys.push(key_unless("o", label, help, order_blocked(view)));
    keys.push(key("Left/Right", "Choose", "Moves between the buttons"));
    if view.snapshot.writers.len() > 1 && is_waiting(view) {
        keys.push(key("Up/Down", "Select", "Moves in the list of writers"));
    }
    keys.push(key_unless("v", "Plain view", "Shows who writes in full, for the mouse", nobody));
    keys.push(key("l", "Log", "Everything that happened, numbered"));
    keys
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, view: &View<'_>) -> Option<Action> {
    let go_back = || match (go_back_blocked(view), &view.snapshot.cutover) {
        (Some(why), _) => Action::Say(why),
        (None, None) => Action::Open(Screen::Following),
        (None, Some(_)) => Action::Send(Command::GoBack),
    };
    let last = view.snapshot.writers.len().saturating_sub(1);
    match plain(key)? {
        code if running::is_halted(view) => return running::on_key(code, view),
        KeyCode::Left | KeyCode::BackTab => state.on_go_back = false,
        KeyCode::Right => state.on_go_back = true,
        KeyCode::Tab => state.on_go_back = !state.on_go_back,
        KeyCode::Up | KeyCode::Char('k') => state.selected = state.selected.min(last).saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => state.selected = (state.selected + 1).min(last),
        KeyCode::Esc => return Some(go_back()),
        KeyCode::Enter if state.on_go_back => {
            state.on_go_back = false;
            return Some(go_back());
        }
        KeyCode::Enter => {
            let send = Action::Send(Command::ContinueCutover { assume_stopped: false });
            return Some(press_blocked(view).map_or(send, Action::Say));
        }
        KeyCode::Char('o') => {
            let other = match order(view) {
                CheckOrder::First => CheckOrder::After,
                CheckOrder::After => CheckOrder::First,
            };
            return Some(order_blocked(view).map_or(Action::Send(Command::ChooseCheck(other)), Action::Say));
        }
        KeyCode::Char('O') => return Some(override_blocked(view).map_or_else(|| override_quiet(view), Action::Say)),
        KeyCode::Char('a') if view.snapshot.application.is_some() => {
            return Some(demo_blocked(view).map_or(Action::Send(Command::StopApplication), Action::Say));
        }
        KeyCode::Char('y' | 'v') if view.snapshot.writers.is_empty() => {
            return Some(Action::Say("Nothing to copy: no writes seen lately.".into()));
        }
        KeyCode::Char('y') => return Some(Action::Copy(client_list(view))),
        KeyCode::Char('v') => return Some(Action::PlainView(client_list(view))),
        KeyCode::Char('l') => return Some(Action::Log),
        _ => {}
    }
    None
}

fn override_quiet(view: &View<'_>) -> Action {
    let source = running::source_name(view);
    let mut body = vec![
        "mongoferry would go on although the source was written lately.".into(),
        "Every write that reaches the source after the next step is LOST.".into(),
        String::new(),
    ];
    body.extend(view.snapshot.writers.iter().take(8).map(|writer| {
        format!(
            "  {}  {} ops/s, last write {}",
            writer.namespace,
            text::rate(writer.ops_per_s),
            text::ago(writer.last_write, view.now)
        )
    }));
    body.extend(view.snapshot.open_transactions.iter().take(8).map(|open| format!("  open transaction: {open}")));
    body.push("Who, when and which namespaces go into the report.".into());
    Action::Confirm(Confirmation {
        title: format!("Assume that every writer on {source} has stopped?"),
        body,
        expected: source,
        expected_label: "the source name".into(),
        button: "Override and continue".into(),
        then: Box::new(Action::Send(Command::ContinueCutover { assume_stopped: true })),
    })
}

/// One line per writer: namespace, rate, last write, likely client.
fn client_list(view: &View<'_>) -> String {
    let line = |writer: &Writer| {
        let client = writer.likely_client.as_deref().unwrap_or("client not known");
        format!(
            "{}\t{} ops/s\tlast write {}\tlikely {client}\n",
            writer.namespace,
            text::rate(writer.ops_per_s),
            text::moment(writer.last_write)
        )
    };
    let open = view.snapshot.open_transactions.iter().map(|open| format!("open transaction\t{open}\n"));
    view.snapshot.writers.iter().map(line).chain(open).collect()
}

/// The 19 lines between rule and status line.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    let columns = usize::from(body.width);
    let step = view.snapshot.cutover.as_ref().map(|cutover| cutover.step);
    let mut lines = steps(view, step, columns);
    if body.height < 18 {
        // A short frame keeps the heading, the writers and the buttons.
        lines.truncate(1);
    }
    if running::is_halted(view) {
        lines.extend(running::halted(view, columns));
        place::draw(frame, body, lines);
        return;
    }
    match &view.snapshot.cutover {
        Some(cutover) if step != Some(CutoverStep::StopApplication) => {
            lines.extend(drain(view, cutover, columns));
            place::draw(frame, body, lines);
            return;
        }
        _ => {}
    }
    lines.extend(arriving(view, columns));
    if !view.snapshot.writers.is_empty() {
        lines.push(Line::raw(""));
    }
    let foot = foot(view, state, columns);
    let room = usize::from(body.height).saturating_sub(lines.len() + foot.len());
    lines.extend(writers(view, state, columns, room));
    let missing = usize::from(body.height).saturating_sub(lines.len() + foot.len());
    // The buttons stay at the bottom of a short frame and follow the table in a tall one.
    lines.extend(vec![Line::raw(""); missing.min(3)]);
    lines.extend(foot);
    place::draw(frame, body, lines);
}

fn steps(view: &View<'_>, step: Option<CutoverStep>, columns: usize) -> Vec<Line<'static>> {
    let name = running::destination_name(view);
    let opens_first = order(view) == CheckOrder::After;
    let now = match step {
        None | Some(CutoverStep::StopApplication) => 1,
        Some(CutoverStep::Drain) => 2,
        Some(CutoverStep::CheckData) => 3,
        Some(CutoverStep::Finalize) if opens_first => 3,
        Some(CutoverStep::Finalize | CutoverStep::CheckOpened | CutoverStep::Open) => 4,
    };
    let mut titles = [
        "stop your application",
        "apply the last changes",
        "check the data",
        "point the application at the destination",
    ];
    if opens_first {
        titles.swap(2, 3);
    }
    let mut lines = vec![
        Line::styled(format!(" Cut over, step {now} of 4: {}", titles[now - 1]), view.theme.strong),
        Line::raw(""),
    ];
    let mut names = [
        "Stop every writer on the source".to_string(),
        "Confirm the source is quiet, apply the last changes".into(),
        "Check the data".into(),
        // One line each, so that the writers below keep their place; the header names it too.
        format!("Point the application at {}", text::middle(&name, columns.saturating_sub(32))),
    ];
    if opens_first {
        names[2] = "Check the data while the application writes already".into();
        names.swap(2, 3);
    }
    for (index, name) in names.into_iter().enumerate() {
        let number = index + 1;
        let (mark, style) = match number.cmp(&now) {
            std::cmp::Ordering::Less => (view.glyphs.done, view.theme.ok),
            std::cmp::Ordering::Equal => (view.glyphs.pointer, view.theme.strong),
            std::cmp::Ordering::Greater => (" ", view.theme.text),
        };
        lines.push(Line::styled(format!("  {number} {mark} {name}"), style));
    }
    lines.push(Line::raw(""));
    lines
}

/// The heading with the quiet time, the bar, and what reopened the step.
fn arriving(view: &View<'_>, columns: usize) -> Vec<Line<'static>> {
    let snapshot = view.snapshot;
    let quiet_for = snapshot.thresholds.quiet_for_ms;
    let needed = text::threshold(quiet_for);
    let quiet = snapshot.source_quiet_ms.map_or_else(|| "-".into(), |quiet| seconds(quiet.min(quiet_for)).to_string());
    let ratio = snapshot.source_quiet_ms.and_then(|quiet| text::ratio(quiet, quiet_for));
    let is_quiet = ratio == Some(1.0);
    let (title, style) = match (is_quiet, active(view)) {
        (true, _) if !snapshot.open_transactions.is_empty() => {
            (" QUIET, BUT TRANSACTIONS ARE OPEN ON THE SOURCE", view.theme.wait)
        }
        (true, _) => (" THE SOURCE IS QUIET", view.theme.ok),
        (false, count) if count == 0 || snapshot.source_quiet_ms.is_some_and(|quiet| quiet >= SILENT_MS) => {
            (" WAITING FOR QUIET ON THE SOURCE", view.theme.wait)
        }
        _ => (" WRITES STILL ARRIVING ON THE SOURCE", view.theme.wait),
    };
    let mut lines = vec![
        Line::styled(text::ends(title, &format!("quiet for {quiet} of {needed}"), columns.saturating_sub(1)), style),
        Line::raw(format!(" {}", bar::bar(columns.saturating_sub(2), ratio, view.glyphs))),
    ];
    if let Some(late) = snapshot.cutover.as_ref().and_then(|cutover| cutover.late_write.as_ref()) {
        let label = if was_not_blocked(view).is_some() { " NOT BLOCKED  " } else { " LATE WRITE  " };
        let wrapped = text::labelled(label, late, columns.saturating_sub(1));
        lines.extend(wrapped.into_iter().map(|line| Line::styled(line, view.theme.fail)));
    }
    for open in snapshot.open_transactions.iter().take(OPEN_SHOWN) {
        let wrapped = text::labelled(" OPEN TRANSACTION  ", open, columns.saturating_sub(1));
        lines.extend(wrapped.into_iter().map(|line| Line::styled(line, view.theme.wait)));
    }
    lines
}

fn writers(view: &View<'_>, state: &State, columns: usize, height: usize) -> Vec<Line<'static>> {
    if view.snapshot.writers.is_empty() {
        return vec![Line::raw(""), Line::raw("  No writes seen on the source lately.")];
    }
    let titles = [
        table::Column::left("NAMESPACE", 16, 0),
        table::Column::right("OPS/s", 7, 1),
        table::Column::right("LAST WRITE", 11, 0),
        table::Column::left("LIKELY CLIENT", if columns > 100 { 36 } else { 34 }, 2),
        table::Column::left("LAST MINUTE", 30, 3),
    ];
    let rows: Vec<table::Row> = view
        .snapshot
        .writers
        .iter()
        .map(|writer| table::Row {
            cells: vec![
                writer.namespace.clone(),
                text::rate(writer.ops_per_s),
                text::ago(writer.last_write, view.now),
                writer.likely_client.clone().unwrap_or_else(|| "not known".into()),
                chart::sparkline(&writer.per_second, 30, view.glyphs),
            ],
            style: view.theme.text,
        })
        .collect();
    let selected = state.selected.min(rows.len() - 1);
    let shown = height.saturating_sub(1);
    let offset = table::offset_for(selected, rows.len(), shown.max(1));
    let mut lines = table::lines(
        &titles,
        &rows,
        (columns.saturating_sub(1), height),
        Some(selected),
        offset,
        (view.theme, view.glyphs.pointer),
    );
    let whole = in_full(&view.snapshot.writers[selected], columns);
    let is_cut = whole.iter().any(|part| !lines.iter().any(|line| line.to_string().contains(part.trim())));
    if is_cut && lines.len() + whole.len() <= height {
        lines.extend(whole.into_iter().map(|line| Line::styled(line, view.theme.dim)));
    }
    lines
}

/// A writer whose names the table had to cut.
fn in_full(writer: &Writer, columns: usize) -> Vec<String> {
    let parts = [Some(writer.namespace.as_str()), writer.likely_client.as_deref()];
    parts.into_iter().flatten().flat_map(|part| text::labelled("    ", part, columns.saturating_sub(1))).collect()
}

/// What is ignored, the way back, the demo's application and the buttons.
fn foot(view: &View<'_>, state: &State, columns: usize) -> Vec<Line<'static>> {
    let theme = view.theme;
    let mut lines = Vec::new();
    if let Some(application) = view.snapshot.application {
        let (word, style) = if application.running { ("RUNNING", theme.wait) } else { ("STOPPED", theme.ok) };
        let mut spans = vec![
            Span::styled("  Demo application  ", theme.strong),
            Span::styled(word, style),
            Span::raw(format!(", {} writes so far", show_count(application.writes))),
        ];
        if application.running {
            spans.push(Span::styled("   a  Stop the application", theme.strong));
        }
        lines.push(Line::from(spans));
    } else if view.snapshot.blocks_source {
        lines.push(Line::styled("  Continue makes the source refuse user writes; going back lifts that.", theme.wait));
    } else if columns >= 78 {
        lines.push(Line::styled("  Ignored: keep-alive no-ops, session and transaction bookkeeping.", theme.dim));
    }
    lines.push(still_free(columns));
    lines.push(Line::raw(""));
    let needed = text::threshold(view.snapshot.thresholds.quiet_for_ms);
    let is_pressed = view.snapshot.cutover.as_ref().is_some_and(|cutover| cutover.waiting_by.is_some());
    let label = match continue_blocked(view) {
        Some(_) if view.snapshot.blocks_source => "Blocking writes".into(),
        Some(_) if is_pressed => format!("Waiting for {needed} of quiet"),
        Some(_) => format!("Continue after {needed} of quiet"),
        None if view.snapshot.blocks_source => "Block writes and continue".into(),
        None => "Continue".into(),
    };
    let row = [
        Button { label, enabled: press_blocked(view).is_none() },
        Button { label: "Go back".into(), enabled: go_back_blocked(view).is_none() },
    ];
    let indent = columns.saturating_sub(buttons::columns(&row)) / 2;
    lines.push(buttons::row(&row, usize::from(state.on_go_back), indent, (view.theme, view.glyphs.pointer)));
    lines
}

fn still_free(columns: usize) -> Line<'static> {
    let sentence = match columns {
        78.. => "  You can still leave: Esc goes back, syncing continues, nothing has changed.",
        _ => "  You can still leave: Esc goes back, nothing has changed.",
    };
    Line::raw(sentence)
}

/// Step 2: the evidence that nothing is left behind.
fn drain(view: &View<'_>, cutover: &Cutover, columns: usize) -> Vec<Line<'static>> {
    let snapshot = view.snapshot;
    let drained = cutover.cutover_ts.zip(snapshot.applied_ts).is_some_and(|(until, applied)| applied >= until);
    let (word, style) = if drained { ("OK", view.theme.ok) } else { ("WAIT", view.theme.wait) };
    let unknown = || "not known yet".to_string();
    let last = cutover.last_source_write.or(snapshot.last_source_write).map_or_else(unknown, text::moment);
    let mut lines = vec![
        Line::styled(" APPLYING THE LAST CHANGES", view.theme.strong),
        Line::raw(""),
        Line::raw(format!("   last source write   {last}")),
        Line::raw(format!("   cutover timestamp   {}", cutover.cutover_ts.map_or_else(unknown, |ts| ts.to_string()))),
        Line::from(vec![
            Span::raw(format!(
                "   last applied        {}   ",
                snapshot.applied_ts.map_or_else(unknown, |ts| ts.to_string())
            )),
            Span::styled(word, style),
        ]),
        Line::raw(format!("   behind              {}", operations(view))),
        Line::raw(format!("   lag                 {}", text::ms(snapshot.lag_ms))),
    ];
    if cutover.source_blocked {
        lines.push(Line::styled("   The source refuses user writes; going back lifts that.", view.theme.wait));
    }
    if cutover.assumed_stopped {
        let by = cutover.assumed_by.as_deref().unwrap_or("the operator");
        lines.push(Line::styled(format!("   The quiet check was overridden by {by}."), view.theme.wait));
    }
    if let Some(late) = &cutover.late_write {
        let wrapped = text::labelled("   LATE WRITE  ", late, columns.saturating_sub(1));
        lines.extend(wrapped.into_iter().map(|line| Line::styled(line, view.theme.fail)));
    }
    if go_back_blocked(view).is_none() {
        lines.push(Line::raw(""));
        lines.push(still_free(columns));
    }
    lines
}
