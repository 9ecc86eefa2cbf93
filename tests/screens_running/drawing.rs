//! Every scene as text, and what the colours say.

use super::scene::{SCENES, Scene, Shown, States, body, page, scene, text, with_view};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::SignedDuration;
use mongoferry::tui::theme::Glyphs;
use ratatui::{
    Terminal, TerminalOptions, Viewport,
    backend::{CrosstermBackend, TestBackend},
    buffer::Buffer,
    layout::Rect,
    style::Color,
};
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

fn snapshots(suffix: &str, glyphs: &Glyphs, width: u16, height: u16) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, shown) in SCENES {
            let page = page(&scene(name), *shown, &States::default(), glyphs, width, height);
            insta::assert_snapshot!(format!("{name}_{suffix}"), page);
        }
    });
}

#[test]
fn every_scene_at_80x24_ascii() {
    snapshots("80x24_ascii", &Glyphs::ASCII, 80, 19);
}

#[test]
fn every_scene_at_120x40_ascii() {
    snapshots("120x40_ascii", &Glyphs::ASCII, 120, 35);
}

#[test]
fn every_scene_at_80x24_unicode() {
    snapshots("80x24_unicode", &Glyphs::UNICODE, 80, 19);
}

#[test]
fn every_fixture_is_a_scene_and_round_trips() {
    let folder = format!("{}/tests/fixtures/snapshots", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("fixtures")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().trim_end_matches(".json").to_string())
        .collect();
    let mut named: Vec<String> = SCENES.iter().map(|(name, _)| (*name).to_string()).collect();
    files.sort();
    named.sort();
    assert_eq!(files, named);
    for (name, _) in SCENES {
        let read = scene(name);
        let again: Scene = serde_json::from_str(&serde_json::to_string(&read).expect("write")).expect("read");
        assert_eq!(again.snapshot, read.snapshot, "{name}");
    }
}

#[test]
fn status_is_one_line_that_fits() {
    for (name, shown) in SCENES {
        let read = scene(name);
        let status = with_view(&read, &Glyphs::ASCII, |view| States::default().status(*shown, view));
        assert!(!status.is_empty() && !status.contains('\n'), "{name}: {status:?}");
        assert!(status.chars().count() <= 79, "{name}: {status:?}");
    }
}

#[test]
fn ascii_scenes_hold_ascii_only() {
    for (name, shown) in SCENES {
        for (width, height) in [(80, 19), (120, 35)] {
            let page = page(&scene(name), *shown, &States::default(), &Glyphs::ASCII, width, height);
            assert!(page.is_ascii(), "{name}: {page}");
        }
    }
}

/// Runs of text that have a foreground colour.
fn coloured(buffer: &Buffer) -> Vec<(Color, String)> {
    let mut runs: Vec<(Color, String)> = Vec::new();
    for y in 0..buffer.area.height {
        let mut last = Color::Reset;
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            if cell.fg != Color::Reset
                && cell.fg == last
                && let Some((_, run)) = runs.last_mut()
            {
                run.push_str(cell.symbol());
            } else if cell.fg != Color::Reset {
                runs.push((cell.fg, cell.symbol().to_string()));
            }
            last = cell.fg;
        }
    }
    runs
}

fn has(name: &str, shown: Shown, colour: Color, word: &str) {
    let read = scene(name);
    let runs = with_view(&read, &Glyphs::ASCII, |view| coloured(&body(shown, &States::default(), view, 80, 19)));
    assert!(
        runs.iter().any(|(found, run)| *found == colour && run.contains(word)),
        "{name}: no {colour:?} {word}: {runs:?}"
    );
}

#[test]
fn ready_is_green_wait_is_yellow_fail_is_red() {
    has("ready", Shown::Following, Color::Green, "READY");
    has("ready", Shown::Following, Color::Green, "NEARLY IN SYNC");
    has("following", Shown::Following, Color::Yellow, "WAIT");
    has("lag_grown_again", Shown::Following, Color::Yellow, "WAIT");
    has("lag_growing_for_long", Shown::Following, Color::Red, "FAIL");
    has("failed", Shown::Migrating, Color::Red, "FAILED");
    has("cutover_paused", Shown::StopApplication, Color::Yellow, "PAUSED");
    has("paused", Shown::Migrating, Color::Yellow, "PAUSED");
    has("indexing", Shown::Migrating, Color::Red, "FAIL");
    has("cutover_late_write", Shown::StopApplication, Color::Red, "LATE WRITE");
    has("cutover_quiet", Shown::StopApplication, Color::Green, "THE SOURCE IS QUIET");
    has("finalising_failed_step", Shown::Finalising, Color::Red, "FAIL");
    has("finalising_open", Shown::Finalising, Color::Green, "ACCEPTS WRITES NOW");
    has("verification_mismatch", Shown::CheckData, Color::Red, "crm.notes");
    has("verification_metadata", Shown::CheckData, Color::Red, "email_unique_1");
    has("expired", Shown::Countdown, Color::Yellow, "EXPIRED");
    has("success", Shown::Success, Color::Green, "You have successfully migrated to prod-new");
}

#[test]
fn only_the_sixteen_named_colours_and_no_background() {
    for (name, shown) in SCENES {
        let read = scene(name);
        let buffer = with_view(&read, &Glyphs::UNICODE, |view| body(*shown, &States::default(), view, 120, 35));
        for cell in &buffer.content {
            assert!(!matches!(cell.fg, Color::Rgb(..) | Color::Indexed(_)), "{name}");
            assert_eq!(cell.bg, Color::Reset, "{name}");
        }
    }
}

