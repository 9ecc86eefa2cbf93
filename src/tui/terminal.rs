//! The real terminal: modes in and out, hangup, suspend, panic. Every write ignores its error: after a hangup printing
//! fails, and a failing print in a panic hook would abort the program.

use super::clipboard::{Around, osc52};
use crate::paths;
use crossterm::{
    cursor, event, execute, queue,
    style::Print,
    terminal::{self, EnterAlternateScreen, LeaveAlternateScreen, SetTitle},
};
use rustix::event::{PollFd, PollFlags, poll};
use std::time::Duration;
use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tokio::sync::watch;

/// True while the terminal is in our modes; whoever turns it off restores the terminal.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Buttons and wheel only, in coordinates of any size: crossterm's capture asks for every movement too, which would come
/// over the operator's line for nothing.
const MOUSE_ON: &str = "\x1b[?1000h\x1b[?1006h";
const MOUSE_OFF: &str = "\x1b[?1006l\x1b[?1000l";

/// Side effects on the terminal other than drawing. Tests record them.
pub trait Host {
    /// Asks the terminal to announce pastes, or not.
    fn announce_pastes(&mut self, on: bool);
    /// Takes the mouse's wheel and buttons from the terminal, or gives them back.
    fn take_mouse(&mut self, on: bool);
    /// Rings.
    fn ring(&mut self);
    /// Names the window.
    fn set_title(&mut self, title: &str);
    /// Offers text to the terminal's clipboard by OSC 52.
    fn offer(&mut self, copied: &str);
    /// Keeps the text in a file that only the operator reads, for when no clipboard takes it; says where it is.
    fn keep(&mut self, copied: &str) -> io::Result<PathBuf>;
    /// Leaves the alternate screen and prints `text` as it is, for the mouse.
    fn show_plain(&mut self, text: &str);
    /// Back to the alternate screen.
    fn show_screen(&mut self);
    /// Gives the terminal to the shell until `fg`; the error says why that is not possible.
    fn suspend(&mut self) -> Result<(), &'static str>;
    /// What stands between the wizard and the terminal.
    fn around(&self) -> Around;
}

/// Why the full screen cannot be shown here; `None` when it can.
pub fn unsuitable() -> Option<&'static str> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Some("the wizard needs a terminal on standard input and output");
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Some("TERM=dumb cannot show the wizard");
    }
    None
}

/// The terminal in our modes. Restores it when dropped.
#[derive(Debug)]
pub struct Tty {
    around: Around,
    /// The terminal is gone: not one byte more is written to it.
    gone: watch::Receiver<bool>,
}

impl Tty {
    /// Enters our modes. `gone` says when the terminal went away.
    pub fn enter(gone: watch::Receiver<bool>) -> io::Result<Self> {
        enter_modes()?;
        // Keeps the title of the shell's window, for leaving.
        let _ = execute!(io::stdout(), Print("\x1b[22;0t"));
        Ok(Self { around: Around::detect(), gone })
    }

    fn is_gone(&self) -> bool {
        *self.gone.borrow()
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        if self.is_gone() {
            ENTERED.store(false, Ordering::SeqCst);
            return;
        }
        leave_modes();
        let _ = execute!(io::stdout(), Print("\x1b[23;0t"));
    }
}

fn enter_modes() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    ENTERED.store(true, Ordering::SeqCst);
    execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)
}

/// Leaves our modes, once: pastes off, mouse given back, cursor shown, alternate screen off, raw mode off.
fn leave_modes() {
    if !ENTERED.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = io::stdout();
    let _ = queue!(out, event::DisableBracketedPaste);
    let _ = queue!(out, Print(MOUSE_OFF));
    let _ = queue!(out, cursor::Show);
    let _ = queue!(out, LeaveAlternateScreen);
    let _ = out.flush();
    let _ = terminal::disable_raw_mode();
}

