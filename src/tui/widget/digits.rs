//! 3x5 digits for the countdown; each pixel is the filled cell of the glyph set.

use crate::tui::theme::Glyphs;

const ROWS: usize = 5;

fn pattern(character: char) -> &'static [&'static str; ROWS] {
    match character {
        '0' => &["###", "# #", "# #", "# #", "###"],
        '1' => &["  #", "  #", "  #", "  #", "  #"],
        '2' => &["###", "  #", "###", "#  ", "###"],
        '3' => &["###", "  #", "###", "  #", "###"],
        '4' => &["# #", "# #", "###", "  #", "  #"],
        '5' => &["###", "#  ", "###", "  #", "###"],
        '6' => &["###", "#  ", "###", "# #", "###"],
        '7' => &["###", "  #", "  #", "  #", "  #"],
        '8' => &["###", "# #", "###", "# #", "###"],
        '9' => &["###", "# #", "###", "  #", "###"],
        ':' => &[" ", "#", " ", "#", " "],
        '-' => &["   ", "   ", "###", "   ", "   "],
        _ => &[" ", " ", " ", " ", " "],
    }
}

/// `text` (digits, `:`, `-`) as 5 x `scale` rows; every pixel is `scale` rows high and `scale` columns wide.
pub fn big(text: &str, scale: usize, glyphs: &Glyphs) -> Vec<String> {
    let scale = scale.max(1);
    (0..ROWS * scale)
        .map(|row| {
            let pixels: Vec<&str> = text.chars().map(|character| pattern(character)[row / scale]).collect();
            let line = pixels.join(" ");
            line.chars().map(|pixel| if pixel == '#' { glyphs.bar.0 } else { " " }.repeat(scale)).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_have_five_rows_of_one_width() {
        let rows = big("119:41:08", 1, &Glyphs::ASCII);
        assert_eq!(rows.len(), 5);
        assert!(rows.iter().all(|row| row.len() == 31));
        assert_eq!(rows[2], "  #   # ###   ###   #   # # ###");
        assert_eq!(big("08", 2, &Glyphs::UNICODE).len(), 10);
    }
}
