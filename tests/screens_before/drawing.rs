//! Every page as text, and what the colours say.

use super::{
    styles::{assert_looks, buffer, style_runs},
    wizard::{CA, Wizard, dropping, events, failed, fine, now, running, warned},
};
use crossterm::event::{KeyCode, KeyModifiers};
use mongoferry::{
    model::{Phase, Snapshot},
    tui::{
        action::Screen,
        effect::Message,
        screen::frame,
        theme::{Glyphs, Theme},
    },
};
use ratatui::{Terminal, backend::TestBackend};
use std::sync::Arc;

/// Every page of the wizard before Start, and what lies over a page.
pub fn pages(glyphs: Glyphs) -> Vec<(&'static str, Wizard)> {
    let first = Wizard::new(Snapshot::idle(now()), glyphs);
    let mut mistake = Wizard::new(Snapshot::idle(now()), glyphs);
    mistake.type_text("postgres://new-a");
    mistake.press(KeyCode::Enter);
    let mut added = Wizard::new(Snapshot::idle(now()), glyphs);
    added.paste("mongodb+srv://ferry:p%40ss@cluster0.example.net/?retryWrites=true");
    let mut busy = Wizard::known(glyphs);
    busy.press(KeyCode::Down);
    let mut broken = Wizard::known(glyphs);
    broken.keys(&[KeyCode::Down, KeyCode::Down]);
    let mut prepare = Wizard::known(glyphs);
    prepare.press(KeyCode::Enter);
    let mut ticked = Wizard::at_form(glyphs);
    ticked.keys(&[KeyCode::Esc, KeyCode::BackTab, KeyCode::Char(' '), KeyCode::Down, KeyCode::Down]);
    let form = Wizard::at_form(glyphs);
    let mut filled = Wizard::at_form(glyphs);
    filled.paste("mongodb://ferry_src:s3cret@db-01.example.net:27017/?replicaSet=rs0&tls=true");
    for _ in 0..4 {
        filled.press(KeyCode::Tab);
    }
    filled.press(KeyCode::Char(' '));
    filled.press(KeyCode::Tab);
    filled.paste(&CA.replace('\n', "\r"));
    let mut mended = Wizard::at_form(glyphs);
    mended.type_text("db-01:0");
    mended.press(KeyCode::Tab);
    mended.press(KeyCode::Tab);
    mended.type_text("x");
    mended.press(KeyCode::Tab);
    let mut accepted = Wizard::at_report(glyphs, warned());
    accepted.press(KeyCode::Char(' '));
    let mut question = Wizard::at_report(glyphs, dropping());
    question.press(KeyCode::Enter);
    question.type_text("prod-");
    let mut help = Wizard::at_report(glyphs, failed());
    help.press(KeyCode::Char('?'));
    let mut log = Wizard::known(glyphs);
    log.tell(Message::Events(events()));
    log.press(KeyCode::Char('l'));
    vec![
        ("destination_first", first),
        ("destination_mistake", mistake),
        ("destination_added", added),
        ("destination_list", Wizard::known(glyphs)),
        ("destination_with_data", busy),
        ("destination_unreachable", broken),
        ("prepare", prepare),
        ("prepare_ticked", ticked),
        ("connect", form),
        ("connect_private_ca", filled),
        ("connect_mistakes", mended),
        ("validate_running", Wizard::at_report(glyphs, running())),
        ("validate_failed", Wizard::at_report(glyphs, failed())),
        ("validate_warned", Wizard::at_report(glyphs, warned())),
        ("validate_accepted", accepted),
        ("validate_fine", Wizard::at_report(glyphs, fine())),
        ("validate_dropping", Wizard::at_report(glyphs, dropping())),
        ("confirm", question),
        ("help", help),
        ("log", log),
    ]
}

fn snapshots(suffix: &str, glyphs: Glyphs, width: u16, height: u16) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, wizard) in pages(glyphs) {
            // The help names the version.
            let text = wizard.text(width, height).replace(env!("CARGO_PKG_VERSION"), "[version]");
            insta::assert_snapshot!(format!("{name}_{suffix}"), text);
        }
    });
}

#[test]
fn every_page_at_80x24_ascii() {
    snapshots("80x24_ascii", Glyphs::ASCII, 80, 24);
}

#[test]
fn every_page_at_120x40_ascii() {
    snapshots("120x40_ascii", Glyphs::ASCII, 120, 40);
}

#[test]
fn every_page_at_80x24_unicode() {
    snapshots("80x24_unicode", Glyphs::UNICODE, 80, 24);
}

/// Wide, narrow, as a card, and with its styles.
#[test]
fn every_page_in_every_other_look() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../screens_before/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for ((name, ascii), (_, unicode)) in pages(Glyphs::ASCII).into_iter().zip(pages(Glyphs::UNICODE)) {
            assert_looks(name, &ascii.model, &unicode.model);
        }
    });
}

