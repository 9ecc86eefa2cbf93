//! An area chart of a few rows, drawn with the levels of the glyph set, with axis labels and a marked ready line.

use super::text;
use crate::tui::theme::{Glyphs, Theme};
use ratatui::text::{Line, Span};

/// How several samples become one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The mean: throughput.
    Mean,
    /// The worst: lag, backlog.
    Max,
}

/// An area chart. Rows need not be of equal height in value: each ends at its own bound.
#[derive(Debug, Clone)]
pub struct Chart<'a> {
    /// Samples, newest last.
    pub samples: &'a [u64],
    /// How samples become columns.
    pub merge: Merge,
    /// Upper bound and label of each row, bottom row first.
    pub rows: Vec<(u64, String)>,
    /// The row whose upper bound is the ready line, and what is written behind it.
    pub ready: Option<(usize, &'static str)>,
    /// Right end of the axis: `now`, `5 min`.
    pub axis: String,
}

/// How much time a chart of `columns` shows, ms: all samples, or more while there are fewer samples than columns.
pub fn span_ms(samples: usize, columns: usize, step_ms: u64) -> u64 {
    (samples.max(columns) as u64).saturating_mul(step_ms)
}

/// Rows of equal height up to a round bound above `max`, labelled by `label`; bottom row first.
pub fn even_rows(max: u64, rows: usize, label: impl Fn(u64) -> String) -> Vec<(u64, String)> {
    let rows = rows.max(1) as u64;
    let step = round_up(max.div_ceil(rows).max(1));
    (1..=rows).map(|row| (step.saturating_mul(row), label(step.saturating_mul(row)))).collect()
}

fn round_up(value: u64) -> u64 {
    let mut magnitude = 1u64;
    while magnitude.saturating_mul(10) <= value {
        magnitude *= 10;
    }
    [10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100]
        .iter()
        .map(|tenths| magnitude.saturating_mul(*tenths).div_ceil(10))
        .find(|bound| *bound >= value)
        .unwrap_or(value)
}

impl Chart<'_> {
    /// The chart in `columns` columns: its rows from the top and the axis; with nothing to show, a sentence.
    pub fn lines(&self, columns: usize, glyphs: &Glyphs, theme: &Theme) -> Vec<Line<'static>> {
        let label_columns = self.rows.iter().map(|(_, label)| text::width(label)).max().unwrap_or(0) + 1;
        let note_columns = self.ready.map_or(0, |(_, note)| text::width(note) + 1);
        let room = columns.saturating_sub(label_columns + 1 + note_columns);
        let values = self.columns(room);
        let mut lines = Vec::new();
        for (index, (upper, label)) in self.rows.iter().enumerate().rev() {
            let lower = if index == 0 { 0 } else { self.rows[index - 1].0 };
            let is_ready = self.ready.filter(|(row, _)| *row == index);
            let mut area = " ".repeat(room.saturating_sub(values.len()));
            for value in &values {
                let level = level(*value, lower, *upper, glyphs.levels.len());
                area += if level == 0 && is_ready.is_some() { glyphs.rule } else { glyphs.levels[level] };
            }
            let mut spans = vec![
                Span::styled(text::right(label, label_columns), theme.dim),
                Span::raw(glyphs.pipe),
                Span::raw(area),
            ];
            if let Some((_, note)) = is_ready {
                spans.push(Span::styled(format!(" {note}"), theme.dim));
            }
            lines.push(Line::from(spans));
        }
        let rule = room.saturating_sub(text::width(&self.axis) + 1);
        let axis = format!(
            "{}{}{} {}",
            text::right("0", label_columns),
            glyphs.corners[2],
            glyphs.rule.repeat(rule),
            self.axis
        );
        lines.push(Line::styled(axis, theme.dim));
        if values.is_empty()
            && let Some(first) = lines.first_mut()
        {
            *first = Line::styled(format!("{}{} no samples yet", " ".repeat(label_columns), glyphs.pipe), theme.dim);
        }
        lines
    }

    /// A value per column; fewer than `columns` while there are fewer samples.
    fn columns(&self, columns: usize) -> Vec<u64> {
        let count = self.samples.len();
        let columns = columns.min(count);
        let merged = |column: usize| {
            let chunk = &self.samples[column * count / columns..(column + 1) * count / columns];
            match self.merge {
                Merge::Mean => chunk.iter().sum::<u64>() / chunk.len().max(1) as u64,
                Merge::Max => chunk.iter().copied().max().unwrap_or(0),
            }
        };
        (0..columns).map(merged).collect()
    }
}

/// Which of `levels` glyphs a value has in a row from `lower` to `upper`; above zero never draws as nothing.
fn level(value: u64, lower: u64, upper: u64, levels: usize) -> usize {
    let top = levels.saturating_sub(1);
    if value <= lower || upper <= lower {
        return 0;
    }
    if value >= upper {
        return top;
    }
    let share = (value - lower) as f64 / (upper - lower) as f64;
    ((share * top as f64).ceil() as usize).clamp(1, top)
}

/// One row of levels for `samples`, scaled to their own maximum.
pub fn sparkline(samples: &[u64], columns: usize, glyphs: &Glyphs) -> String {
    let max = samples.iter().copied().max().unwrap_or(0).max(1);
    let chart = Chart { samples, merge: Merge::Max, rows: Vec::new(), ready: None, axis: String::new() };
    let cells: String = chart
        .columns(columns)
        .into_iter()
        .map(|value| glyphs.levels[level(value, 0, max, glyphs.levels.len())])
        .collect();
    text::right(&cells, columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(chart: &Chart<'_>, columns: usize) -> Vec<String> {
        chart.lines(columns, &Glyphs::ASCII, &Theme::mono()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rows_end_at_their_own_bounds_and_the_ready_line_is_marked() {
        let rows = vec![(10, "10s".to_string()), (30, "30s".into()), (60, "60s".into())];
        let chart = Chart {
            samples: &[60, 30, 12, 5, 0],
            merge: Merge::Max,
            rows,
            ready: Some((0, "<- ready")),
            axis: "now".into(),
        };
        assert_eq!(drawn(&chart, 19), [" 60s||    ", " 30s|||.  ", " 10s||||:- <- ready", "   0+- now"]);
    }

    #[test]
    fn many_samples_are_merged_and_none_is_said() {
        let samples: Vec<u64> = (0..100).collect();
        let chart = Chart {
            samples: &samples,
            merge: Merge::Max,
            rows: vec![(100, "100".into())],
            ready: None,
            axis: "now".into(),
        };
        assert_eq!(drawn(&chart, 15)[0], " 100|...:::||||");
        let empty = Chart { samples: &[], ..chart };
        assert!(drawn(&empty, 30)[0].contains("no samples yet"));
    }

    #[test]
    fn even_rows_have_round_bounds() {
        let rows = even_rows(83, 2, |bound| bound.to_string());
        assert_eq!(rows, vec![(50, "50".to_string()), (100, "100".to_string())]);
    }

    #[test]
    fn a_sparkline_fits_its_columns() {
        assert_eq!(sparkline(&[0, 1, 2, 3], 6, &Glyphs::ASCII), "   .:|");
    }
}
