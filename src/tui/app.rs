//! The loop: input, snapshots, events and the clock in; frames and effects out. Drains everything that waits, then draws,
//! at most twenty times a second. Generic over backend and input, so that tests push keys and read the screen.

use super::{
    WizardOptions, clipboard,
    host::{self, Address},
    model::Wizard,
    screen::frame,
    terminal,
    update::{self, Effect},
};
use crate::{profiles, session::Client};
use crossterm::event::{Event as Input, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::{FutureExt, Stream, StreamExt};
use jiff::Timestamp;
use ratatui::{
    Terminal,
    backend::{Backend, CrosstermBackend},
};
use std::{
    io::{self, Write},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::Instant,
};

/// Shortest distance between two frames.
const FRAME: Duration = Duration::from_millis(50);
/// Printable keys that arrive this fast were pasted by a terminal that does not say so.
const BURST_GAP: Duration = Duration::from_millis(30);
/// So many of them are a paste.
const BURST_KEYS: u32 = 8;

/// Runs the wizard in this process's terminal.
pub async fn run_in_terminal(client: Client, options: WizardOptions) -> io::Result<()> {
    terminal::guard_panics();
    terminal::enter()?;
    let drawn = match Terminal::new(CrosstermBackend::new(io::stdout())) {
        Ok(mut screen) => {
            let ended = async {
                tokio::select! {
                    ended = run(client, options, &mut screen, EventStream::new()) => ended,
                    () = terminal::gone() => Ok(()),
                    () = asked_to_end() => Ok(()),
                }
            };
            ended.await
        }
        Err(error) => Err(error),
    };
    terminal::leave();
    drawn
}

/// SIGTERM and SIGHUP end the wizard in order.
async fn asked_to_end() {
    let (Ok(mut terminate), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// What background work says to the loop.
enum Said {
    Status(String),
    Addresses(Vec<Address>),
    File(std::path::PathBuf, Result<String, String>),
}

struct App<'a, B: Backend> {
    wizard: Wizard,
    client: Client,
    screen: &'a mut Terminal<B>,
    said: mpsc::Sender<Said>,
    burst: Burst,
    pasting: bool,
}

/// Runs the wizard until it is left, the input ends or the engine is gone and the operator leaves.
pub async fn run<B, S>(client: Client, options: WizardOptions, screen: &mut Terminal<B>, input: S) -> io::Result<()>
where
    B: Backend,
    B::Error: Send + Sync + std::error::Error + 'static,
    S: Stream<Item = io::Result<Input>> + Unpin,
{
    let (said, mut heard) = mpsc::channel(16);
    let wizard = Wizard::new(client.snapshot(), options, Timestamp::now());
    let mut watched = client.clone();
    let mut events = client.events().watch();
    let mut app = App { wizard, client, screen, said, burst: Burst::default(), pasting: false };
    let mut input = input;
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    let mut next_frame = Instant::now();
    let mut stale = true;
    app.take_events();
    loop {
        tokio::select! {
            biased;
            typed = input.next() => match typed {
                Some(Ok(typed)) => {
                    app.on_input(typed).await;
                    // Everything that waits belongs to the same frame.
                    while let Some(Some(Ok(typed))) = input.next().now_or_never() {
                        app.on_input(typed).await;
                    }
                }
                Some(Err(_)) | None => return Ok(()),
            },
            Some(said) = heard.recv() => app.hear(said),
            alive = watched.changed(), if !app.wizard.engine_gone => {
                if alive {
                    app.wizard.take_snapshot(watched.snapshot());
                } else {
                    app.wizard.engine_gone = true;
                }
            }
            Ok(()) = events.changed() => app.take_events(),
            _ = clock.tick() => {}
            () = tokio::time::sleep_until(next_frame), if stale => {
                app.draw()?;
                stale = false;
                next_frame = Instant::now() + FRAME;
                continue;
            }
        }
        if app.wizard.left {
            return Ok(());
        }
        stale = true;
    }
}

impl<B> App<'_, B>
where
    B: Backend,
    B::Error: Send + Sync + std::error::Error + 'static,
{
    fn take_events(&mut self) {
        let events = self.client.events().since(self.wizard.last_event);
        self.wizard.take_events(events);
    }

    fn draw(&mut self) -> io::Result<()> {
        self.wizard.now = Timestamp::now();
        let paste = self.wizard.takes_paste();
        if paste != self.pasting {
            self.pasting = paste;
            terminal::bracketed_paste(paste);
        }
        let wizard = &mut self.wizard;
        self.screen.draw(|frame| frame::draw(frame, wizard)).map_err(io::Error::other)?;
        Ok(())
    }

    async fn on_input(&mut self, input: Input) {
        self.wizard.now = Timestamp::now();
        match input {
            Input::Key(key) => {
                if self.burst.is_pasted_newline(key, self.wizard.takes_paste()) {
                    return self.on_paste("\n").await;
                }
                for effect in update::on_key(&mut self.wizard, key) {
                    self.carry_out(effect).await;
                }
            }
            Input::Paste(text) => self.on_paste(&text).await,
            Input::Resize(..) => {
                // The whole screen is drawn again; a terminal that is gone is noticed elsewhere.
                let _ = self.screen.clear();
            }
            Input::FocusGained | Input::FocusLost | Input::Mouse(_) => {}
        }
    }

    async fn on_paste(&mut self, text: &str) {
        for effect in update::on_paste(&mut self.wizard, text) {
            self.carry_out(effect).await;
        }
    }

    fn hear(&mut self, said: Said) {
        match said {
            Said::Status(text) => self.wizard.message = Some(text),
            Said::Addresses(addresses) => {
                let screens = &mut self.wizard.screens;
                screens.prepare.take_addresses(addresses);
                screens.connect.set_allow_from(screens.prepare.allow_from());
            }
            Said::File(path, read) => update::on_file(&mut self.wizard, &path, read),
        }
    }

    async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send(command) => {
                let (client, said) = (self.client.clone(), self.said.clone());
                tokio::spawn(async move {
                    if let Err(refusal) = client.send(command).await {
                        let _ = said.send(Said::Status(format!("Refused: {refusal}"))).await;
                    }
                });
            }
            Effect::Copy(text) => self.wizard.message = Some(clipboard::copy(&text)),
            Effect::PlainView(text) => {
                terminal::show_plainly(&text);
                let _ = self.screen.clear();
            }
            Effect::Save { file_name, text } => self.wizard.message = Some(save(&file_name, &text)),
            Effect::SaveProfiles(profiles, certificates) => {
                if let Err(why) = save_profiles(&profiles, &certificates) {
                    self.wizard.message = Some(why);
                }
            }
            Effect::ReadFile(path) => {
                let said = self.said.clone();
                tokio::spawn(async move {
                    let read = tokio::fs::read_to_string(&path).await;
                    let read = read.map_err(|error| format!("{}: {error}", path.display()));
                    let _ = said.send(Said::File(path, read)).await;
                });
            }
            Effect::Measure(hosts) => {
                let said = self.said.clone();
                tokio::task::spawn_blocking(move || {
                    let _ = said.blocking_send(Said::Addresses(host::addresses(hosts.as_deref())));
                });
            }
            Effect::Redraw => {
                let _ = self.screen.clear();
            }
            Effect::Suspend => {
                if !terminal::suspend() {
                    self.wizard.message = Some("There is no shell to return to; the wizard stays.".into());
                }
                self.pasting = false;
                let _ = self.screen.clear();
            }
        }
    }
}

