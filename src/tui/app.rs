//! The loop: input, snapshots, events and results in; frames and effects out. Generic over the terminal and the input,
//! so that tests press keys and read the screen.

use super::{
    Revive,
    clipboard::{self, Around},
    effect::{Effect, Message},
    host,
    input::Bursts,
    model::{MOST_EVENTS, Model, Outcome, Overlay},
    screen::frame,
    shown_path, survival,
    terminal::Host,
    update::{on_clock, update},
};
use crate::{profiles, session::Client};
use crossterm::event::{Event as TerminalEvent, MouseButton, MouseEventKind};
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use ratatui::{Terminal, backend::Backend};
use std::{
    fs::OpenOptions,
    future::Future,
    future::poll_fn,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{sleep, sleep_until},
};

/// Frames are at least so far apart.
const FRAME: Duration = Duration::from_millis(50);
/// The clock on the screen.
const TICK: Duration = Duration::from_secs(1);
/// A file with certificates is not larger than this.
const MOST_PEM_BYTES: u64 = 1 << 20;

/// The wizard in motion.
struct App<'a, B: Backend, H: Host> {
    terminal: &'a mut Terminal<B>,
    host: &'a mut H,
    model: Model,
    client: Client,
    bursts: Bursts,
    /// Results that are on their way.
    tasks: JoinSet<Message>,
    /// Generation of the log, and the newest number in it.
    seen_events: (u64, u64),
    revive: Option<Revive>,
    pastes_announced: bool,
    mouse_taken: bool,
    dirty: bool,
    drawn: Option<Instant>,
}

/// Runs the wizard until the operator leaves, the input ends, or `stop` resolves.
pub async fn run<B: Backend, H: Host>(
    terminal: &mut Terminal<B>,
    host: &mut H,
    mut input: impl Stream<Item = io::Result<TerminalEvent>> + Unpin,
    client: Client,
    model: Model,
    revive: Option<Revive>,
    stop: impl Future<Output = Outcome>,
) -> io::Result<Outcome> {
    let (mut watched, mut linked) = (client.clone(), client.clone());
    let mut newest = client.events().watch();
    let mut stop = pin!(stop);
    let client_generation = client.events().generation();
    let mut app = App {
        terminal,
        host,
        model,
        client,
        bursts: Bursts::default(),
        tasks: JoinSet::new(),
        seen_events: (client_generation, 0),
        revive,
        pastes_announced: false,
        mouse_taken: false,
        dirty: true,
        drawn: None,
    };
    if let Ok(size) = app.terminal.size() {
        app.model.size = (size.width, size.height);
    }
    app.catch_up();
    loop {
        let due = app.drawn.map_or_else(Instant::now, |drawn| drawn + FRAME);
        if app.dirty && Instant::now() >= due {
            app.draw()?;
        }
        let clock = app.model.needs_clock();
        tokio::select! {
            biased;
            outcome = &mut stop => return Ok(outcome),
            event = input.next() => {
                let Some(Ok(event)) = event else { return Ok(Outcome::HungUp) };
                app.on_event(event);
                // Everything that waits is taken before the next frame.
                while app.model.outcome.is_none() {
                    // With this task's own waker: crossterm keeps the waker of the first poll until an event comes, so one
                    // that wakes nobody would leave the next key unread.
                    match poll_fn(|context| Poll::Ready(input.poll_next_unpin(context))).await {
                        Poll::Ready(Some(Ok(event))) => app.on_event(event),
                        Poll::Ready(_) => return Ok(Outcome::HungUp),
                        Poll::Pending => break,
                    }
                }
            }
            Some(done) = app.tasks.join_next(), if !app.tasks.is_empty() => {
                if let Ok(message) = done {
                    app.take(message);
                }
            }
            alive = watched.changed(), if !app.model.engine_gone => {
                if alive { app.catch_up() } else { app.take(Message::EngineGone) }
            }
            link = linked.link_changed() => app.take(Message::Link(link)),
            Ok(()) = newest.changed() => app.catch_up(),
            () = sleep_until(due.into()), if app.dirty => {}
            () = sleep(TICK), if clock => app.take(Message::Tick),
        }
        if let Some(outcome) = app.model.outcome {
            return Ok(outcome);
        }
    }
}

