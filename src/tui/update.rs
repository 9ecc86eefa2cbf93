//! The one place where the model changes: a message in, effects out. No IO.

use super::{
    action::{Action, Confirmation, Screen},
    effect::{Effect, Message},
    keymap,
    model::{MOST_EVENTS, Model, Outcome, Overlay, home},
    screen::{confirm, frame, help, log, running},
    widget::text,
};
use crate::{
    model::{Command, Event, Phase, Refusal, Snapshot},
    session::Link,
};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::{sync::Arc, time::Instant};

/// A bell rings when the cutover window has so many seconds left; the second one opens the countdown by itself.
const BELLS_S: [u64; 4] = [24 * 3600, 12 * 3600, 3600, 600];
const OPEN_COUNTDOWN_S: u64 = 12 * 3600;
/// Lines that one notch of the wheel scrolls.
const WHEEL_LINES: usize = 3;

/// Changes the model and says what is to be done outside it.
pub fn update(model: &mut Model, message: Message) -> Vec<Effect> {
    match message {
        Message::Key { key, in_burst, at } => on_key(model, key, in_burst, at),
        Message::Wheel { up, at } => on_wheel(model, up, at),
        Message::Click { column, row, at } => on_click(model, (column, row), at),
        Message::Paste(pasted) => on_paste(model, &pasted),
        Message::Resize(columns, rows) => {
            model.size = (columns, rows);
            Vec::new()
        }
        Message::Snapshot(snapshot) => on_snapshot(model, snapshot),
        Message::Events(events) => {
            take_events(&mut model.events, events);
            Vec::new()
        }
        Message::EngineGone => {
            model.engine_gone = true;
            model.waiting = None;
            vec![Effect::Bell]
        }
        Message::Link(link) => on_link(model, link),
        Message::Tick => Vec::new(),
        Message::Survival(survival) => {
            model.screens.prepare.take_survival(survival);
            Vec::new()
        }
        Message::Answer(answer) => {
            model.waiting = None;
            if let Err(refusal) = answer {
                model.said = Some(refused(&refusal));
            }
            Vec::new()
        }
        Message::Shown(shown) => {
            model.waiting = None;
            match shown {
                Ok(shown) => model.screens.check_data.show(shown),
                Err(refusal) => model.said = Some(refused(&refusal)),
            }
            Vec::new()
        }
        Message::Say(sentence) => {
            model.said = Some(sentence);
            Vec::new()
        }
        Message::CopyRefused(text) => vec![Effect::Offer(text)],
        Message::FileRead { path, read } => {
            match model.screen {
                Screen::Destination => model.screens.destination.take_file(&path, read),
                _ => model.screens.connect.take_file(&path, read),
            }
            Vec::new()
        }
        Message::Measured(addresses) => {
            model.screens.connect.set_addresses(addresses.clone());
            model.screens.prepare.take_addresses(addresses);
            Vec::new()
        }
    }
}

fn on_link(model: &mut Model, link: Link) -> Vec<Effect> {
    let was = std::mem::replace(&mut model.link, link);
    match (was, link) {
        (Link::Lost { .. }, Link::Up) => {
            model.said = Some("The engine answers again.".into());
            Vec::new()
        }
        (Link::Up, Link::Lost { .. }) => {
            model.waiting = None;
            vec![Effect::Bell]
        }
        _ => Vec::new(),
    }
}

/// Seconds until the cutover window ends, as the clock moves from `before` to the model's `now`.
pub fn on_clock(model: &mut Model, before: jiff::Timestamp) -> Vec<Effect> {
    let Some(deadline) = model.snapshot.cutover_deadline.filter(|_| model.is_running()) else { return Vec::new() };
    let left = |now| text::between(now, deadline).as_secs();
    let (was, is) = (left(before), left(model.now));
    let crossed = |limit: u64| was >= limit && is < limit;
    if crossed(OPEN_COUNTDOWN_S) && model.screen == Screen::Following && model.overlay.is_none() {
        open(model, Screen::Countdown);
    }
    let mut effects = Vec::new();
    if was / 60 != is / 60 {
        effects.push(Effect::Title(title(model)));
    }
    if BELLS_S.into_iter().any(crossed) {
        effects.push(Effect::Bell);
    }
    effects
}

