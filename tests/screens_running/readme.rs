//! The README's table of keys is the keymap's: `MONGOFERRY_README=write` writes it anew.

use super::{
    scene::{SCENES, Shown},
    whole::wizard,
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use mongoferry::{
    model::{CheckState, Endpoint, Snapshot, ValidationReport},
    tui::{
        action::Screen,
        effect::Message,
        keymap::GLOBALS,
        model::Model,
        screen::{KeyHint, destination, frame},
        theme::{Glyphs, Theme},
        update::update,
    },
};
use std::{sync::Arc, time::Instant};

const BEGIN: &str = "<!-- keys: written by a test -->\n";
const END: &str = "<!-- end of keys -->";

/// The keys of one screen in all the states that there are scenes of, in the order of its footer.
fn collect(known: &mut Vec<KeyHint>, hints: Vec<KeyHint>) {
    for hint in hints {
        if !known.iter().any(|one| one.key == hint.key) {
            known.push(hint);
        }
    }
}

/// The wizard at a screen before Start.
fn at(screen: Screen, report: Option<ValidationReport>) -> Model {
    let mut snapshot = Snapshot::idle(Timestamp::UNIX_EPOCH);
    snapshot.validation = report;
    let look = (Theme::sixteen(), Glyphs::ASCII);
    let mut model = Model::new(Arc::new(snapshot), Vec::new(), look, Timestamp::UNIX_EPOCH);
    let entry = destination::Entry::only_now("prod-new", &Endpoint::plain("mongodb://new-a:27017"));
    model.screens.destination = destination::State::with(vec![entry], None, String::new());
    model.screen = screen;
    model
}

fn before(screen: Screen) -> Vec<KeyHint> {
    let mut known = Vec::new();
    match screen {
        // Every field has keys of its own; Space is the next choice of those that have some.
        Screen::Connect => {
            let mut model = at(screen, None);
            for code in [KeyCode::Char(' '), KeyCode::Tab].into_iter().cycle().take(40) {
                collect(&mut known, frame::keys(&model));
                let key = KeyEvent::new(code, KeyModifiers::NONE);
                update(&mut model, Message::Key { key, in_burst: false, at: Instant::now() });
            }
        }
        Screen::Validate => {
            for states in [[CheckState::Fail; 2], [CheckState::Warn, CheckState::Ok], [CheckState::Ok; 2]] {
                let mut report = ValidationReport::waiting();
                report.finished = true;
                for (index, check) in report.checks.iter_mut().enumerate() {
                    check.state = states[index.min(1)];
                }
                collect(&mut known, frame::keys(&at(screen, Some(report))));
            }
        }
        _ => collect(&mut known, frame::keys(&at(screen, None))),
    }
    known
}

fn table() -> String {
    let mut out = String::from("| where | keys |\n|---|---|\n");
    let mut row = |name: &str, hints: &[KeyHint]| {
        let keys: Vec<String> = hints.iter().map(|hint| format!("`{}` {}", hint.key, hint.label)).collect();
        out += &format!("| {name} | {} |\n", keys.join(", "));
    };
    let globals: Vec<KeyHint> = GLOBALS
        .iter()
        .map(|global| KeyHint { key: global.key, label: global.label, help: global.help, disabled: None })
        .collect();
    row("everywhere", &globals);
    for (name, screen) in [
        ("Destination", Screen::Destination),
        ("Prepare", Screen::Prepare),
        ("Connect", Screen::Connect),
        ("Validate", Screen::Validate),
    ] {
        row(name, &before(screen));
    }
    for (name, screen) in [
        ("Migrating", Shown::Migrating),
        ("Following", Shown::Following),
        ("Countdown", Shown::Countdown),
        ("Stop your application", Shown::StopApplication),
        ("Almost done", Shown::Finalising),
        ("Check the data", Shown::CheckData),
        ("Connect to your new cluster", Shown::ConnectNew),
        ("Success", Shown::Success),
    ] {
        let mut known = Vec::new();
        for (scene, _) in SCENES.iter().filter(|(_, shown)| *shown == screen) {
            let mut model = wizard(scene, Glyphs::ASCII);
            model.screen = screen_of(screen);
            collect(&mut known, frame::keys(&model));
        }
        row(name, &known);
    }
    let mut log = wizard("copying", Glyphs::ASCII);
    mongoferry::tui::update::perform(&mut log, mongoferry::tui::action::Action::Log);
    row("Log (`l`)", &frame::keys(&log));
    for (name, mode) in [
        ("Filter (`/`)", "mode_filter"),
        ("Limit on reads (`t`)", "mode_limit"),
        ("Help (`?`)", "mode_help"),
        ("Typed question", "mode_question_stop"),
        ("Its buttons", "mode_question_answered"),
    ] {
        row(name, &frame::keys(&super::modes::mode(mode, Glyphs::ASCII, (80, 24))));
    }
    out
}

pub fn screen_of(shown: Shown) -> Screen {
    match shown {
        Shown::Migrating => Screen::Migrating,
        Shown::Following => Screen::Following,
        Shown::Countdown => Screen::Countdown,
        Shown::StopApplication => Screen::StopApplication,
        Shown::Finalising => Screen::Finalising,
        Shown::CheckData => Screen::CheckData,
        Shown::ConnectNew => Screen::ConnectNew,
        Shown::Success => Screen::Success,
    }
}

#[test]
fn the_readmes_keys_are_the_keymaps() {
    let path = format!("{}/README.md", env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(&path).expect("README.md");
    let (head, rest) = readme.split_once(BEGIN).expect("where the table begins");
    let (shown, tail) = rest.split_once(END).expect("where the table ends");
    let table = table();
    if std::env::var("MONGOFERRY_README").is_ok_and(|wanted| wanted == "write") {
        std::fs::write(&path, format!("{head}{BEGIN}{table}{END}{tail}")).expect("writing");
        return;
    }
    assert_eq!(shown, table, "write it anew with MONGOFERRY_README=write");
}

/// What the README promises is there: every picture and file that it links to.
#[test]
fn every_file_that_the_readme_links_to_exists() {
    let root = env!("CARGO_MANIFEST_DIR");
    let readme = std::fs::read_to_string(format!("{root}/README.md")).expect("README.md");
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files: Vec<&str> = links.filter(|link| !link.contains("://") && !link.starts_with('#')).collect();
    assert!(files.iter().any(|file| file.ends_with(".svg")), "no picture");
    for file in files {
        assert!(std::path::Path::new(root).join(file).exists(), "{file} is missing");
    }
}
