//! Why a server could not be reached, or would not let us in.
//!
//! INVARIANT: no variant holds a password or a part of one.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::conninfo::{PasswordFileProblem, ServerHost, SslMode, TargetSession};
use super::framing::ProtocolError;
use super::message::ServerMessage;
use crate::error::{Classified, ErrorClass};

/// Which server, as whom, with how much TLS: what every connection error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The host as it was given.
    pub host: ServerHost,
    /// The address that its name led to.
    pub address: Option<IpAddr>,
    /// The role.
    pub user: String,
    /// The database; none for replication.
    pub database: Option<String>,
    /// How much TLS was demanded.
    pub ssl_mode: SslMode,
    /// Whether the person chose that; otherwise it is our default, and a hint may name `sslmode=...`.
    pub ssl_mode_given: bool,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.to_string();
        match self.address {
            Some(address) if !host.contains(&address.to_string()) => {
                write!(f, "{host} (address {address})")
            }
            _ => f.write_str(&host),
        }
    }
}

/// A connection that did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name of the host could not be looked up.
    #[error("could not look up the address of server {endpoint}")]
    NotResolved {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("could not connect to server {endpoint}")]
    Unreachable {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What the system said.
        source: io::Error,
    },
    /// The connection was not ready for use in time.
    #[error("could not connect to server {endpoint} within {} s", limit.as_secs())]
    TimedOut {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// How long it was waited.
        limit: Duration,
    },
    /// TLS was demanded and the server has none.
    #[error("server {endpoint} does not offer TLS, which sslmode={} demands", endpoint.ssl_mode)]
    TlsNotOffered {
        /// Which server.
        endpoint: Box<Endpoint>,
    },
    /// The TLS session did not come about, an untrusted certificate included.
    #[error("could not start TLS with server {endpoint} (sslmode={})", endpoint.ssl_mode)]
    TlsHandshake {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What is wrong; a [`rustls::Error`] inside when the certificate was refused.
        source: io::Error,
    },
    /// Certificates or keys of ours that cannot be used.
    #[error("could not set up TLS for server {endpoint}")]
    TlsSetup {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What is wrong.
        source: TlsSetupError,
    },
    /// The server asks for a password and there is none.
    #[error("server {endpoint} asks for the password of role \"{}\" and none is known", endpoint.user)]
    PasswordMissing {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// Why the password file was not used, when there is one.
        source: Option<PasswordFileProblem>,
    },
    /// The server wants the password in clear text on an open connection.
    #[error("server {endpoint} asks for the password in clear text over an unencrypted connection")]
    ClearTextRefused {
        /// Which server.
        endpoint: Box<Endpoint>,
    },
    /// The server wants a proof that we do not have or may not give.
    #[error("server {endpoint} asks for authentication by {method}, which {why}")]
    AuthenticationRefused {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// The method.
        method: String,
        /// Why it is not used, to follow "which".
        why: &'static str,
    },
    /// Channel binding was demanded and did not happen.
    #[error("channel binding is required and server {endpoint} {problem}")]
    ChannelBindingMissing {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What happened instead, to follow the server's name.
        problem: &'static str,
    },
    /// The exchange of proofs failed on our side.
    #[error("SCRAM authentication with server {endpoint} failed: {problem}")]
    Scram {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What is wrong.
        problem: String,
        /// Whether the server is to blame: it does not know our password either, or breaks the rules.
        server_at_fault: bool,
    },
    /// The server refused us.
    #[error("server {endpoint} refused the connection")]
    Rejected {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What it said.
        source: Box<ServerMessage>,
    },
    /// The server does not speak the protocol, or went away.
    #[error("connection to server {endpoint} failed")]
    Protocol {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What is wrong.
        source: ProtocolError,
    },
    /// The server is not of the kind that was asked for.
    #[error("server {endpoint} is not a {}", match wanted { TargetSession::ReadWrite => "server that accepts writes", _ => "primary" })]
    WrongRole {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What was asked for.
        wanted: TargetSession,
    },
    /// None of several servers would do.
    #[error("could not connect to any of {} servers: {}", attempts.len(), joined(attempts))]
    AllFailed {
        /// What happened with each, in the order of trying.
        attempts: Vec<ConnectError>,
    },
}

