//! The whole wizard on every scene: any size, any keys, any theme; and how many bytes a terminal is sent.

use super::{
    readme::screen_of,
    scene::{SCENES, scene},
    styles::assert_looks,
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::tz;
use mongoferry::tui::{
    effect::Message,
    model::Model,
    screen::{countdown::Zone, frame},
    theme::{Glyphs, Theme},
    update::update,
};
use proptest::prelude::*;
use ratatui::{
    Terminal, TerminalOptions, Viewport,
    backend::{CrosstermBackend, TestBackend},
    layout::Rect,
};
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Instant,
};

/// The wizard as it is when it attaches to a migration in that state.
pub fn wizard(name: &str, glyphs: Glyphs) -> Model {
    let read = scene(name);
    let mut model = Model::new(Arc::new(read.snapshot), read.events, (Theme::sixteen(), glyphs), read.now);
    // In a process of its own, as every migration but the demo's.
    model.is_detached = true;
    model
}

fn drawn(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("terminal");
    terminal.draw(|frame| frame::draw(frame, model)).expect("draw");
    let buffer = terminal.backend().buffer().clone();
    let row = |y: u16| -> String { (0..width).map(|x| buffer[(x, y)].symbol()).collect() };
    (0..height).map(|y| row(y) + "\n").collect()
}

/// Every scene as the operator sees it with frame, status line and footer: wide, narrow, as a card, and its styles.
#[test]
fn every_scene_in_every_other_look() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../screens_running/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, shown) in SCENES {
            let model = |glyphs| {
                let mut model = wizard(name, glyphs);
                model.screen = screen_of(*shown);
                // One hour east of UTC, wherever the test runs.
                model.screens.countdown.zone = Zone(tz::TimeZone::fixed(tz::offset(1)));
                model
            };
            assert_looks(name, &model(Glyphs::ASCII), &model(Glyphs::UNICODE));
        }
    });
}

/// Keys of every kind; the letters are those that screens use, and some that none does.
fn any_key() -> impl Strategy<Value = KeyEvent> {
    let letters: Vec<char> = "abcdefhijklmnopqrstuvwxyzORTXYS/?.1 -".chars().collect();
    let named = [
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::F(1),
    ];
    let code = prop_oneof![
        2 => prop::sample::select(letters).prop_map(KeyCode::Char),
        1 => prop::sample::select(named.to_vec()),
    ];
    let control = prop::sample::select(vec![KeyModifiers::NONE, KeyModifiers::NONE, KeyModifiers::CONTROL]);
    (code, control).prop_map(|(code, modifiers)| KeyEvent::new(code, modifiers))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_size_and_no_keys_panic(
        at in 0..SCENES.len(),
        width in 1_u16..=300,
        height in 1_u16..=100,
        keys in prop::collection::vec(any_key(), 0..12),
        unicode in any::<bool>(),
    ) {
        let mut model = wizard(SCENES[at].0, if unicode { Glyphs::UNICODE } else { Glyphs::ASCII });
        update(&mut model, Message::Resize(width, height));
        drawn(&model, width, height);
        for key in keys {
            update(&mut model, Message::Key { key, in_burst: false, at: Instant::now() });
            drawn(&model, width, height);
        }
    }

    #[test]
    fn nothing_is_drawn_outside(
        at in 0..SCENES.len(),
        (x, y) in (0_u16..20, 0_u16..10),
        width in 1_u16..=300,
        height in 1_u16..=100,
    ) {
        let (name, shown) = SCENES[at];
        let read = scene(name);
        let inside = Rect::new(x, y, width, height);
        let (columns, rows) = (x + width + 5, y + height + 3);
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("terminal");
        super::scene::with_view(&read, &Glyphs::ASCII, |view| {
            let draw = |frame: &mut ratatui::Frame<'_>| {
                super::scene::States::default().draw(shown, frame, inside, view);
            };
            terminal.draw(draw).expect("draw");
        });
        let buffer = terminal.backend().buffer();
        for (column, row) in (0..columns).flat_map(|column| (0..rows).map(move |row| (column, row))) {
            let is_inside = inside.contains((column, row).into());
            prop_assert!(is_inside || buffer[(column, row)].symbol() == " ", "{} at {},{}", name, column, row);
        }
    }
}

