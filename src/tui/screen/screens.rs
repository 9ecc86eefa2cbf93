//! All twelve screens with their states, and the way from a [`Screen`] to its functions.

use super::{
    KeyHint, View, check_data, connect, connect_new, countdown, destination, finalising, following, migrating, prepare,
    stop_application, success, validate,
};
use crate::tui::action::{Action, Screen};
use crossterm::event::KeyEvent;
use ratatui::{Frame, layout::Rect};

/// The states of all screens.
#[derive(Debug, Default)]
pub struct Screens {
    /// 4.1
    pub destination: destination::State,
    /// 4.2
    pub prepare: prepare::State,
    /// 4.3
    pub connect: connect::State,
    /// 4.4
    pub validate: validate::State,
    /// 4.5
    pub migrating: migrating::State,
    /// 4.6
    pub following: following::State,
    /// 4.7
    pub countdown: countdown::State,
    /// 4.8
    pub stop_application: stop_application::State,
    /// 4.9
    pub finalising: finalising::State,
    /// 4.10
    pub check_data: check_data::State,
    /// 4.11
    pub connect_new: connect_new::State,
    /// 4.12
    pub success: success::State,
}

/// Calls the same function of the screen's module, with its state (`&self` or `&mut self` says how it is borrowed).
macro_rules! of_screen {
    ($screen:expr, ($($screens:tt)+), |$module:ident, $state:ident| $body:expr) => {
        match $screen {
            Screen::Destination => {
                use destination as $module;
                let $state = $($screens)+.destination;
                $body
            }
            Screen::Prepare => {
                use prepare as $module;
                let $state = $($screens)+.prepare;
                $body
            }
            Screen::Connect => {
                use connect as $module;
                let $state = $($screens)+.connect;
                $body
            }
            Screen::Validate => {
                use validate as $module;
                let $state = $($screens)+.validate;
                $body
            }
            Screen::Migrating => {
                use migrating as $module;
                let $state = $($screens)+.migrating;
                $body
            }
            Screen::Following => {
                use following as $module;
                let $state = $($screens)+.following;
                $body
            }
            Screen::Countdown => {
                use countdown as $module;
                let $state = $($screens)+.countdown;
                $body
            }
            Screen::StopApplication => {
                use stop_application as $module;
                let $state = $($screens)+.stop_application;
                $body
            }
            Screen::Finalising => {
                use finalising as $module;
                let $state = $($screens)+.finalising;
                $body
            }
            Screen::CheckData => {
                use check_data as $module;
                let $state = $($screens)+.check_data;
                $body
            }
            Screen::ConnectNew => {
                use connect_new as $module;
                let $state = $($screens)+.connect_new;
                $body
            }
            Screen::Success => {
                use success as $module;
                let $state = $($screens)+.success;
                $body
            }
        }
    };
}

impl Screens {
    /// Draws the body of a screen.
    pub fn draw(&self, screen: Screen, frame: &mut Frame<'_>, body: Rect, view: &View<'_>) {
        of_screen!(screen, (&self), |module, state| module::draw(frame, body, view, state));
    }

    /// One sentence: what now, or why not.
    pub fn status(&self, screen: Screen, view: &View<'_>) -> String {
        of_screen!(screen, (&self), |module, state| module::status(view, state))
    }

    /// The keys, most important first.
    pub fn keys(&self, screen: Screen, view: &View<'_>) -> Vec<KeyHint> {
        of_screen!(screen, (&self), |module, state| module::keys(view, state))
    }

    /// What a key does.
    pub fn on_key(&mut self, screen: Screen, key: KeyEvent, view: &View<'_>) -> Option<Action> {
        of_screen!(screen, (&mut self), |module, state| module::on_key(state, key, view))
    }

    /// The right end of line 1.
    pub fn header(&self, screen: Screen, view: &View<'_>) -> String {
        of_screen!(screen, (&self), |module, _state| module::header(view))
    }

    /// True while letters go into a field of the screen.
    pub fn is_typing(&self, screen: Screen) -> bool {
        match screen {
            Screen::Destination => self.destination.is_typing(),
            Screen::Connect => self.connect.is_typing(),
            Screen::Migrating => self.migrating.is_typing(),
            Screen::Following => self.following.is_typing(),
            _ => false,
        }
    }

    /// Gives a paste to the field that has the focus.
    pub fn on_paste(&mut self, screen: Screen, pasted: &str) -> Option<Action> {
        match screen {
            Screen::Destination => {
                destination::on_paste(&mut self.destination, pasted);
                None
            }
            Screen::Connect => connect::on_paste(&mut self.connect, pasted),
            _ => None,
        }
    }

    /// True while a field that takes pastes has the focus.
    pub fn takes_paste(&self, screen: Screen) -> bool {
        matches!(screen, Screen::Destination | Screen::Connect) && self.is_typing(screen)
    }

    /// Name and value of the focused input of a form, for terminals too small for it.
    pub fn focused(&self, screen: Screen) -> Option<(String, String)> {
        match screen {
            Screen::Destination => destination::focused(&self.destination),
            Screen::Connect => Some(connect::focused(&self.connect)),
            _ => None,
        }
    }
}
