//! Turns keys and pastes into changes of the wizard, and actions into effects for the loop. No IO here.

use super::{
    action::{Action, Screen},
    keymap,
    model::{Overlay, Wizard},
    screen::{
        self, KeyHint, check_data, confirm, connect, connect_new, countdown, destination, finalising, following, log,
        migrating, prepare, stop_application, success, validate,
    },
    theme::Theme,
};
use crate::{model::Command, profiles::Profile};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::path::PathBuf;

/// What the loop shall do.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Ask the engine.
    Send(Command),
    /// Copy to the clipboard.
    Copy(String),
    /// Show text outside the alternate screen.
    PlainView(String),
    /// Write a file.
    Save {
        /// Proposed name.
        file_name: String,
        /// Content.
        text: String,
    },
    /// Write the profile file, and first the pasted certificates that profiles name by path.
    SaveProfiles(Vec<Profile>, Vec<(PathBuf, String)>),
    /// Read a PEM file for the screen that asked.
    ReadFile(PathBuf),
    /// Which local addresses lead to this host list.
    Measure(Option<String>),
    /// Draw everything again.
    Redraw,
    /// Ctrl-Z.
    Suspend,
}

/// The hints of what is on top.
pub fn hints(wizard: &Wizard) -> Vec<KeyHint> {
    match &wizard.overlay {
        Some(Overlay::Help(_)) => screen::help::keys(),
        Some(Overlay::Log(log)) => log::keys(log),
        Some(Overlay::Confirm(state)) => confirm::keys(state),
        None => screen_hints(wizard),
    }
}

/// The hints of the current screen.
pub fn screen_hints(wizard: &Wizard) -> Vec<KeyHint> {
    let (view, screens) = (wizard.view(), &wizard.screens);
    match wizard.screen {
        Screen::Destination => destination::keys(&view, &screens.destination),
        Screen::Prepare => prepare::keys(&view, &screens.prepare),
        Screen::Connect => connect::keys(&view, &screens.connect),
        Screen::Validate => validate::keys(&view, &screens.validate),
        Screen::Migrating => migrating::keys(&view, &screens.migrating),
        Screen::Following => following::keys(&view, &screens.following),
        Screen::Countdown => countdown::keys(&view, &screens.countdown),
        Screen::StopApplication => stop_application::keys(&view, &screens.stop_application),
        Screen::Finalising => finalising::keys(&view, &screens.finalising),
        Screen::CheckData => check_data::keys(&view, &screens.check_data),
        Screen::ConnectNew => connect_new::keys(&view, &screens.connect_new),
        Screen::Success => success::keys(&view, &screens.success),
    }
}

/// A key was pressed.
pub fn on_key(wizard: &mut Wizard, key: KeyEvent) -> Vec<Effect> {
    if key.kind == KeyEventKind::Release {
        return Vec::new();
    }
    wizard.message = None;
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match (key.code, control) {
        (KeyCode::Char('c'), true) => {
            let action = wizard.leave();
            return act_on(wizard, action);
        }
        (KeyCode::Char('l'), true) => return vec![Effect::Redraw],
        (KeyCode::Char('z'), true) => return vec![Effect::Suspend],
        _ => {}
    }
    if let Some(overlay) = wizard.overlay.take() {
        return on_overlay_key(wizard, overlay, key);
    }
    let typing = wizard.is_typing();
    if key.code == KeyCode::F(1) || (key.code == KeyCode::Char('?') && !typing) {
        wizard.overlay = Some(Overlay::Help(0));
        return Vec::new();
    }
    let listed = hints(wizard).iter().any(|hint| keymap::names(hint.key, key));
    let action = on_screen_key(wizard, key);
    if action.is_some() || listed || typing {
        return act_on(wizard, action);
    }
    let action = on_global_key(wizard, key);
    act_on(wizard, action)
}

fn on_screen_key(wizard: &mut Wizard, key: KeyEvent) -> Option<Action> {
    let view = screen::View {
        snapshot: &wizard.snapshot,
        events: &wizard.events,
        theme: &wizard.theme,
        glyphs: &wizard.glyphs,
        now: wizard.now,
    };
    let screens = &mut wizard.screens;
    match wizard.screen {
        Screen::Destination => destination::on_key(&mut screens.destination, key, &view),
        Screen::Prepare => prepare::on_key(&mut screens.prepare, key, &view),
        Screen::Connect => connect::on_key(&mut screens.connect, key, &view),
        Screen::Validate => validate::on_key(&mut screens.validate, key, &view),
        Screen::Migrating => migrating::on_key(&mut screens.migrating, key, &view),
        Screen::Following => following::on_key(&mut screens.following, key, &view),
        Screen::Countdown => countdown::on_key(&mut screens.countdown, key, &view),
        Screen::StopApplication => stop_application::on_key(&mut screens.stop_application, key, &view),
        Screen::Finalising => finalising::on_key(&mut screens.finalising, key, &view),
        Screen::CheckData => check_data::on_key(&mut screens.check_data, key, &view),
        Screen::ConnectNew => connect_new::on_key(&mut screens.connect_new, key, &view),
        Screen::Success => success::on_key(&mut screens.success, key, &view),
    }
}

fn on_global_key(wizard: &mut Wizard, key: KeyEvent) -> Option<Action> {
    match key.code {
        KeyCode::Char('q') => wizard.leave(),
        KeyCode::Char('l') => Some(Action::Log),
        KeyCode::Char('d') if wizard.is_under_way() => {
            Some(Action::Say("This version cannot detach: the migration runs inside the wizard.".into()))
        }
        KeyCode::Char('T') => {
            wizard.theme = if wizard.theme == Theme::mono() { Theme::sixteen() } else { Theme::mono() };
            None
        }
        KeyCode::Esc | KeyCode::Left => back(wizard),
        _ => None,
    }
}

