//! A drawn frame as text, and which words stand in which style, so that "it turned green" is a line of a snapshot.

use mongoferry::tui::{model::Model, screen::frame};
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, style::Modifier};

/// The whole frame in a terminal of this size.
pub fn buffer(model: &Model, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("terminal");
    terminal.draw(|frame| frame::draw(frame, model)).expect("draw");
    terminal.backend().buffer().clone()
}

/// Runs of cells with the same style other than the plain one: `row: style "text"`.
pub fn style_runs(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut run: Option<(String, String)> = None;
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            let colour = format!("{:?}", cell.fg).to_lowercase();
            let modifier =
                if cell.modifier == Modifier::empty() { String::new() } else { format!("{:?}", cell.modifier) };
            let style = format!("{colour} {modifier}").replace("reset ", "").trim().to_string();
            match &mut run {
                Some((known, text)) if *known == style => text.push_str(cell.symbol()),
                _ => {
                    close(&mut out, y, run.take());
                    run = Some((style, cell.symbol().into()));
                }
            }
        }
        close(&mut out, y, run);
    }
    out
}

fn close(out: &mut String, row: u16, run: Option<(String, String)>) {
    if let Some((style, text)) = run.filter(|(style, text)| !style.is_empty() && !text.trim().is_empty()) {
        *out += &format!("{row:>2}: {style} {:?}\n", text.trim_end());
    }
}

/// Snapshots of one state: the widest layout, the narrow ones and the cards below each other, and the styles at 80x24.
pub fn assert_looks(name: &str, ascii: &Model, unicode: &Model) {
    // The help names the version.
    let text = |model: &Model, (width, height)| {
        frame::as_text(model, width, height).replace(env!("CARGO_PKG_VERSION"), "[version]")
    };
    insta::assert_snapshot!(format!("{name}_200x60_unicode"), text(unicode, (200, 60)));
    let narrow: String =
        [(60, 16), (50, 10), (20, 5)].map(|size| format!("{}x{}\n{}\n", size.0, size.1, text(ascii, size))).concat();
    insta::assert_snapshot!(format!("{name}_narrow_ascii"), narrow);
    insta::assert_snapshot!(format!("style_{name}"), style_runs(&buffer(ascii, 80, 24)));
}
