//! The screens before Start in any size, with any keys and pastes; and the colours of every theme.

use super::{
    drawing::pages,
    styles::{buffer, style_runs},
    wizard::{Wizard, failed},
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use mongoferry::{
    model::Snapshot,
    session::Link,
    tui::{
        effect::Message,
        screen::frame,
        theme::{Glyphs, Theme},
        update::update,
    },
};
use proptest::prelude::*;
use ratatui::{
    Terminal,
    backend::TestBackend,
    layout::Rect,
    style::{Color, Style},
};
use std::time::Instant;

/// What an operator may do next.
#[derive(Debug, Clone)]
enum Deed {
    Key(KeyEvent),
    Paste(String),
    Resize(u16, u16),
}

fn any_deed() -> impl Strategy<Value = Deed> {
    use KeyCode::*;
    let named = [Enter, Esc, Tab, BackTab, Up, Down, Left, Right, Home, End, PageUp, PageDown, Backspace, Delete, F(1)];
    let letters: Vec<char> = "aedjklnopqrtvwyADJTX/? 0:@.%数\u{301}\u{1f468}\u{200d}".chars().collect();
    let pastes = [
        "mongodb://a:b@h:27017/?tls=true",
        "mongodb+srv://u:p%40@c.example.net",
        "数据\u{1f468}\u{200d}\u{1f469}",
        "-----BEGIN ",
        super::wizard::CA,
        "\r\n\r\n",
        "",
    ];
    let code = prop_oneof![
        3 => prop::sample::select(named.to_vec()),
        2 => prop::sample::select(letters).prop_map(Char),
    ];
    let modifiers = prop::sample::select(vec![KeyModifiers::NONE, KeyModifiers::NONE, KeyModifiers::CONTROL]);
    prop_oneof![
        10 => (code, modifiers).prop_map(|(code, modifiers)| Deed::Key(KeyEvent::new(code, modifiers))),
        1 => prop::sample::select(pastes.to_vec()).prop_map(|text| Deed::Paste(text.into())),
        1 => (1_u16..=300, 1_u16..=100).prop_map(|(width, height)| Deed::Resize(width, height)),
    ]
}

/// Draws into a frame of its own, and the screen's body inside a larger one, around which nothing may change.
fn draw(wizard: &Wizard, (width, height): (u16, u16)) -> Result<(), TestCaseError> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| frame::draw(frame, &wizard.model)).unwrap();
    let (model, inside) = (&wizard.model, Rect::new(3, 2, width, height));
    let mut terminal = Terminal::new(TestBackend::new(width + 7, height + 5)).unwrap();
    terminal.draw(|frame| model.screens.draw(model.screen, frame, inside, &model.view())).unwrap();
    let buffer = terminal.backend().buffer();
    for (x, y) in (0..width + 7).flat_map(|x| (0..height + 5).map(move |y| (x, y))) {
        let outside = !inside.contains((x, y).into());
        prop_assert!(!outside || buffer[(x, y)].symbol() == " ", "{:?} drew at {x},{y}", model.screen);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn no_size_and_no_deed_panics_or_draws_outside(
        at in 0_usize..20,
        size in (1_u16..=300, 1_u16..=100),
        deeds in prop::collection::vec(any_deed(), 0..14),
        unicode in any::<bool>(),
    ) {
        let glyphs = if unicode { Glyphs::UNICODE } else { Glyphs::ASCII };
        let (_, mut wizard) = pages(glyphs).swap_remove(at);
        let mut size = size;
        update(&mut wizard.model, Message::Resize(size.0, size.1));
        draw(&wizard, size)?;
        for deed in deeds {
            let message = match deed {
                Deed::Key(key) => Message::Key { key, in_burst: false, at: Instant::now() },
                Deed::Paste(text) => Message::Paste(text),
                Deed::Resize(width, height) => {
                    size = (width, height);
                    Message::Resize(width, height)
                }
            };
            update(&mut wizard.model, message);
            draw(&wizard, size)?;
        }
    }
}

fn themes() -> [Theme; 4] {
    [Theme::sixteen(), Theme::light(), Theme::dark(), Theme::mono()]
}

fn running(name: &str) -> Wizard {
    let path = format!("{}/tests/fixtures/snapshots/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let read: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let snapshot: Snapshot = serde_json::from_value(read["snapshot"].clone()).unwrap();
    let mut wizard = Wizard::new(snapshot, Glyphs::ASCII);
    wizard.model.now = read["now"].as_str().unwrap().parse().unwrap();
    wizard
}

/// READY, WAIT, FAIL and an engine that is lost, in every theme.
#[test]
fn every_theme_says_the_same_in_its_own_styles() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut lost = running("following");
    lost.model.link = Link::Lost { since: lost.model.now - jiff::SignedDuration::from_secs(12), is_dead: false };
    let states = [
        ("ready", running("ready")),
        ("wait", running("following")),
        ("fail", Wizard::at_report(Glyphs::ASCII, failed())),
        ("lost", lost),
    ];
    settings.bind(|| {
        for (name, mut wizard) in states {
            let mut seen = Vec::new();
            for theme in themes() {
                wizard.model.theme = theme;
                let runs = style_runs(&buffer(&wizard.model, 80, 24));
                insta::assert_snapshot!(format!("theme_{}_{name}", theme.name), runs);
                seen.push(runs);
            }
            seen.dedup();
            assert_eq!(seen.len(), 4, "{name}: two themes look the same");
        }
    });
}

/// As WCAG counts it: 4.5 is what it asks of text.
fn contrast(one: u8, other: u8) -> f64 {
    let brightness = |indexed: u8| {
        let [red, green, blue] = rgb(indexed).map(|value| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    };
    let (a, b) = (brightness(one), brightness(other));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// The cube and the greys of the 256 colours, which every terminal draws alike.
fn rgb(indexed: u8) -> [u8; 3] {
    match indexed {
        232.. => [8 + (indexed - 232) * 10; 3],
        16..232 => [36, 6, 1].map(|step| [0, 95, 135, 175, 215, 255][usize::from((indexed - 16) / step % 6)]),
        _ => panic!("{indexed} is the operator's own colour"),
    }
}

#[test]
fn the_colours_can_be_read_on_their_ground_and_are_told_apart() {
    // Black and white of the cube; a terminal's own dark or light ground is not far from them.
    for (theme, ground) in [(Theme::light(), 231), (Theme::dark(), 16)] {
        let colours = [theme.ok, theme.wait, theme.fail, theme.dim].map(|style| match style.fg {
            Some(Color::Indexed(colour)) => colour,
            other => panic!("{}: {other:?}", theme.name),
        });
        for colour in colours {
            assert!(contrast(colour, ground) >= 4.5, "{} {colour}: {:.2}", theme.name, contrast(colour, ground));
        }
        assert!(colours[0] != colours[1] && colours[1] != colours[2] && colours[0] != colours[2]);
    }
    for theme in themes() {
        for style in [theme.ok, theme.wait, theme.fail, theme.selected, theme.dim, theme.strong, theme.text] {
            assert_eq!(style.bg, None, "{}: the ground is the operator's", theme.name);
            let invisible = [Color::White, Color::Black, Color::DarkGray, Color::Gray];
            assert!(!style.fg.is_some_and(|colour| invisible.contains(&colour)), "{}", theme.name);
        }
        assert_ne!(theme.selected, Style::new(), "{}: the selection is seen", theme.name);
    }
}
