//! The full-screen client: a loop over input, snapshots and events. Sees `session::Client`, `model` and the profiles,
//! never the engine.
//!
//! [`update`] is the only place where the [`model`] changes; screens draw from it and turn keys into [`action`]s; the
//! loop in [`app`] carries out [`effect`]s; [`terminal`] is the only file that touches the real terminal.

pub mod action;
pub mod app;
pub mod clipboard;
pub mod effect;
pub mod field;
pub mod host;
pub mod input;
pub mod keymap;
pub mod model;
pub mod screen;
pub mod survival;
pub mod terminal;
pub mod theme;
pub mod update;
pub mod widget;

pub use model::Outcome;

use crate::{
    model::{Notify, Plan, Problem},
    profiles::{self, ProfileTls},
    session::Client,
};
use crossterm::event::EventStream;
use jiff::Timestamp;
use model::Model;
use ratatui::{Terminal, backend::CrosstermBackend};
use screen::{connect, destination::Entry, prepare};
use std::{
    io,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};
use theme::{Glyphs, Theme};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Starts a new engine on the migration whose engine is gone.
pub type Revive = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), Problem>> + Send>> + Send + Sync>;

/// What the wizard begins with.
#[derive(Default)]
pub struct WizardOptions {
    /// How it looks.
    pub look: Look,
    /// A plan that exists already: everything is filled in.
    pub prefill: Option<Plan>,
    /// Whom to tell what happens, for a plan that is made here.
    pub notify: Notify,
    /// The demo: the clusters are throwaway ones.
    pub demo: bool,
    /// Only watches: no key asks anything of the engine.
    pub watches: bool,
    /// What can be done when the engine is gone; `None`: nothing from here.
    pub revive: Option<Revive>,
}

/// How the wizard looks; what is not given is found out from the environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// By default as the locale says.
    pub glyphs: Option<GlyphChoice>,
    /// By default the terminal's own colours, and none with `NO_COLOR`.
    pub theme: Option<ThemeChoice>,
}

/// Which glyphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlyphChoice {
    /// 7-bit characters only.
    Ascii,
    /// Box drawing and blocks.
    Unicode,
}

/// Which colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThemeChoice {
    /// No colour with `NO_COLOR`, else the terminal's own 16.
    Auto,
    /// The terminal's own 16 colours.
    Sixteen,
    /// Dark colours for a light background.
    Light,
    /// Bright colours for a dark background.
    Dark,
    /// No colour.
    Mono,
}

/// Runs the wizard on the real terminal. An error of kind `Unsupported` says that there is no terminal for it; the
/// terminal is restored however it ends.
pub async fn run(client: Client, options: WizardOptions) -> io::Result<Outcome> {
    if let Some(why) = terminal::unsuitable() {
        let text = format!("{why}; --plain needs none");
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    // With NO_COLOR crossterm 0.29 drops reverse and bold too (an empty SGR resets); our theme has no colour then.
    crossterm::style::force_color_output(true);
    let environment = |name: &str| std::env::var(name).unwrap_or_default();
    let model = first_model(&client, &options, look(options.look, &environment));
    let gone = terminal::watch_for_hangup();
    let stop = stopped(gone.clone())?;
    terminal::restore_on_panic();
    let mut host = terminal::Tty::enter(gone)?;
    // Dropping it would print to standard error when the cursor cannot be shown, which panics after a hangup; leaving the
    // modes shows the cursor anyway.
    let mut terminal = ManuallyDrop::new(Terminal::new(CrosstermBackend::new(io::stdout()))?);
    let revive = options.revive;
    app::run(&mut terminal, &mut host, EventStream::new(), client, model, revive, stop).await
}

/// The wizard as it begins: attached to whatever the engine does, with the known destinations and the given plan.
pub fn first_model(client: &Client, options: &WizardOptions, look: (Theme, Glyphs)) -> Model {
    let mut model = Model::new(client.snapshot(), Vec::new(), look, Timestamp::now());
    let (mut entries, unreadable) = match profiles::load() {
        Ok(profiles) => (profiles.into_iter().map(entry).collect(), None),
        Err(problem) => (Vec::new(), Some(format!("{}: {}", problem.what, problem.why))),
    };
    model.screens.connect.set_notify(options.notify.clone());
    if let Some(plan) = &options.prefill {
        let name = if options.demo { "demo-destination" } else { "from the plan" };
        entries.insert(0, Entry::only_now(name, &plan.destination));
        model.screens.connect = connect::State::prefilled(plan);
        model.screens.connect.set_destination(name.into(), plan.destination.clone());
    }
    model.screens.destination = screen::destination::State::with(entries, unreadable, profiles_path());
    model.screens.prepare = prepare::State::with_engine(client.is_detached());
    model.is_detached = client.is_detached();
    model.watches = options.watches;
    model
}

/// Where the profiles live.
fn profiles_path() -> String {
    profiles::path().map_or_else(|problem| problem.what, |path| shown_path(&path))
}

/// A path with `~` for the home folder.
fn shown_path(path: &Path) -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    match home.and_then(|home| path.strip_prefix(home).ok().map(PathBuf::from)) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}

