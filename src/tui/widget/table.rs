//! A simple table: fixed columns, one that grows, and columns that go by priority when the terminal is narrow.

use super::text;
use crate::tui::theme::Theme;
use ratatui::{style::Style, text::Line};

/// One column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Heading, in capitals.
    pub title: &'static str,
    /// Columns of the terminal that it takes.
    pub width: usize,
    /// Numbers are right-aligned.
    pub right: bool,
    /// 0 is never dropped; the highest goes first.
    pub priority: u8,
}

impl Column {
    /// A left-aligned column.
    pub const fn left(title: &'static str, width: usize, priority: u8) -> Self {
        Self { title, width, right: false, priority }
    }

    /// A right-aligned column.
    pub const fn right(title: &'static str, width: usize, priority: u8) -> Self {
        Self { title, width, right: true, priority }
    }
}

/// One row: a cell per column, and its style.
#[derive(Debug, Clone)]
pub struct Row {
    /// A cell per column.
    pub cells: Vec<String>,
    /// Style of the whole row.
    pub style: Style,
}

/// Which columns fit into `columns` terminal columns (two of them for the selection mark), and how wide each is; the
/// first one grows into what is left and shrinks to 10 before anything is dropped.
fn fit(all: &[Column], columns: usize) -> Vec<(usize, usize)> {
    let mut kept: Vec<usize> = (0..all.len()).collect();
    loop {
        let needed: usize =
            kept.iter().map(|index| if *index == 0 { all[0].width.min(10) } else { all[*index].width } + 2).sum();
        let worst =
            kept.iter().copied().filter(|index| all[*index].priority > 0).max_by_key(|index| all[*index].priority);
        match worst {
            Some(worst) if needed > columns => kept.retain(|index| *index != worst),
            _ => break,
        }
    }
    let others: usize = kept.iter().filter(|index| **index != 0).map(|index| all[*index].width + 2).sum();
    kept.into_iter()
        .map(|index| (index, if index == 0 { columns.saturating_sub(others + 2) } else { all[index].width }))
        .collect()
}

/// The heading and the rows from `offset` on, at most `height` lines in all. `selected` counts from the first of `rows`.
pub fn lines(
    all: &[Column],
    rows: &[Row],
    view: (usize, usize),
    selected: Option<usize>,
    offset: usize,
    style: (&Theme, &str),
) -> Vec<Line<'static>> {
    let (columns, height) = view;
    let (theme, pointer) = style;
    let fitted = fit(all, columns);
    // The first column holds names.
    let cell = |index: usize, width: usize, value: &str| match index {
        0 => text::left(&text::middle(value, width), width),
        _ if all[index].right => text::right(value, width),
        _ => text::left(value, width),
    };
    let joined = |values: &dyn Fn(usize) -> String| {
        fitted.iter().map(|(index, width)| cell(*index, *width, &values(*index))).collect::<Vec<_>>().join("  ")
    };
    let heading = format!("  {}", joined(&|index| all[index].title.to_string()));
    let mut lines = vec![Line::styled(heading, theme.dim)];
    for (index, row) in rows.iter().enumerate().skip(offset).take(height.saturating_sub(1)) {
        let is_selected = selected == Some(index);
        let mark = if is_selected { pointer } else { " " };
        let body = joined(&|column| row.cells.get(column).cloned().unwrap_or_default());
        let style = if is_selected { row.style.patch(theme.selected) } else { row.style };
        lines.push(Line::styled(format!("{mark} {body}"), style));
    }
    lines
}

/// The first row to show so that `selected` is visible in `height` rows.
pub fn offset_for(selected: usize, rows: usize, height: usize) -> usize {
    let last = rows.saturating_sub(height);
    selected.saturating_sub(height.saturating_sub(1)).min(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_by_priority_and_the_first_grows() {
        let columns = [Column::left("NAME", 12, 0), Column::right("DOCS", 6, 1), Column::right("SIZE", 6, 2)];
        let names = |width: usize| -> Vec<&str> {
            fit(&columns, width).iter().map(|(index, _)| columns[*index].title).collect()
        };
        assert_eq!(names(40), ["NAME", "DOCS", "SIZE"]);
        assert_eq!(names(24), ["NAME", "DOCS"]);
        assert_eq!(names(12), ["NAME"]);
        assert_eq!(fit(&columns, 40)[0].1, 22);
    }

    #[test]
    fn the_selection_stays_visible() {
        assert_eq!(offset_for(0, 10, 4), 0);
        assert_eq!(offset_for(9, 10, 4), 6);
        assert_eq!(offset_for(2, 3, 4), 0);
    }
}
