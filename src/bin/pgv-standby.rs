//! `pgv-standby`: see `pgv::cli`.

use std::process::ExitCode;

use pgv::cli::{self, Program};

fn main() -> ExitCode {
    cli::main(Program::Standby)
}
