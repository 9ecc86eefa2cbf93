//! 4.10 Check the data: totals, what was compared, a row per collection, and the documents that differ.

mod repaired;
mod values;

use super::{KeyHint, View, running};
use crate::{
    model::{
        CheckOrder, Command, Phase, ShownDocument,
        snapshot::{CutoverStep, Mismatch, MismatchKind, Verification, VerificationState, VerifiedCollection},
        units::{show_count, show_namespace},
    },
    tui::{
        action::{Action, Confirmation, Screen},
        widget::{
            bar,
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

/// The selected collection, and whether its differing documents are listed.
#[derive(Debug, Default)]
pub struct State {
    selected: usize,
    details: bool,
    /// The selected document of the list.
    example: usize,
    /// What both sides have of one of them.
    values: Option<values::Values>,
}

impl State {
    /// Shows what the engine answered, unless the list was left meanwhile.
    pub fn show(&mut self, shown: ShownDocument) {
        if self.details {
            self.values = Some(values::Values::new(shown));
        }
    }
}

/// The right end of line 1.
pub fn header(view: &View<'_>) -> String {
    let opened = view.snapshot.cutover.as_ref().and_then(|cutover| cutover.opened);
    opened.map_or_else(|| running::uptime(view), |opened| format!("accepting writes since {}", text::clock(opened)))
}

fn differing(row: &VerifiedCollection) -> u64 {
    row.missing + row.extra + row.different
}

fn selected<'a>(view: &View<'a>, state: &State) -> Option<&'a VerifiedCollection> {
    let rows = &view.snapshot.verification.collections;
    rows.get(state.selected.min(rows.len().saturating_sub(1)))
}

fn examples<'a>(view: &View<'a>, row: &VerifiedCollection) -> Vec<&'a Mismatch> {
    view.snapshot.verification.examples.iter().filter(|example| example.namespace == row.namespace).collect()
}

fn fix_blocked(view: &View<'_>) -> Option<String> {
    let verification = &view.snapshot.verification;
    (verification.mismatches == 0).then(|| match verification.state {
        VerificationState::Off => "Nothing to fix: the plan switched verification off.".into(),
        VerificationState::Skipped => "Nothing to fix: the comparison was skipped.".into(),
        _ => "Nothing to fix: no document differs so far.".into(),
    })
}

fn skip_blocked(view: &View<'_>) -> Option<String> {
    match view.snapshot.verification.state {
        VerificationState::Running | VerificationState::Waiting => None,
        VerificationState::Done if recheck_blocked(view).is_none() => None,
        VerificationState::Done => Some("Nothing to skip: everything was compared.".into()),
        VerificationState::Skipped => Some("The rest was skipped already.".into()),
        VerificationState::Off => Some("The plan switched verification off.".into()),
    }
}

/// Why `r` does nothing now: only a finished check that holds the cutover is made again.
fn recheck_blocked(view: &View<'_>) -> Option<String> {
    let verification = &view.snapshot.verification;
    let waits = view.snapshot.cutover.as_ref().is_some_and(|cutover| {
        matches!(cutover.step, CutoverStep::CheckData | CutoverStep::CheckOpened) && verification.mismatches > 0
    });
    match verification.state {
        VerificationState::Done if waits => None,
        VerificationState::Running => Some("The comparison is under way already.".into()),
        _ => Some("Nothing to check again: no finished check holds the cutover.".into()),
    }
}

/// The application may write to the destination already, or will before the check is over.
fn is_opened_first(view: &View<'_>) -> bool {
    view.snapshot.cutover.as_ref().is_some_and(|cutover| cutover.check == CheckOrder::After && cutover.opened.is_some())
}

fn details_blocked(view: &View<'_>, state: &State) -> Option<String> {
    match selected(view, state) {
        None => Some("No collection was compared yet.".into()),
        Some(row) if differing(row) == 0 => {
            Some(format!("{}: no document differs so far.", show_namespace(&row.namespace)))
        }
        Some(_) => None,
    }
}