fn refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotNow(why) => format!("Not now: {why}."),
        Refusal::Problem(problem) => {
            format!("{}: {}. {}", problem.what, problem.why.trim_end_matches('.'), problem.fix)
        }
        Refusal::EngineGone => "The engine does not answer.".into(),
    }
}

fn take_events(known: &mut Vec<Event>, new: Vec<Event>) {
    known.extend(new);
    let surplus = known.len().saturating_sub(MOST_EVENTS);
    known.drain(..surplus);
}

fn on_snapshot(model: &mut Model, snapshot: Arc<Snapshot>) -> Vec<Effect> {
    if let Some(test) = &snapshot.destination_test {
        model.screens.destination.notice(test);
    }
    let (old, new) = (model.snapshot.phase, snapshot.phase);
    let (was_home, at_home) = (home(&model.snapshot), home(&snapshot));
    model.snapshot = named(model, snapshot);
    if was_home != at_home && matches!(model.overlay, Some(Overlay::Confirm(_))) {
        // A question about a state that is gone must not be answered by accident.
        model.overlay = None;
        model.said = Some(format!("The question was withdrawn: the migration is {new} now."));
    }
    // Under a field that is being typed into the screen stays: its letters would be the next one's keys.
    let may_move = model.follows && !(was_home.is_some() && model.is_typing());
    if let Some(at_home) = at_home
        && (may_move || was_home.is_none())
    {
        model.screen = at_home;
        model.follows = true;
    }
    if old == new {
        return Vec::new();
    }
    let mut effects = vec![Effect::Title(title(model))];
    let failed = new == Phase::Paused && model.snapshot.error.is_some();
    if failed || matches!(new, Phase::Ready | Phase::Completed | Phase::Failed | Phase::Expired) {
        effects.push(Effect::Bell);
    }
    effects
}

/// The snapshot with the destination called as the operator calls it; the engine knows only its hosts.
fn named(model: &Model, mut snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
    if let Some(name) = model.screens.connect.destination_name().filter(|name| *name != snapshot.destination.label) {
        Arc::make_mut(&mut snapshot).destination.label = name.into();
    }
    snapshot
}

/// `mongoferry: copying`, `mongoferry: READY, 119:41 left to cut over`
fn title(model: &Model) -> String {
    let word = match model.snapshot.phase {
        Phase::Idle => return "mongoferry".into(),
        Phase::Ready => "READY",
        phase => phase.word(),
    };
    match model.snapshot.cutover_deadline.filter(|_| model.is_running()) {
        Some(deadline) => {
            let minutes = text::between(model.now, deadline).as_secs() / 60;
            format!("mongoferry: {word}, {}:{:02} left to cut over", minutes / 60, minutes % 60)
        }
        None => format!("mongoferry: {word}"),
    }
}

fn on_paste(model: &mut Model, pasted: &str) -> Vec<Effect> {
    model.said = None;
    if model.in_plain_view {
        return Vec::new();
    }
    match &mut model.overlay {
        Some(Overlay::Confirm(question)) => {
            question.refuse_paste();
            return Vec::new();
        }
        Some(_) => return Vec::new(),
        None => {}
    }
    let action = model.screens.on_paste(model.screen, pasted);
    action.map(|action| perform(model, action)).unwrap_or_default()
}

