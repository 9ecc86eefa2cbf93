//! The wizard's loop in this process: keys pushed through a channel, the screen read from a test backend, the engine's
//! end of the channels held by the test.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use futures_util::stream;
use jiff::Timestamp;
use mongoferry::{
    model::{Answer, Command, Phase, Refusal, Severity, ShownDocument, ShownField, Snapshot, snapshot::CutoverStep},
    session::{Client, Link, Order},
    tui::{
        app,
        clipboard::Around,
        model::{Model, Outcome},
        screen::destination,
        terminal::Host,
        theme::{Glyphs, Theme},
    },
};
use ratatui::{Terminal, backend::TestBackend};
use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot, watch};

/// What a terminal was asked to do.
#[derive(Debug, Clone, Default)]
struct Recorded(Arc<Mutex<Vec<String>>>);

impl Recorded {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn has(&self, what: &str) -> bool {
        self.0.lock().unwrap().iter().any(|known| known == what)
    }

    async fn wait_for(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.has(what) {
            assert!(Instant::now() < deadline, "no {what:?}: {:?}", self.0.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn mouse(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|known| known.starts_with("mouse")).cloned().collect()
    }
}

impl Host for Recorded {
    fn announce_pastes(&mut self, on: bool) {
        self.note(format!("pastes {on}"));
    }

    fn take_mouse(&mut self, on: bool) {
        self.note(format!("mouse {on}"));
    }

    fn ring(&mut self) {
        self.note("bell");
    }

    fn set_title(&mut self, title: &str) {
        self.note(format!("title {title}"));
    }

    fn offer(&mut self, copied: &str) {
        self.note(format!("copied {copied}"));
    }

    fn keep(&mut self, copied: &str) -> io::Result<std::path::PathBuf> {
        self.note(format!("kept {copied}"));
        Ok("/srv/state/copied.txt".into())
    }

    fn show_plain(&mut self, _text: &str) {
        self.note("plain");
    }

    fn show_screen(&mut self) {
        self.note("screen");
    }

    fn suspend(&mut self) -> Result<(), &'static str> {
        self.note("suspended");
        Err("There is no shell to go back to; q leaves.")
    }

    fn around(&self) -> Around {
        Around::Nothing
    }
}

/// A running wizard, from outside.
struct Running {
    keys: mpsc::UnboundedSender<io::Result<Event>>,
    screen: Arc<Mutex<String>>,
    publish: watch::Sender<Arc<Snapshot>>,
    orders: mpsc::Receiver<Order>,
    client: Client,
    host: Recorded,
    stop: Option<oneshot::Sender<Outcome>>,
    ended: tokio::task::JoinHandle<io::Result<Outcome>>,
}

/// A backend that shows what was drawn to the test.
struct Shown {
    backend: TestBackend,
    screen: Arc<Mutex<String>>,
}

impl ratatui::backend::Backend for Shown {
    type Error = std::convert::Infallible;

