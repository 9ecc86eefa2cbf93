//! The command line: clap definitions and nothing else.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Moves a live MongoDB replica set to another MongoDB cluster.
#[derive(Debug, Parser)]
#[command(name = "mongoferry", version, about, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 error, 2 validation failed, 3 refused (gate), 4 expired.")]
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
    /// Colours of the wizard: the terminal's own 16, or none.
    #[arg(long, value_enum, global = true)]
    pub theme: Option<ThemeChoice>,
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
    /// The terminal's own 16 colours.
    #[value(name = "16")]
    Sixteen,
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
