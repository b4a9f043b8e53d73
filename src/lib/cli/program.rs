//! Which programs and verbs there are, and what each is called.
//!
//! INVARIANT: a verb has the same exit statuses whether it runs as `pgv-NAME` or as `pgv NAME`, since both may stand
//! in `archive_command` or `restore_command`.

use super::{
    archive, backup, check, completions, expire, fetch, info, init, man, pin, recovery_conf, restore, standby, target,
    verify,
};

/// A binary of this package; it decides the exit statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// `pgv`, the front door.
    Pgv,
    /// `pgv-archive`
    Archive,
    /// `pgv-fetch`
    Fetch,
    /// `pgv-basebackup`
    BaseBackup,
    /// `pgv-restore`
    Restore,
    /// `pgv-recovery-conf`
    RecoveryConf,
    /// `pgv-standby`
    Standby,
}

impl Program {
    /// Every one, in the order of the documentation.
    pub const ALL: [Self; 7] =
        [Self::Pgv, Self::Archive, Self::Fetch, Self::BaseBackup, Self::Restore, Self::RecoveryConf, Self::Standby];

    /// The name of its file, which starts each of its messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pgv => "pgv",
            Self::Archive => "pgv-archive",
            Self::Fetch => "pgv-fetch",
            Self::BaseBackup => "pgv-basebackup",
            Self::Restore => "pgv-restore",
            Self::RecoveryConf => "pgv-recovery-conf",
            Self::Standby => "pgv-standby",
        }
    }

    /// The verb it runs; `None` for the front door.
    pub(crate) const fn verb(self) -> Option<Verb> {
        match self {
            Self::Pgv => None,
            Self::Archive => Some(Verb::Archive),
            Self::Fetch => Some(Verb::Fetch),
            Self::BaseBackup => Some(Verb::Backup),
            Self::Restore => Some(Verb::Restore),
            Self::RecoveryConf => Some(Verb::RecoveryConf),
            Self::Standby => Some(Verb::Standby),
        }
    }
}

/// A subcommand of `pgv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    Init,
    Archive,
    Fetch,
    Backup,
    Restore,
    RecoveryConf,
    Standby,
    Info,
    Check,
    Verify,
    Expire,
    Pin,
    Unpin,
    Target,
    Completions,
    Man,
}

impl Verb {
    /// Every one, in the order in which `pgv --help` shows them.
    pub(crate) const ALL: [Self; 16] = [
        Self::Init,
        Self::Archive,
        Self::Fetch,
        Self::Backup,
        Self::Restore,
        Self::RecoveryConf,
        Self::Standby,
        Self::Info,
        Self::Check,
        Self::Verify,
        Self::Expire,
        Self::Pin,
        Self::Unpin,
        Self::Target,
        Self::Completions,
        Self::Man,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Archive => "archive",
            Self::Fetch => "fetch",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::RecoveryConf => "recovery-conf",
            Self::Standby => "standby",
            Self::Info => "info",
            Self::Check => "check",
            Self::Verify => "verify",
            Self::Expire => "expire",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
            Self::Target => "target",
            Self::Completions => "completions",
            Self::Man => "man",
        }
    }

    /// The name of its manual page.
    pub(crate) const fn page(self) -> &'static str {
        match self {
            Self::Init => "pgv-init",
            Self::Info => "pgv-info",
            Self::Check => "pgv-check",
            Self::Verify => "pgv-verify",
            Self::Expire => "pgv-expire",
            Self::Pin => "pgv-pin",
            Self::Unpin => "pgv-unpin",
            Self::Target => "pgv-target",
            Self::Completions => "pgv-completions",
            Self::Man => "pgv-man",
            Self::Archive | Self::Fetch | Self::Backup | Self::Restore => self.program().name(),
            Self::RecoveryConf | Self::Standby => self.program().name(),
        }
    }

    /// Other names it answers to.
    pub(crate) const fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Backup => &["basebackup"],
            Self::Info => &["list"],
            _ => &[],
        }
    }

    /// The verb of that name or alias.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == name || verb.aliases().contains(&name))
    }

    /// The program whose name and exit statuses it has.
    pub(crate) const fn program(self) -> Program {
        match self {
            Self::Archive => Program::Archive,
            Self::Fetch => Program::Fetch,
            Self::Backup => Program::BaseBackup,
            Self::Restore => Program::Restore,
            Self::RecoveryConf => Program::RecoveryConf,
            Self::Standby => Program::Standby,
            Self::Init | Self::Info | Self::Check | Self::Verify | Self::Target => Program::Pgv,
            Self::Expire | Self::Pin | Self::Unpin | Self::Completions | Self::Man => Program::Pgv,
        }
    }

    /// Its command line, under its own name.
    pub(crate) fn command(self) -> clap::Command {
        use clap::CommandFactory as _;
        let command = match self {
            Self::Init => init::InitArgs::command(),
            Self::Archive => archive::ArchiveArgs::command(),
            Self::Fetch => fetch::FetchArgs::command(),
            Self::Backup => backup::BackupArgs::command(),
            Self::Restore => restore::RestoreArgs::command(),
            Self::RecoveryConf => recovery_conf::RecoveryConfArgs::command(),
            Self::Standby => standby::StandbyArgs::command(),
            Self::Info => info::InfoArgs::command(),
            Self::Check => check::CheckArgs::command(),
            Self::Verify => verify::VerifyArgs::command(),
            Self::Expire => expire::ExpireArgs::command(),
            Self::Pin => pin::PinArgs::command(),
            Self::Unpin => pin::UnpinArgs::command(),
            Self::Target => target::TargetQueryArgs::command(),
            Self::Completions => completions::CompletionsArgs::command(),
            Self::Man => man::ManArgs::command(),
        };
        super::args::decorate(command.name(self.name()))
    }
}

