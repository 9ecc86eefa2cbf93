//! Questions on a plain terminal, one line each; passwords without echo.

use crate::secret::Secret;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::{self, IsTerminal, Write};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

/// Standard input, line by line, and the questions in front of it.
pub struct Asker {
    lines: Lines<BufReader<Stdin>>,
}

impl Default for Asker {
    fn default() -> Self {
        Self { lines: BufReader::new(tokio::io::stdin()).lines() }
    }
}

impl Asker {
    /// Asks and reads a line; `None` at the end of the input.
    pub async fn line(&mut self, question: &str) -> io::Result<Option<String>> {
        let mut out = io::stdout();
        write!(out, "{question} ")?;
        out.flush()?;
        Ok(self.lines.next_line().await?.map(|line| line.trim().to_string()))
    }

    /// The next line without a question.
    pub async fn next(&mut self) -> io::Result<Option<String>> {
        Ok(self.lines.next_line().await?.map(|line| line.trim().to_string()))
    }

    /// Asks for a password; what is typed is not shown. `None` when nothing was typed.
    pub async fn secret(&mut self, question: &str) -> io::Result<Option<Secret>> {
        let hidden = Hidden::begin()?;
        let line = {
            let mut out = io::stdout();
            write!(out, "{question} ")?;
            out.flush()?;
            self.lines.next_line().await?
        };
        drop(hidden);
        let _ = writeln!(io::stdout());
        Ok(line.map(Secret::new).filter(|secret| !secret.is_empty()))
    }
}

/// The terminal without echo, until dropped. Input that is no terminal has none.
struct Hidden(Option<rustix::termios::Termios>);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let input = io::stdin();
        if !input.is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(&input)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(&input, OptionalActions::Flush, &silent)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