fn on_key(model: &mut Model, key: KeyEvent, in_burst: bool, at: Instant) -> Vec<Effect> {
    if key.kind == KeyEventKind::Release {
        return Vec::new();
    }
    if model.in_plain_view {
        if matches!(key.code, KeyCode::Enter | KeyCode::Esc | KeyCode::Char('q' | 'v')) {
            model.in_plain_view = false;
            return vec![Effect::ShowScreen];
        }
        return Vec::new();
    }
    // As it was drawn: what is said below may take a line from it.
    let drawn = frame::body_size(model);
    model.said = None;
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('l') if control => return vec![Effect::Redraw],
        KeyCode::Char('z') if control => return suspend(model),
        KeyCode::Char('c') if control && !matches!(model.overlay, Some(Overlay::Confirm(_))) => {
            return perform(model, Action::Quit);
        }
        _ => {}
    }
    match model.overlay.take() {
        Some(Overlay::Confirm(question)) => {
            return on_question_key(model, question, key, (in_burst, at), drawn);
        }
        Some(Overlay::Help(mut help)) => {
            let most = frame::help_scrolls(model, drawn);
            if !help.on_key(key.code, most) {
                model.overlay = Some(Overlay::Help(help));
            }
            return Vec::new();
        }
        Some(Overlay::Log(mut log)) => {
            let outcome = log.on_key(key, &model.view());
            if !matches!(outcome, log::Outcome::Close) {
                model.overlay = Some(Overlay::Log(log));
            }
            return match outcome {
                log::Outcome::Act(action) => perform(model, action),
                log::Outcome::Stay | log::Outcome::Close => Vec::new(),
            };
        }
        None => {}
    }
    on_screen_key(model, key, in_burst)
}

/// The wheel presses Up or Down, more often where there are only lines to read.
fn on_wheel(model: &mut Model, up: bool, at: Instant) -> Vec<Effect> {
    let code = if up { KeyCode::Up } else { KeyCode::Down };
    let lines = if matches!(model.overlay, Some(Overlay::Help(_) | Overlay::Log(_))) { WHEEL_LINES } else { 1 };
    (0..lines).flat_map(|_| on_key(model, KeyEvent::new(code, KeyModifiers::NONE), false, at)).collect()
}

/// A click on a key of the footer presses it.
fn on_click(model: &mut Model, (column, row): (u16, u16), at: Instant) -> Vec<Effect> {
    if frame::is_small(model.size) || row + 1 != model.size.1 {
        return Vec::new();
    }
    let footer = frame::footer(model, usize::from(model.size.0));
    let key = keymap::key_under(&footer, usize::from(column));
    key.map(|key| on_key(model, key, false, at)).unwrap_or_default()
}

fn on_question_key(
    model: &mut Model,
    mut question: Box<confirm::State>,
    key: KeyEvent,
    (in_burst, at): (bool, Instant),
    drawn: (usize, usize),
) -> Vec<Effect> {
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    if control_c && question.is_armed(at) {
        return Vec::new();
    }
    if in_burst {
        question.refuse_paste();
    }
    let size = (!frame::is_small(model.size)).then_some(drawn);
    let answer = if in_burst { None } else { question.on_key(key, at, size) };
    match answer {
        None => model.overlay = Some(Overlay::Confirm(question)),
        Some(confirm::Answer::Cancel) => {}
        Some(confirm::Answer::Go(action)) => return perform(model, action),
    }
    Vec::new()
}

