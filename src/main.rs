//! The `turnd` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    turnd::cli::run(std::env::args_os())
}
