//! Text of a fixed width, and times as an operator reads them: UTC, with units.

use crate::model::units::show_duration;
use jiff::{Timestamp, tz::TimeZone};
use ratatui::{style::Style, text::Span};
use std::time::Duration;

/// Terminal columns of `text`.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Where each thing ends that a terminal draws in one place: a letter with its accents, an emoji of several parts. `text`
/// holds no control characters.
pub fn ends_of_graphemes(text: &str) -> Vec<usize> {
    let (span, mut end) = (Span::raw(text), 0);
    let ends = span.styled_graphemes(Style::new()).map(|grapheme| {
        end += grapheme.symbol.len();
        end
    });
    ends.collect()
}

/// `text` cut to at most `columns`; a cut ends in `..` so that it can be seen.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_string();
    }
    let mark = if columns > 4 { ".." } else { "" };
    let mut out = String::new();
    let mut used = mark.len();
    for character in text.chars() {
        used += width(character.encode_utf8(&mut [0; 4]));
        if used > columns {
            break;
        }
        out.push(character);
    }
    out + mark
}

/// A name cut in its middle to at most `columns`: names that are told apart by their ends stay told apart.
pub fn middle(name: &str, columns: usize) -> String {
    let (all, mark) = (width(name), "..");
    if all <= columns || columns < 7 {
        return cut(name, columns);
    }
    let end_columns = (columns - mark.len()) / 2;
    let starts: Vec<usize> = std::iter::once(0).chain(ends_of_graphemes(name)).collect();
    let from = starts.into_iter().find(|start| width(&name[*start..]) <= end_columns).unwrap_or(name.len());
    let end = &name[from..];
    format!("{}{end}", cut(name, columns - width(end)))
}

/// `text` in exactly `columns`, left-aligned.
pub fn left(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let missing = columns.saturating_sub(width(&text));
    text + &" ".repeat(missing)
}

/// `text` in exactly `columns`, right-aligned.
pub fn right(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    " ".repeat(columns.saturating_sub(width(&text))) + &text
}

/// `start` at the left end and `end` at the right end of `columns`.
pub fn ends(start: &str, end: &str, columns: usize) -> String {
    let room = columns.saturating_sub(width(end) + 1);
    format!("{} {end}", left(start, room))
}

/// `text` broken at spaces into lines of at most `columns`; a longer word is broken inside, nothing is dropped.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && width(&line) + 1 + width(word) > columns {
                lines.push(std::mem::take(&mut line));
            } else if !line.is_empty() {
                line.push(' ');
            }
            for character in word.chars() {
                if width(&line) + width(character.encode_utf8(&mut [0; 4])) > columns {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(character);
            }
        }
        lines.push(line);
    }
    lines
}

/// `text` in pieces of at most `columns`, broken anywhere: for lines that are copied as a whole, such as a URI.
pub fn pieces(text: &str, columns: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for character in text.chars() {
        let added = width(character.encode_utf8(&mut [0; 4]));
        match pieces.last_mut() {
            Some(last) if last.is_empty() || width(last) + added <= columns => last.push(character),
            _ => pieces.push(character.to_string()),
        }
    }
    pieces
}

/// `1 step`, `3 steps`.
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `label` in front of wrapped `text`; following lines are indented under it.
pub fn labelled(label: &str, text: &str, columns: usize) -> Vec<String> {
    let indent = width(label);
    let wrapped = wrap(text, columns.saturating_sub(indent).max(8));
    wrapped
        .into_iter()
        .enumerate()
        .map(|(row, line)| if row == 0 { format!("{label}{line}") } else { format!("{}{line}", " ".repeat(indent)) })
        .collect()
}

/// `13:08:40`, UTC.
pub fn clock(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%H:%M:%S").to_string()
}

/// `13:08`, UTC.
pub fn clock_minutes(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%H:%M").to_string()
}

/// `Sat 28 Nov 13:08 UTC`.
pub fn date(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%a %d %b %H:%M UTC").to_string()
}

/// `2026-11-23 18:07:09.311 UTC`.
pub fn moment(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()
}

/// Time from `from` to `to`; zero when `to` is earlier (two hosts' clocks may differ).
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// `0.4 s ago`.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", show_duration(between(at, now)))
}

/// Milliseconds as `0.8 s`, `8.7 h`; `-` when unknown.
pub fn ms(value: Option<u64>) -> String {
    value.map_or_else(|| "-".into(), |ms| show_duration(Duration::from_millis(ms)))
}

/// A threshold from the plan without a needless fraction: `10 s`, `90 s`, `24 h`, `120 h`.
pub fn threshold(ms: u64) -> String {
    match ms {
        ms if ms >= 3_600_000 && ms.is_multiple_of(3_600_000) => format!("{} h", ms / 3_600_000),
        ms if ms >= 120_000 && ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        ms if ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        ms => format!("{:.1} s", ms as f64 / 1_000.0),
    }
}

/// A rate with one decimal below 100 and none above: `41.2`, `170`.
pub fn rate(per_s: f64) -> String {
    // The sum of nothing is -0.0.
    let per_s = per_s + 0.0;
    if per_s < 99.95 { format!("{per_s:.1}") } else { format!("{per_s:.0}") }
}

/// `done` of `total` from 0 to 1; `None` when the total is not known (0).
pub fn ratio(done: u64, total: u64) -> Option<f64> {
    (total > 0).then(|| (done as f64 / total as f64).clamp(0.0, 1.0))
}

/// A ratio as `61.8 %`; never rounds up to 100; `-` when unknown.
pub fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".into(), |ratio| format!("{:.1} %", (ratio * 1000.0).floor() / 10.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_its_width() {
        assert_eq!(left("shop.orders", 6), "shop..");
        assert_eq!(left("ab", 4), "ab  ");
        assert_eq!(right("ab", 4), "  ab");
        assert_eq!(cut("日本語です", 7), "日本..");
        assert_eq!(ends("a", "z", 5), "a   z");
        assert_eq!(middle("measurements_2024_eu", 12), "measu..24_eu");
        assert_eq!(middle("measurements_2024_eu", 20), "measurements_2024_eu");
        assert_eq!(middle("日本語日本語です", 11), "日本..です");
        assert_eq!(middle("shop.orders", 6), "shop..");
    }

    #[test]
    fn wrapping_loses_nothing() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(pieces("a bcdef", 3), ["a b", "cde", "f"]);
        assert_eq!(labelled("Why  ", "one two three", 12), ["Why  one two", "     three"]);
    }

    #[test]
    fn unknown_is_never_zero_and_nearly_done_is_not_done() {
        assert_eq!(ms(None), "-");
        assert_eq!(percent(ratio(0, 0)), "-");
        assert_eq!(percent(ratio(9_999, 10_000)), "99.9 %");
        assert_eq!(threshold(10_000), "10 s");
        assert_eq!(threshold(432_000_000), "120 h");
    }
}