fn on_screen_key(model: &mut Model, mut key: KeyEvent, in_burst: bool) -> Vec<Effect> {
    let typing = model.screens.is_typing(model.screen);
    if in_burst && !typing {
        // A paste into a screen that takes none must not press its keys one by one.
        return Vec::new();
    }
    if in_burst && matches!(key.code, KeyCode::Enter | KeyCode::Tab) {
        key.code = KeyCode::Char('\n');
    }
    if key.code == KeyCode::F(1) {
        return perform(model, Action::Help);
    }
    let screen = model.screen;
    if let Some(action) = model.with_screens(|screens, view| screens.on_key(screen, key, view)) {
        return perform(model, action);
    }
    let chord = key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
    if typing || chord {
        return Vec::new();
    }
    match key.code {
        KeyCode::Char('?') => perform(model, Action::Help),
        KeyCode::Char('l') => perform(model, Action::Log),
        KeyCode::Char('q') => perform(model, Action::Quit),
        KeyCode::Char('d') if model.ends_with_wizard() => {
            perform(model, Action::Say("The demo cannot detach: it ends with the wizard.".into()))
        }
        KeyCode::Char('d') if model.is_running() => perform(model, Action::Leave),
        KeyCode::Char('d') => {
            perform(model, Action::Say("Nothing runs that could go on without you; q leaves.".into()))
        }
        KeyCode::Char('R') if model.is_orphaned() && !model.watches => vec![Effect::Revive],
        KeyCode::Char('R') => perform(model, Action::Say(not_revived(model).into())),
        KeyCode::Esc if !model.follows => {
            let back = home(&model.snapshot).map(Action::Open);
            back.map(|action| perform(model, action)).unwrap_or_default()
        }
        KeyCode::Char('T') => {
            model.theme = model.theme.next();
            model.said = Some(format!("Theme: {}. T goes on: 16, light, dark, mono.", model.theme.name));
            Vec::new()
        }
        KeyCode::Char('m') => {
            model.mouse = !model.mouse;
            model.said = Some(match model.mouse {
                true => "Mouse on: the wheel moves, a click on a key of the last line presses it.".into(),
                false => "Mouse off: it selects text again.".into(),
            });
            Vec::new()
        }
        KeyCode::Char('v') => {
            let text = frame::as_text(model, model.size.0.clamp(60, 200), model.size.1.clamp(16, 100));
            perform(model, Action::PlainView(text))
        }
        _ => Vec::new(),
    }
}

/// Why no new engine is started.
fn not_revived(model: &Model) -> &'static str {
    match model.watches && model.is_orphaned() {
        true => "Only watching: attach without --watch to start a new engine.",
        false => "No engine is missing; R starts one on a migration whose engine has died.",
    }
}

fn suspend(model: &mut Model) -> Vec<Effect> {
    if model.ends_with_wizard() {
        model.said = Some("Suspending would stop the migration: the demo runs it inside the wizard.".into());
        return Vec::new();
    }
    vec![Effect::Suspend]
}

/// Opens a screen; the wizard follows the phase again when it is the phase's own.
fn open(model: &mut Model, screen: Screen) {
    let at_home = home(&model.snapshot);
    let before_start = matches!(screen, Screen::Destination | Screen::Prepare | Screen::Connect | Screen::Validate);
    if before_start && at_home.is_some() {
        model.said = Some("The migration has started; its plan cannot be changed any more.".into());
        return;
    }
    model.follows = at_home.is_none_or(|at_home| at_home == screen);
    model.screen = screen;
}

