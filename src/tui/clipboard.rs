//! Copying text to the operator's clipboard over SSH and inside multiplexers (UX.md 2.4), saying which way was taken.

use std::{
    env,
    io::{self, Write},
    process::{Command, Stdio},
};

/// Copies `text` and returns the sentence for the status line.
pub fn copy(text: &str) -> String {
    let size = format!("{} bytes", text.len());
    if env::var_os("TMUX").is_some() && through_tmux(text) {
        return format!("Sent to your clipboard with tmux load-buffer -w ({size}).");
    }
    let sequence = format!("\x1b]52;c;{}\x07", base64(text.as_bytes()));
    let mut out = io::stdout();
    match out.write_all(sequence.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => format!("Sent with OSC 52 ({size}); if nothing arrives press v for a plain view."),
        Err(error) => format!("Not copied: {error}; press v for a plain view."),
    }
}

fn through_tmux(text: &str) -> bool {
    let child = Command::new("tmux")
        .args(["load-buffer", "-w", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let written = child.stdin.take().is_some_and(|mut stdin| stdin.write_all(text.as_bytes()).is_ok());
    child.wait().is_ok_and(|status| status.success()) && written
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            if index <= chunk.len() {
                let six = usize::try_from(group >> (18 - 6 * index) & 63).unwrap_or(0);
                out.push(char::from(ALPHABET[six]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_everybody_writes_it() {
        for (text, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }
}
