//! `pgv completions`: what a shell needs to complete the command lines of all programs.

use clap::{Parser, ValueEnum};

use super::context::{Context, Outcome, VerbArgs};
use super::program::{Program, Verb, program_command};
use crate::error::Classified;

/// Prints the completions of all programs for a shell
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell they are for
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// A shell that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

const EXAMPLES: &str = "\
Examples:
  pgv completions bash > /etc/bash_completion.d/pgv
  pgv completions fish > ~/.config/fish/completions/pgv.fish
  source <(pgv completions zsh)";

impl VerbArgs for CompletionsArgs {
    const VERB: Verb = Verb::Completions;

    fn writes(&self) -> bool {
        false
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(args: CompletionsArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    context.printer().answer(&render(args.shell))?;
    Ok(Outcome::Done)
}

/// The completions of all programs, one after the other.
fn render(shell: Shell) -> String {
    let generator = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut bytes = Vec::new();
    for program in Program::ALL {
        clap_complete::generate(generator, &mut program_command(program), program.name(), &mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_completed_in_every_shell() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = render(shell);
            for program in Program::ALL {
                assert!(text.contains(program.name()), "{shell:?} {program:?}");
            }
            assert!(text.contains("target-time"));
        }
    }
}
