//! One file per screen. A screen draws its body from a [`View`], says one sentence, lists its keys and turns keys into
//! actions. It mutates nothing but its own small state.

use super::theme::{Glyphs, Theme};
use crate::model::{Event, Snapshot};
use jiff::Timestamp;

/// Everything a screen may look at.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The newest snapshot.
    pub snapshot: &'a Snapshot,
    /// The newest events, oldest first (at most 5,000).
    pub events: &'a [Event],
    /// Styles by meaning.
    pub theme: &'a Theme,
    /// Glyph set.
    pub glyphs: &'a Glyphs,
    /// The time to count from.
    pub now: Timestamp,
}

/// One key of a screen: drawn in the footer and in the help, from the same entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHint {
    /// As drawn: `c`, `Enter`, `Up/Down`.
    pub key: &'static str,
    /// Short label for the footer ("Prepare to cutover").
    pub label: &'static str,
    /// Sentence for the help overlay.
    pub help: &'static str,
    /// Why it does nothing now; `None` when it works.
    pub disabled: Option<String>,
}

pub mod check_data;
pub mod confirm;
pub mod connect;
pub mod connect_new;
pub mod countdown;
pub mod destination;
pub mod finalising;
pub mod following;
pub mod frame;
pub mod help;
pub mod limit;
pub mod log;
pub mod migrating;
pub mod prepare;
pub mod running;
pub mod screens;
pub mod small;
pub mod stop_application;
pub mod success;
pub mod validate;

pub use screens::Screens;
