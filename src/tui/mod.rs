//! The full-screen client: a loop over input, snapshots and events. Sees `session::Client` and `model`, nothing else of
//! the engine.
//!
//! `app` owns the loop and carries out effects; `model` holds the wizard's state; `update` turns keys, pastes and
//! snapshots into changes of it; `screen` draws; `terminal` owns the terminal's modes.

pub mod action;
pub mod app;
pub mod clipboard;
pub mod field;
pub mod host;
pub mod keymap;
pub mod model;
pub mod screen;
pub mod terminal;
pub mod theme;
pub mod update;
pub mod widget;

use crate::{model::Plan, session::Client};
use std::io;

/// What the command line says about looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Glyph set; by default as the locale says.
    pub glyphs: Option<GlyphChoice>,
    /// Colours; by default the terminal's own 16, none with `NO_COLOR`.
    pub theme: Option<ThemeChoice>,
}

/// A glyph set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlyphChoice {
    /// 7-bit characters only.
    Ascii,
    /// Box drawing and blocks.
    Unicode,
}

/// Colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThemeChoice {
    /// The terminal's own 16.
    Sixteen,
    /// None.
    Mono,
}

/// How the wizard is opened.
#[derive(Debug, Clone, Default)]
pub struct WizardOptions {
    /// Looks.
    pub look: Look,
    /// Fills the destination list and the forms.
    pub prefill: Option<Plan>,
    /// The demo: nothing of the prefill is remembered.
    pub demo: bool,
}

/// Opens the wizard and returns when the operator leaves it, or when the terminal is gone.
///
/// # Errors
/// `Unsupported` without a terminal or with `TERM=dumb`; other errors when the terminal cannot be set up.
pub async fn run(client: Client, options: WizardOptions) -> io::Result<()> {
    terminal::require()?;
    app::run_in_terminal(client, options).await
}