/// A panic on this thread restores the terminal before its message is printed. A panic of another thread must not draw
/// over the screen: it goes to the log.
pub fn restore_on_panic() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::SeqCst) {
        return;
    }
    let screen_thread = thread::current().id();
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !ENTERED.load(Ordering::SeqCst) {
            return print(panic);
        }
        tracing::error!("panic: {panic}");
        if thread::current().id() == screen_thread {
            leave_modes();
            print(panic);
        }
    }));
}

impl Host for Tty {
    fn announce_pastes(&mut self, on: bool) {
        let _ = if on {
            execute!(io::stdout(), event::EnableBracketedPaste)
        } else {
            execute!(io::stdout(), event::DisableBracketedPaste)
        };
    }

    fn take_mouse(&mut self, on: bool) {
        let _ = execute!(io::stdout(), Print(if on { MOUSE_ON } else { MOUSE_OFF }));
    }

    fn ring(&mut self) {
        let _ = execute!(io::stdout(), Print("\x07"));
    }

    fn set_title(&mut self, title: &str) {
        let _ = execute!(io::stdout(), SetTitle(title));
    }

    fn offer(&mut self, copied: &str) {
        let _ = execute!(io::stdout(), Print(osc52(copied, self.around)));
    }

    fn keep(&mut self, copied: &str) -> io::Result<PathBuf> {
        let folder = paths::state_root().map_err(|problem| io::Error::other(problem.what))?;
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("copied.txt");
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(copied.as_bytes())?;
        Ok(path)
    }

    fn show_plain(&mut self, text: &str) {
        let mut out = io::stdout();
        let _ = queue!(out, LeaveAlternateScreen, cursor::Show);
        // Raw mode stays on, so a line ends with both.
        for line in text.lines() {
            let _ = write!(out, "{line}\r\n");
        }
        let _ = write!(out, "\r\n(mongoferry: select with the mouse; Enter goes back)\r\n");
        let _ = out.flush();
    }

    fn show_screen(&mut self) {
        let _ = execute!(io::stdout(), EnterAlternateScreen, cursor::Hide);
    }

    fn suspend(&mut self) -> Result<(), &'static str> {
        let own = rustix::process::getpid();
        if rustix::process::getsid(None).is_ok_and(|leader| leader == own) {
            return Err("There is no shell to go back to; q leaves.");
        }
        leave_modes();
        // Stops the whole group, as a shell expects of Ctrl-Z; returns after `fg`.
        let stopped = rustix::process::kill_current_process_group(rustix::process::Signal::STOP);
        // Another thread may take the signal: this one must not go on before all of them are stopped.
        thread::sleep(STOPPING);
        let entered = enter_modes();
        match (stopped, entered) {
            (Ok(()), Ok(())) => Ok(()),
            _ => Err("Suspending is not possible here."),
        }
    }

    fn around(&self) -> Around {
        self.around
    }
}

/// A stop signal has reached every thread within this time.
const STOPPING: Duration = Duration::from_millis(100);
/// The loop has this long to end after its terminal has gone.
const GRACE: Duration = Duration::from_secs(1);
/// Exit code of a process that SIGHUP would have ended, as shells count.
const HUNG_UP: i32 = 128 + 1;

/// Watches for the terminal going away, which reading from it does not report when SIGHUP is ignored. Reading may even
/// never return then (crossterm 0.29): a process that has not ended by itself after a moment is ended here.
pub fn watch_for_hangup() -> watch::Receiver<bool> {
    let (tell, gone) = watch::channel(false);
    // Ends with the process: a thread that waits for a hangup cannot be woken otherwise.
    let _ = thread::Builder::new().name("hangup".into()).spawn(move || {
        let Ok(tty) = File::open("/dev/tty") else { return };
        loop {
            let mut watched = [PollFd::new(&tty, PollFlags::empty())];
            match poll(&mut watched, None) {
                Ok(_) if watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
        tell.send_replace(true);
        thread::sleep(GRACE);
        std::process::exit(HUNG_UP);
    });
    gone
}
