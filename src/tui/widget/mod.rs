//! Widgets that ratatui does not have: bars, digits, charts, tables, step lists, buttons, boxes.
//!
//! Each turns plain values into lines of text for a given width and [`Glyphs`](super::theme::Glyphs); none names a colour
//! or a non-ASCII character, and none knows a snapshot.

pub mod bar;
pub mod boxed;
pub mod buttons;
pub mod chart;
pub mod digits;
pub mod keys;
pub mod place;
pub mod steps;
pub mod table;
pub mod text;
