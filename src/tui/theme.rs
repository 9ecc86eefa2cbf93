//! Meanings to styles, and glyph sets. No screen names a colour or a non-ASCII character itself.

use ratatui::style::{Color, Modifier, Style};

/// Styles by meaning. Every colour is doubled by a word on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// READY, OK, done.
    pub ok: Style,
    /// WAIT, WARN.
    pub wait: Style,
    /// FAIL.
    pub fail: Style,
    /// The selected row or focused button.
    pub selected: Style,
    /// Labels that matter less; never the only carrier of meaning.
    pub dim: Style,
    /// Headings and the current step of the rail.
    pub strong: Style,
    /// Ordinary text.
    pub text: Style,
}

impl Theme {
    /// The operator's own 16 colours.
    pub fn sixteen() -> Self {
        Self {
            ok: Style::new().fg(Color::Green),
            wait: Style::new().fg(Color::Yellow),
            fail: Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            selected: Style::new().add_modifier(Modifier::REVERSED),
            dim: Style::new().add_modifier(Modifier::DIM),
            strong: Style::new().add_modifier(Modifier::BOLD),
            text: Style::new(),
        }
    }

    /// No colour at all (`NO_COLOR`, `TERM=dumb`, `--theme mono`).
    pub fn mono() -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        Self {
            ok: bold,
            wait: plain,
            fail: bold,
            selected: plain.add_modifier(Modifier::REVERSED),
            dim: plain,
            strong: bold,
            text: plain,
        }
    }
}

/// One set of glyphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glyphs {
    /// Filled and empty cell of a bar.
    pub bar: (&'static str, &'static str),
    /// Levels of a sparkline, low to high.
    pub levels: &'static [&'static str],
    /// Horizontal rule.
    pub rule: &'static str,
    /// Vertical rule.
    pub pipe: &'static str,
    /// Box corners: top left, top right, bottom left, bottom right.
    pub corners: [&'static str; 4],
    /// Done mark.
    pub done: &'static str,
    /// Warning mark.
    pub warn: &'static str,
    /// Selection mark.
    pub pointer: &'static str,
}

impl Glyphs {
    /// 7-bit ASCII, as drawn in the specification.
    pub const ASCII: Self = Self {
        bar: ("#", "-"),
        levels: &[" ", ".", ":", "|"],
        rule: "-",
        pipe: "|",
        corners: ["+", "+", "+", "+"],
        done: "+",
        warn: "!",
        pointer: ">",
    };

    /// Box drawing and blocks.
    pub const UNICODE: Self = Self {
        bar: ("█", "░"),
        levels: &[" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
        rule: "─",
        pipe: "│",
        corners: ["┌", "┐", "└", "┘"],
        done: "✓",
        warn: "▲",
        pointer: "▸",
    };
}
