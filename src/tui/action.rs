//! What a key leads to. Screens return actions as data; `update` carries them out.

use crate::{
    model::{Command, Endpoint},
    profiles::Profile,
};
use std::path::PathBuf;

/// The screens of the wizard, in the order of the walk-through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Screen {
    /// 4.1 "Where should the data go?"
    Destination,
    /// 4.2 Before you start.
    Prepare,
    /// 4.3 Connection form.
    Connect,
    /// 4.4 Validation report.
    Validate,
    /// 4.5 Copy and index builds.
    Migrating,
    /// 4.6 Following changes, lag gauge, ready.
    Following,
    /// 4.7 Countdown with extend.
    Countdown,
    /// 4.8 Stop your application.
    StopApplication,
    /// 4.9 Almost done!
    Finalising,
    /// 4.10 Check the data.
    CheckData,
    /// 4.11 Connect to your new cluster.
    ConnectNew,
    /// 4.12 You have successfully migrated.
    Success,
}

/// What a key leads to.
#[derive(Debug, Clone)]
pub enum Action {
    /// Ask the engine; a refusal is shown on the status line.
    Send(Command),
    /// Ask the engine for one document as both clusters have it.
    ShowDocument {
        /// `db.collection`.
        namespace: String,
        /// Its `_id`, as mismatches name it.
        id: String,
    },
    /// Show another screen.
    Open(Screen),
    /// Ask for a typed confirmation first (4.13); on success do `then`.
    Confirm(Confirmation),
    /// Copy text to the clipboard by the best way this terminal has; the status line says which was used.
    Copy(String),
    /// Leave the alternate screen, print the text for the mouse, wait for Enter.
    PlainView(String),
    /// Say something on the status line until the next key.
    Say(String),
    /// Write the report or log to a file; the status line says where.
    Save {
        /// Proposed file name.
        file_name: String,
        /// Content.
        text: String,
    },
    /// Show the help overlay.
    Help,
    /// Show the event log.
    Log,
    /// Leave the wizard; asks first while a migration runs in it.
    Quit,
    /// Leave the wizard without asking again.
    Leave,
    /// Several actions, in this order.
    Many(Vec<Action>),
    /// Take this destination and go on to Prepare.
    Choose {
        /// What the operator calls it.
        name: String,
        /// How to reach it; its password when it is known already.
        endpoint: Box<Endpoint>,
    },
    /// Write the destination profiles, and first the pasted CA certificates that they name by path.
    SaveProfiles {
        /// All of them; the file is replaced.
        profiles: Vec<Profile>,
        /// Path and PEM text.
        certificates: Vec<(PathBuf, String)>,
    },
    /// Read a PEM file for the field that has the focus.
    ReadFile(PathBuf),
    /// Find out from which local addresses this host reaches the given host list (no packet is sent).
    Measure(Option<String>),
    /// Make a plan of the forms and run all checks on it.
    Validate,
}

/// A typed confirmation (4.13): default Cancel, armed late, paste refused.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// Asks: "Clear existing data on prod-new?"
    pub title: String,
    /// Lists the exact objects, one line each.
    pub body: Vec<String>,
    /// What must be typed; empty: a plain Cancel / OK question (not destructive).
    pub expected: String,
    /// What the expected text is: "the destination name".
    pub expected_label: String,
    /// Label of the button that goes on.
    pub button: String,
    /// What happens then.
    pub then: Box<Action>,
}
