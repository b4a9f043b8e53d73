//! Why a server could not be reached, or would not let us in.
//!
//! INVARIANT: no variant holds a password or a part of one.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::conninfo::{PasswordFileProblem, ServerHost, SslMode, TargetSession};
use super::framing::ProtocolError;
use super::message::ServerMessage;
use super::tls::{CertificateProblem, TlsSetupError};
use crate::error::{Classified, ErrorClass, chain};

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
    /// The server does not know our password either, or breaks the rules of the exchange.
    #[error("SCRAM authentication with server {endpoint} failed: {problem}")]
    Scram {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What is wrong.
        problem: String,
    },
    /// Our certificate was to be shown, and the server did not ask for it.
    #[error("server {endpoint} {problem}, which sslcertmode=require demands")]
    ClientCertificateUnused {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What happened instead, to follow the server's name.
        problem: &'static str,
    },
    /// The server behind a local socket runs as somebody else.
    #[error("server {endpoint} runs as account {found}, and requirepeer demands \"{required}\"")]
    WrongPeer {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// The account it should run as.
        required: String,
        /// The account it runs as, quoted, or its number.
        found: String,
    },
    /// What answers is not PostgreSQL itself: sessions behind it come and go.
    #[error("server {endpoint} is a connection pooler, not PostgreSQL itself: {sign}")]
    Pooler {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// By what it was recognised.
        sign: &'static str,
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
    #[error("server {endpoint} is not {}", wanted_role(*wanted))]
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

fn wanted_role(wanted: TargetSession) -> &'static str {
    match wanted {
        TargetSession::Any => "a server",
        TargetSession::ReadWrite => "a server that accepts writes",
        TargetSession::ReadOnly => "a server that accepts no writes",
        TargetSession::Primary => "a primary",
        TargetSession::Standby | TargetSession::PreferStandby => "a standby",
    }
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
            | Self::ClientCertificateUnused { endpoint, .. }
            | Self::WrongPeer { endpoint, .. }
            | Self::Pooler { endpoint, .. }
            | Self::WrongRole { endpoint, .. } => Some(endpoint),
            Self::AllFailed { attempts } => attempts.last().and_then(Self::endpoint),
        }
    }

    /// The same, unless it is what PgBouncer says to clients that want replication: before 1.23 it has none.
    pub(crate) fn naming_the_pooler(self) -> Self {
        match self {
            // protocol_violation
            Self::Rejected { endpoint, source }
                if source.has_code("08P01") && source.message == "unsupported startup parameter: replication" =>
            {
                Self::Pooler { endpoint, sign: "it knows no replication" }
            }
            error => error,
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

    /// Whether a server was passed over only because it is of another kind than the one that was asked for.
    pub(crate) fn is_about_role(&self) -> bool {
        match self {
            Self::WrongRole { .. } => true,
            Self::AllFailed { attempts } => attempts.iter().any(Self::is_about_role),
            _ => false,
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
            | Self::ClientCertificateUnused { .. }
            | Self::WrongPeer { .. }
            | Self::Pooler { .. }
            | Self::WrongRole { .. } => ErrorClass::Refused,
            Self::TlsHandshake { .. } => ErrorClass::Unavailable,
            Self::TlsSetup { .. } => ErrorClass::Usage,
            Self::PasswordMissing { .. } | Self::ChannelBindingMissing { .. } => ErrorClass::PermissionDenied,
            Self::MethodUnknown { .. } => ErrorClass::Unsupported,
            Self::Scram { .. } => ErrorClass::Corrupt,
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
    fn a_pooler_without_replication_is_called_what_it_is() {
        let rejected = |text: &str| ConnectError::Rejected {
            endpoint: Box::new(endpoint(&settings("host=db"))),
            source: Box::new(ServerMessage {
                severity: "FATAL".to_owned(),
                sqlstate: ServerMessage::sqlstate_of("08P01"),
                message: text.to_owned(),
                detail: None,
                hint: None,
                routine: None,
            }),
        };
        let named = rejected("unsupported startup parameter: replication").naming_the_pooler();
        assert_eq!(
            named.to_string(),
            "server \"db\", port 5432 is a connection pooler, not PostgreSQL itself: it knows no replication"
        );
        assert!(matches!(rejected("something else").naming_the_pooler(), ConnectError::Rejected { .. }));
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
