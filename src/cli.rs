//! The command line: clap definitions and nothing else.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Moves a live MongoDB replica set to another MongoDB cluster.
#[derive(Debug, Parser)]
#[command(name = "mongoferry", version, about, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 error, 2 validation failed, 3 refused (gate), 4 expired; verify: 4 something differs."
)]
pub struct Cli {
    /// What to do; without one the wizard starts.
    #[command(subcommand)]
    pub command: Option<Verb>,
    /// How the wizard looks.
    #[command(flatten)]
    pub look: Look,
}

/// Options of everything that may open the wizard.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Look {
    /// Glyphs of the wizard; by default as the locale says.
    #[arg(long, value_enum, global = true)]
    pub glyphs: Option<GlyphChoice>,
    /// Colours of the wizard; by default the terminal's own 16, and none with NO_COLOR.
    #[arg(long, value_enum, global = true)]
    pub theme: Option<ThemeChoice>,
    /// The same steps as plain lines, for dumb terminals and screen readers.
    #[arg(long, global = true)]
    pub plain: bool,
}

/// `--glyphs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GlyphChoice {
    /// 7-bit characters only.
    Ascii,
    /// Box drawing and blocks.
    Unicode,
}

/// `--theme`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ThemeChoice {
    /// No colour with NO_COLOR, else the terminal's own 16.
    Auto,
    /// The terminal's own 16 colours.
    #[value(name = "16")]
    Sixteen,
    /// Dark colours for a light background.
    Light,
    /// Bright colours for a dark background.
    Dark,
    /// No colour.
    Mono,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Two throwaway replica sets with sample data under live writes, and the wizard pre-filled.
    Demo(DemoArgs),
    /// Run all checks on a plan; writes nothing that stays. Exit 0: no failure, 2: at least one failed check.
    Validate {
        /// The plan file.
        #[arg(long, value_name = "P.toml")]
        plan: PathBuf,
        /// Print the report as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Migrate in the foreground with plain lines or NDJSON. Exit 0 when completed.
    Run {
        /// The plan file.
        #[arg(long, value_name = "P.toml")]
        plan: PathBuf,
        /// auto: cut over as soon as the gate opens and the source is quiet. manual: commands come on standard input.
        #[arg(long, value_enum, default_value_t = CutoverMode::Manual)]
        cutover: CutoverMode,
        /// One JSON object per line instead of plain lines.
        #[arg(long)]
        json: bool,
        /// Go on although validation gave warnings (they are printed and kept in the report).
        #[arg(long)]
        accept_warnings: bool,
        /// Go on with the unfinished migration of that name when there is one; otherwise start.
        #[arg(long)]
        resume: bool,
    },
    /// Validate a plan and start it in a process of its own; prints the migration's name when it runs.
    Start {
        /// The plan file.
        #[arg(long, value_name = "P.toml")]
        plan: PathBuf,
        /// Once completed keep a way back open for so long, like 72h; see `reverse`.
        #[arg(long, value_name = "TIME", value_parser = crate::model::units::parse_duration)]
        reverse: Option<std::time::Duration>,
        /// Go on although validation gave warnings (they are printed and kept in the report).
        #[arg(long)]
        accept_warnings: bool,
    },
    /// Open the wizard on a migration.
    Attach {
        /// Its name; may be left out when there is only one.
        name: Option<String>,
        /// Only watch: every command is refused by the engine.
        #[arg(long)]
        watch: bool,
        /// One JSON object per line instead of the wizard.
        #[arg(long)]
        json: bool,
    },
    /// List the migrations of this host.
    List {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Show where a migration is.
    Status {
        /// Its name; may be left out when there is only one.
        name: Option<String>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// Go on printing whenever it changes, until the migration is over.
        #[arg(long)]
        watch: bool,
    },
    /// Stop syncing and keep the position.
    Pause {
        /// Its name; may be left out when there is only one.
        name: Option<String>,
    },
    /// Go on after a pause, after the cutover window passed, or after the engine ended.
    Resume {
        /// Its name; may be left out when there is only one.
        name: Option<String>,
        /// The plan file, to read the passwords from when the engine has ended; otherwise they are read where the first
        /// plan said, or asked for.
        #[arg(long, value_name = "P.toml")]
        plan: Option<PathBuf>,
    },
    /// "Extend time": add the plan's extend_by to the cutover window.
    Extend {
        /// Its name; may be left out when there is only one.
        name: Option<String>,
    },
    /// Limit how fast the source is read, from now on: by the copy and by verification.
    #[command(allow_missing_positional = true)]
    Throttle {
        /// The migration's name; may be left out when there is only one.
        name: Option<String>,
        /// A rate, like 20MB/s, or off.
        #[arg(value_name = "RATE")]
        limit: crate::model::Limit,
    },
    /// Send a test notice by every channel of a migration, or of a plan, and say what became of it.
    Notify {
        /// The migration's name; may be left out when there is only one.
        name: Option<String>,
        /// Read the notify section of this plan instead; no migration is needed.
        #[arg(long, value_name = "P.toml", conflicts_with = "name")]
        plan: Option<PathBuf>,
    },
    /// Cut over: begin it or go on with it, and follow it to its end. Refused (exit 3) unless the gate is open.
    Cutover(CutoverArgs),
    /// End a migration for good; the destination keeps what it has.
    Stop {
        /// Its name, always: it is the consent.
        name: String,
    },
    /// Keep a way back: follow the new cluster of a completed migration into the old one, as a migration of its own
    /// (NAME-back) with its own lag and cutover, so that returning loses nothing.
    Reverse(ReverseArgs),
    /// Remove what mongoferry keeps on this host for a migration that is over; the report stays.
    Cleanup {
        /// Its name; may be left out when there is only one.
        name: Option<String>,
        /// Remove the report too; the migration is not listed any more.
        #[arg(long)]
        forget: bool,
    },
    /// Wait for the verification of a migration and print its result, or compare the two clusters of a plan. Exit 0:
    /// nothing differs, 4: something does.
    Verify(VerifyArgs),
    /// Print the report of a migration; while it is not over, what can be said so far.
    Report {
        /// Its name; may be left out when there is only one.
        name: Option<String>,
        /// Print the JSON report.
        #[arg(long)]
        json: bool,
    },
    /// Write a bundle for a bug report: no passwords, and hosts, users and namespaces replaced by numbers.
    Doctor {
        /// Its name; may be left out when there is only one.
        name: Option<String>,
        /// Where to write it; by default into the current folder.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// The engine's process; started by the wizard and by `start`.
    #[command(name = "engine", hide = true)]
    Engine,
    /// Print the manual page.
    Man {
        /// Write one page per command into this folder instead.
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
    /// Print a completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Walk to completion without a person and print the report; needs no terminal.
    #[arg(long)]
    pub auto: bool,
    /// How many documents to load.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..=50_000_000))]
    pub docs: u64,
}

/// `reverse`.
#[derive(Debug, Clone, Args)]
pub struct ReverseArgs {
    /// The completed migration.
    pub name: String,
    /// How long the way back is kept open, like 72h; after that the old cluster is not followed into any more.
    #[arg(long = "for", value_name = "TIME", default_value = "72h", value_parser = crate::model::units::parse_duration)]
    pub window: std::time::Duration,
    /// The plan file, to read the passwords from; otherwise they are read where the first plan said, or asked for.
    #[arg(long, value_name = "P.toml")]
    pub plan: Option<PathBuf>,
    /// Go on although validation gave warnings (they are printed and kept in the report).
    #[arg(long)]
    pub accept_warnings: bool,
}

/// `cutover`.
#[derive(Debug, Clone, Args)]
pub struct CutoverArgs {
    /// Its name; may be left out when there is only one.
    pub name: Option<String>,
    /// Go on although the source is not known to be quiet; the drain is proven all the same.
    #[arg(long)]
    pub assume_stopped: bool,
    /// Check the data before the destination is opened, or after it; otherwise as the plan says.
    #[arg(long, value_enum)]
    pub check: Option<CheckChoice>,
    /// Return as soon as the engine accepted, instead of following the cutover to its end.
    #[arg(long)]
    pub no_wait: bool,
    /// Instead of beginning: what to do in the step where the cutover stands.
    #[command(flatten)]
    pub step: StepArgs,
}

/// `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Its name; may be left out when there is only one.
    pub name: Option<String>,
    /// Compare the two clusters of this plan as they are now, without a migration. Only reads; nothing is kept.
    #[arg(long, value_name = "P.toml", conflicts_with = "name")]
    pub plan: Option<PathBuf>,
    /// Instead: read one document on both sides now and print what each has, as the mismatches name it. Only printed here;
    /// no log, report or event holds a value.
    #[arg(long, num_args = 2, value_names = ["NAMESPACE", "ID"])]
    pub show: Option<Vec<String>>,
    /// Print JSON: one object, with --plan one per line: progress, events, and the result last.
    #[arg(long)]
    pub json: bool,
    /// With --plan: how long both sides of a differing document have to stand still before it counts, in seconds. Make it
    /// longer than the lag of whatever keeps the destination in sync.
    #[arg(long, value_name = "SECONDS", requires = "plan", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub settle: u64,
}

/// What to do in the step where a cutover stands; one of them.
#[derive(Debug, Clone, Copy, Default, Args)]
#[group(multiple = false)]
pub struct StepArgs {
    /// Leave the cutover; syncing continues.
    #[arg(long)]
    pub back: bool,
    /// Copy the documents again that differ, and check them once more.
    #[arg(long)]
    pub repair: bool,
    /// Try the failed steps of finalizing again, or check again what differed.
    #[arg(long)]
    pub retry: bool,
    /// Do without the indexes that could not be built, or open the destination although steps of finalizing failed or
    /// options, indexes or views differ; the report names them.
    #[arg(long)]
    pub accept_failed: bool,
    /// Only measure how long the last change takes to arrive, as a cutover would need it; changes nothing.
    #[arg(long)]
    pub rehearse: bool,
    /// Give up the rest of the verification; the report says so.
    #[arg(long)]
    pub skip_verification: bool,
}

/// `--check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckChoice {
    /// Check first, then open.
    First,
    /// Open first; the result arrives while the application may write.
    After,
}

/// `--cutover`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CutoverMode {
    /// As soon as the gate is open and the source is quiet.
    Auto,
    /// When the operator types `cutover`.
    Manual,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