/// One sentence: what now, or why not.
pub fn status(view: &View<'_>, _state: &State) -> String {
    let verification = &view.snapshot.verification;
    let metadata = verification.metadata_differences.len();
    match (verification.state, verification.mismatches) {
        (VerificationState::Off, _) => {
            "The plan switched verification off; nothing was compared, and the report says so.".into()
        }
        (VerificationState::Skipped, _) => "The rest of the comparison was skipped; the report says so.".into(),
        (VerificationState::Waiting, _) => "The comparison has not begun yet.".into(),
        (_, count) if count > 0 => {
            let verb = if count == 1 { "document differs" } else { "documents differ" };
            let count = show_count(count);
            if leaves_cutover(view) {
                format!("{count} {verb}. f copies them again from the source; Esc leaves the cutover.")
            } else {
                format!("{count} {verb}. f copies them again from the source, which is not changed.")
            }
        }
        (_, _) if metadata > 0 => {
            format!(
                "{} in indexes, options or views; see the list.",
                text::counted(metadata, "difference", "differences")
            )
        }
        (VerificationState::Running, _) if verification.recheck > 0 => {
            format!("Comparing; {} changed documents are read again.", show_count(verification.recheck))
        }
        (VerificationState::Running, _) => "Comparing; nothing differs so far.".into(),
        (VerificationState::Done, _) if verification.application > 0 => format!(
            "None differs but {} that the application wrote since the opening.",
            show_count(verification.application)
        ),
        (VerificationState::Done, _) => "Every document was compared and none differs.".into(),
    }
}

/// The keys, most important first.
pub fn keys(view: &View<'_>, state: &State) -> Vec<KeyHint> {
    if state.values.is_some() {
        return vec![
            key("Up/Down", "Scroll", "Moves the values"),
            key("v", "Read again", "Reads the document on both sides once more"),
            key("Esc", "Close", "Closes the values; they are kept nowhere"),
        ];
    }
    let label = if state.details { "Close" } else { "Show" };
    let show = if state.details { None } else { details_blocked(view, state) };
    let mut keys = vec![
        key_unless("Enter", label, "Lists the differing documents of the selected collection", show),
        key_unless("f", "Fix", "Copies the differing documents again, then checks them", fix_blocked(view)),
        key_unless("r", "Recheck", "Compares once more, for example after a repair by hand", recheck_blocked(view)),
        key("w", "Save report", "Writes what was compared and what differs to a file"),
        key_unless(
            "S",
            "Skip...",
            "Gives up the rest of the comparison; asks you to type a name first",
            skip_blocked(view),
        ),
    ];
    if state.details {
        let help = "Reads the selected document on both sides and shows it here, nowhere else";
        keys.insert(1, key_unless("v", "Values", help, values_blocked(view, state)));
    }
    if view.snapshot.verification.collections.len() > 1 {
        keys.push(key("Up/Down", "Select", "Moves the selection"));
    }
    keys.push(if leaves_cutover(view) && !state.details {
        key("Esc", "Go back", "Leaves the cutover; syncing continues, nothing has changed")
    } else {
        key("Esc", "Back", "Closes the list, or goes back")
    });
    keys.push(key("l", "Log", "Everything that happened, numbered"));
    keys
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, view: &View<'_>) -> Option<Action> {
    if state.values.is_some() {
        return on_key_of_values(state, key);
    }
    let last = view.snapshot.verification.collections.len().saturating_sub(1);
    let last_example = selected(view, state).map_or(0, |row| examples(view, row).len().saturating_sub(1));
    match plain(key)? {
        KeyCode::Up | KeyCode::Char('k') if state.details => {
            state.example = state.example.min(last_example).saturating_sub(1);
        }
        KeyCode::Down | KeyCode::Char('j') if state.details => state.example = (state.example + 1).min(last_example),
        KeyCode::Char('v') => {
            return Some(match (values_blocked(view, state), chosen(view, state)) {
                (None, Some(example)) => {
                    Action::ShowDocument { namespace: example.namespace.clone(), id: example.id.clone() }
                }
                (why, _) => Action::Say(why.unwrap_or_else(|| "No document is selected.".into())),
            });
        }
        KeyCode::Up | KeyCode::Char('k') => state.selected = state.selected.min(last).saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => state.selected = (state.selected + 1).min(last),
        KeyCode::Enter if state.details => state.details = false,
        KeyCode::Enter => match details_blocked(view, state) {
            Some(why) => return Some(Action::Say(why)),
            None => (state.details, state.example) = (true, 0),
        },
        KeyCode::Esc if state.details => state.details = false,
        KeyCode::Esc if leaves_cutover(view) => return Some(Action::Send(Command::GoBack)),
        KeyCode::Esc => return Some(Action::Open(back(view))),
        KeyCode::Char('f') => {
            return Some(fix_blocked(view).map_or(Action::Send(Command::RepairMismatches), Action::Say));
        }
        KeyCode::Char('r') => {
            return Some(recheck_blocked(view).map_or(Action::Send(Command::Retry), Action::Say));
        }
        KeyCode::Char('S') => return Some(skip_blocked(view).map_or_else(|| skip(view), Action::Say)),
        KeyCode::Char('w') => {
            let file_name = format!(
                "{}-verification.md",
                if view.snapshot.name.is_empty() { "migration" } else { &view.snapshot.name }
            );
            return Some(Action::Save { file_name, text: report(view) });
        }
        KeyCode::Char('l') => return Some(Action::Log),
        _ => {}
    }
    None
}

