//! What lies over a running screen or takes its keys: fields, details, zoomed panes, help, log, questions. Each in every
//! look, with every key of its footer, and in any size.

use super::{
    readme::screen_of,
    scene::{SCENES, Shown},
    styles::assert_looks,
    whole::wizard,
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use mongoferry::tui::{
    effect::{Effect, Message},
    model::{Model, Overlay},
    screen::frame,
    theme::Glyphs,
    update::update,
};
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// Name, scene, and the keys that lead there.
const MODES: &[(&str, &str, &str)] = &[
    ("mode_filter", "copying", "/or"),
    ("mode_filtered", "copying", "/or\r"),
    ("mode_details", "copying", "\r"),
    ("mode_details_failed_index", "indexing", "jj\r"),
    ("mode_zoomed_table", "copying", "z"),
    ("mode_zoomed_charts", "copying", "2z"),
    ("mode_zoomed_events", "copying", "3z"),
    ("mode_limit", "copying", "t"),
    ("mode_limit_of_now", "copying_limited", "t"),
    ("mode_limit_following", "ready", "t"),
    ("mode_limit_mistake", "copying", "t20\r"),
    ("mode_help", "copying", "?"),
    ("mode_help_cutover", "cutover_writers", "?"),
    ("mode_log", "copying", "l"),
    ("mode_log_frozen", "copying", "lk"),
    ("mode_log_search", "copying", "l/co"),
    ("mode_log_warnings", "paused", "ls"),
    ("mode_question_stop", "copying", "X"),
    ("mode_question_override", "cutover_writers", "O"),
    ("mode_question_answered", "cutover_writers", "Ors0\t\t"),
    ("mode_question_skip", "verification_mismatch", "S"),
    ("mode_differences", "verification_mismatch", "\r"),
];

fn press(model: &mut Model, code: KeyCode, modifiers: KeyModifiers) -> Vec<Effect> {
    let mut at = Instant::now();
    if let Some(Overlay::Confirm(question)) = &mut model.overlay {
        question.was_drawn(at);
        at += Duration::from_secs(1);
    }
    update(model, Message::Key { key: KeyEvent::new(code, modifiers), in_burst: false, at })
}

/// The wizard in that mode.
pub fn mode(name: &str, glyphs: Glyphs, size: (u16, u16)) -> Model {
    let (_, scene, keys) = MODES.iter().find(|(known, ..)| *known == name).expect("a mode");
    let (_, shown) = SCENES.iter().find(|(known, _)| known == scene).expect("a scene");
    let mut model = wizard(scene, glyphs);
    model.screen = screen_of(*shown);
    update(&mut model, Message::Resize(size.0, size.1));
    for key in keys.chars() {
        let code = match key {
            '\r' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            letter => KeyCode::Char(letter),
        };
        press(&mut model, code, KeyModifiers::NONE);
    }
    model
}

#[test]
fn every_mode_in_every_look() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../screens_running/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, ..) in MODES {
            let model = |glyphs| mode(name, glyphs, (80, 24));
            assert_looks(name, &model(Glyphs::ASCII), &model(Glyphs::UNICODE));
            for (width, height, suffix, glyphs) in [
                (80, 24, "80x24_ascii", Glyphs::ASCII),
                (80, 24, "80x24_unicode", Glyphs::UNICODE),
                (120, 40, "120x40_ascii", Glyphs::ASCII),
            ] {
                let text = frame::as_text(&mode(name, glyphs, (width, height)), width, height);
                // The help names the version.
                let text = text.replace(env!("CARGO_PKG_VERSION"), "[version]");
                assert!(glyphs != Glyphs::ASCII || text.is_ascii(), "{name}: {text}");
                insta::assert_snapshot!(format!("{name}_{suffix}"), text);
            }
        }
    });
}

/// The key codes that a footer's word stands for.
fn codes(word: &str) -> Vec<(KeyCode, KeyModifiers)> {
    let plain = |code| (code, KeyModifiers::NONE);
    match word {
        "Enter" => vec![plain(KeyCode::Enter)],
        "Esc" => vec![plain(KeyCode::Esc)],
        "Tab" => vec![plain(KeyCode::Tab)],
        "End" => vec![plain(KeyCode::End)],
        "F1" => vec![plain(KeyCode::F(1))],
        "Up/Down" => vec![plain(KeyCode::Down), plain(KeyCode::Up)],
        "Left/Right" => vec![plain(KeyCode::Right), plain(KeyCode::Left)],
        "1 2 3" => vec![plain(KeyCode::Char('2')), plain(KeyCode::Char('3')), plain(KeyCode::Char('1'))],
        other => match other.strip_prefix("Ctrl-") {
            Some(letter) => {
                vec![(KeyCode::Char(letter.to_lowercase().chars().next().expect("a letter")), KeyModifiers::CONTROL)]
            }
            None => {
                assert_eq!(other.chars().count(), 1, "unknown key in a footer: {other}");
                vec![plain(KeyCode::Char(other.chars().next().expect("a key")))]
            }
        },
    }
}

