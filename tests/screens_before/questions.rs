//! The typed confirmation: late, exact, by hand.

use super::wizard::{Wizard, dropping};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use mongoferry::{
    model::{Command, Phase},
    tui::{
        effect::{Effect, Message},
        model::Overlay,
        screen::frame,
        theme::Glyphs,
    },
};
use std::time::Instant;

fn asked() -> Wizard {
    let mut wizard = Wizard::at_report(Glyphs::ASCII, dropping());
    let effects = wizard.press(KeyCode::Enter);
    assert!(effects.is_empty(), "nothing is sent before the name was typed");
    assert!(matches!(wizard.model.overlay, Some(Overlay::Confirm(_))));
    wizard
}

fn is_open(wizard: &Wizard) -> bool {
    wizard.model.overlay.is_some()
}

#[test]
fn dropping_is_agreed_to_by_typing_the_name() {
    let mut wizard = asked();
    let page = wizard.page();
    for part in ["3 databases", "shop", "14 collections", "1.1 GiB", "scratch", "[ Cancel ]", "It cannot be undone"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    wizard.type_text("prod-new");
    let effects = wizard.keys(&[KeyCode::Tab, KeyCode::Tab, KeyCode::Enter]);
    let [Effect::Send(Command::Start(consent))] = &effects[..] else { panic!("{effects:?}") };
    assert!(consent.clear_destination);
    assert!(!is_open(&wizard));
}

#[test]
fn cancel_is_the_default() {
    let mut wizard = asked();
    wizard.type_text("prod-new");
    let effects = wizard.keys(&[KeyCode::Enter, KeyCode::Enter]);
    assert!(effects.is_empty() && !is_open(&wizard), "Enter, Enter cancels");
    let mut wizard = asked();
    assert!(wizard.press(KeyCode::Esc).is_empty());
    assert!(!is_open(&wizard));
}

#[test]
fn another_name_is_not_enough() {
    for wrong in ["prod-ne", "prod-new ", "Prod-new", "prod-newx", ""] {
        let mut wizard = asked();
        wizard.type_text(wrong);
        let effects = wizard.keys(&[KeyCode::Tab, KeyCode::Tab, KeyCode::Enter]);
        assert!(effects.is_empty() && is_open(&wizard), "{wrong:?}");
        assert_eq!(frame::status(&wizard.model), "Type the destination name exactly as shown: prod-new");
    }
}

#[test]
fn keys_that_waited_are_discarded() {
    let mut wizard = Wizard::at_report(Glyphs::ASCII, dropping());
    wizard.press(KeyCode::Enter);
    for character in "prod-new".chars() {
        wizard.at_once(KeyCode::Char(character), KeyModifiers::NONE);
    }
    for code in [KeyCode::Tab, KeyCode::Tab, KeyCode::Enter] {
        assert!(wizard.at_once(code, KeyModifiers::NONE).is_empty());
    }
    assert!(is_open(&wizard));
    assert!(wizard.page().contains("[                        ]"), "{}", wizard.page());
}

#[test]
fn a_paste_is_refused_however_it_arrives() {
    let mut wizard = asked();
    wizard.paste("prod-new");
    assert_eq!(frame::status(&wizard.model), "Pasting is refused here: type it.");
    let effects = wizard.keys(&[KeyCode::Tab, KeyCode::Tab, KeyCode::Enter]);
    assert!(effects.is_empty() && is_open(&wizard));
    let mut wizard = asked();
    wizard.type_text("prod-ne");
    let key = KeyEvent::new(KeyCode::Char('w'), KeyModifiers::NONE);
    wizard.tell(Message::Key { key, in_burst: true, at: Instant::now() + std::time::Duration::from_secs(60) });
    assert!(wizard.page().contains("[                        ]"), "a burst empties the field: {}", wizard.page());
}

#[test]
fn a_question_about_a_state_that_is_gone_is_withdrawn() {
    let mut wizard = asked();
    wizard.show(|snapshot| snapshot.phase = Phase::Copying);
    assert!(!is_open(&wizard));
    assert!(frame::status(&wizard.model).contains("withdrawn"));
}

#[test]
fn everything_that_would_be_dropped_can_be_read_before_agreeing() {
    let mut report = dropping();
    for n in 0..40 {
        let name = format!("tenant_{n}");
        report.would_drop.push(mongoferry::model::check::DroppedDatabase { name, collections: 2, bytes: 10 });
    }
    let mut wizard = Wizard::at_report(Glyphs::ASCII, report);
    wizard.press(KeyCode::Enter);
    // Not before everything was shown.
    wizard.type_text("prod-new");
    wizard.keys(&[KeyCode::Tab, KeyCode::Tab]);
    assert!(wizard.press(KeyCode::Enter).is_empty() && is_open(&wizard));
    assert!(frame::status(&wizard.model).contains("not shown yet: PageDown"), "{}", frame::status(&wizard.model));
    let mut read = String::new();
    for _ in 0..10 {
        read += &wizard.page();
        wizard.press(KeyCode::PageDown);
    }
    for n in 0..40 {
        assert!(read.contains(&format!("tenant_{n} ")), "tenant_{n} was never shown");
    }
    assert!(read.contains("It cannot be undone"));
    // A card cannot show them, so it does not agree either.
    wizard.tell(Message::Resize(50, 10));
    assert!(wizard.press(KeyCode::Enter).is_empty() && is_open(&wizard));
    assert!(frame::status(&wizard.model).contains("larger"));
    wizard.tell(Message::Resize(80, 24));
    assert_eq!(wizard.press(KeyCode::Enter).len(), 1);
}

/// The names that are judged before they are agreed to are never cut.
#[test]
fn long_names_stand_in_the_question_in_full() {
    let mut report = dropping();
    // The longest that a server takes.
    let database = format!("tenant_{}_eu", "0123456789".repeat(6).split_off(7));
    report.would_drop[0].name = database.clone();
    for (width, height) in [(60, 24), (80, 24), (120, 40)] {
        let mut wizard = Wizard::at_report(Glyphs::ASCII, report.clone());
        wizard.tell(Message::Resize(width, height));
        wizard.press(KeyCode::Enter);
        let page = wizard.text(width, height);
        let joined: String = page.lines().flat_map(|line| line.chars()).filter(|one| !" |".contains(*one)).collect();
        assert!(joined.contains(&database), "{width}x{height}:\n{page}");
        assert!(page.contains("14 collections") && page.contains("prod-new?"), "{page}");
    }
}

/// A key that turns the page turns it by what was drawn, whatever the status line took from it.
#[test]
fn a_page_of_the_question_is_what_was_drawn() {
    let mut report = dropping();
    for n in 0..60 {
        let name = format!("tenant_{n}");
        report.would_drop.push(mongoferry::model::check::DroppedDatabase { name, collections: 2, bytes: 10 });
    }
    let mut wizard = Wizard::at_report(Glyphs::ASCII, report);
    wizard.tell(Message::Resize(60, 16));
    wizard.press(KeyCode::Enter);
    let mut read = String::new();
    for _ in 0..80 {
        read += &wizard.text(60, 16);
        wizard.model.said =
            Some("a sentence that is so long that it needs a second line of the narrow terminal".into());
        read += &wizard.text(60, 16);
        wizard.press(KeyCode::PageDown);
    }
    for n in 0..60 {
        assert!(read.contains(&format!("tenant_{n} ")), "tenant_{n} was never shown");
    }
}