/// Recognises a paste that arrives as single keys, so that its line ends do not press buttons.
#[derive(Debug, Default)]
struct Burst {
    last: Option<Instant>,
    keys: u32,
}

impl Burst {
    fn is_pasted_newline(&mut self, key: KeyEvent, into_field: bool) -> bool {
        let now = Instant::now();
        let fast = self.last.is_some_and(|last| now.duration_since(last) < BURST_GAP);
        self.keys = if fast { self.keys + 1 } else { 0 };
        self.last = Some(now);
        let enter = key.code == KeyCode::Enter && key.modifiers == KeyModifiers::NONE;
        enter && key.kind == KeyEventKind::Press && into_field && self.keys > BURST_KEYS
    }
}

/// Writes into the current folder, never over a file; returns the sentence for the status line.
fn save(file_name: &str, text: &str) -> String {
    let (stem, extension) = file_name.rsplit_once('.').unwrap_or((file_name, "txt"));
    for attempt in 0..1000 {
        let name = if attempt == 0 { file_name.to_string() } else { format!("{stem}-{attempt}.{extension}") };
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&name) {
            Ok(mut file) => {
                return match file.write_all(text.as_bytes()) {
                    Ok(()) => format!("Saved as {name} in the current folder."),
                    Err(error) => format!("{name} could not be written: {error}."),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return format!("{name} could not be written: {error}."),
        }
    }
    format!("{file_name} exists a thousand times already.")
}

fn save_profiles(profiles: &[profiles::Profile], certificates: &[(std::path::PathBuf, String)]) -> Result<(), String> {
    for (path, pem) in certificates {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        std::fs::write(path, pem).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    profiles::save(profiles).map_err(|problem| problem.to_string())
}