fn on_key_of_values(state: &mut State, key: KeyEvent) -> Option<Action> {
    let values = state.values.as_mut()?;
    match plain(key)? {
        KeyCode::Up | KeyCode::Char('k') => values.scroll(false),
        KeyCode::Down | KeyCode::Char('j') => values.scroll(true),
        KeyCode::Char('v') => {
            let (namespace, id) = values.named();
            return Some(Action::ShowDocument { namespace, id });
        }
        KeyCode::Char('l') => return Some(Action::Log),
        KeyCode::Esc | KeyCode::Enter => state.values = None,
        _ => {}
    }
    None
}

/// The document that the list's pointer is on.
fn chosen<'a>(view: &View<'a>, state: &State) -> Option<&'a Mismatch> {
    let examples = examples(view, selected(view, state)?);
    examples.get(state.example.min(examples.len().saturating_sub(1))).copied()
}

fn values_blocked(view: &View<'_>, state: &State) -> Option<String> {
    if !state.details {
        return Some(details_blocked(view, state).unwrap_or_else(|| "Enter lists the documents first.".into()));
    }
    match chosen(view, state) {
        None => Some("No document of it is known by its _id.".into()),
        Some(example) if example.id.ends_with("...") => {
            Some("Its _id is too long to be shown; use \"mongoferry verify NAME --show\".".into())
        }
        Some(_) => None,
    }
}

/// The cutover stands at this step, and nothing was opened yet.
fn leaves_cutover(view: &View<'_>) -> bool {
    view.snapshot.phase == Phase::Cutover
}

fn back(view: &View<'_>) -> Screen {
    match (&view.snapshot.connect, &view.snapshot.cutover) {
        (Some(_), _) => Screen::ConnectNew,
        (None, Some(_)) => Screen::Finalising,
        (None, None) => Screen::Following,
    }
}

fn skip(view: &View<'_>) -> Action {
    let name = running::destination_name(view);
    let verification = &view.snapshot.verification;
    Action::Confirm(Confirmation {
        title: "Skip the rest of the comparison?".into(),
        body: vec![
            format!("Compared so far: {}", compared(verification)),
            format!("Documents that differ so far: {}", show_count(verification.mismatches)),
            "What is not compared may differ without anyone knowing.".into(),
            "The report will say that the comparison was skipped.".into(),
        ],
        expected: name,
        expected_label: "the destination name".into(),
        button: "Skip the comparison".into(),
        then: Box::new(Action::Send(Command::SkipVerification)),
    })
}

