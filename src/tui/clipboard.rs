//! Putting text on the operator's clipboard, through SSH and multiplexers, and saying which way was used.
//!
//! tmux drops OSC 52 with its default settings but takes `tmux load-buffer -w -`; GNU screen passes it when it is
//! wrapped in a device control string (measured with tmux 3.3a and screen 4.09).

use super::widget::text;
use std::{process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// What stands between the wizard and the operator's terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    /// Nothing that is known.
    Nothing,
    /// tmux.
    Tmux,
    /// GNU screen.
    Screen,
}

impl Around {
    /// As the environment says.
    pub fn detect() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match (set("TMUX"), set("STY")) {
            (true, _) => Around::Tmux,
            (false, true) => Around::Screen,
            (false, false) => Around::Nothing,
        }
    }

    /// Its name.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Around::Nothing => None,
            Around::Tmux => Some("tmux"),
            Around::Screen => Some("screen"),
        }
    }
}

/// `1 line, 139 bytes`
pub fn measure(copied: &str) -> String {
    let lines = text::counted(copied.lines().count(), "line", "lines");
    format!("{lines}, {} bytes", copied.len())
}

/// Hands the text to tmux; false when tmux does not take it.
pub async fn load_into_tmux(copied: &str) -> bool {
    let hand_over = async {
        let mut child = Command::new("tmux")
            .args(["load-buffer", "-w", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(copied.as_bytes()).await?;
        }
        child.wait().await
    };
    matches!(timeout(Duration::from_secs(2), hand_over).await, Ok(Ok(status)) if status.success())
}

/// The escape sequence that asks the terminal to take the text.
pub fn osc52(copied: &str, around: Around) -> String {
    let sequence = format!("\x1b]52;c;{}\x07", base64(copied.as_bytes()));
    match around {
        Around::Screen => format!("\x1bP{sequence}\x1b\\"),
        Around::Nothing | Around::Tmux => sequence,
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4_usize {
            let index = (group >> (18 - 6 * digit)) & 63;
            out.push(if digit <= chunk.len() { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_encoded_as_terminals_expect() {
        let encoded: Vec<String> =
            ["", "f", "fo", "foo", "foob", "fooba", "foobar"].iter().map(|text| base64(text.as_bytes())).collect();
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
        assert_eq!(osc52("foo", Around::Nothing), "\x1b]52;c;Zm9v\x07");
        assert_eq!(osc52("foo", Around::Screen), "\x1bP\x1b]52;c;Zm9v\x07\x1b\\");
        assert_eq!(measure("one\ntwo\n"), "2 lines, 8 bytes");
    }
}
