//! Commands for the person who reads them: as short as works where they are pasted.
//!
//! What the *server* runs is made elsewhere, always with absolute paths (`recovery_commands`). People get a bare name
//! when PATH finds this very program, no `--config` when the file is found without, and the account in front when
//! whoever started us is another one than we are.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::front_door::is_executable;
use super::program::Program;
use crate::config::{Configuration, account_name};
use crate::fs::read_at_most;
use crate::pg::shell_quote;
use crate::repository::ClusterName;
use crate::restore::start::pg_ctl_in;

/// Where Debian's packages have the programs of a version.
const DEBIAN_PROGRAMS: &str = "/usr/lib/postgresql";
/// LIMIT: bytes of PG_VERSION; it holds one number.
const VERSION_FILE_BYTES_MAX: u64 = 64;

/// How commands are typed here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Typed {
    /// `runuser -u postgres -- `, or nothing.
    account: String,
    /// `/opt/pgv/bin/`, or nothing.
    folder: String,
    /// ` --config FILE` and the like, or nothing.
    options: String,
}

impl Typed {
    /// By what was found out of this run.
    pub(crate) fn of(configuration: &Configuration) -> Self {
        let executable = std::env::current_exe().ok();
        let folder = executable.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let needed = configuration.command_options().iter();
        let needed = needed.filter(|(flag, _)| *flag != "--config" || !configuration.is_usual_file());
        let options = needed.map(|(flag, value)| format!(" {flag} {}", shell_quote(&value.to_string_lossy())));
        Self {
            account: account_of(configuration),
            folder: if is_in_path(folder, configuration.variable("PATH")) {
                String::new()
            } else {
                shown(folder) + "/"
            },
            options: options.collect(),
        }
    }

    /// A program of ours with the settings of this run: `pgv-restore`, `/opt/pgv/bin/pgv-restore --config FILE`.
    pub(crate) fn program(&self, program: Program, arguments: &str) -> String {
        format!("{}{}{}{} {arguments}", self.account, self.folder, program.name(), self.options)
    }

    /// A program of ours that needs no settings.
    pub(crate) fn program_alone(&self, program: Program, arguments: &str) -> String {
        format!("{}{}{} {arguments}", self.account, self.folder, program.name())
    }

    /// A program of ours for that cluster, whatever was named here.
    pub(crate) fn program_for(&self, program: Program, cluster: &ClusterName, arguments: &str) -> String {
        let options = self.options.split(" --cluster ").next().unwrap_or_default();
        format!("{}{}{}{options} --cluster {cluster} {arguments}", self.account, self.folder, program.name())
    }

    /// `pgv VERB`, whose options name the cluster themselves.
    pub(crate) fn verb(&self, verb: &str, arguments: &str) -> String {
        let options = self.options.split(" --cluster ").next().unwrap_or_default();
        format!("{}{}pgv {verb}{options} {arguments}", self.account, self.folder)
    }

    /// A command of somebody else's, as the account that owns the data directory.
    pub(crate) fn other(&self, command: &str) -> String {
        format!("{}{command}", self.account)
    }

    /// The command that starts or stops the server of a data directory.
    pub(crate) fn pg_ctl(&self, directory: &Path, action: &str) -> String {
        self.other(&format!("{} {action}", pg_ctl_in(&server_program(version_of(directory), "pg_ctl"), directory)))
    }
}

/// The version of a data directory.
pub(crate) fn version_of(directory: &Path) -> Option<u32> {
    let version = read_at_most(&directory.join("PG_VERSION"), VERSION_FILE_BYTES_MAX).unwrap_or_default();
    String::from_utf8_lossy(&version).trim().parse().ok()
}

/// A program of a server's version, where Debian has it, else by its name alone.
pub(crate) fn server_program(version: Option<u32>, name: &str) -> String {
    let debian = version.map(|version| Path::new(DEBIAN_PROGRAMS).join(version.to_string()).join("bin").join(name));
    debian.filter(|path| is_executable(path)).map_or_else(|| name.to_owned(), |path| shown(&path))
}

pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Whether PATH finds the programs of that directory first.
fn is_in_path(folder: &Path, path: Option<&str>) -> bool {
    let name = Program::Pgv.name();
    let ours = crate::fs::real_path(&folder.join(name)).ok();
    let folders = std::env::split_paths(path.unwrap_or_default()).filter(|folder| folder.is_absolute());
    let found = folders.map(|folder| folder.join(name)).find(|candidate| is_executable(candidate));
    ours.is_some() && found.and_then(|found| crate::fs::real_path(&found).ok()) == ours
}

/// What comes before a command, so that it runs as this account: when our parent is of another one, whoever reads this
/// sits there (`runuser -u postgres -- pgv ...`, `sudo`, a unit of systemd).
fn account_of(configuration: &Configuration) -> String {
    let own = rustix::process::geteuid();
    let parent = rustix::process::getppid().map(|pid| format!("/proc/{}", pid.as_raw_nonzero()));
    let parent = parent.and_then(|path| Path::new(&path).metadata().ok()).map(|metadata| metadata.uid());
    if own.is_root() || parent.is_none_or(|parent| parent == own.as_raw()) {
        return String::new();
    }
    let with_sudo = configuration.variable("SUDO_USER").is_some();
    account_name(own.as_raw()).map(|name| switch_to(&name, with_sudo)).unwrap_or_default()
}

/// The words by which another account runs a command.
pub(crate) fn switch_to(name: &str, with_sudo: bool) -> String {
    let name = shell_quote(name);
    if with_sudo { format!("sudo -u {name} ") } else { format!("runuser -u {name} -- ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_bare_name_only_where_path_finds_this_very_program() {
        let temp = tempfile::tempdir().unwrap();
        let folders = ["one", "two", "linked"].map(|name| temp.path().join(name));
        for folder in &folders {
            std::fs::create_dir(folder).unwrap();
        }
        let [one, two, linked] = &folders;
        let path = |folders: &[&Path]| std::env::join_paths(folders).unwrap().into_string().unwrap();
        for folder in [one, two] {
            std::fs::write(folder.join("pgv"), "").unwrap();
            std::fs::set_permissions(folder.join("pgv"), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::symlink(one.join("pgv"), linked.join("pgv")).unwrap();
        assert!(is_in_path(one, Some(&path(&[one, two]))));
        assert!(is_in_path(one, Some(&path(&[linked, two]))), "by a link to it");
        assert!(!is_in_path(one, Some(&path(&[two, one]))), "another one comes first");
        assert!(!is_in_path(one, Some(&path(&[temp.path()]))));
        assert!(!is_in_path(one, None));
    }

    #[test]
    fn commands_have_all_that_they_need_and_no_more() {
        let short = Typed::default();
        assert_eq!(short.program(Program::BaseBackup, "--checkpoint fast"), "pgv-basebackup --checkpoint fast");
        assert_eq!(short.verb("init", "--cluster b"), "pgv init --cluster b");
        assert_eq!(short.other("psql"), "psql");
        let long = Typed {
            account: switch_to("postgres", false),
            folder: "/opt/pgv/bin/".to_owned(),
            options: " --config /x/pgv.toml --cluster main".to_owned(),
        };
        assert_eq!(
            long.program(Program::Archive, "%p %f"),
            "runuser -u postgres -- /opt/pgv/bin/pgv-archive --config /x/pgv.toml --cluster main %p %f"
        );
        assert_eq!(
            long.verb("init", "--cluster b"),
            "runuser -u postgres -- /opt/pgv/bin/pgv init --config /x/pgv.toml --cluster b"
        );
        assert_eq!(
            long.program_alone(Program::RecoveryConf, "--clear -D d"),
            "runuser -u postgres -- /opt/pgv/bin/pgv-recovery-conf --clear -D d"
        );
        assert_eq!(long.pg_ctl(Path::new("/it's"), "stop"), r"runuser -u postgres -- pg_ctl -D '/it'\''s' stop");
        assert_eq!(switch_to("postgres", true), "sudo -u postgres ");
    }
}