/// The whole of `pgv` as one command line: for its help, its completions and its manual page.
pub(crate) fn front_door_command() -> clap::Command {
    let verbs = Verb::ALL.into_iter().map(|verb| verb.command().visible_aliases(verb.aliases()));
    let command = clap::Command::new("pgv")
        .about("Physical backup, WAL archiving and point-in-time recovery for PostgreSQL")
        .after_help(FRONT_DOOR_EXAMPLES)
        .override_usage("pgv VERB [OPTIONS]\n       pgv VERB --help")
        .subcommand_help_heading("Verbs")
        .subcommand_value_name("VERB")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(verbs);
    super::args::decorate(command)
}

/// The command line of a program, under the name of its file.
pub(crate) fn program_command(program: Program) -> clap::Command {
    match program.verb() {
        None => front_door_command(),
        Some(verb) => verb.command().name(program.name()),
    }
}

const FRONT_DOOR_EXAMPLES: &str = "\
The verbs archive, fetch, backup, restore, recovery-conf and standby are also programs: pgv-archive,
pgv-fetch, pgv-basebackup, pgv-restore, pgv-recovery-conf, pgv-standby. Any other name runs pgv-NAME.

Examples:
  pgv init --repo /srv/pgv --cluster main        create a repository, see what is missing
  pgv backup                                     take a base backup
  pgv info                                       what is there, and what it can be restored to
  pgv check                                      whether archiving and backups work
  pgv verify                                     whether all of it is as it was stored
  pgv expire                                     what retention would delete; --apply does it
  pgv restore -D DIR --target-time '2026-11-20 14:30:00+00'

The lines that pgv init prints for PostgreSQL:
  archive_command = 'pgv-archive %p %f'          postgresql.conf
  restore_command = 'pgv-fetch %f %p'            written by pgv restore";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_verb() {
        for verb in Verb::ALL {
            assert_eq!(Verb::of_name(verb.name()), Some(verb));
            let named = verb.program().name().to_owned();
            let own = format!("pgv-{}", verb.name());
            assert_eq!(verb.page(), if verb.program() == Program::Pgv { own } else { named });
            for alias in verb.aliases() {
                assert_eq!(Verb::of_name(alias), Some(verb));
            }
        }
        assert_eq!(Verb::of_name("list"), Some(Verb::Info));
        assert_eq!(Verb::of_name("receive"), None);
    }

    #[test]
    fn programs_and_verbs_name_each_other() {
        for program in Program::ALL {
            if let Some(verb) = program.verb() {
                assert_eq!(verb.program(), program);
            }
        }
    }

    #[test]
    fn command_lines_are_consistent() {
        front_door_command().debug_assert();
        for program in Program::ALL {
            program_command(program).debug_assert();
        }
    }
}