    fn draw<'a, I>(&mut self, content: I) -> Result<(), Self::Error>
    where
        I: Iterator<Item = (u16, u16, &'a ratatui::buffer::Cell)>,
    {
        self.backend.draw(content)?;
        let buffer = self.backend.buffer();
        let row = |y: u16| -> String { (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect() };
        *self.screen.lock().unwrap() = (0..buffer.area.height).map(|y| row(y) + "\n").collect();
        Ok(())
    }

    fn hide_cursor(&mut self) -> Result<(), Self::Error> {
        self.backend.hide_cursor()
    }

    fn show_cursor(&mut self) -> Result<(), Self::Error> {
        self.backend.show_cursor()
    }

    fn get_cursor_position(&mut self) -> Result<ratatui::layout::Position, Self::Error> {
        self.backend.get_cursor_position()
    }

    fn set_cursor_position<P: Into<ratatui::layout::Position>>(&mut self, position: P) -> Result<(), Self::Error> {
        self.backend.set_cursor_position(position)
    }

    fn clear(&mut self) -> Result<(), Self::Error> {
        self.backend.clear()
    }

    fn clear_region(&mut self, clear_type: ratatui::backend::ClearType) -> Result<(), Self::Error> {
        self.backend.clear_region(clear_type)
    }

    fn size(&self) -> Result<ratatui::layout::Size, Self::Error> {
        self.backend.size()
    }

    fn window_size(&mut self) -> Result<ratatui::backend::WindowSize, Self::Error> {
        self.backend.window_size()
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        self.backend.flush()
    }
}

impl Running {
    fn start() -> Self {
        Self::on(Client::detached(Snapshot::idle(Timestamp::now())), false)
    }

    /// On an engine of another process, whose link the test holds.
    fn detached(watches: bool) -> (Self, watch::Sender<Link>) {
        let (client, publish, orders) = Client::detached(Snapshot::idle(Timestamp::now()));
        let (link, linked) = watch::channel(Link::Up);
        (Self::on((client.linked(linked), publish, orders), watches), link)
    }

    fn on(
        (client, publish, orders): (Client, watch::Sender<Arc<Snapshot>>, mpsc::Receiver<Order>),
        watches: bool,
    ) -> Self {
        let (keys, pressed) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (screen, host) = (Arc::<Mutex<String>>::default(), Recorded::default());
        let mut model = Model::new(client.snapshot(), Vec::new(), (Theme::sixteen(), Glyphs::ASCII), Timestamp::now());
        let endpoint = mongoferry::model::Endpoint::plain("mongodb://new-a:27017/");
        let entry = destination::Entry::only_now("prod-new", &endpoint);
        model.screens.destination = destination::State::with(vec![entry], None, "destinations.toml".into());
        (model.is_detached, model.watches) = (client.is_detached(), watches);
        let backend = Shown { backend: TestBackend::new(80, 24), screen: screen.clone() };
        let (mut recorded, inner) = (host.clone(), client.clone());
        let ended = tokio::spawn(async move {
            let mut terminal = Terminal::new(backend).unwrap();
            let input = Box::pin(stream::unfold(pressed, |mut pressed: mpsc::UnboundedReceiver<_>| async move {
                pressed.recv().await.map(|event| (event, pressed))
            }));
            let stop = async { stopped.await.unwrap_or(Outcome::Signalled) };
            app::run(&mut terminal, &mut recorded, input, inner, model, None, stop).await
        });
        Self { keys, screen, publish, orders, client, host, stop: Some(stop), ended }
    }

    async fn press(&self, code: KeyCode) {
        self.chord(code, KeyModifiers::NONE).await;
    }

    async fn chord(&self, code: KeyCode, modifiers: KeyModifiers) {
        self.keys.send(Ok(Event::Key(KeyEvent::new(code, modifiers)))).unwrap();
        // Slower than the nine keys in 30 ms that count as a paste.
        tokio::time::sleep(Duration::from_millis(8)).await;
    }

    async fn type_text(&self, text: &str) {
        for character in text.chars() {
            self.press(KeyCode::Char(character)).await;
        }
    }

    async fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let screen = self.screen.lock().unwrap().clone();
            if screen.contains(text) {
                return screen;
            }
            assert!(Instant::now() < deadline, "no {text:?} on the screen:\n{screen}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The next command, answered with `answer`.
    async fn order(&mut self, answer: Result<(), Refusal>) -> Command {
        let order = tokio::time::timeout(Duration::from_secs(10), self.orders.recv()).await.expect("an order").unwrap();
        assert_eq!(order.by, "ops@test");
        order.reply.send(answer.map(|()| Answer::Accepted)).unwrap();
        order.command
    }

    fn show(&self, change: impl FnOnce(&mut Snapshot)) {
        self.publish.send_modify(|snapshot| change(Arc::make_mut(snapshot)));
    }

    async fn outcome(self) -> Outcome {
        tokio::time::timeout(Duration::from_secs(10), self.ended).await.expect("an end").unwrap().unwrap()
    }
}

#[tokio::test]
async fn keys_lead_through_the_forms_to_the_running_migration() {
    let mut wizard = Running::start();
    wizard.wait_for("Where should the data go?").await;
    wizard.press(KeyCode::Enter).await;
    wizard.wait_for("Before you start").await;
    wizard.press(KeyCode::Enter).await;
    wizard.wait_for("Source cluster").await;
    wizard.type_text("127.0.0.1:27017").await;
    wizard.press(KeyCode::BackTab).await;
    // Leaving the host asks this host which address it would use; no packet is sent.
    wizard.wait_for("allow from: 127.0.0.1").await;
    wizard.press(KeyCode::BackTab).await;
    wizard.press(KeyCode::Enter).await;
    let Command::Validate(plan) = wizard.order(Ok(())).await else { panic!("no validation") };
    assert_eq!(plan.source.uri, "mongodb://127.0.0.1:27017/");
    wizard.show(|snapshot| {
        let mut report = mongoferry::model::ValidationReport::waiting();
        report.checks.iter_mut().for_each(|check| check.state = mongoferry::model::CheckState::Ok);
        report.finished = true;
        snapshot.phase = Phase::Validating;
        snapshot.validation = Some(report);
    });
    wizard.wait_for("[ Start Migration ]").await;
    wizard.press(KeyCode::Enter).await;
    assert!(matches!(wizard.order(Ok(())).await, Command::Start(_)));
    wizard.show(|snapshot| {
        snapshot.phase = Phase::Copying;
        snapshot.started = Some(Timestamp::now());
    });
    wizard.wait_for("Copying data").await;
    wizard.client.events().record(Severity::Info, "copied", "shop.orders in 3 s");
    wizard.wait_for("shop.orders in 3 s").await;
    assert!(wizard.host.has("title mongoferry: copying"));
    wizard.press(KeyCode::Char('p')).await;
    assert!(matches!(wizard.order(Err(Refusal::NotNow("it is paused already".into()))).await, Command::Pause));
    wizard.wait_for("Not now: it is paused already.").await;
}

#[tokio::test]
async fn every_single_key_is_drawn_soon() {
    let wizard = Running::start();
    wizard.wait_for("prod-new").await;
    for (key, text) in [('?', "Keys on this screen"), ('?', "Where should the data go?"), ('l', "Event log")] {
        let pressed = Instant::now();
        wizard.press(KeyCode::Char(key)).await;
        wizard.wait_for(text).await;
        assert!(pressed.elapsed() < Duration::from_millis(900), "{key}: {:?}", pressed.elapsed());
    }
}

#[tokio::test]
async fn pastes_are_announced_only_while_a_field_takes_them() {
    let wizard = Running::start();
    wizard.wait_for("prod-new").await;
    assert!(!wizard.host.has("pastes true"));
    wizard.press(KeyCode::Char('a')).await;
    wizard.wait_for("Paste the destination's connection string").await;
    assert!(wizard.host.has("pastes true") && !wizard.host.has("pastes false"));
    wizard.keys.send(Ok(Event::Paste("mongodb://u:s3cret@h:1/".into()))).unwrap();
    let screen = wizard.wait_for("[h:1 ").await;
    assert!(!screen.contains("s3cret"));
    wizard.press(KeyCode::Esc).await;
    wizard.wait_for("NAME").await;
    assert!(wizard.host.has("pastes false"));
}

#[tokio::test]
async fn the_mouse_is_taken_only_on_request_and_presses_what_stands_in_the_footer() {
    let wizard = Running::start();
    let mouse = |kind, column, row| {
        wizard.keys.send(Ok(Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }))).unwrap();
    };
    let screen = wizard.wait_for("prod-new").await;
    assert!(!wizard.host.has("mouse true"));
    wizard.press(KeyCode::Char('m')).await;
    wizard.wait_for("Mouse on").await;
    assert!(wizard.host.has("mouse true") && !wizard.host.has("mouse false"));
    let click = MouseEventKind::Down(MouseButton::Left);
    let help = u16::try_from(screen.lines().last().unwrap().find("? Help").unwrap()).unwrap();
    // Beside the entry, and above it: nothing.
    mouse(click, help - 1, 23);
    mouse(click, help, 22);
    mouse(MouseEventKind::Down(MouseButton::Right), help, 23);
    mouse(MouseEventKind::ScrollDown, 3, 3);
    wizard.wait_for("> + Add").await;
    mouse(click, help + 2, 23);
    wizard.wait_for("Keys on this screen").await;
    // Three lines at a time: the last lines come into view.
    (0..20).for_each(|_| mouse(MouseEventKind::ScrollDown, 3, 3));
    wizard.wait_for("mongoferry attach").await;
    wizard.press(KeyCode::Esc).await;
    // The plain view is there for the terminal's own selection.
    wizard.press(KeyCode::Char('v')).await;
    wizard.host.wait_for("mouse false").await;
    wizard.press(KeyCode::Enter).await;
    wizard.press(KeyCode::Char('m')).await;
    wizard.wait_for("Mouse off").await;
    assert_eq!(wizard.host.mouse(), ["mouse true", "mouse false", "mouse true", "mouse false"]);
}

#[tokio::test]
async fn a_paste_that_arrives_as_keys_submits_nothing() {
    let mut wizard = Running::start();
    wizard.wait_for("prod-new").await;
    wizard.press(KeyCode::Char('a')).await;
    wizard.wait_for("Paste the destination's connection string").await;
    let text = "mongodb://new-b.example.net:27017/\nmongodb://new-c.example.net:27017/\n\n\n";
    for character in text.chars() {
        let code = if character == '\n' { KeyCode::Enter } else { KeyCode::Char(character) };
        wizard.keys.send(Ok(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))).unwrap();
    }
    let screen = wizard.wait_for("new-c.example.net").await;
    assert!(screen.contains("Paste the destination's connection string"), "{screen}");
    assert!(wizard.orders.try_recv().is_err());
}

#[tokio::test]
async fn the_plain_view_suspension_and_the_clipboard_reach_the_terminal() {
    let wizard = Running::start();
    wizard.wait_for("prod-new").await;
    wizard.press(KeyCode::Char('v')).await;
    wizard.press(KeyCode::Enter).await;
    wizard.press(KeyCode::Enter).await;
    wizard.wait_for("Before you start").await;
    assert!(wizard.host.has("plain") && wizard.host.has("screen"));
    wizard.chord(KeyCode::Char('z'), KeyModifiers::CONTROL).await;
    wizard.wait_for("There is no shell to go back to").await;
    for _ in 0..3 {
        wizard.press(KeyCode::Up).await;
    }
    wizard.press(KeyCode::Char('y')).await;
    wizard.wait_for("Sent with OSC 52 (1 line, 24 bytes); else v, or /srv/state/copied.txt").await;
    assert!(wizard.host.has("copied db.getReplicationInfo()\n"));
    assert!(wizard.host.has("kept db.getReplicationInfo()\n"));
}

#[tokio::test]
async fn the_engine_that_ends_is_said_and_leaving_is_free_then() {
    let (mut wizard, mut other) = (Running::start(), Running::start());
    wizard.show(|snapshot| snapshot.phase = Phase::Following);
    wizard.wait_for("Following changes").await;
    std::mem::swap(&mut wizard.publish, &mut other.publish);
    drop(other);
    wizard.wait_for("engine gone").await;
    wizard.press(KeyCode::Char('q')).await;
    assert_eq!(wizard.outcome().await, Outcome::Left);
}

#[tokio::test]
async fn leaving_a_running_migration_takes_the_typed_name_and_time() {
    let wizard = Running::start();
    wizard.show(|snapshot| {
        snapshot.phase = Phase::Copying;
        snapshot.source.set = Some("rs0".into());
    });
    wizard.wait_for("Copying data").await;
    wizard.press(KeyCode::Char('q')).await;
    // Typed before the question can have been read: dropped.
    wizard.type_text("rs0").await;
    wizard.wait_for("Leave the wizard and end the migration?").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let screen = wizard.wait_for("Type the source name to continue:  [   ").await;
    assert!(!screen.contains("[rs0"));
    wizard.type_text("rs0").await;
    for code in [KeyCode::Tab, KeyCode::Tab, KeyCode::Enter] {
        wizard.press(code).await;
    }
    assert_eq!(wizard.outcome().await, Outcome::Left);
}

#[tokio::test]
async fn a_signal_and_the_end_of_the_input_end_the_loop() {
    let mut wizard = Running::start();
    wizard.wait_for("prod-new").await;
    wizard.stop.take().unwrap().send(Outcome::Signalled).unwrap();
    assert_eq!(wizard.outcome().await, Outcome::Signalled);
    let wizard = Running::start();
    wizard.wait_for("prod-new").await;
    wizard.keys.send(Err(io::Error::other("the terminal is gone"))).unwrap();
    assert_eq!(wizard.outcome().await, Outcome::HungUp);
}

#[tokio::test]
async fn a_hundred_snapshots_a_second_draw_at_most_twenty_frames() {
    let wizard = Running::start();
    wizard.show(|snapshot| snapshot.phase = Phase::Copying);
    wizard.wait_for("Copying data").await;
    let (mut frames, mut last) = (0, String::new());
    for n in 0..200_u64 {
        wizard.show(|snapshot| snapshot.ops_waiting = n + 1_000);
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = wizard.screen.lock().unwrap().clone();
        if now != last {
            frames += 1;
            last = now;
        }
    }
    assert!((4..=40).contains(&frames), "{frames} frames in about a second");
}

#[tokio::test]
async fn a_detached_migration_is_left_without_a_question() {
    for key in ['q', 'd'] {
        let (wizard, _link) = Running::detached(false);
        wizard.show(|snapshot| snapshot.phase = Phase::Copying);
        wizard.wait_for("Copying data").await;
        wizard.press(KeyCode::Char(key)).await;
        assert_eq!(wizard.outcome().await, Outcome::Left);
    }
}

#[tokio::test]
async fn a_lost_engine_is_said_with_its_age_and_nothing_is_asked_of_it() {
    let (mut wizard, link) = Running::detached(false);
    wizard.show(|snapshot| snapshot.phase = Phase::Following);
    wizard.wait_for("Following changes").await;
    let since = Timestamp::now() - jiff::SignedDuration::from_secs(12);
    link.send_replace(Link::Lost { since, is_dead: false });
    let screen = wizard.wait_for("engine lost 12 s, retrying").await;
    assert!(screen.contains("these values are old"), "{screen}");
    wizard.press(KeyCode::Char('p')).await;
    wizard.wait_for("Not now: the engine was lost").await;
    // A question that would end in a command is not even asked.
    wizard.press(KeyCode::Char('X')).await;
    let screen = wizard.wait_for("Not now: the engine was lost").await;
    assert!(!screen.contains("Stop the migration"), "{screen}");
    link.send_replace(Link::Up);
    wizard.wait_for("The engine answers again.").await;
    wizard.press(KeyCode::Char('p')).await;
    assert!(matches!(wizard.order(Ok(())).await, Command::Pause));
    link.send_replace(Link::Lost { since: Timestamp::now(), is_dead: true });
    wizard.wait_for("R starts a new one").await;
    wizard.press(KeyCode::Char('R')).await;
    wizard.wait_for("This wizard cannot start an engine").await;
}

#[tokio::test]
async fn who_only_watches_asks_nothing() {
    let (mut wizard, _link) = Running::detached(true);
    wizard.show(|snapshot| snapshot.phase = Phase::Following);
    wizard.wait_for("only watching").await;
    wizard.press(KeyCode::Char('p')).await;
    wizard.wait_for("You only watch").await;
    assert!(wizard.orders.try_recv().is_err());
}

/// Both values of a differing document come in the answer to this wizard, are shown until they are closed, and are nowhere else.
#[tokio::test]
async fn the_values_of_a_differing_document_are_asked_for_and_shown() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/snapshots/verification_mismatch.json");
    let read: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut snapshot: Snapshot = serde_json::from_value(read["snapshot"].clone()).unwrap();
    snapshot.phase = Phase::Cutover;
    snapshot.cutover.as_mut().unwrap().step = CutoverStep::CheckData;
    let mut wizard = Running::start();
    wizard.show(|shown| *shown = snapshot);
    wizard.wait_for("Check the data").await;
    wizard.press(KeyCode::Char('v')).await;
    wizard.wait_for("Enter lists the documents first").await;
    wizard.press(KeyCode::Enter).await;
    wizard.wait_for("> _id {\"$oid\":\"665f0c0000000000000000a1\"}").await;
    wizard.press(KeyCode::Down).await;
    wizard.press(KeyCode::Down).await;
    wizard.wait_for("> _id {\"$oid\":\"665f0d0000000000000000b2\"}").await;
    wizard.press(KeyCode::Char('v')).await;
    let order = tokio::time::timeout(Duration::from_secs(10), wizard.orders.recv()).await.expect("an order").unwrap();
    let Command::ShowDocument { namespace, id } = order.command else { panic!("{:?}", order.command) };
    assert_eq!((&*namespace, &*id), ("crm.notes", "{\"$oid\":\"665f0d0000000000000000b2\"}"));
    let some = |text: &str| Some(text.to_string());
    let shown = ShownDocument {
        namespace,
        id,
        at: Timestamp::now(),
        source: some("{\"whole\":\"source\"}"),
        destination: some("{\"whole\":\"destination\"}"),
        fields: vec![ShownField { path: "tags.0".into(), source: some("\"red\""), destination: None }],
    };
    order.reply.send(Ok(Answer::Document(Box::new(shown)))).unwrap();
    let screen = wizard.wait_for("{\"whole\":\"destination\"}").await;
    for line in ["it differs", "tags.0", "source       \"red\"", "destination  -", "{\"whole\":\"source\"}"] {
        assert!(screen.contains(line), "{line} is missing:\n{screen}");
    }
    wizard.press(KeyCode::Esc).await;
    let screen = wizard.wait_for("tags.0, updated_at").await;
    assert!(!screen.contains("whole") && !screen.contains("\"red\""), "{screen}");
    assert!(wizard.client.events().since(0).is_empty());
    assert!(!serde_json::to_string(&*wizard.client.snapshot()).unwrap().contains("whole"));
}