/// Long names are shown whole where something is to be judged, and by both their ends elsewhere.
#[test]
fn long_names_hide_nothing() {
    let mut model = wizard("ready", Glyphs::ASCII);
    let long = "new-a.very-long-name.example.net:27017,new-b.very-long-name.example.net:27017";
    Arc::make_mut(&mut model.snapshot).destination.label = long.into();
    for (width, height) in [(60, 16), (80, 24), (120, 40)] {
        let page = drawn(&model, width, height);
        assert!(page.contains("READY: cut over when your application can stop."), "{page}");
        let header = page.lines().next().expect("a header");
        assert!(header.contains("rs0 -> new-a.") && header.contains(":27017 "), "{header}");
        // The status line takes a second one; what stands there is all of the name at 120 columns.
        let said: Vec<&str> = page.lines().skip(usize::from(height) - 3).take(2).map(str::trim).collect();
        assert!(width < 120 || said.concat().contains(long), "{said:?}");
        assert!(page.lines().last().expect("a footer").trim_end().ends_with("d Detach  ? Help"), "{page}");
    }
    // Two collections that differ only in their ends, in the narrowest table.
    let mut copying = wizard("copying", Glyphs::ASCII);
    let rows = Arc::make_mut(&mut copying.snapshot).collections.change();
    rows[0].namespace = "analytics.measurements_of_the_year_2024_eu".into();
    rows[1].namespace = "analytics.measurements_of_the_year_2024_us".into();
    let page = drawn(&copying, 80, 24);
    assert!(page.contains("24_eu ") && page.contains("24_us "), "{page}");
    // The details have the whole name.
    update(&mut copying, key(KeyCode::Enter));
    assert!(drawn(&copying, 80, 24).contains("analytics.measurements_of_the_year_2024_"));
}

/// A time series is called by its name, not by the storage of its buckets.
#[test]
fn a_time_series_has_its_own_name() {
    let mut model = wizard("copying", Glyphs::ASCII);
    Arc::make_mut(&mut model.snapshot).collections.change()[0].namespace = "shop.system.buckets.readings".into();
    let page = drawn(&model, 80, 24);
    assert!(page.contains("> shop.readings ") && !page.contains("buckets"), "{page}");
    for code in ['/', 'r', 'e', 'a', 'd'] {
        update(&mut model, key(KeyCode::Char(code)));
    }
    update(&mut model, key(KeyCode::Enter));
    update(&mut model, key(KeyCode::Enter));
    let page = drawn(&model, 80, 24);
    assert!(page.contains("shop.readings, a time-series collection") && page.contains("buckets    "), "{page}");
}

/// What is not measured yet is no number.
#[test]
fn an_oplog_that_is_not_measured_yet_has_no_number() {
    for (name, size) in [("copying", (80, 24)), ("ready", (80, 24)), ("copying", (50, 10)), ("countdown", (80, 24))] {
        let mut model = wizard(name, Glyphs::ASCII);
        Arc::make_mut(&mut model.snapshot).oplog_left_ms = None;
        let page = drawn(&model, size.0, size.1).to_lowercase();
        let said = page.lines().filter(|line| line.contains("oplog left"));
        assert!(said.clone().all(|line| line.contains("measuring")), "{name}: {page}");
        assert_eq!(said.count() == 0, size.0 < 60, "{name}: {page}");
    }
}

fn key(code: KeyCode) -> Message {
    Message::Key { key: KeyEvent::new(code, KeyModifiers::NONE), in_burst: false, at: Instant::now() }
}

/// Every colour is doubled by a word or a mark: without colours the same text stands there.
#[test]
fn themes_change_no_character() {
    for (name, _) in SCENES {
        let mut model = wizard(name, Glyphs::ASCII);
        let plain = drawn(&model, 80, 24);
        for _ in 0..3 {
            model.theme = model.theme.next();
            assert_eq!(drawn(&model, 80, 24), plain, "{name} {}", model.theme.name);
        }
    }
}

/// Counts what a terminal would be sent.
#[derive(Debug, Clone, Default)]
struct Counted(Arc<Mutex<usize>>);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.0.lock().expect("lock") += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_first_frame_and_a_second_that_passes_are_cheap() {
    for (width, height, first_most) in [(80, 24, 6_000), (120, 40, 12_000), (200, 60, 24_000)] {
        for (name, _) in SCENES {
            let mut model = wizard(name, Glyphs::UNICODE);
            let sent = Counted::default();
            let options = TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, width, height)) };
            let mut terminal = Terminal::with_options(CrosstermBackend::new(sent.clone()), options).expect("terminal");
            let mut bytes_of = |model: &Model| {
                *sent.0.lock().expect("lock") = 0;
                terminal.draw(|frame| frame::draw(frame, model)).expect("draw");
                *sent.0.lock().expect("lock")
            };
            let (first, same) = (bytes_of(&model), bytes_of(&model));
            model.now += jiff::SignedDuration::from_secs(1);
            let second = bytes_of(&model);
            assert!(first <= first_most, "{name} {width}x{height}: first frame {first} bytes");
            assert!(same <= 40, "{name} {width}x{height}: unchanged frame {same} bytes");
            assert!(second <= 400, "{name} {width}x{height}: one second {second} bytes");
        }
    }
}
