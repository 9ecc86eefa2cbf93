//! What `update` wants done outside the model. The loop carries effects out and feeds the results back as messages.

use super::{host::Address, survival::Survival};
use crate::{
    model::{Command, Event, Refusal, ShownDocument, Snapshot},
    profiles::Profile,
    session::Link,
};
use crossterm::event::KeyEvent;
use std::{path::PathBuf, sync::Arc, time::Instant};

/// Something that happened.
#[derive(Debug)]
pub enum Message {
    /// A key; `in_burst` when it is part of a paste that arrives as keys.
    Key {
        /// The key.
        key: KeyEvent,
        /// Part of a paste.
        in_burst: bool,
        /// When it was read.
        at: Instant,
    },
    /// A paste, as the terminal announced it.
    Paste(String),
    /// One notch of the mouse's wheel.
    Wheel {
        /// Away from the operator.
        up: bool,
        /// When it was read.
        at: Instant,
    },
    /// The left button went down on a cell of the screen, counted from 0.
    Click {
        /// From the left.
        column: u16,
        /// From the top.
        row: u16,
        /// When it was read.
        at: Instant,
    },
    /// The terminal has another size.
    Resize(u16, u16),
    /// The newest snapshot.
    Snapshot(Arc<Snapshot>),
    /// New events, oldest first.
    Events(Vec<Event>),
    /// The engine will not publish any more.
    EngineGone,
    /// The engine can be reached again, or cannot.
    Link(Link),
    /// A second has passed.
    Tick,
    /// The engine answered a command.
    Answer(Result<(), Refusal>),
    /// The engine read one document on both sides.
    Shown(Result<ShownDocument, Refusal>),
    /// Something to say on the status line.
    Say(String),
    /// tmux did not take the text.
    CopyRefused(String),
    /// A file was read for the field that asked.
    FileRead {
        /// Which.
        path: PathBuf,
        /// Its text, or why not.
        read: Result<String, String>,
    },
    /// The addresses of this host.
    Measured(Vec<Address>),
    /// What could end a detached engine on this host.
    Survival(Survival),
}

/// Something to be done.
#[derive(Debug)]
pub enum Effect {
    /// Ask the engine.
    Send(Command),
    /// Ask the engine for one document.
    ShowDocument {
        /// `db.collection`.
        namespace: String,
        /// Its `_id`.
        id: String,
    },
    /// Start a new engine on the migration whose engine is gone.
    Revive,
    /// Put text on the clipboard.
    Copy(String),
    /// Offer text to the terminal's clipboard, which does not say whether it took it.
    Offer(String),
    /// Leave the alternate screen and print.
    ShowPlain(String),
    /// Back to the alternate screen.
    ShowScreen,
    /// Write a file that does not exist yet.
    Save {
        /// Proposed name.
        file_name: String,
        /// Content.
        text: String,
    },
    /// Read a PEM file.
    ReadFile(PathBuf),
    /// Find the addresses of this host.
    Measure(Option<String>),
    /// Write the profiles and the certificates that they name.
    SaveProfiles {
        /// All profiles.
        profiles: Vec<Profile>,
        /// Path and PEM text.
        certificates: Vec<(PathBuf, String)>,
    },
    /// Ring.
    Bell,
    /// Title of the terminal window.
    Title(String),
    /// Draw everything again.
    Redraw,
    /// Give the terminal back to the shell until `fg`.
    Suspend,
}