impl<B: Backend, H: Host> App<'_, B, H> {
    fn on_event(&mut self, event: TerminalEvent) {
        let at = Instant::now();
        match event {
            TerminalEvent::Key(key) => {
                let in_burst = self.bursts.note(key, at);
                self.take(Message::Key { key, in_burst, at });
            }
            TerminalEvent::Mouse(mouse) => match mouse.kind {
                MouseEventKind::ScrollUp => self.take(Message::Wheel { up: true, at }),
                MouseEventKind::ScrollDown => self.take(Message::Wheel { up: false, at }),
                MouseEventKind::Down(MouseButton::Left) => {
                    self.take(Message::Click { column: mouse.column, row: mouse.row, at });
                }
                _ => {}
            },
            TerminalEvent::Paste(pasted) => self.take(Message::Paste(pasted)),
            TerminalEvent::Resize(columns, rows) => self.take(Message::Resize(columns, rows)),
            _ => {}
        }
    }

    /// Takes the newest snapshot and the events since the last look.
    fn catch_up(&mut self) {
        let log = self.client.events().clone();
        if log.generation() != self.seen_events.0 {
            // Another engine numbers them anew.
            self.seen_events = (log.generation(), 0);
            self.model.events.clear();
        }
        let events = log.since(self.seen_events.1);
        if let Some(last) = events.last() {
            self.seen_events.1 = last.seq;
            let surplus = events.len().saturating_sub(MOST_EVENTS);
            self.take(Message::Events(events.into_iter().skip(surplus).collect()));
        }
        self.take(Message::Snapshot(self.client.snapshot()));
    }

    fn take(&mut self, message: Message) {
        let before = self.model.now;
        self.model.now = Timestamp::now();
        let mut effects = on_clock(&mut self.model, before);
        effects.extend(update(&mut self.model, message));
        for effect in effects {
            self.carry_out(effect);
        }
        let announce = self.model.takes_paste();
        if announce != self.pastes_announced {
            self.pastes_announced = announce;
            self.host.announce_pastes(announce);
        }
        let mouse = self.model.takes_mouse();
        if mouse != self.mouse_taken {
            self.mouse_taken = mouse;
            self.host.take_mouse(mouse);
        }
        self.dirty = true;
    }

    fn draw(&mut self) -> io::Result<()> {
        self.dirty = false;
        self.drawn = Some(Instant::now());
        if self.model.in_plain_view {
            return Ok(());
        }
        let model = &self.model;
        self.terminal.draw(|frame| frame::draw(frame, model)).map_err(|error| io::Error::other(error.to_string()))?;
        if let Some(Overlay::Confirm(question)) = &mut self.model.overlay {
            question.was_drawn(Instant::now());
        }
        Ok(())
    }

    fn redraw_all(&mut self) {
        // Not `Terminal::clear`: it asks where the cursor is, and forgets nothing when no answer comes. A terminal that cannot
        // be cleared cannot be drawn on either; the next frame reports it.
        let _ = self.terminal.backend_mut().clear();
        self.terminal.swap_buffers();
        self.dirty = true;
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send(command) => {
                let client = self.client.clone();
                self.tasks.spawn(async move { Message::Answer(client.send(command).await) });
            }
            Effect::ShowDocument { namespace, id } => {
                let client = self.client.clone();
                self.tasks.spawn(async move { Message::Shown(client.show(namespace, id).await) });
            }
            Effect::Revive => {
                let Some(revive) = self.revive.clone() else {
                    self.model.said = Some("This wizard cannot start an engine; use \"mongoferry resume\".".into());
                    return;
                };
                self.model.said = Some("Starting a new engine on what is kept ..".into());
                self.tasks.spawn(async move {
                    Message::Say(match revive().await {
                        Ok(()) => "A new engine goes on from what is kept.".into(),
                        Err(problem) => format!("! {}: {}. {}", problem.what, problem.why, problem.fix),
                    })
                });
            }
            Effect::Copy(text) => self.copy(text),
            Effect::Offer(text) => self.offer(&text),
            Effect::ShowPlain(text) => self.host.show_plain(&text),
            Effect::ShowScreen => {
                self.host.show_screen();
                self.redraw_all();
            }
            Effect::Save { file_name, text } => self.blocking(move || Message::Say(save(&file_name, &text))),
            Effect::ReadFile(path) => self.blocking(move || {
                let read = read_pem(&path);
                Message::FileRead { path, read }
            }),
            Effect::Measure(hosts) => {
                self.blocking(move || Message::Measured(host::addresses(hosts.as_deref())));
                self.blocking(|| Message::Survival(survival::measure()));
            }
            Effect::SaveProfiles { profiles, certificates } => {
                self.blocking(move || Message::Say(save_profiles(&profiles, &certificates)));
            }
            Effect::Bell => self.host.ring(),
            Effect::Title(title) => self.host.set_title(&title),
            Effect::Redraw => self.redraw_all(),
            Effect::Suspend => {
                if let Err(why) = self.host.suspend() {
                    self.model.said = Some(why.into());
                }
                self.pastes_announced = false;
                self.mouse_taken = false;
                self.redraw_all();
            }
        }
    }

    fn blocking(&mut self, work: impl FnOnce() -> Message + Send + 'static) {
        self.tasks.spawn(async move {
            spawn_blocking(work).await.unwrap_or_else(|_| Message::Say("This did not work; the log says why.".into()))
        });
    }

    /// By tmux, which says whether it took the text; else by OSC 52, which says nothing, and into a file besides.
    fn copy(&mut self, text: String) {
        if self.host.around() == Around::Tmux {
            self.tasks.spawn(async move {
                match clipboard::load_into_tmux(&text).await {
                    true => {
                        let size = clipboard::measure(&text);
                        Message::Say(format!("Sent to your clipboard with tmux load-buffer -w ({size})."))
                    }
                    false => Message::CopyRefused(text),
                }
            });
            return;
        }
        self.offer(&text);
    }

    fn offer(&mut self, text: &str) {
        self.host.offer(text);
        let size = clipboard::measure(text);
        self.model.said = Some(match self.host.keep(text) {
            Ok(path) => format!("Sent with OSC 52 ({size}); else v, or {}", shown_path(&path)),
            Err(_) => format!("Sent with OSC 52 ({size}); if nothing arrives press v."),
        });
    }
}