#[test]
fn small_terminals_show_a_card() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let copying: serde_json::Value =
        serde_json::from_str(include_str!("../fixtures/snapshots/copying.json")).expect("fixture");
    let snapshot: Snapshot = serde_json::from_value(copying["snapshot"].clone()).expect("snapshot");
    let running = Wizard::new(snapshot, Glyphs::ASCII);
    let form = Wizard::at_form(Glyphs::ASCII);
    let mut question = Wizard::at_report(Glyphs::ASCII, dropping());
    question.press(KeyCode::Enter);
    settings.bind(|| {
        for (width, height) in [(60, 16), (50, 10), (20, 5)] {
            insta::assert_snapshot!(format!("small_copying_{width}x{height}"), running.text(width, height));
            insta::assert_snapshot!(format!("small_form_{width}x{height}"), form.text(width, height));
            insta::assert_snapshot!(format!("small_question_{width}x{height}"), question.text(width, height));
        }
    });
}

#[test]
fn no_password_and_only_ascii_is_ever_drawn() {
    for (name, wizard) in pages(Glyphs::ASCII) {
        for (width, height) in [(80, 24), (120, 40), (60, 16), (40, 8)] {
            let page = wizard.text(width, height);
            assert!(page.is_ascii(), "{name}: {page}");
            assert!(!page.contains("s3cret") && !page.contains("p@ss") && !page.contains("p%40ss"), "{name}: {page}");
        }
    }
}

#[test]
fn every_page_says_one_sentence_that_fits() {
    for (name, wizard) in pages(Glyphs::ASCII) {
        let status = frame::status(&wizard.model);
        assert!(!status.is_empty() && !status.contains('\n'), "{name}: {status:?}");
        assert!(status.chars().count() <= 79, "{name}: {} {status:?}", status.chars().count());
    }
}

#[test]
fn a_footer_keeps_the_help_and_drops_from_its_end() {
    let wizard = Wizard::at_report(Glyphs::ASCII, failed());
    for width in [60, 70, 80, 120] {
        let page = wizard.text(width, 24);
        let footer = page.lines().last().unwrap();
        assert!(footer.trim_end().ends_with("? Help"), "{footer}");
        assert!(footer.chars().count() <= usize::from(width));
    }
    assert!(!wizard.text(60, 24).lines().last().unwrap().contains("q Quit"));
    assert!(wizard.text(120, 24).lines().last().unwrap().contains("q Quit"));
}

#[test]
fn colours_and_reverse_stand_where_they_should() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let read: serde_json::Value =
        serde_json::from_str(include_str!("../fixtures/snapshots/ready.json")).expect("fixture");
    let snapshot: Snapshot = serde_json::from_value(read["snapshot"].clone()).expect("snapshot");
    let mut ready = Wizard::new(snapshot, Glyphs::ASCII);
    ready.model.now = read["now"].as_str().unwrap().parse().unwrap();
    let failed = Wizard::at_report(Glyphs::ASCII, failed());
    let mut mono = Wizard::at_report(Glyphs::ASCII, super::wizard::failed());
    // Past light and dark.
    mono.keys(&[KeyCode::Char('T'); 3]);
    mono.model.said = None;
    settings.bind(|| {
        insta::assert_snapshot!("style_ready", style_runs(&buffer(&ready.model, 80, 24)));
        insta::assert_snapshot!("style_failed", style_runs(&buffer(&failed.model, 80, 24)));
        insta::assert_snapshot!("style_failed_mono", style_runs(&buffer(&mono.model, 80, 24)));
    });
    assert_eq!(mono.model.theme, Theme::mono());
}

#[test]
fn the_cursor_stands_in_the_focused_field() {
    let mut wizard = Wizard::at_form(Glyphs::ASCII);
    wizard.type_text("db");
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| frame::draw(frame, &wizard.model)).unwrap();
    let position = terminal.get_cursor_position().unwrap();
    let row: String = (0..80).map(|x| terminal.backend().buffer()[(x, position.y)].symbol().to_string()).collect();
    assert!(row.contains("Primary host:port  [db"), "{row}");
    assert_eq!(usize::from(position.x), row.find("[db").unwrap() + 3);
}

#[test]
fn a_screen_after_start_shows_the_chosen_name() {
    let mut wizard = Wizard::at_report(Glyphs::ASCII, fine());
    wizard.show(|snapshot| {
        snapshot.phase = Phase::Copying;
        snapshot.started = Some(now());
    });
    assert_eq!(wizard.model.screen, Screen::Migrating);
    assert!(wizard.page().starts_with(" mongoferry  rs0 -> prod-new"), "{}", wizard.page());
    let again = (*wizard.model.snapshot).clone();
    assert_eq!(again.destination.label, "prod-new");
    wizard.tell(Message::Snapshot(Arc::new(again)));
    assert!(wizard.page().contains("[Migrate]"));
    wizard.chord(KeyCode::Char('l'), KeyModifiers::CONTROL);
}
