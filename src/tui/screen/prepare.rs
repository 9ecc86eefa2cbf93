//! 4.2 Prepare: what to have at hand before starting. Ticks are for the operator and gate nothing.

use super::{KeyHint, View};
use crate::tui::{
    action::{Action, Screen},
    host::Address,
    survival::Survival,
    widget::{
        buttons::{self, Button},
        keys::{key, key_unless, plain},
        place, text,
    },
};
use crossterm::event::{KeyCode, KeyEvent};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

/// Creates the least privileged user that can copy and follow (OPLOG.md C: `readAnyDatabase` and `clusterMonitor`).
const SOURCE_SCRIPT: &str = "db.getSiblingDB('admin').createUser({ user: 'ferry_src', pwd: passwordPrompt(),\n  \
     roles: ['readAnyDatabase', 'clusterMonitor'] })\n";
/// The same for the destination.
const DESTINATION_SCRIPT: &str = "db.getSiblingDB('admin').createUser({ user: 'ferry', pwd: passwordPrompt(),\n  \
     roles: ['readWriteAnyDatabase', 'dbAdminAnyDatabase', 'clusterMonitor'] })\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Source,
    User,
    DestinationUser,
    Ca,
    Firewall,
    Oplog,
    Application,
    KeepRunning,
}

const ITEMS: [Item; 8] = [
    Item::Source,
    Item::User,
    Item::DestinationUser,
    Item::Ca,
    Item::Firewall,
    Item::Oplog,
    Item::Application,
    Item::KeepRunning,
];

/// What is selected: an item of the list, or a button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Focus {
    Item(usize),
    Ready,
    Back,
}

/// Ticks, selection and what was measured on this host.
#[derive(Debug)]
pub struct State {
    ticked: [bool; ITEMS.len()],
    focus: Focus,
    /// `None` while it is being measured.
    addresses: Option<Vec<Address>>,
    /// The engine lives in another process.
    is_detached: bool,
    /// What could end it there; `None` while it is being found out.
    survival: Option<Survival>,
}

impl Default for State {
    fn default() -> Self {
        Self { ticked: [false; ITEMS.len()], focus: Focus::Ready, addresses: None, is_detached: false, survival: None }
    }
}

impl State {
    /// Of an engine in another process, or of one that ends with the wizard.
    pub fn with_engine(is_detached: bool) -> Self {
        Self { is_detached, ..Self::default() }
    }

    /// What could end a detached engine on this host.
    pub fn take_survival(&mut self, survival: Survival) {
        self.survival = Some(survival);
    }

    /// What was measured.
    pub fn take_addresses(&mut self, addresses: Vec<Address>) {
        self.addresses = Some(addresses);
    }

    /// The addresses for a firewall rule, comma separated; empty when not measured or without a route.
    pub fn allow_from(&self) -> String {
        let used = self.addresses.iter().flatten().filter(|address| address.is_used());
        let ips = used.map(|address| address.ip.to_string());
        ips.collect::<Vec<_>>().join(", ")
    }

    fn item(&self) -> Option<Item> {
        match self.focus {
            Focus::Item(at) => ITEMS.get(at).copied(),
            Focus::Ready | Focus::Back => None,
        }
    }

    fn script(&self) -> Option<String> {
        match self.item()? {
            Item::User => Some(SOURCE_SCRIPT.into()),
            Item::DestinationUser => Some(DESTINATION_SCRIPT.into()),
            Item::Firewall => Some(self.allow_from()).filter(|text| !text.is_empty()),
            Item::KeepRunning => self.survival.as_ref().and_then(|survival| survival.fix.clone()),
            Item::Source => Some("db.hello().primary\n".into()),
            Item::Oplog => Some("db.getReplicationInfo()\n".into()),
            Item::Ca | Item::Application => None,
        }
    }
}

/// The right end of line 1.
pub fn header(_view: &View<'_>) -> String {
    "step 2 of 7".into()
}