/// Certificates or keys of ours that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// A file could not be read.
    #[error("could not read {what} \"{}\"", path.display())]
    Unreadable {
        /// What the file is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{what} \"{}\" {problem}", path.display())]
    Invalid {
        /// What the file is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Others may read the private key.
    #[error("private key \"{}\" has mode {mode:04o}: others must have no access, the group at most if root owns it", path.display())]
    KeyMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system has no root certificates.
    #[error("no root certificates found on this system")]
    NoSystemRoots,
    /// Certificate and key do not work together, or something else that TLS itself complains about.
    #[error("invalid TLS settings")]
    Rejected(#[source] rustls::Error),
    /// The host's name cannot stand in a certificate.
    #[error("host name \"{name}\" cannot be verified")]
    HostName {
        /// The name.
        name: String,
    },
}

/// The whole chain of one error on one line; only for lists, which have no single source.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn joined(attempts: &[ConnectError]) -> String {
    attempts.iter().map(|attempt| chain(attempt)).collect::<Vec<_>>().join("; ")
}

impl ConnectError {
    /// Which server it is about; the last one tried when there were several.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::NotResolved { endpoint, .. }
            | Self::Unreachable { endpoint, .. }
            | Self::TimedOut { endpoint, .. }
            | Self::TlsNotOffered { endpoint }
            | Self::TlsHandshake { endpoint, .. }
            | Self::TlsSetup { endpoint, .. }
            | Self::PasswordMissing { endpoint, .. }
            | Self::ClearTextRefused { endpoint }
            | Self::AuthenticationRefused { endpoint, .. }
            | Self::ChannelBindingMissing { endpoint, .. }
            | Self::Scram { endpoint, .. }
            | Self::Rejected { endpoint, .. }
            | Self::Protocol { endpoint, .. }
            | Self::WrongRole { endpoint, .. } => Some(endpoint),
            Self::AllFailed { attempts } => attempts.last().and_then(Self::endpoint),
        }
    }

    /// What the server said, when it refused us.
    pub fn server_message(&self) -> Option<&ServerMessage> {
        match self {
            Self::Rejected { source, .. } => Some(source),
            Self::AllFailed { attempts } => attempts.iter().rev().find_map(Self::server_message),
            _ => None,
        }
    }

    /// The server that was refused only because nobody chose an `sslmode` and ours verifies remote hosts. The hint is
    /// to name a trusted root (`sslrootcert=FILE`) or to choose a weaker `sslmode=...` deliberately.
    pub fn refused_by_default_ssl_mode(&self) -> Option<&Endpoint> {
        match self {
            Self::TlsNotOffered { endpoint } | Self::TlsHandshake { endpoint, .. } => {
                Some(endpoint.as_ref()).filter(|endpoint| !endpoint.ssl_mode_given)
            }
            Self::TlsSetup { endpoint, source: TlsSetupError::NoSystemRoots } => {
                Some(endpoint.as_ref()).filter(|endpoint| !endpoint.ssl_mode_given)
            }
            Self::AllFailed { attempts } => attempts.iter().find_map(Self::refused_by_default_ssl_mode),
            _ => None,
        }
    }

    /// Whether another server of the list may be tried: a server that answers and says no is the last one.
    pub(crate) fn allows_next_host(&self) -> bool {
        match self {
            Self::NotResolved { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } | Self::WrongRole { .. } => {
                true
            }
            Self::Protocol { source, .. } => source.class() != ErrorClass::Corrupt,
            Self::Rejected { source, .. } => source.has_code("57P03"),
            _ => false,
        }
    }
}

impl Classified for ConnectError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotResolved { .. } | Self::Unreachable { .. } => ErrorClass::Unavailable,
            Self::TimedOut { .. } => ErrorClass::TimedOut,
            Self::TlsNotOffered { .. } | Self::ClearTextRefused { .. } | Self::WrongRole { .. } => ErrorClass::Refused,
            Self::TlsHandshake { source, .. } => tls_class(source),
            Self::TlsSetup { .. } => ErrorClass::Usage,
            Self::PasswordMissing { .. } | Self::ChannelBindingMissing { .. } => ErrorClass::PermissionDenied,
            Self::AuthenticationRefused { .. } => ErrorClass::Unsupported,
            Self::Scram { server_at_fault, .. } => {
                if *server_at_fault {
                    ErrorClass::Corrupt
                } else {
                    ErrorClass::Unsupported
                }
            }
            Self::Rejected { source, .. } => source.class(),
            Self::Protocol { source, .. } => source.class(),
            // The most telling attempt: a refusal says more than silence.
            Self::AllFailed { attempts } => attempts
                .iter()
                .map(Classified::class)
                .find(|class| !matches!(class, ErrorClass::Unavailable | ErrorClass::TimedOut))
                .or_else(|| attempts.last().map(Classified::class))
                .unwrap_or(ErrorClass::Unavailable),
        }
    }
}

/// A refused certificate is a refusal; a connection that broke while shaking hands may work later.
fn tls_class(error: &io::Error) -> ErrorClass {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(_) => ErrorClass::Refused,
        None => ErrorClass::Unavailable,
    }
}