fn compared(verification: &Verification) -> String {
    let total = if verification.documents_total == 0 {
        "a number not known yet".into()
    } else {
        show_count(verification.documents_total)
    };
    format!("{} of {total} documents", show_count(verification.documents))
}

fn state_word(verification: &Verification) -> &'static str {
    match verification.state {
        VerificationState::Waiting => "not begun",
        VerificationState::Running => "running",
        VerificationState::Done => "done",
        VerificationState::Skipped => "skipped by the operator",
        VerificationState::Off => "switched off in the plan",
    }
}

/// What was compared and what differs, as Markdown. Holds identifiers and paths, never values.
pub fn report(view: &View<'_>) -> String {
    let verification = &view.snapshot.verification;
    let mut text = format!(
        "# Verification {} -> {}\n\n- state: {}\n- compared: {}\n- waiting for a recheck: {}\n- documents that differ: {}\n",
        running::source_name(view),
        running::destination_name(view),
        state_word(verification),
        compared(verification),
        verification.recheck,
        verification.mismatches,
    );
    for difference in &verification.metadata_differences {
        text.push_str(&format!("- metadata: {difference}\n"));
    }
    if is_opened_first(view) {
        text.push_str(&format!("- written by the application since the opening: {}\n", verification.application));
    }
    text.push_str("\n| collection | documents | compared | missing | extra | different |\n|---|---|---|---|---|---|\n");
    for row in &verification.collections {
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            row.namespace, row.documents_total, row.documents, row.missing, row.extra, row.different
        ));
    }
    if !verification.examples.is_empty() {
        text.push_str("\nFirst documents that differ (at most 100):\n\n");
    }
    for example in &verification.examples {
        text.push_str(&format!(
            "- {} `{}` {} {}\n",
            example.namespace,
            example.id,
            kind_word(example.kind),
            example.paths.join(", ")
        ));
    }
    text.push_str(&repaired::markdown(view));
    text
}

fn kind_word(kind: MismatchKind) -> &'static str {
    match kind {
        MismatchKind::Missing => "missing on the destination",
        MismatchKind::Extra => "extra on the destination",
        MismatchKind::Different => "different",
    }
}

/// The 19 lines between rule and status line.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    if let Some(values) = &state.values {
        values.draw(frame, body, view);
        return;
    }
    let columns = usize::from(body.width);
    let height = usize::from(body.height);
    let mut lines = totals(view, columns);
    lines.extend(methods(view, columns));
    lines.push(Line::raw(""));
    // A tall frame has room for every difference at once.
    let block = differences(view, state, columns, state.details || height >= 30);
    // The table keeps at least four lines; the block below takes the rest.
    let room = height.saturating_sub(lines.len());
    let block_rows = block.len().min(room.saturating_sub(4));
    let table_rows = room.saturating_sub(block_rows + usize::from(block_rows > 0));
    let explains = is_opened_first(view) && table_rows > 4;
    lines.extend(collections(view, state, columns, table_rows - usize::from(explains)));
    if explains {
        let name = running::destination_name(view);
        let sentence = format!("   APP: written on {name} since it opened; not an error.");
        lines.push(Line::styled(text::cut(&sentence, columns), view.theme.dim));
    }
    if block_rows > 0 {
        lines.push(Line::raw(""));
        let wanted =
            block.iter().position(|line| is_pointed_at(line, view)).map_or(0, |at| (at + 2).saturating_sub(block_rows));
        let scroll = if state.details { wanted.min(block.len() - block_rows) } else { 0 };
        let hidden = block.len() - block_rows - scroll;
        lines.extend(block.into_iter().skip(scroll).take(block_rows));
        if hidden > 0
            && let Some(last) = lines.last_mut()
        {
            *last = Line::styled(format!("     {} more lines; Enter and Down show them", hidden + 1), view.theme.dim);
        }
    }
    place::draw(frame, body, lines);
}