/// One sentence: what now, or why not.
pub fn status(_view: &View<'_>, state: &State) -> String {
    match (state.focus, state.item()) {
        (Focus::Back, _) => "Back to the destinations.".into(),
        (_, None) => "Enter goes on to the connection form. Ticks are for you; they gate nothing.".into(),
        (_, Some(item)) => match item {
            Item::Source => "Selected: Source primary - in mongosh, db.hello().primary names it.".into(),
            Item::User => "Selected: Source user - y copies a command that creates it.".into(),
            Item::DestinationUser => "Selected: Destination user - y copies a command that creates it.".into(),
            Item::Ca => "Selected: CA file - you paste it into the form, or name its path there.".into(),
            Item::Firewall => "Selected: Firewall - y copies the addresses of this host.".into(),
            Item::Oplog => "Selected: Oplog window - it must outlast the copy; the next step measures it.".into(),
            Item::Application => "Selected: Application stop - writers stop for the time of the cutover.".into(),
            Item::KeepRunning => {
                "Selected: Keep it running - y copies a command that makes sure of it, if one does.".into()
            }
        },
    }
}

/// The keys, most important first.
pub fn keys(_view: &View<'_>, state: &State) -> Vec<KeyHint> {
    let nothing = state.script().is_none().then(|| "There is nothing to copy for this item.".to_string());
    let untickable = state.item().is_none().then(|| "Select an item first.".to_string());
    vec![
        key("Enter", "Press", "Presses the focused button; ticks an item"),
        key("Up/Down", "Move", "Moves the selection; Tab goes to the buttons"),
        key_unless("Space", "Tick", "Ticks the selected item, for yourself", untickable),
        key_unless("y", "Copy", "Copies the command or the addresses of the selected item", nothing),
        key("Esc", "Back", "Back to the destinations"),
    ]
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, _view: &View<'_>) -> Option<Action> {
    let last = ITEMS.len() - 1;
    match (plain(key)?, state.focus) {
        (KeyCode::Esc, _) | (KeyCode::Enter, Focus::Back) => return Some(Action::Open(Screen::Destination)),
        (KeyCode::Enter, Focus::Ready) => return Some(Action::Open(Screen::Connect)),
        (KeyCode::Char(' ') | KeyCode::Enter, Focus::Item(at)) => state.ticked[at] = !state.ticked[at],
        (KeyCode::Char(' '), _) => return Some(Action::Say("Select an item first.".into())),
        (KeyCode::Char('y'), _) => {
            let nothing = || Action::Say("There is nothing to copy for this item.".into());
            return Some(state.script().map_or_else(nothing, Action::Copy));
        }
        (KeyCode::Up | KeyCode::Char('k'), Focus::Item(at)) => state.focus = Focus::Item(at.saturating_sub(1)),
        (KeyCode::Up | KeyCode::Char('k'), _) => state.focus = Focus::Item(last),
        (KeyCode::Down | KeyCode::Char('j'), Focus::Item(at)) if at < last => state.focus = Focus::Item(at + 1),
        (KeyCode::Down | KeyCode::Char('j'), Focus::Item(_)) | (KeyCode::Left, _) => state.focus = Focus::Ready,
        (KeyCode::Right, Focus::Ready) => state.focus = Focus::Back,
        (KeyCode::Tab, focus) => {
            state.focus = match focus {
                Focus::Item(_) => Focus::Ready,
                Focus::Ready => Focus::Back,
                Focus::Back => Focus::Item(0),
            }
        }
        (KeyCode::BackTab, focus) => {
            state.focus = match focus {
                Focus::Item(_) => Focus::Back,
                Focus::Ready => Focus::Item(0),
                Focus::Back => Focus::Ready,
            }
        }
        _ => {}
    }
    None
}

fn title(item: Item) -> (&'static str, &'static str) {
    match item {
        Item::Source => ("Source primary", "host:port of the current primary"),
        Item::User => ("Source user", "readAnyDatabase + clusterMonitor  (y copies script)"),
        Item::DestinationUser => ("Destination user", "readWriteAnyDatabase, dbAdminAnyDatabase, clusterMonitor"),
        Item::Ca => ("CA file", "only if a cluster uses TLS with a private CA"),
        Item::Firewall => ("Firewall", "let these addresses of this host reach the source:"),
        Item::Oplog => ("Oplog window", "24 h or more advised; measured in the next step"),
        Item::Application => ("Application stop", "you can stop every writer at cutover time"),
        Item::KeepRunning => ("Keep it running", ""),
    }
}

