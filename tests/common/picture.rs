//! The screen of a terminal as a picture (SVG), for the README: drawn from the emulator's cells, not from the program.

use std::fmt::Write;

const CELL: (f32, f32) = (8.4, 18.0);
const INK: &str = "#d8dee9";
const GROUND: &str = "#1b1f27";
/// The first eight colours, then their bright forms.
const PALETTE: [&str; 16] = [
    "#3b4252", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dee9", "#5c6370", "#e06c75",
    "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#ffffff",
];

fn colour(colour: vt100::Color, otherwise: &str) -> String {
    match colour {
        vt100::Color::Default => otherwise.into(),
        vt100::Color::Idx(index) => PALETTE.get(usize::from(index)).map_or(otherwise, |known| known).to_string(),
        vt100::Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The picture, with a title for those who cannot see it.
pub fn svg(screen: &vt100::Screen, title: &str) -> String {
    let (rows, columns) = (screen.size().0.get(), screen.size().1.get());
    let (width, height) = (f32::from(columns) * CELL.0 + 24.0, f32::from(rows) * CELL.1 + 24.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" \
         font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"14\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{GROUND}\"/>\n",
        escaped(title)
    );
    for row in 0..rows {
        let top = f32::from(row) * CELL.1 + 12.0;
        let mut column = 0;
        while column < columns {
            let Some(first) = screen.cell(row, column) else { break };
            let style = |cell: &vt100::Cell| (cell.fgcolor(), cell.bold(), cell.inverse(), cell.dim());
            let (start, wanted) = (column, style(first));
            let mut run = String::new();
            while let Some(cell) = screen.cell(row, column).filter(|cell| style(cell) == wanted) {
                run.push_str(if cell.has_contents() { cell.contents() } else { " " });
                column += 1;
            }
            let left = f32::from(start) * CELL.0 + 12.0;
            let length = f32::from(column - start) * CELL.0;
            let (mut ink, is_inverse) = (colour(wanted.0, INK), wanted.2);
            if is_inverse {
                let _ = writeln!(
                    out,
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"{:.1}\" fill=\"{ink}\"/>",
                    CELL.1
                );
                ink = GROUND.into();
            }
            if run.trim().is_empty() {
                continue;
            }
            let bold = if wanted.1 { " font-weight=\"bold\"" } else { "" };
            let dim = if wanted.3 { " opacity=\"0.6\"" } else { "" };
            let _ = writeln!(
                out,
                "<text x=\"{left:.1}\" y=\"{:.1}\" textLength=\"{length:.1}\" xml:space=\"preserve\" \
                 fill=\"{ink}\"{bold}{dim}>{}</text>",
                top + 13.5,
                escaped(&run)
            );
        }
    }
    out + "</svg>\n"
}