/// Presses every key of the footer, and those that work everywhere, on a fresh wizard each: each is seen to act.
fn every_key_acts(name: &str, make: impl Fn() -> Model) {
    let model = make();
    let seen = |model: &Model| {
        let page = frame::as_text(model, model.size.0, model.size.1);
        format!("{page}{:?}{:?}{:?}", model.outcome, model.theme, model.screens)
    };
    let mut keys: Vec<&str> = frame::keys(&model).iter().map(|hint| hint.key).collect();
    if model.overlay.is_none() {
        let typing = model.is_typing();
        let globals = mongoferry::tui::keymap::GLOBALS;
        keys.extend(globals.iter().filter(|global| !typing || global.while_typing).map(|global| global.key));
    }
    assert!(!keys.is_empty(), "{name}");
    for word in keys {
        let why = frame::keys(&model).into_iter().find(|hint| hint.key == word).and_then(|hint| hint.disabled);
        if why.is_some_and(|why| frame::status(&model).to_lowercase().contains(&why.to_lowercase())) {
            // It does nothing now, and the status line says why already.
            continue;
        }
        let acts = codes(word).into_iter().any(|(code, modifiers)| {
            let mut model = make();
            let before = seen(&model);
            let effects = press(&mut model, code, modifiers);
            // The same sentence said again is an answer, too.
            !effects.is_empty() || model.said.is_some() || seen(&model) != before
        });
        assert!(acts, "{name}: {word} does nothing\n{}", frame::as_text(&model, model.size.0, model.size.1));
    }
}

#[test]
fn every_key_of_every_footer_works() {
    for size in [(80, 24), (120, 40), (200, 60)] {
        for (name, shown) in SCENES {
            every_key_acts(name, || {
                let mut model = wizard(name, Glyphs::ASCII);
                model.screen = screen_of(*shown);
                update(&mut model, Message::Resize(size.0, size.1));
                model
            });
        }
        for (name, ..) in MODES {
            every_key_acts(name, || mode(name, Glyphs::ASCII, size));
        }
    }
}

/// A paste that arrives as keys goes into the filter and the limit whole, and its line end presses nothing.
#[test]
fn a_paste_into_a_small_field_is_one_line() {
    for (scene, field, pasted, said) in
        [("copying", '/', "shop.orders\r", "Filter: shop.orders_"), ("ready", 't', "20MB/s\r", "reads: 20MB/s_")]
    {
        let mut model = wizard(scene, Glyphs::ASCII);
        model.screen = if scene == "ready" { screen_of(Shown::Following) } else { screen_of(Shown::Migrating) };
        press(&mut model, KeyCode::Char(field), KeyModifiers::NONE);
        for character in pasted.chars() {
            let code = if character == '\r' { KeyCode::Enter } else { KeyCode::Char(character) };
            let key = KeyEvent::new(code, KeyModifiers::NONE);
            update(&mut model, Message::Key { key, in_burst: true, at: Instant::now() });
        }
        let status = frame::status(&model);
        assert!(status.contains(said) && !status.contains('\n'), "{status:?}");
    }
}

/// The phase goes on while somebody types: the rest of a filter must not be the keys of the next screen (`c` cuts over).
#[test]
fn the_screen_stays_under_a_field_until_it_is_closed() {
    for (name, rest, closing) in [("mode_filter", "cart", KeyCode::Enter), ("mode_limit", "80kB/s", KeyCode::Esc)] {
        let mut model = mode(name, Glyphs::ASCII, (80, 24));
        let ready = wizard("ready", Glyphs::ASCII).snapshot;
        assert!(update(&mut model, Message::Snapshot(ready.clone())).iter().all(|effect| !is_command(effect)));
        for letter in rest.chars() {
            assert!(press(&mut model, KeyCode::Char(letter), KeyModifiers::NONE).is_empty(), "{name}: {letter}");
        }
        assert_eq!(model.screen, screen_of(Shown::Migrating), "{name}");
        press(&mut model, closing, KeyModifiers::NONE);
        update(&mut model, Message::Snapshot(ready));
        assert_eq!(model.screen, screen_of(Shown::Following), "{name}");
    }
}

fn is_command(effect: &Effect) -> bool {
    matches!(effect, Effect::Send(_))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Drawn outside would be a panic: the frame is the whole buffer.
    #[test]
    fn no_mode_panics_in_any_size(
        at in 0..MODES.len(),
        before in (1_u16..=300, 1_u16..=100),
        after in (1_u16..=300, 1_u16..=100),
        unicode in any::<bool>(),
        keys in prop::collection::vec(prop::sample::select("jk /?ltzXs0M\r\t\u{1b}\u{7f}".chars().collect::<Vec<_>>()), 0..6),
    ) {
        let glyphs = if unicode { Glyphs::UNICODE } else { Glyphs::ASCII };
        let mut model = mode(MODES[at].0, glyphs, before);
        frame::as_text(&model, before.0, before.1);
        update(&mut model, Message::Resize(after.0, after.1));
        frame::as_text(&model, after.0, after.1);
        for key in keys {
            let code = match key {
                '\r' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                '\u{1b}' => KeyCode::Esc,
                '\u{7f}' => KeyCode::Backspace,
                letter => KeyCode::Char(letter),
            };
            press(&mut model, code, KeyModifiers::NONE);
            frame::as_text(&model, after.0, after.1);
        }
    }
}