fn item_lines(at: usize, view: &View<'_>, state: &State, columns: usize) -> Vec<Line<'static>> {
    let item = ITEMS[at];
    let selected = state.focus == Focus::Item(at);
    let tick = if state.ticked[at] { "[x]" } else { "[ ]" };
    let (name, what) = title(item);
    let style = if selected { view.theme.selected } else { view.theme.text };
    let room = columns.saturating_sub(24);
    let mut lines = Vec::new();
    let mut rows: Vec<Span<'static>> = Vec::new();
    match item {
        Item::KeepRunning => {
            let (sentence, is_safe) = match (&state.survival, state.is_detached) {
                (_, false) => ("this demo ends with the wizard", false),
                (None, true) => ("measuring ..", true),
                (Some(survival), true) => (survival.what.as_str(), survival.is_safe),
            };
            let word = if is_safe { ("OK", view.theme.ok) } else { ("[!]", view.theme.wait) };
            rows.push(Span::raw(text::left(sentence, room.saturating_sub(4))));
            rows.push(Span::styled(word.0.to_string(), word.1));
        }
        _ => rows.push(Span::raw(text::cut(what, room))),
    }
    let mut first = vec![Span::raw(" "), Span::styled(format!("{tick} {name:<17}"), style), Span::raw("  ")];
    first.extend(rows);
    lines.push(Line::from(first));
    let more = |sentence: String| Line::raw(text::cut(&format!("{}{sentence}", " ".repeat(26)), columns));
    match (item, &state.addresses) {
        (Item::Firewall, None) => lines.push(more("measuring ..".into())),
        (Item::Firewall, Some(addresses)) if addresses.is_empty() => {
            lines.push(more("none found: this host has no route".into()));
        }
        (Item::Firewall, Some(addresses)) => {
            lines.extend(
                addresses
                    .iter()
                    .filter(|address| address.is_used())
                    .take(3)
                    .map(|address| more(format!("{}  {}", address.ip, address.note))),
            );
            lines.push(more("(behind a NAT the source sees another address)".into()));
        }
        (Item::KeepRunning, _) if state.is_detached => {
            lines.push(more("The migration runs without this terminal.".into()));
        }
        _ => {}
    }
    lines
}

/// The 19 lines between rule and status line.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    let wide = body.width >= 110;
    let columns = if wide { 78 } else { usize::from(body.width) };
    let mut lines = vec![Line::styled(
        text::cut(" Before you start. Nothing is written to either cluster until you press Start.", columns),
        view.theme.strong,
    )];
    if body.height >= 17 {
        lines.push(Line::raw(""));
    }
    let (mut from, mut until) = (0, lines.len());
    for at in 0..ITEMS.len() {
        let item = item_lines(at, view, state, columns);
        if state.focus == Focus::Item(at) {
            (from, until) = (lines.len(), lines.len() + item.len());
        }
        lines.extend(item);
    }
    if body.height >= 19 {
        lines.push(Line::raw(""));
        lines.push(Line::styled(
            text::cut(" Ticks are for you; they gate nothing. OK and [!] are measured on this host.", columns),
            view.theme.dim,
        ));
    }
    let room = usize::from(body.height).saturating_sub(2).max(1);
    let skip = if until > room { (until - room).min(from) } else { 0 };
    let width = u16::try_from(columns).unwrap_or(body.width);
    place::draw(
        frame,
        place::part(body, 0, 0, width, body.height.saturating_sub(1)),
        lines.into_iter().skip(skip).collect(),
    );
    let row = [
        Button { label: "I'm ready to migrate".into(), enabled: true },
        Button { label: "Back".into(), enabled: true },
    ];
    let focused = match state.focus {
        Focus::Ready => 0,
        Focus::Back => 1,
        Focus::Item(_) => usize::MAX,
    };
    let indent = columns.saturating_sub(buttons::columns(&row)) / 2;
    let last = place::part(body, 0, body.height.saturating_sub(1), body.width, 1);
    place::draw(frame, last, vec![buttons::row(&row, focused, indent, (view.theme, view.glyphs.pointer))]);
    if wide {
        let right = place::part(body, 80, 2, body.width.saturating_sub(80), body.height.saturating_sub(3));
        let mut scripts = vec![Line::styled("On the source, in mongosh:", view.theme.strong)];
        let wrapped = |script: &str| text::wrap(script, usize::from(right.width)).into_iter().map(Line::from);
        scripts.extend(wrapped(SOURCE_SCRIPT));
        scripts.push(Line::raw(""));
        scripts.push(Line::styled("On the destination:", view.theme.strong));
        scripts.extend(wrapped(DESTINATION_SCRIPT));
        place::draw(frame, right, scripts);
    }
}
