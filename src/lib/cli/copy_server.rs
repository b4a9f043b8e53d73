//! How the server of a restored directory is started and reached: at its original's places, or at others when those
//! are taken.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::front_door::is_executable;
use super::typed::{server_program, version_of};
use crate::fs::{self, PathFacts};
use crate::pg::shell_quote;
use crate::restore::start::{ServerPrograms, Settled, StartReport, pg_ctl_command};
use crate::restore::{ConfigurationPlace, RestorePlan};

/// LIMIT: ports that are tried for a copy beside its original.
const PORTS_TRIED: usize = 100;
/// LIMIT: bytes of the path of a socket's directory; with its name, the system takes 107.
const SOCKET_FOLDER_BYTES_MAX: usize = 88;
const SOCKETS: &str = "unix_socket_directories";
/// Where servers listen whose configuration names no place: PostgreSQL's own, and that of Debian's packages.
const DEFAULT_PORT: u16 = 5432;
const DEFAULT_SOCKETS: &str = "/tmp, /var/run/postgresql";

/// Where a server lies, and where it would listen.
#[derive(Clone, Copy)]
struct Places<'a> {
    directory: &'a Path,
    version: Option<u32>,
    port: Option<u16>,
    sockets: Option<&'a str>,
}

/// The server of a restored directory.
#[derive(Debug, Clone)]
pub(super) struct CopyServer {
    /// Settings for its command line.
    pub(super) settings: Vec<(String, String)>,
    /// What it says before it knows where its log goes.
    pub(super) log: PathBuf,
    /// Where it listens.
    pub(super) port: Option<u16>,
    /// The first directory of its sockets.
    pub(super) socket_directory: Option<PathBuf>,
    /// What it has come to, when it was started.
    pub(super) settled: Option<Settled>,
    directory: PathBuf,
    /// `pg_ctl` and `psql`, as they are typed.
    pg_ctl: String,
    psql: String,
}

impl CopyServer {
    /// As it would be started now, with these settings on its command line in any case; not at the ports at which it
    /// could not be started, whoever has them.
    pub(super) fn of(
        plan: &RestorePlan,
        command_line: &[(String, String)],
        programs: Option<&ServerPrograms>,
        failed_ports: &[u16],
    ) -> Self {
        let recorded = |name| plan.record.setting(name);
        let places = Places {
            directory: &plan.directory,
            version: Some(plan.record.major_version.get()),
            port: recorded("port").and_then(|port| port.parse().ok()),
            sockets: recorded(SOCKETS),
        };
        Self::at(&places, command_line, programs, failed_ports)
    }

    /// That of a directory of which only its own files are known, whose configuration lies there.
    pub(super) fn of_directory(directory: &Path, configuration: &ConfigurationPlace) -> Self {
        let found = |name| configuration.settings.get(name).map(String::as_str);
        let places = Places {
            directory,
            version: version_of(directory),
            port: Some(found("port").and_then(|port| port.parse().ok()).unwrap_or(DEFAULT_PORT)),
            sockets: found(SOCKETS),
        };
        Self::at(&places, &configuration.command_line, None, &[])
    }

    fn at(
        places: &Places<'_>,
        command_line: &[(String, String)],
        programs: Option<&ServerPrograms>,
        failed_ports: &[u16],
    ) -> Self {
        let &Places { directory, version, port: own_port, sockets } = places;
        // A directory of server programs need not have clients.
        let program = |name: &str| match programs.map(|programs| programs.path(name)).filter(|path| is_executable(path))
        {
            Some(path) => shell_quote(&path.display().to_string()),
            None => server_program(version, name),
        };
        let mut settings = command_line.to_vec();
        let mut replace = |name: &str, value: &str| {
            settings.retain(|(setting, _)| setting != name);
            settings.push((name.to_owned(), value.to_owned()));
        };
        let other_port = own_port.and_then(|port| other_port(port, sockets.unwrap_or(DEFAULT_SOCKETS), failed_ports));
        if let Some(port) = other_port {
            replace("port", &port.to_string());
        }
        let other_folder = sockets.and_then(|folders| other_socket_folder(folders, directory));
        if let Some(folder) = &other_folder {
            replace(SOCKETS, folder);
        }
        let folders = other_folder.as_deref().or(sockets).unwrap_or_default();
        Self {
            settings,
            log: log_place(directory),
            port: other_port.or(own_port),
            socket_directory: socket_folders(folders).next().map(PathBuf::from),
            settled: None,
            directory: directory.to_owned(),
            pg_ctl: program("pg_ctl"),
            psql: program("psql"),
        }
    }

    /// As it was found to run.
    pub(super) fn started(&mut self, report: &StartReport) {
        self.settled = Some(report.settled);
        if let Some(file) = &report.server {
            self.port = file.port;
            self.socket_directory.clone_from(&file.socket_directory);
        }
    }

    /// Whether it runs.
    pub(super) fn is_running(&self) -> bool {
        self.settled.is_some_and(|settled| settled != Settled::ShutDown)
    }