/// Carries out an action.
pub fn perform(model: &mut Model, action: Action) -> Vec<Effect> {
    match action {
        Action::Send(command) => {
            if let Some(why) = model.out_of_reach() {
                model.said = Some(why);
                return Vec::new();
            }
            model.waiting = Some((name_of(&command), model.now));
            vec![Effect::Send(command)]
        }
        Action::ShowDocument { namespace, id } => {
            if let Some(why) = model.out_of_reach() {
                model.said = Some(why);
                return Vec::new();
            }
            model.waiting = Some(("show the document", model.now));
            vec![Effect::ShowDocument { namespace, id }]
        }
        Action::Open(screen) => {
            open(model, screen);
            let measure = screen == Screen::Prepare && model.screen == Screen::Prepare;
            let hosts = model.screens.connect.source_hosts();
            if measure { vec![Effect::Measure(hosts)] } else { Vec::new() }
        }
        Action::Confirm(asked) if matches!(*asked.then, Action::Send(_)) && model.out_of_reach().is_some() => {
            model.said = model.out_of_reach();
            Vec::new()
        }
        Action::Confirm(asked) => {
            model.overlay = Some(Overlay::Confirm(Box::new(confirm::State::new(asked))));
            Vec::new()
        }
        Action::Copy(text) => vec![Effect::Copy(text)],
        Action::PlainView(text) => {
            model.in_plain_view = true;
            vec![Effect::ShowPlain(text)]
        }
        Action::Say(sentence) => {
            model.said = Some(sentence);
            Vec::new()
        }
        Action::Save { file_name, text } => vec![Effect::Save { file_name, text }],
        Action::Help => {
            model.overlay = Some(Overlay::Help(help::State::default()));
            Vec::new()
        }
        Action::Log => {
            model.overlay = Some(Overlay::Log(log::State::default()));
            Vec::new()
        }
        Action::Quit if model.ends_with_wizard() => perform(model, Action::Confirm(leaving(model))),
        Action::Quit | Action::Leave => {
            model.outcome = Some(Outcome::Left);
            Vec::new()
        }
        Action::Many(actions) => actions.into_iter().flat_map(|action| perform(model, action)).collect(),
        Action::Choose { name, endpoint } => {
            model.screens.connect.set_destination(name, *endpoint);
            perform(model, Action::Open(Screen::Prepare))
        }
        Action::SaveProfiles { profiles, certificates } => {
            model.screens.destination.keep_only(&profiles);
            vec![Effect::SaveProfiles { profiles, certificates }]
        }
        Action::Measure(hosts) => vec![Effect::Measure(hosts)],
        Action::ReadFile(path) => vec![Effect::ReadFile(path)],
        Action::Validate => validate(model),
    }
}

fn validate(model: &mut Model) -> Vec<Effect> {
    match model.screens.connect.plan() {
        Ok(plan) => {
            let name = model.screens.connect.destination_name().unwrap_or_default().to_string();
            model.screens.validate.begin(name);
            open(model, Screen::Validate);
            perform(model, Action::Send(Command::Validate(Box::new(plan))))
        }
        Err(why) => perform(model, Action::Say(format!("! {why}"))),
    }
}

/// Leaving ends a migration that runs in the wizard's process, so it is asked for by name.
fn leaving(model: &Model) -> Confirmation {
    let view = model.view();
    let (source, destination) = (running::source_name(&view), running::destination_name(&view));
    Confirmation {
        title: "Leave the wizard and end the migration?".into(),
        body: vec![
            "This demo runs the migration inside the wizard: it ends when you leave.".into(),
            format!("{destination} keeps the data that it has, and it will be OUT OF DATE."),
            format!("{source} is not touched. The migration cannot be resumed afterwards."),
            "A migration of your own goes on without the wizard; the demo does not.".into(),
        ],
        expected: source,
        expected_label: "the source name".into(),
        button: "Leave and end it".into(),
        then: Box::new(Action::Leave),
    }
}

fn name_of(command: &Command) -> &'static str {
    match command {
        Command::TestDestination(_) => "test",
        Command::Validate(_) | Command::Revalidate => "validate",
        Command::Start(_) => "start",
        Command::Pause => "pause",
        Command::Resume => "resume",
        Command::Extend => "extend",
        Command::PrepareCutover => "prepare to cutover",
        Command::ContinueCutover { .. } => "continue",
        Command::ChooseCheck(_) => "choose when the data is checked",
        Command::Rehearse => "rehearse the cutover",
        Command::AcceptFailedIndexes => "do without the failed indexes",
        Command::GoBack => "go back",
        Command::SkipVerification => "skip the comparison",
        Command::RepairMismatches => "fix the documents",
        Command::ShowDocument { .. } => "show the document",
        Command::Retry => "retry",
        Command::TestNotices => "test the notices",
        Command::KeepWayBack { .. } => "keep a way back",
        Command::Throttle(_) => "limit the reads",
        Command::Stop => "stop",
        Command::StopApplication => "stop the application",
    }
}
