//! The real binary in a real pseudo-terminal, with a terminal emulator that says what is on the screen.

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::{
    io::{Read, Write},
    num::NonZeroU16,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A process in a terminal. Killed and reaped when dropped.
pub struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    writer: Box<dyn Write + Send>,
    /// The reader ends after its next bytes.
    closing: Arc<AtomicBool>,
    reading: Option<JoinHandle<()>>,
    screen: Arc<Mutex<vt100::Parser>>,
}

/// Longest wait for a text; slower machines set `MONGOFERRY_TEST_PATIENCE_S`.
fn patience() -> Duration {
    let seconds = std::env::var("MONGOFERRY_TEST_PATIENCE_S").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(120))
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("a terminal has a size")
}

impl Terminal {
    /// Starts the binary with arguments and environment in a terminal of this size.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)], columns: u16, rows: u16) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_mongoferry"));
        command.args(arguments);
        Self::start_command(command, environment, columns, rows)
    }

    /// The same under a shell that makes it ignore hangups, as nohup does.
    pub fn start_ignoring_hangups(arguments: &[&str], environment: &[(&str, &str)], columns: u16, rows: u16) -> Self {
        let mut command = CommandBuilder::new("sh");
        command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_mongoferry")]);
        command.args(arguments);
        Self::start_command(command, environment, columns, rows)
    }

    /// A shell with job control, which finds the binary as `$MONGOFERRY`.
    pub fn start_shell(environment: &[(&str, &str)], columns: u16, rows: u16) -> Self {
        let mut command = CommandBuilder::new("bash");
        command.args(["--norc", "--noprofile", "-i"]);
        command.env("MONGOFERRY", env!("CARGO_BIN_EXE_mongoferry"));
        command.env("PS1", "prompt> ");
        Self::start_command(command, environment, columns, rows)
    }

    fn start_command(mut command: CommandBuilder, environment: &[(&str, &str)], columns: u16, rows: u16) -> Self {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a pseudo-terminal");
        command.env("TERM", "xterm-256color");
        command.env("LC_ALL", "C");
        command.env_remove("TMUX");
        command.env_remove("STY");
        command.env_remove("NO_COLOR");
        for (name, value) in environment {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).expect("the binary starts");
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().expect("a reader");
        let writer = pair.master.take_writer().expect("a writer");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)));
        let parser = screen.clone();
        let closing = Arc::new(AtomicBool::new(false));
        let is_closing = closing.clone();
        let reading = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                parser.lock().unwrap().process(&buffer[..count]);
                if is_closing.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        Self { child, master: pair.master, writer, closing, reading: Some(reading), screen }
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// The screen as a picture.
    pub fn picture(&self, title: &str) -> String {
        super::picture::svg(self.screen.lock().unwrap().screen(), title)
    }

    /// Where the terminal's own cursor stands, row and column, when it is shown.
    pub fn cursor(&self) -> Option<(u16, u16)> {
        let parser = self.screen.lock().unwrap();
        (!parser.screen().hide_cursor()).then(|| parser.screen().cursor_position())
    }

    /// Whether the program asked for the mouse's buttons.
    pub fn reports_mouse(&self) -> bool {
        self.screen.lock().unwrap().screen().mouse_protocol_mode() != vt100::MouseProtocolMode::None
    }

    /// Whether any cell has a colour, and whether any stands in reverse.
    pub fn looks(&self) -> (bool, bool) {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        let (rows, columns) = (screen.size().0.get(), screen.size().1.get());
        let cells = || {
            (0..rows)
                .flat_map(|row| (0..columns).map(move |column| (row, column)))
                .filter_map(|(row, column)| screen.cell(row, column))
        };
        let plain = vt100::Color::Default;
        (cells().any(|cell| cell.fgcolor() != plain || cell.bgcolor() != plain), cells().any(vt100::Cell::inverse))
    }

    /// Types keys.
    pub fn send(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).expect("typing");
        self.writer.flush().expect("typing");
    }

    /// Waits until the screen satisfies `wanted`; panics with the screen when it does not.
    pub fn wait_until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + patience();
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(
                Instant::now() < deadline && ended.is_none(),
                "no {what} (ended: {ended:?}); the screen:\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a text on the screen.
    pub fn wait_for(&mut self, text: &str) -> String {
        self.wait_until(&format!("text {text:?}"), |screen| screen.contains(text))
    }

    /// Presses a key until a text is on the screen; for moving a focus whose way there is the form's own business.
    pub fn press_until(&mut self, key: &str, shown: &str, focused: &str) {
        let is_there = |screen: &str| screen.contains(shown) && screen.contains(focused);
        for _ in 0..20 {
            for _ in 0..15 {
                if is_there(&self.screen()) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            self.send(key);
        }
        panic!("{key:?} never led to {shown:?} and {focused:?}; the screen:\n{}", self.screen());
    }

    /// A text that is printed while the process ends.
    pub fn wait_for_last(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.screen().contains(text) {
            assert!(Instant::now() < deadline, "no {text:?}; the screen:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Pastes text as terminals do that bracket it.
    pub fn paste(&mut self, text: &str) {
        self.send(&format!("\x1b[200~{text}\x1b[201~"));
    }

    /// Another size, as when a window is dragged.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        self.screen.lock().unwrap().screen_mut().set_size(cells(rows), cells(columns));
        self.master.resize(size).expect("a new size");
    }

    /// Closes the terminal under the process, as when a connection is lost. The process must be writing now and then.
    /// Returns the time until it was gone, and the CPU seconds that it had used.
    pub fn hang_up(mut self) -> (Duration, f64) {
        let pid = self.child.process_id().expect("a process");
        self.closing.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + patience();
        let reading = self.reading.take().expect("a reader");
        while !reading.is_finished() {
            assert!(Instant::now() < deadline, "the process writes nothing; the screen:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(5));
        }
        let Self { ref mut child, .. } = self;
        // Fields of a type that implements Drop cannot be moved out; these close the last ends of the terminal.
        self.writer = Box::new(std::io::sink());
        let spare = native_pty_system().openpty(PtySize::default()).expect("a spare terminal");
        self.master = spare.master;
        let began = Instant::now();
        let mut cpu = 0.0;
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
            cpu = f64::max(cpu, (ticks(11) + ticks(12)) / 100.0);
            if child.try_wait().expect("a child").is_some() {
                return (began.elapsed(), cpu);
            }
            assert!(Instant::now() < deadline, "the process outlives its terminal");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The process number.
    pub fn pid(&self) -> u32 {
        self.child.process_id().expect("a process")
    }

    /// Sends a signal to the process.
    pub fn signal(&mut self, signal: &str) {
        let pid = self.child.process_id().expect("a process").to_string();
        let sent = std::process::Command::new("kill").args([signal, &pid]).status().expect("kill");
        assert!(sent.success());
    }

    /// Waits for the end of the process and returns its exit code.
    pub fn wait_for_exit(&mut self) -> u32 {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.exit_code();
            }
            assert!(Instant::now() < deadline, "the process did not end; the screen:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