    /// The command that starts it, whatever its configuration says about other directories.
    pub(super) fn start_command(&self) -> String {
        pg_ctl_command(&self.pg_ctl, (&self.directory, &self.log), &self.settings, "start")
    }

    /// The command that restarts it in the same way.
    pub(super) fn restart_command(&self) -> String {
        pg_ctl_command(&self.pg_ctl, (&self.directory, &self.log), &self.settings, "restart")
    }

    /// The command that stops it.
    pub(super) fn stop_command(&self) -> String {
        format!("{} -D {} stop", self.pg_ctl, shell_quote(&self.directory.display().to_string()))
    }

    /// `psql` with all that it needs to reach it.
    pub(super) fn psql_command(&self) -> String {
        format!("{}{} -d postgres", self.psql, self.connection_options())
    }

    /// The options by which any client reaches it, and not its original.
    pub(super) fn connection_options(&self) -> String {
        let mut options = String::new();
        if let Some(folder) = &self.socket_directory {
            let _ = write!(options, " -h {}", shell_quote(&folder.display().to_string()));
        }
        if let Some(port) = self.port {
            let _ = write!(options, " -p {port}");
        }
        options
    }
}

fn socket_folders(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(|folder| folder.trim().trim_matches('"')).filter(|folder| !folder.is_empty())
}

/// A free port, when somebody else, the original most likely, answers at the recorded one: the copy could not start
/// there, and what is meant for it would go to the other server.
fn other_port(recorded: u16, folders: &str, failed: &[u16]) -> Option<u16> {
    let is_used = |port: u16| {
        let socket = |folder: &str| UnixStream::connect(Path::new(folder).join(format!(".s.PGSQL.{port}"))).is_ok();
        // It may be taken at an address that is not asked here.
        failed.contains(&port)
            || socket_folders(folders).any(socket)
            || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    };
    if !is_used(recorded) {
        return None;
    }
    (recorded.checked_add(1)?..=u16::MAX).take(PORTS_TRIED).find(|port| !is_used(*port))
}

/// The data directory, when the sockets' own cannot be written to here: the server would not start.
fn other_socket_folder(folders: &str, directory: &Path) -> Option<String> {
    let is_writable = |folder: &str| folder.starts_with('@') || is_writable(Path::new(folder));
    if socket_folders(folders).all(is_writable) {
        return None;
    }
    let own = directory.to_str()?;
    (own.len() <= SOCKET_FOLDER_BYTES_MAX && !own.contains([',', '"'])).then(|| own.to_owned())
}

/// Beside the data directory; inside where nothing can be created there.
fn log_place(directory: &Path) -> PathBuf {
    let mut beside = directory.as_os_str().to_owned();
    beside.push(".log");
    let beside = PathBuf::from(beside);
    let parent = directory.parent().unwrap_or(Path::new("/"));
    let is_possible = matches!(fs::look_at(&beside), Ok(Some(_)))
        || is_writable(parent)
        || !matches!(fs::look_at(parent), Ok(Some(_)));
    if is_possible { beside } else { directory.join("pgv-start.log") }
}

fn is_writable(folder: &Path) -> bool {
    // The path may lead there by links, as /var/run does.
    let folder = fs::real_path(folder).unwrap_or_else(|_| folder.to_owned());
    matches!(fs::look_at(&folder), Ok(Some(PathFacts { is_writable: true, .. })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_missing_here_is_replaced_by_the_data_directory() {
        let temp = tempfile::tempdir().unwrap();
        let there = temp.path().display().to_string();
        let data = Path::new("/srv/restored/main");
        assert_eq!(other_socket_folder(&there, data), None);
        assert_eq!(other_socket_folder("", data), None);
        assert_eq!(other_socket_folder("@abstract", data), None);
        let absent = temp.path().join("absent").display().to_string();
        assert_eq!(other_socket_folder(&absent, data).as_deref(), Some("/srv/restored/main"));
        assert_eq!(other_socket_folder(&format!("{there}, {absent}"), data).as_deref(), Some("/srv/restored/main"));
        let long = PathBuf::from("/x".repeat(60));
        assert_eq!(other_socket_folder(&absent, &long), None);
    }

    #[test]
    fn a_port_at_which_it_could_not_be_started_is_not_tried_again() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let recorded = taken.local_addr().unwrap().port();
        let Some(first) = other_port(recorded, "", &[]) else { return assert_eq!(recorded, u16::MAX) };
        assert!(first > recorded);
        let second = other_port(recorded, "", &[first]).unwrap();
        assert!(second > first);
        drop(taken);
        // Also when nobody answers at it.
        assert_eq!(other_port(second, "", &[second]).map(|port| port > second), Some(true));
    }

    #[test]
    fn the_log_is_beside_the_directory_where_that_is_possible() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(log_place(&temp.path().join("main")), temp.path().join("main.log"));
        assert_eq!(log_place(Path::new("/absent/main")), Path::new("/absent/main.log"));
    }
}