/// Writes a file that does not exist yet, in the current folder; says where.
fn save(file_name: &str, text: &str) -> String {
    let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let (stem, extension) = file_name.rsplit_once('.').unwrap_or((file_name, "txt"));
    let safe: String = stem.chars().map(|c| if c == '/' || c.is_control() { '-' } else { c }).collect();
    for number in 1..100 {
        let name = if number == 1 { format!("{safe}.{extension}") } else { format!("{safe}-{number}.{extension}") };
        let path = folder.join(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                return match file.write_all(text.as_bytes()) {
                    Ok(()) => format!("Saved to {}.", path.display()),
                    Err(error) => format!("! {} cannot be written: {error}", path.display()),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return format!("! {} cannot be written: {error}", path.display()),
        }
    }
    format!("! {} holds a hundred reports already; move some away.", folder.display())
}

fn read_pem(path: &Path) -> Result<String, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", path.display());
    let is_file = std::fs::metadata(path).map_err(|error| unreadable(&error))?.is_file();
    if !is_file {
        return Err(format!("{} is not a file", path.display()));
    }
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    let mut text = String::new();
    file.take(MOST_PEM_BYTES).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    Ok(text)
}

fn save_profiles(profiles: &[profiles::Profile], certificates: &[(PathBuf, String)]) -> String {
    for (path, pem) in certificates {
        let folder = path.parent().unwrap_or(Path::new("."));
        if let Err(error) = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, pem)) {
            return format!("! {} cannot be written: {error}", path.display());
        }
    }
    match profiles::save(profiles) {
        Ok(()) => "The profiles are saved, without any password.".into(),
        Err(problem) => format!("! {}: {}", problem.what, problem.why),
    }
}