/// One step back; before the start through the pages, afterwards to the screen that the migration asks for.
fn back(wizard: &mut Wizard) -> Option<Action> {
    let to = match (wizard.wanted, wizard.screen) {
        (Some(wanted), screen) if wanted != screen => wanted,
        (Some(_), _) => return None,
        (None, Screen::Validate) => Screen::Connect,
        (None, Screen::Connect) => Screen::Prepare,
        (None, _) => Screen::Destination,
    };
    Some(Action::Open(to))
}

fn on_overlay_key(wizard: &mut Wizard, overlay: Overlay, key: KeyEvent) -> Vec<Effect> {
    match overlay {
        Overlay::Help(line) => {
            wizard.overlay = match key.code {
                KeyCode::Esc | KeyCode::Char('q' | '?') | KeyCode::F(1) | KeyCode::Enter => None,
                KeyCode::Down | KeyCode::Char('j') => Some(Overlay::Help(line + 1)),
                KeyCode::Up | KeyCode::Char('k') => Some(Overlay::Help(line.saturating_sub(1))),
                _ => Some(Overlay::Help(line)),
            };
            Vec::new()
        }
        Overlay::Log(mut log) => match log::on_key(&mut log, key, &wizard.events) {
            log::Outcome::Stay => {
                wizard.overlay = Some(Overlay::Log(log));
                Vec::new()
            }
            log::Outcome::Close => Vec::new(),
            log::Outcome::Save(text) => {
                wizard.overlay = Some(Overlay::Log(log));
                vec![Effect::Save { file_name: "mongoferry-events.txt".into(), text }]
            }
        },
        Overlay::Confirm(mut state) => match confirm::on_key(&mut state, key, wizard.now) {
            confirm::Outcome::Stay => {
                wizard.overlay = Some(Overlay::Confirm(state));
                Vec::new()
            }
            confirm::Outcome::Cancel => Vec::new(),
            confirm::Outcome::Agreed(action) => act(wizard, action),
        },
    }
}

/// Text was pasted. A confirmation never takes one.
pub fn on_paste(wizard: &mut Wizard, text: &str) -> Vec<Effect> {
    if wizard.overlay.is_some() {
        wizard.message = Some("A confirmation has to be typed; the paste was refused.".into());
        return Vec::new();
    }
    let action = match wizard.screen {
        Screen::Destination => {
            destination::on_paste(&mut wizard.screens.destination, text);
            None
        }
        Screen::Connect => connect::on_paste(&mut wizard.screens.connect, text),
        _ => None,
    };
    act_on(wizard, action)
}

/// A file was read for the form that asked for it.
pub fn on_file(wizard: &mut Wizard, path: &std::path::Path, read: Result<String, String>) {
    match wizard.screen {
        Screen::Destination => wizard.screens.destination.take_file(path, read),
        Screen::Connect => wizard.screens.connect.take_file(path, read),
        _ => {}
    }
}

fn act_on(wizard: &mut Wizard, action: Option<Action>) -> Vec<Effect> {
    action.map_or_else(Vec::new, |action| act(wizard, action))
}

fn act(wizard: &mut Wizard, action: Action) -> Vec<Effect> {
    match action {
        Action::Send(command) => return vec![Effect::Send(command)],
        Action::Open(screen) => {
            wizard.screen = screen;
            if screen == Screen::Prepare {
                return vec![Effect::Measure(wizard.screens.connect.source_hosts())];
            }
        }
        Action::Confirm(confirmation) => wizard.ask(confirmation),
        Action::Copy(text) => return vec![Effect::Copy(text)],
        Action::PlainView(text) => return vec![Effect::PlainView(text)],
        Action::Say(text) => wizard.message = Some(text),
        Action::Save { file_name, text } => return vec![Effect::Save { file_name, text }],
        Action::Help => wizard.overlay = Some(Overlay::Help(0)),
        Action::Log => wizard.overlay = Some(Overlay::Log(log::State::default())),
        Action::Quit => {
            let action = wizard.leave();
            return act_on(wizard, action);
        }
        Action::Leave => wizard.left = true,
        Action::Many(actions) => return actions.into_iter().flat_map(|action| act(wizard, action)).collect(),
        Action::Choose { name, endpoint } => {
            wizard.screens.connect.set_destination(name.clone(), (*endpoint).clone());
            wizard.destination = Some((name, *endpoint));
            return act(wizard, Action::Open(Screen::Prepare));
        }
        Action::SaveProfiles { profiles, certificates } => {
            wizard.screens.destination.keep_only(&profiles);
            return vec![Effect::SaveProfiles(profiles, certificates)];
        }
        Action::ReadFile(path) => return vec![Effect::ReadFile(path)],
        Action::Measure(hosts) => return vec![Effect::Measure(hosts)],
        Action::Validate => return validate_plan(wizard),
    }
    Vec::new()
}

/// Makes a plan of the forms and has it checked.
fn validate_plan(wizard: &mut Wizard) -> Vec<Effect> {
    match wizard.screens.connect.plan() {
        Ok(plan) => {
            wizard.screens.validate = validate::State::default();
            wizard.screen = Screen::Validate;
            vec![Effect::Send(Command::Validate(Box::new(plan)))]
        }
        Err(why) => {
            wizard.message = Some(why);
            Vec::new()
        }
    }
}
