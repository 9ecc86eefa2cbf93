//! Meanings to styles, and glyph sets. No screen names a colour or a non-ASCII character itself.

use ratatui::style::{Color, Modifier, Style};

/// Styles by meaning. Every colour is doubled by a word on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// As `--theme` calls it.
    pub name: &'static str,
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
            name: "16",
            ok: Style::new().fg(Color::Green),
            wait: Style::new().fg(Color::Yellow),
            fail: Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            selected: Style::new().add_modifier(Modifier::REVERSED),
            dim: Style::new().add_modifier(Modifier::DIM),
            strong: Style::new().add_modifier(Modifier::BOLD),
            text: Style::new(),
        }
    }

    /// For a light background whose own green and yellow cannot be read: of the 256 colours, dark ones.
    pub fn light() -> Self {
        Self { name: "light", ..Self::of_256([28, 130, 124, 240]) }
    }

    /// For a dark background, and terminals that do not dim: of the 256 colours, bright ones.
    pub fn dark() -> Self {
        Self { name: "dark", ..Self::of_256([114, 221, 210, 246]) }
    }

    /// Ok, wait, fail, dim.
    fn of_256(colours: [u8; 4]) -> Self {
        let [ok, wait, fail, dim] = colours.map(|colour| Style::new().fg(Color::Indexed(colour)));
        Self { ok, wait, fail: fail.add_modifier(Modifier::BOLD), dim, ..Self::sixteen() }
    }

    /// The one after this one.
    pub fn next(self) -> Self {
        match self.name {
            "16" => Self::light(),
            "light" => Self::dark(),
            "dark" => Self::mono(),
            _ => Self::sixteen(),
        }
    }

    /// No colour at all (`NO_COLOR`, `TERM=dumb`, `--theme mono`).
    pub fn mono() -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        Self {
            name: "mono",
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