#[test]
fn no_size_panics_on_any_screen() {
    for name in ["copying", "failed", "ready", "cutover_writers", "finalising_failed_step", "verification_mismatch"] {
        let read = scene(name);
        with_view(&read, &Glyphs::UNICODE, |view| {
            for width in [1, 2, 3, 4, 5, 8, 13, 20, 34, 50, 59, 60, 79, 80, 81, 109, 110, 120, 163, 200] {
                for height in [1, 2, 3, 4, 5, 6, 8, 11, 12, 14, 18, 19, 20, 29, 30, 35, 60] {
                    for shown in Shown::ALL {
                        body(shown, &States::default(), view, width, height);
                    }
                }
            }
        });
    }
}

/// Keeps what a terminal would be sent.
#[derive(Debug, Clone, Default)]
struct Sent(Arc<Mutex<Vec<u8>>>);

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_busy_frame_is_at_most_two_kilobytes() {
    let before = scene("copying");
    let mut after = scene("copying");
    after.now += SignedDuration::from_millis(500);
    after.snapshot.copy.bytes += 31_000_000_000;
    after.snapshot.copy.bytes_per_s = 71.3e6;
    after.snapshot.copy.documents_per_s = 39_017.0;
    after.snapshot.copy.eta_ms = Some(2_011_000);
    after.snapshot.ops_waiting += 731_113;
    after.snapshot.history.bytes_per_s.rotate_left(7);
    for row in after.snapshot.collections.change() {
        row.bytes += row.bytes_total / 9;
        row.bytes_per_s *= 1.13;
    }
    let sent = Sent::default();
    let options = TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, 80, 19)) };
    let mut terminal = Terminal::with_options(CrosstermBackend::new(sent.clone()), options).expect("terminal");
    let mut bytes_of = |read: &Scene| {
        sent.0.lock().expect("lock").clear();
        with_view(read, &Glyphs::ASCII, |view| {
            terminal
                .draw(|frame| States::default().draw(Shown::Migrating, frame, Rect::new(0, 0, 80, 19), view))
                .expect("draw");
        });
        sent.0.lock().expect("lock").len()
    };
    let (first, busy, same) = (bytes_of(&before), bytes_of(&after), bytes_of(&after));
    assert!(first > busy && busy > 100, "first frame {first} bytes, busy frame {busy} bytes");
    assert!(busy <= 2_000, "busy frame {busy} bytes");
    assert!(same <= 40, "unchanged frame {same} bytes");
}

#[test]
fn a_short_frame_keeps_the_buttons_and_the_message() {
    for (name, shown, word) in [
        ("countdown", Shown::Countdown, "[ Extend by 24 h ]"),
        ("cutover_writers", Shown::StopApplication, "[ Go back ]"),
        ("connect", Shown::ConnectNew, "[ Done ]"),
        ("finalising_open", Shown::Finalising, "ACCEPTS WRITES NOW"),
        ("ready", Shown::Following, "READY"),
        ("copying", Shown::Migrating, "ETA 44 min"),
    ] {
        let read = scene(name);
        let drawn = with_view(&read, &Glyphs::ASCII, |view| text(&body(shown, &States::default(), view, 60, 14)));
        assert!(drawn.contains(word), "{name} lost {word}:\n{drawn}");
    }
}

#[test]
fn a_body_inside_a_larger_frame_is_not_left() {
    for (name, shown) in SCENES {
        let read = scene(name);
        with_view(&read, &Glyphs::ASCII, |view| {
            let mut terminal = Terminal::new(TestBackend::new(100, 30)).expect("terminal");
            let inside = Rect::new(5, 3, 80, 19);
            terminal.draw(|frame| States::default().draw(*shown, frame, inside, view)).expect("draw");
            let buffer = terminal.backend().buffer();
            for y in 0..30 {
                for x in 0..100 {
                    let outside = !inside.contains((x, y).into());
                    assert!(!outside || buffer[(x, y)].symbol() == " ", "{name} drew at {x},{y}");
                }
            }
        });
    }
}

#[test]
fn every_different_document_can_be_listed() {
    let read = scene("verification_mismatch");
    with_view(&read, &Glyphs::ASCII, |view| {
        let mut states = States::default();
        let enter = KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE);
        assert!(states.press(Shown::CheckData, enter, view).is_none());
        let drawn = text(&body(Shown::CheckData, &states, view, 80, 19));
        for id in ["00a1", "00a7", "00b2", "tags.0, updated_at"] {
            assert!(drawn.contains(id), "{id} is missing:\n{drawn}");
        }
    });
}

#[test]
fn an_idle_snapshot_claims_nothing() {
    let read = scene("copying");
    let idle = Scene { snapshot: mongoferry::model::Snapshot::idle(read.now), events: Vec::new(), now: read.now };
    for shown in Shown::ALL {
        with_view(&idle, &Glyphs::ASCII, |view| {
            let states = States::default();
            let drawn = text(&body(shown, &states, view, 80, 19));
            for claim in ["READY", "OK", "ACCEPTS WRITES", "You have successfully", "100"] {
                assert!(!drawn.contains(claim), "{shown:?} claims {claim}:\n{drawn}");
            }
        });
    }
}
