//! A progress bar: `[####----]`, with blocks in the unicode set.

use crate::tui::theme::Glyphs;

/// A bar of `columns` in all, brackets included; an unknown ratio leaves it blank, so that it is not taken for 0.
pub fn bar(columns: usize, ratio: Option<f64>, glyphs: &Glyphs) -> String {
    let inside = columns.saturating_sub(2);
    format!("[{}]", cells(inside, ratio, glyphs))
}

/// The inside of a bar: `columns` cells. Full only at a ratio of exactly 1.
pub fn cells(columns: usize, ratio: Option<f64>, glyphs: &Glyphs) -> String {
    let Some(ratio) = ratio else { return " ".repeat(columns) };
    let full = filled(columns, ratio);
    glyphs.bar.0.repeat(full) + &glyphs.bar.1.repeat(columns - full)
}

/// A bar whose cell at `mark` (0 to 1) shows the vertical rule: the ready line of the lag gauge.
pub fn marked(columns: usize, ratio: Option<f64>, mark: f64, glyphs: &Glyphs) -> String {
    let inside = columns.saturating_sub(2);
    let at = filled(inside, mark).min(inside.saturating_sub(1));
    let full = ratio.map_or(0, |ratio| filled(inside, ratio));
    let cell = |index: usize| match ratio {
        _ if index == at => glyphs.pipe,
        None => " ",
        Some(_) if index < full => glyphs.bar.0,
        Some(_) => glyphs.bar.1,
    };
    format!("[{}]", (0..inside).map(cell).collect::<String>())
}

fn filled(columns: usize, ratio: f64) -> usize {
    ((ratio.clamp(0.0, 1.0) * columns as f64).floor() as usize).min(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_full_only_at_the_end_and_blank_when_unknown() {
        assert_eq!(bar(6, Some(0.5), &Glyphs::ASCII), "[##--]");
        assert_eq!(bar(6, Some(0.999), &Glyphs::ASCII), "[###-]");
        assert_eq!(bar(6, Some(1.0), &Glyphs::UNICODE), "[████]");
        assert_eq!(bar(6, None, &Glyphs::ASCII), "[    ]");
        assert_eq!(bar(0, Some(1.0), &Glyphs::ASCII), "[]");
        assert_eq!(marked(8, Some(0.8), 0.2, &Glyphs::ASCII), "[#|##--]");
    }
}
