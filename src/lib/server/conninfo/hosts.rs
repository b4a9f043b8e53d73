//! The list of servers that a set of settings names.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use super::{ConninfoError, DEFAULT_PORT, values};

/// Where Debian's and the project's own builds put the server's socket; both are tried when nobody named a host.
pub(super) const DEFAULT_SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// LIMIT: hosts in one set of settings.
const MAX_HOSTS: usize = 32;

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostAddress {
    /// Through the socket in this directory; one that begins with `@` is in the abstract name space.
    Socket(PathBuf),
    /// Over the network.
    Tcp {
        /// The name to look up, and the one that the server's certificate must carry.
        name: String,
        /// The address to use instead of looking the name up.
        address: Option<IpAddr>,
    },
}

/// One server to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHost {
    /// How it is reached.
    pub address: HostAddress,
    /// The port, which is part of a socket's name too.
    pub port: u16,
}

impl HostAddress {
    /// Whether the traffic stays on this machine by what was written, not by what a name server says.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Tcp { address: Some(address), .. } => address.is_loopback(),
            Self::Tcp { name, address: None } => {
                name.eq_ignore_ascii_case("localhost")
                    || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }

    /// The name under which passwords for this host are kept in a password file.
    pub(crate) fn passfile_names(&self) -> Vec<String> {
        match self {
            Self::Tcp { name, .. } => vec![name.clone()],
            Self::Socket(directory) => {
                let directory = directory.to_string_lossy().into_owned();
                if DEFAULT_SOCKET_DIRECTORIES.contains(&directory.as_str()) {
                    vec!["localhost".to_owned(), directory]
                } else {
                    vec![directory]
                }
            }
        }
    }
}

impl fmt::Display for ServerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            HostAddress::Socket(directory) => write!(f, "\"{}/.s.PGSQL.{}\"", directory.display(), self.port),
            HostAddress::Tcp { name, address: Some(address) } if address.to_string() != *name => {
                write!(f, "\"{name}\" ({address}), port {}", self.port)
            }
            HostAddress::Tcp { name, .. } => write!(f, "\"{name}\", port {}", self.port),
        }
    }
}

/// Combines the lists of hosts, addresses and ports.
pub(super) fn resolve(
    host: Option<&str>,
    hostaddr: Option<&str>,
    port: Option<&str>,
) -> Result<Vec<ServerHost>, ConninfoError> {
    let split = |list: Option<&str>| -> Vec<String> {
        list.map(|list| list.split(',').map(|entry| entry.trim().to_owned()).collect()).unwrap_or_default()
    };
    let (names, addresses, ports) = (split(host), split(hostaddr), split(port));
    let count = if addresses.is_empty() { names.len() } else { addresses.len() }.max(1);
    if count > MAX_HOSTS {
        return Err(ConninfoError::TooManyHosts { found: count, limit: MAX_HOSTS });
    }
    if !names.is_empty() && names.len() != count {
        return Err(ConninfoError::ListLength { keyword: "host", found: names.len(), expected: count });
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(ConninfoError::ListLength { keyword: "port", found: ports.len(), expected: count });
    }
    let mut hosts = Vec::new();
    for index in 0..count {
        let entry = |list: &[String]| list.get(index).filter(|entry| !entry.is_empty()).cloned();
        let port = match ports.as_slice() {
            [only] => Some(only.clone()),
            list => list.get(index).cloned(),
        };
        let port = match port.filter(|port| !port.is_empty()) {
            Some(text) => values::port(&text)?,
            None => DEFAULT_PORT,
        };
        for address in host_addresses(entry(&names), entry(&addresses))? {
            hosts.push(ServerHost { address, port });
        }
    }
    Ok(hosts)
}

fn host_addresses(name: Option<String>, address: Option<String>) -> Result<Vec<HostAddress>, ConninfoError> {
    if let Some(text) = address {
        let address = text.parse().map_err(|_| ConninfoError::InvalidValue {
            keyword: "hostaddr",
            value: text.clone(),
            expected: "an IPv4 or IPv6 address",
        })?;
        return Ok(vec![HostAddress::Tcp { name: name.unwrap_or(text), address: Some(address) }]);
    }
    match name {
        None => Ok(DEFAULT_SOCKET_DIRECTORIES.iter().map(|path| HostAddress::Socket(PathBuf::from(path))).collect()),
        Some(name) if name.starts_with('/') || name.starts_with('@') => {
            Ok(vec![HostAddress::Socket(PathBuf::from(name))])
        }
        Some(name) if name.contains('/') => Err(ConninfoError::RelativeSocketDirectory { path: PathBuf::from(name) }),
        Some(name) => Ok(vec![HostAddress::Tcp { name, address: None }]),
    }
}
