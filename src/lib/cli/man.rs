//! `pgv man`: the manual pages of all programs, made from their command lines.

use std::path::{Path, PathBuf};

use clap::Parser;

use super::context::{Context, Outcome, VerbArgs};
use super::program::{Program, Verb, program_command};
use crate::error::{Classified, ErrorClass};
use crate::fs::{FileError, StagedFile};

/// Prints the manual page of a program, or writes all of them into a directory
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ManArgs {
    /// The program or verb that the page is about
    #[arg(value_name = "NAME", default_value = "pgv")]
    pub(crate) name: String,

    /// Write all pages into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    pub(crate) dir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  pgv man pgv-restore | man -l -
  pgv man --dir /usr/local/share/man/man1";

/// Pages that cannot be written. The names under which they are staged say nothing to anybody.
#[derive(Debug, thiserror::Error)]
#[error("could not write the manual pages into \"{}\"", directory.display())]
pub(crate) struct PagesNotWritten {
    pub(crate) directory: PathBuf,
    #[source]
    pub(crate) source: std::io::Error,
}

impl Classified for PagesNotWritten {
    fn class(&self) -> ErrorClass {
        ErrorClass::of_io(&self.source)
    }
}

impl VerbArgs for ManArgs {
    const VERB: Verb = Verb::Man;

    fn writes(&self) -> bool {
        false
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(args: ManArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    let pages = pages();
    if let Some(dir) = args.dir {
        // Pages are for everybody, unlike all else that is written.
        rustix::process::umask(0o022.into());
        for (name, command) in pages {
            write(&dir.join(format!("{name}.1")), &render(command))
                .map_err(|error| PagesNotWritten { directory: dir.clone(), source: error.source })?;
        }
        return Ok(Outcome::Done);
    }
    let names: Vec<&str> = pages.iter().map(|(name, _)| *name).collect();
    let wanted =
        pages.iter().find(|(name, _)| *name == args.name || name.strip_prefix("pgv-") == Some(args.name.as_str()));
    let Some((_, command)) = wanted else {
        return Err(super::usage::UsageError::unknown("manual page", &args.name, &names).into());
    };
    context.printer().answer(&render(command.clone()))?;
    Ok(Outcome::Done)
}

fn write(path: &Path, page: &str) -> Result<(), FileError> {
    let mut file = StagedFile::create_beside(path, 0o644)?;
    file.write_all(page.as_bytes())?;
    file.replace(path)
}

/// Every page there is: the programs, and the verbs that have no program of their own.
fn pages() -> Vec<(&'static str, clap::Command)> {
    let programs = Program::ALL.into_iter().map(|program| (program.name(), program_command(program)));
    let verbs = Verb::ALL.into_iter().filter(|verb| verb.program() == Program::Pgv).map(|verb| {
        let command = verb.command().name(verb.page()).bin_name(format!("pgv {}", verb.name()));
        (verb.page(), command)
    });
    programs.chain(verbs).collect()
}

fn render(command: clap::Command) -> String {
    let mut bytes = Vec::new();
    match clap_mangen::Man::new(command).manual("pgv").render(&mut bytes) {
        Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => unreachable!("writing to memory does not fail"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_names_itself_and_shows_its_examples() {
        let pages = pages();
        // The front door, and each verb once, whether it has a program of its own or not.
        assert_eq!(pages.len(), 1 + Verb::ALL.len());
        for (name, command) in pages {
            let page = render(command);
            assert!(page.contains(".TH"), "{name}");
            assert!(page.contains(&name.replace('-', "\\-")), "{name}: {page}");
            assert!(page.contains("Examples:"), "{name}");
        }
    }
}
