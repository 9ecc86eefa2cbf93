//! What was copied again and is equal since.

use super::View;
use crate::{
    model::{RepairedDocument, snapshot::VerifiedCollection, units::show_count},
    tui::widget::text,
};
use ratatui::text::Line;

fn of<'a>(view: &View<'a>, row: &VerifiedCollection) -> Vec<&'a RepairedDocument> {
    let repaired = &view.snapshot.verification.repaired;
    repaired.examples.iter().filter(|one| one.namespace == row.namespace).collect()
}

/// The line beside the methods: how many, and since when the last of them is known to be equal.
pub fn summary(view: &View<'_>) -> Option<(String, String)> {
    let repaired = &view.snapshot.verification.repaired;
    let last = repaired.examples.last().map(|one| format!(", equal at {} UTC", text::clock(one.at)));
    let what = format!("copied again{}", last.unwrap_or_default());
    (repaired.documents > 0).then(|| (what, show_count(repaired.documents)))
}

/// The repaired documents of the selected collection, each with its time: two of them, or all when opened.
pub fn lines(view: &View<'_>, row: &VerifiedCollection, columns: usize, all: bool) -> Vec<Line<'static>> {
    let repaired = of(view, row);
    if repaired.is_empty() {
        return Vec::new();
    }
    let shown = if all { repaired.len() } else { 2 };
    let title = format!("   {}: repaired", row.namespace);
    let one = |one: &&RepairedDocument| {
        let sentence = format!("     _id {}  equal at {} UTC", one.id, text::clock(one.at));
        Line::raw(text::cut(&sentence, columns.saturating_sub(1)))
    };
    std::iter::once(Line::styled(title, view.theme.ok)).chain(repaired.iter().take(shown).map(one)).collect()
}

/// The same for the saved file.
pub fn markdown(view: &View<'_>) -> String {
    let repaired = &view.snapshot.verification.repaired;
    let mut text = String::new();
    if repaired.documents > 0 {
        text.push_str(&format!("\nCopied again and equal since: {} documents\n\n", repaired.documents));
    }
    for one in &repaired.examples {
        text.push_str(&format!("- {} `{}` equal at {:.0}\n", one.namespace, one.id, one.at));
    }
    text
}
