//! How soon the wizard is there, in a real terminal: beside the start of a process that only says its version.

use crate::{
    table::{self, median},
    wishes::Wishes,
};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use std::{
    io::Read,
    process::Command,
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

/// So many starts for each number, at a `--rounds` of 1.
const STARTS: usize = 10;

/// Times `--version` and the first frame of the wizard, by turns, and prints both.
pub fn measure(wishes: &Wishes) {
    let starts = STARTS * wishes.rounds;
    let (mut version, mut rows) = (Vec::new(), Vec::new());
    for (columns, lines) in [(80, 24), (120, 40)] {
        let (mut frames, mut bytes) = (Vec::new(), 0);
        for _ in 0..starts {
            version.push(says_its_version());
            let (took, sent) = first_frame(columns, lines);
            frames.push(took);
            bytes = sent;
        }
        let (said, frame) = (median(&version), median(&frames));
        rows.push(vec![
            format!("{columns}x{lines}"),
            milliseconds(said),
            milliseconds(frame),
            table::ratio(frame / said),
            bytes.to_string(),
        ]);
    }
    let size = std::fs::metadata(crate::ferry::binary()).expect("the binary").len();
    println!("{starts} starts each; the binary is {:.1} MB.\n", size as f64 / 1e6);
    table::print(
        "The wizard's first frame",
        &["terminal", "`--version`, process to end", "first frame, whole", "ratio", "bytes until then"],
        &rows,
    );
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

fn says_its_version() -> f64 {
    let began = Instant::now();
    let output = Command::new(crate::ferry::binary()).arg("--version").output().expect("the binary starts");
    assert!(output.status.success());
    began.elapsed().as_secs_f64()
}

/// Seconds from the start of the process until its first frame is complete, and the bytes until then.
fn first_frame(columns: u16, lines: u16) -> (f64, usize) {
    let home = tempfile::tempdir().expect("a folder");
    let size = PtySize { rows: lines, cols: columns, pixel_width: 0, pixel_height: 0 };
    let pair = native_pty_system().openpty(size).expect("a terminal");
    let mut command = CommandBuilder::new(crate::ferry::binary());
    for (name, value) in
        [("TERM", "xterm-256color"), ("LC_ALL", "C"), ("MONGOFERRY_HOME", home.path().to_str().unwrap())]
    {
        command.env(name, value);
    }
    let mut reader = pair.master.try_clone_reader().expect("a reader");
    let began = Instant::now();
    let mut child = pair.slave.spawn_command(command).expect("the binary starts");
    drop(pair.slave);
    let (tell, told) = channel();
    let reading = std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            if tell.send((buffer[..count].to_vec(), began.elapsed().as_secs_f64())).is_err() {
                break;
            }
        }
    });
    let shown = until_help(&told, (lines, columns));
    child.kill().expect("the end");
    child.wait().expect("the end");
    drop((told, pair.master));
    reading.join().expect("the reader ends");
    shown
}

/// Reads until the last line of the frame, which is drawn last, stands there with its help.
fn until_help(told: &Receiver<(Vec<u8>, f64)>, size: (u16, u16)) -> (f64, usize) {
    let cells = |count: u16| count.try_into().expect("a terminal has a size");
    let mut screen = vt100::Parser::new(cells(size.0), cells(size.1), 0);
    let mut sent = 0;
    loop {
        let (bytes, at) = told.recv_timeout(Duration::from_secs(60)).expect("a frame within a minute");
        sent += bytes.len();
        screen.process(&bytes);
        let contents = screen.screen().contents();
        if contents.contains("Where should the data go?") && contents.trim_end().ends_with("Help") {
            return (at, sent);
        }
    }
}
