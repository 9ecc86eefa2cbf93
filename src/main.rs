//! The `mongoferry` binary: parse arguments, choose a role, map errors to exit codes.

use clap::Parser;
use mongoferry::{cli::Cli, roles, secret};
use std::process::ExitCode;

/// The allocator of the static binary's C library serves one thread at a time and gives every batch of documents back to the
/// system; this one does neither. It asks for no huge pages: the kernel clears each as a whole, and most of it is never used.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    secret::forbid_core_dumps();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(shown) => {
            let _ = shown.print();
            // Help and version are answers; exit code 2 is the validation's.
            return ExitCode::from(u8::from(shown.use_stderr()));
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mongoferry: this host: cannot start the runtime: {error}");
            return ExitCode::from(1);
        }
    };
    let code = runtime.block_on(roles::play(cli));
    // Tasks that are still blocked in a system call must not hold the terminal.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    ExitCode::from(code)
}
