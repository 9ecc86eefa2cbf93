//! The terminal's modes: entered once, left once, in order, errors ignored: a dead terminal must never cause a panic.

use crossterm::{
    cursor, event, execute,
    style::force_color_output,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use std::{
    env,
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
};

static ENTERED: AtomicBool = AtomicBool::new(false);

/// Refuses where a full screen makes no sense, and says what to do instead.
pub fn require() -> io::Result<()> {
    let why = if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        "standard input and output are no terminal"
    } else if env::var("TERM").is_ok_and(|term| term == "dumb") {
        "TERM=dumb cannot show a full screen"
    } else {
        return Ok(());
    };
    let text = format!("the wizard needs a terminal: {why}. Without one use: mongoferry run --plan P.toml");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

/// True when no colour shall be used (`NO_COLOR`, https://no-color.org as crossterm reads it).
pub fn wants_no_color() -> bool {
    env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// True when the locale is UTF-8 and the terminal is more than the Linux console.
pub fn speaks_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| env::var(name).ok().filter(|v| !v.is_empty()));
    let utf8 = locale.is_some_and(|locale| {
        let locale = locale.to_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    });
    utf8 && env::var("TERM").is_ok_and(|term| term != "linux")
}

/// The multiplexer that this terminal runs in.
pub fn multiplexer() -> Option<&'static str> {
    if env::var_os("TMUX").is_some() {
        return Some("tmux");
    }
    env::var_os("STY").is_some().then_some("screen")
}

/// Enters raw mode and the alternate screen, and makes sure that a panic leaves them.
pub fn enter() -> io::Result<()> {
    // With NO_COLOR crossterm drops the reverse video of the selection, too; our theme has no colour then anyway.
    force_color_output(true);
    enable_raw_mode()?;
    ENTERED.store(true, Ordering::SeqCst);
    execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)
}

/// Leaves every mode. Safe to call twice, and on a terminal that is gone.
pub fn leave() {
    if !ENTERED.swap(false, Ordering::SeqCst) {
        return;
    }
    let _ = execute!(io::stdout(), event::DisableBracketedPaste);
    let _ = execute!(io::stdout(), cursor::Show);
    let _ = execute!(io::stdout(), LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// Pastes arrive whole only while this is on; off elsewhere, so that a lost end of a paste cannot swallow all keys.
pub fn bracketed_paste(on: bool) {
    let _ = if on {
        execute!(io::stdout(), event::EnableBracketedPaste)
    } else {
        execute!(io::stdout(), event::DisableBracketedPaste)
    };
}

/// A panic in any thread leaves the terminal usable and is printed after that.
pub fn guard_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        leave();
        before(panic);
    }));
}

/// Resolves when the terminal is gone: a thread waits for the hangup (a read would spin, see UX.md 2.1).
pub async fn gone() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        use rustix::event::{PollFd, PollFlags, poll};
        // Without a controlling terminal SIGHUP and the end of input still end the wizard.
        let Ok(terminal) = std::fs::File::open("/dev/tty") else { return };
        loop {
            let mut watched = [PollFd::new(&terminal, PollFlags::empty())];
            match poll(&mut watched, None) {
                Ok(_) if watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) => break,
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        // Nobody listens any more when the wizard was left in another way.
        let _ = sender.send(());
    });
    if receiver.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Leaves the alternate screen, prints text as it is for the mouse, waits for Enter, comes back.
pub fn show_plainly(text: &str) {
    leave();
    let mut out = io::stdout();
    let _ = writeln!(out, "{text}\n\nEnter returns to the wizard.");
    let _ = out.flush();
    let mut line = String::new();
    let _ = io::stdin().read_line(&mut line);
    let _ = enter();
}

/// Ctrl-Z: gives the terminal back, stops this process, and comes back when it is continued. `false` when there is no
/// shell to return to.
pub fn suspend() -> bool {
    let leader = rustix::process::getsid(None).is_ok_and(|session| session == rustix::process::getpid());
    if leader {
        return false;
    }
    leave();
    let _ = rustix::process::kill_current_process_group(rustix::process::Signal::STOP);
    let _ = enter();
    true
}