fn entry(profile: profiles::Profile) -> Entry {
    let file = profile.ca_file.as_ref().filter(|_| profile.tls == ProfileTls::PrivateCa);
    // A file that is missing shows up as a missing certificate on the form, where it can be mended.
    let pem = file.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    Entry::saved(profile, pem)
}

/// Theme and glyphs from the options, else from the environment.
fn look(wanted: Look, environment: &dyn Fn(&str) -> String) -> (Theme, Glyphs) {
    let without_colour = !environment("NO_COLOR").is_empty();
    let theme = match wanted.theme {
        Some(ThemeChoice::Mono) => Theme::mono(),
        Some(ThemeChoice::Light) => Theme::light(),
        Some(ThemeChoice::Dark) => Theme::dark(),
        Some(ThemeChoice::Sixteen) => Theme::sixteen(),
        None | Some(ThemeChoice::Auto) if without_colour => Theme::mono(),
        None | Some(ThemeChoice::Auto) => Theme::sixteen(),
    };
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().map(environment).find(|value| !value.is_empty());
    let locale = locale.unwrap_or_default().to_lowercase();
    let unicode = (locale.contains("utf-8") || locale.contains("utf8")) && environment("TERM") != "linux";
    let glyphs = match wanted.glyphs {
        Some(GlyphChoice::Ascii) => Glyphs::ASCII,
        Some(GlyphChoice::Unicode) => Glyphs::UNICODE,
        None if unicode => Glyphs::UNICODE,
        None => Glyphs::ASCII,
    };
    (theme, glyphs)
}

/// Resolves when the wizard has to end from outside: a signal, or the terminal went away.
fn stopped(mut gone: watch::Receiver<bool>) -> io::Result<impl Future<Output = Outcome>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let terminal_gone = async {
            if gone.wait_for(|gone| *gone).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = terminate.recv() => Outcome::Signalled,
            _ = interrupt.recv() => Outcome::Signalled,
            _ = hangup.recv() => Outcome::HungUp,
            () = terminal_gone => Outcome::HungUp,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_chooses_glyphs_and_colours() {
        let with = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, String)> =
                pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            look(Look::default(), &move |name: &str| {
                pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
            })
        };
        assert_eq!(with(&[]), (Theme::sixteen(), Glyphs::ASCII));
        assert_eq!(with(&[("LANG", "de_DE.UTF-8")]).1, Glyphs::UNICODE);
        assert_eq!(with(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]).1, Glyphs::ASCII);
        assert_eq!(with(&[("LANG", "en_US.utf8"), ("TERM", "linux")]).1, Glyphs::ASCII);
        assert_eq!(with(&[("NO_COLOR", "1")]).0, Theme::mono());
        let all: Vec<&str> = std::iter::successors(Some(Theme::sixteen()), |theme| Some(theme.next()))
            .take(5)
            .map(|theme| theme.name)
            .collect();
        assert_eq!(all, ["16", "light", "dark", "mono", "16"]);
    }
}
