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
    /// The server's certificate does not prove what `sslmode` demands.
    #[error("the certificate of server {endpoint} was refused (sslmode={})", endpoint.ssl_mode)]
    CertificateRefused {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What is wrong with it.
        source: CertificateProblem,
    },
    /// The TLS session did not come about for another reason.
    #[error("could not start TLS with server {endpoint} (sslmode={})", endpoint.ssl_mode)]
    TlsHandshake {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What is wrong.
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
    /// The server wants a proof that we cannot give.
    #[error("server {endpoint} asks for authentication by {method}, which pgv cannot do")]
    MethodUnknown {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// The method.
        method: &'static str,
    },
    /// The server wants a proof that `require_auth` does not allow.
    #[error("server {endpoint} asks for {method}, which require_auth does not allow")]
    MethodNotAllowed {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// The method.
        method: &'static str,
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

/// Why a server's certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// No trusted root vouches for it.
    #[error("it is not signed by a trusted root certificate")]
    UnknownIssuer,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYetValid,
    /// It is made out to somebody else.
    #[error("it is not made out to \"{host}\" but to {}", if names.is_empty() { "no host at all".to_owned() } else { format!("\"{}\"", names.join("\", \"")) })]
    WrongHost {
        /// The host that we meant.
        host: String,
        /// The names that it carries.
        names: Vec<String>,
    },
    /// It is for other purposes than servers.
    #[error("it is not meant for servers")]
    WrongPurpose,
    /// A signature is false: it names a trusted root that did not sign it, or the server has no key for it.
    #[error("its signature is not that of a trusted root certificate")]
    BadSignature,
    /// A signature is by an algorithm that is not known here.
    #[error("it is signed by an algorithm that pgv does not know")]
    UnknownSignature,
    /// Something else.
    #[error("{0}")]
    Other(String),
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
    /// The private key is not the one that the client's certificate is for.
    #[error("private key \"{}\" does not belong to certificate \"{}\"", key.display(), certificate.display())]
    KeyMismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Something that TLS itself complains about.
    #[error("invalid TLS settings")]
    Rejected(#[source] rustls::Error),
    /// Verification by an authority alone needs one that the person chose.
    #[error("sslmode=verify-ca needs a root certificate file (sslrootcert)")]
    NoRootFile,
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
            | Self::CertificateRefused { endpoint, .. }
            | Self::TlsHandshake { endpoint, .. }
            | Self::TlsSetup { endpoint, .. }
            | Self::PasswordMissing { endpoint, .. }
            | Self::ClearTextRefused { endpoint }
            | Self::MethodUnknown { endpoint, .. }
            | Self::MethodNotAllowed { endpoint, .. }
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
            Self::TlsNotOffered { endpoint }
            | Self::CertificateRefused { endpoint, .. }
            | Self::TlsHandshake { endpoint, .. }
            | Self::TlsSetup { endpoint, source: TlsSetupError::NoSystemRoots } => {
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
            Self::TlsNotOffered { .. }
            | Self::CertificateRefused { .. }
            | Self::ClearTextRefused { .. }
            | Self::MethodNotAllowed { .. }
            | Self::WrongRole { .. } => ErrorClass::Refused,
            Self::TlsHandshake { .. } => ErrorClass::Unavailable,
            Self::TlsSetup { .. } => ErrorClass::Usage,
            Self::PasswordMissing { .. } | Self::ChannelBindingMissing { .. } => ErrorClass::PermissionDenied,
            Self::MethodUnknown { .. } => ErrorClass::Unsupported,
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

#[cfg(test)]
mod tests {
    use super::super::fake_server::{endpoint, settings};
    use super::*;

    fn refused(conninfo: &str) -> ConnectError {
        let endpoint = Box::new(endpoint(&settings(conninfo)));
        ConnectError::CertificateRefused { endpoint, source: CertificateProblem::UnknownIssuer }
    }

    fn unreachable(conninfo: &str) -> ConnectError {
        let source = io::Error::from(io::ErrorKind::ConnectionRefused);
        ConnectError::Unreachable { endpoint: Box::new(endpoint(&settings(conninfo))), source }
    }

    #[test]
    fn only_our_own_choice_of_sslmode_asks_for_the_hint() {
        let hint = |error: &ConnectError| error.refused_by_default_ssl_mode().map(|endpoint| endpoint.ssl_mode);
        assert_eq!(hint(&refused("host=db")), Some(SslMode::VerifyFull));
        assert_eq!(hint(&refused("host=db sslmode=verify-full")), None);
        assert_eq!(hint(&unreachable("host=db")), None);
        let several = ConnectError::AllFailed { attempts: vec![unreachable("host=a"), refused("host=b")] };
        assert_eq!(hint(&several), Some(SslMode::VerifyFull));
    }

    #[test]
    fn several_failures_have_the_class_of_the_most_telling_one() {
        let class = |attempts| ConnectError::AllFailed { attempts }.class();
        assert_eq!(class(vec![unreachable("host=a"), unreachable("host=b")]), ErrorClass::Unavailable);
        assert_eq!(class(vec![unreachable("host=a"), refused("host=b")]), ErrorClass::Refused);
        assert_eq!(class(Vec::new()), ErrorClass::Unavailable);
    }

    #[test]
    fn messages_name_server_and_cause() {
        let attempts = vec![unreachable("host=a port=1"), refused("host=/tmp port=2")];
        assert_eq!(
            ConnectError::AllFailed { attempts }.to_string(),
            "could not connect to any of 2 servers: could not connect to server \"a\", port 1: connection refused; \
             the certificate of server \"/tmp/.s.PGSQL.2\" was refused (sslmode=disable): it is not signed by a \
             trusted root certificate"
        );
        let names = vec!["a.test".to_owned(), "192.0.2.1".to_owned()];
        let problem = CertificateProblem::WrongHost { host: "b.test".to_owned(), names };
        assert_eq!(problem.to_string(), "it is not made out to \"b.test\" but to \"a.test\", \"192.0.2.1\"");
    }
}
