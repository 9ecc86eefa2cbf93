//! Widgets that ratatui does not have: bars, digits, charts, tables.