fn totals(view: &View<'_>, columns: usize) -> Vec<Line<'static>> {
    let verification = &view.snapshot.verification;
    let rows = &verification.collections;
    let bad = rows.iter().filter(|row| differing(row) > 0).count();
    let ok = rows.iter().filter(|row| row.done && differing(row) == 0).count();
    let busy = rows.iter().filter(|row| !row.done && differing(row) == 0).count();
    let word = match verification.state {
        VerificationState::Running => String::new(),
        _ => format!("{}    ", state_word(verification)),
    };
    let unfinished = if verification.state == VerificationState::Running { "running" } else { "unfinished" };
    let right = format!("{word}ok {ok}    {unfinished} {busy}    differs {bad}   of {}", rows.len());
    let ratio = match verification.state {
        VerificationState::Off | VerificationState::Waiting => None,
        _ => text::ratio(verification.documents, verification.documents_total),
    };
    let number = format!("{:>8}", text::percent(ratio));
    let gauge = bar::bar(columns.saturating_sub(3 + text::width(&number)), ratio, view.glyphs);
    vec![
        Line::styled(text::ends(" Check the data", &right, columns.saturating_sub(1)), view.theme.strong),
        Line::raw(format!(" {gauge} {number}")),
        Line::raw(" Checked while following; only documents changed since then are read again."),
    ]
}

/// What is compared and how it went.
fn methods(view: &View<'_>, columns: usize) -> Vec<Line<'static>> {
    let verification = &view.snapshot.verification;
    let theme = view.theme;
    let ran = !matches!(verification.state, VerificationState::Waiting | VerificationState::Off);
    let verdict = |bad: usize, what: String| match (ran, bad, verification.state) {
        (false, ..) => ("-".to_string(), theme.text),
        (true, 0, VerificationState::Done) => (format!("{what}  OK"), theme.ok),
        (true, 0, VerificationState::Skipped) => (format!("{what}  not finished"), theme.wait),
        (true, 0, _) => (format!("{what}  ..."), theme.text),
        (true, bad, _) => (format!("{bad} differ  FAIL"), theme.fail),
    };
    let bad = usize::try_from(verification.mismatches).unwrap_or(usize::MAX);
    let metadata = verification.metadata_differences.len();
    let line = |method: &str, what: &str, (result, style): (String, ratatui::style::Style)| {
        let start = text::left(&format!("   {method:<12} {what}"), columns.saturating_sub(text::width(&result) + 2));
        Line::from(vec![Span::raw(start), Span::raw(" "), Span::styled(result, style)])
    };
    let recheck = if ran { (show_count(verification.recheck), theme.text) } else { ("-".into(), theme.text) };
    let mut lines = vec![
        Line::styled(text::ends("   METHOD       WHAT IS COMPARED", "RESULT", columns.saturating_sub(1)), theme.dim),
        line("documents", "every document as bytes, in _id order", verdict(bad, show_count(verification.documents))),
        line("metadata", "indexes, validators, collation, options, views", verdict(metadata, String::new())),
        line("recheck", "changed since they were compared, waiting", recheck),
    ];
    if let Some((what, count)) = repaired::summary(view) {
        lines.push(line("repaired", &what, (count, theme.ok)));
    }
    let shown = if metadata > 2 { 1 } else { metadata };
    for difference in verification.metadata_differences.iter().take(shown) {
        let wrapped = text::labelled(&format!(" {} ", view.glyphs.warn), difference, columns.saturating_sub(1));
        lines.extend(wrapped.into_iter().take(2).map(|line| Line::styled(line, theme.fail)));
    }
    if metadata > shown {
        lines.push(Line::styled(
            format!("   {} more differences in metadata; w saves them all", metadata - shown),
            theme.fail,
        ));
    }
    lines
}

fn collections(view: &View<'_>, state: &State, columns: usize, height: usize) -> Vec<Line<'static>> {
    let rows = &view.snapshot.verification.collections;
    if rows.is_empty() {
        return vec![Line::raw("   No collection was compared yet.")];
    }
    let with_application = is_opened_first(view);
    let mut titles = vec![
        table::Column::left("COLLECTION", 20, 0),
        table::Column::right("DOCS", 12, 2),
        table::Column::right("COMPARED", 8, 1),
        table::Column::right("MISSING", 7, 0),
        table::Column::right("EXTRA", 5, 0),
        table::Column::right("DIFFERENT", 9, 0),
    ];
    if with_application {
        titles.push(table::Column::right("APP", 7, 0));
    }
    let cells: Vec<table::Row> = rows
        .iter()
        .map(|row| {
            let ratio = if row.done { Some(1.0) } else { text::ratio(row.documents, row.documents_total) };
            let mark = if differing(row) > 0 { view.glyphs.warn } else { " " };
            let mut cells = vec![
                format!("{mark} {}", show_namespace(&row.namespace)),
                show_count(row.documents_total),
                ratio.map_or_else(|| "-".into(), |ratio| format!("{:.0} %", (ratio * 100.0).floor())),
                show_count(row.missing),
                show_count(row.extra),
                show_count(row.different),
            ];
            if with_application {
                cells.push(show_count(row.application));
            }
            table::Row { cells, style: if differing(row) > 0 { view.theme.fail } else { view.theme.text } }
        })
        .collect();
    let at = state.selected.min(rows.len() - 1);
    let offset = table::offset_for(at, rows.len(), height.saturating_sub(1).max(1));
    table::lines(
        &titles,
        &cells,
        (columns.saturating_sub(1), height),
        Some(at),
        offset,
        (view.theme, view.glyphs.pointer),
    )
}

fn pointer(view: &View<'_>) -> String {
    format!("   {} ", view.glyphs.pointer)
}

fn is_pointed_at(line: &Line<'_>, view: &View<'_>) -> bool {
    line.spans.first().is_some_and(|span| span.content.starts_with(&pointer(view)))
}

/// The differing documents of the selected collection: two of them, or all when opened.
fn differences(view: &View<'_>, state: &State, columns: usize, all: bool) -> Vec<Line<'static>> {
    let Some(row) = selected(view, state) else { return Vec::new() };
    if differing(row) == 0 {
        return repaired::lines(view, row, columns, all);
    }
    let (theme, examples) = (view.theme, examples(view, row));
    let counts = [
        (row.missing, "missing on the destination"),
        (row.extra, "extra on the destination"),
        (row.different, "different"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{} {word}", show_count(*count)))
        .collect();
    let title = format!("{}: {}", show_namespace(&row.namespace), counts.join(", "));
    let title = text::labelled(&format!(" {} ", view.glyphs.warn), &title, columns.saturating_sub(1));
    let mut lines: Vec<Line<'static>> = title.into_iter().map(|line| Line::styled(line, theme.fail)).collect();
    let shown = if all { examples.len() } else { 2 };
    let at = state.example.min(examples.len().saturating_sub(1));
    for (index, example) in examples.iter().take(shown).enumerate() {
        let pointer = if state.details && index == at { pointer(view) } else { "     ".into() };
        let paths = if example.paths.is_empty() { String::new() } else { format!(" in {}", example.paths.join(", ")) };
        let sentence = format!("_id {}  {}{paths}", example.id, kind_word(example.kind));
        if all {
            lines.extend(text::labelled(&pointer, &sentence, columns.saturating_sub(1)).into_iter().map(Line::raw));
        } else {
            lines.push(Line::raw(text::cut(&format!("     {sentence}"), columns.saturating_sub(1))));
        }
    }
    lines.push(Line::raw("     f copies these documents again from the source, then checks them again"));
    lines
}
