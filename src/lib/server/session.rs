//! A connection that is logged in and ready for commands: the part that SQL and replication share
//! (`PQconnectPoll` in `src/interfaces/libpq/fe-connect.c`).
//!
//! Hosts and their addresses are tried in order; a server that answers and refuses us ends the search.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::auth::{Login, Protection};
use super::conninfo::{
    ClientCertificateMode, ConnectionSettings, PasswordFileProblem, PasswordQuery, ServerHost, SslMode, TargetSession,
    look_up_password,
};
use super::error::{ConnectError, Endpoint};
use super::framing::{Body, MessageStream, ProtocolError, Transport};
use super::message::{NoticeBuffer, ServerMessage};
use super::query;
use super::role;
use super::secret::Secret;
use super::stream::{self, Place};
use super::tls;

/// LIMIT: parameters that a server may report.
const MAX_PARAMETERS: usize = 256;

/// What the session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// SQL commands in a database.
    Sql,
    /// Physical replication commands; there is no database.
    Replication,
}

/// A session that is ready for a command.
pub(crate) struct Session {
    pub(crate) stream: MessageStream,
    pub(crate) endpoint: Endpoint,
    /// What the server reported about itself, as `server_version`.
    pub(crate) parameters: BTreeMap<String, String>,
    /// The process and key that a cancel request names.
    pub(crate) backend_key: Option<(i32, i32)>,
    pub(crate) notices: NoticeBuffer,
    /// A password file that was not used; the person should hear of it even when all went well.
    pub(crate) passfile_problem: Option<PasswordFileProblem>,
}

/// How one attempt treats TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    Never,
    IfOffered,
    Always,
}

impl Session {
    /// Connects to the first server that will do.
    pub(crate) async fn connect(settings: &ConnectionSettings, purpose: Purpose) -> Result<Self, ConnectError> {
        if settings.target_session != TargetSession::PreferStandby {
            return Self::connect_to_first(settings, purpose).await;
        }
        let wanting = |target_session| ConnectionSettings { target_session, ..settings.clone() };
        match Self::connect_to_first(&wanting(TargetSession::Standby), purpose).await {
            Err(error) if error.is_about_role() => Self::connect_to_first(&wanting(TargetSession::Any), purpose).await,
            result => result,
        }
    }

    async fn connect_to_first(settings: &ConnectionSettings, purpose: Purpose) -> Result<Self, ConnectError> {
        let mut attempts = Vec::new();
        for host in role::in_order(settings, &settings.hosts) {
            let places = places(settings, purpose, host, &mut attempts).await;
            for place in role::in_order(settings, &places) {
                let endpoint = endpoint(settings, purpose, host, place);
                match connect_to(settings, purpose, &endpoint, place).await {
                    Ok(session) => return Ok(session),
                    Err(error) if error.allows_next_host() => attempts.push(error),
                    Err(error) => return Err(error),
                }
            }
        }
        match <[ConnectError; 1]>::try_from(attempts) {
            Ok([only]) => Err(only),
            Err(attempts) => Err(ConnectError::AllFailed { attempts }),
        }
    }

    /// The server's version as `server_version_num` writes it; `None` when it reported none that can be read.
    pub(crate) fn version_num(&self) -> Option<u32> {
        self.parameters.get("server_version").and_then(|text| parse_version(text))
    }
}

/// Where a host may answer; none, with the reason noted, when its name cannot be looked up.
async fn places(
    settings: &ConnectionSettings,
    purpose: Purpose,
    host: &ServerHost,
    attempts: &mut Vec<ConnectError>,
) -> Vec<Place> {
    let here = || Box::new(endpoint_of(settings, purpose, host, None));
    match within(settings.connect_timeout, stream::look_up(host)).await {
        Ok(Ok(places)) => return places,
        Ok(Err(source)) => attempts.push(ConnectError::NotResolved { endpoint: here(), source }),
        Err(limit) => attempts.push(ConnectError::TimedOut { endpoint: here(), limit }),
    }
    Vec::new()
}

fn endpoint(settings: &ConnectionSettings, purpose: Purpose, host: &ServerHost, place: &Place) -> Endpoint {
    let address = match place {
        Place::Socket(_) => None,
        Place::Tcp(address) => Some(address.ip()),
    };
    endpoint_of(settings, purpose, host, address)
}

fn endpoint_of(
    settings: &ConnectionSettings,
    purpose: Purpose,
    host: &ServerHost,
    address: Option<IpAddr>,
) -> Endpoint {
    let ssl_mode_given = settings.tls.mode.is_some();
    let mut ssl_mode = settings.tls.mode_for(&host.address);
    // "localhost" is exempt from verification only while it leads to this machine.
    let unverified = !matches!(ssl_mode, SslMode::Disable | SslMode::VerifyFull);
    if !ssl_mode_given && unverified && address.is_some_and(|address| !address.is_loopback()) {
        ssl_mode = SslMode::VerifyFull;
    }
    Endpoint {
        host: host.clone(),
        address,
        user: settings.user.clone(),
        database: (purpose == Purpose::Sql).then(|| settings.dbname.clone()),
        ssl_mode,
        ssl_mode_given,
    }
}

/// Waits no longer than that.
pub(crate) async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, Duration> {
    match limit {
        None => Ok(work.await),
        Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| limit),
    }
}

/// Tries one place, with and without TLS as `sslmode` says.
async fn connect_to(
    settings: &ConnectionSettings,
    purpose: Purpose,
    endpoint: &Endpoint,
    place: &Place,
) -> Result<Session, ConnectError> {
    let (first, second) = match endpoint.ssl_mode {
        SslMode::Disable => (Encryption::Never, None),
        SslMode::Allow => (Encryption::Never, Some(Encryption::Always)),
        SslMode::Prefer => (Encryption::IfOffered, Some(Encryption::Never)),
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => (Encryption::Always, None),
    };
    let attempt = async |encryption| match within(
        settings.connect_timeout,
        open_session(settings, purpose, endpoint, place, encryption),
    )
    .await
    {
        Ok(result) => result,
        Err(limit) => Err(ConnectError::TimedOut { endpoint: Box::new(endpoint.clone()), limit }),
    };
    match (attempt(first).await, second) {
        (Err(first), Some(second)) if may_differ_with_other_encryption(&first) => {
            attempt(second).await.map_err(|second| telling_one(first, second))
        }
        (result, _) => result,
    }
}

/// Which of the errors with and without TLS to show: a server that let us as far as a password says more.
fn telling_one(first: ConnectError, second: ConnectError) -> ConnectError {
    match &second {
        ConnectError::Rejected { source, .. } if !source.has_code("28000") => second,
        ConnectError::PasswordMissing { .. } => second,
        _ => first,
    }
}

/// Whether `pg_hba.conf` or the handshake may be the only thing in the way.
fn may_differ_with_other_encryption(error: &ConnectError) -> bool {
    match error {
        ConnectError::TlsHandshake { .. } | ConnectError::CertificateRefused { .. } => true,
        ConnectError::Rejected { source, .. } => source.has_code("28000"),
        _ => false,
    }
}

async fn open_session(
    settings: &ConnectionSettings,
    purpose: Purpose,
    endpoint: &Endpoint,
    place: &Place,
    encryption: Encryption,
) -> Result<Session, ConnectError> {
    let here = || Box::new(endpoint.clone());
    let opened = stream::open(place, &settings.tcp).await;
    let opened = opened.map_err(|source| ConnectError::Unreachable { endpoint: here(), source })?;
    if let (Some(required), Some(uid)) = (&settings.required_peer, opened.peer_uid) {
        role::check_peer(required, uid, endpoint)?;
    }
    let transport = opened.transport;
    let (transport, protection) = match (place, encryption) {
        (Place::Socket(_), _) => (transport, Protection::Local),
        (Place::Tcp(_), Encryption::Never) => (transport, Protection::Open),
        (Place::Tcp(_), Encryption::IfOffered) => tls::negotiate(transport, &settings.tls, endpoint, false).await?,
        (Place::Tcp(_), Encryption::Always) => tls::negotiate(transport, &settings.tls, endpoint, true).await?,
    };
    if settings.tls.certificate_mode == ClientCertificateMode::Require && !protection.is_tls() {
        let problem = "is not connected through TLS and sees no certificate of ours";
        return Err(ConnectError::ClientCertificateUnused { endpoint: here(), problem });
    }
    log_in(transport, settings, purpose, endpoint, &protection).await
}

/// Logs in on an open transport and checks that the server is of the wanted kind.
pub(crate) async fn log_in(
    transport: Box<dyn Transport>,
    settings: &ConnectionSettings,
    purpose: Purpose,
    endpoint: &Endpoint,
    protection: &Protection,
) -> Result<Session, ConnectError> {
    let (password, passfile_problem) = find_password(settings, purpose, endpoint);
    let mut session = Session {
        stream: MessageStream::new(transport),
        endpoint: endpoint.clone(),
        parameters: BTreeMap::new(),
        backend_key: None,
        notices: NoticeBuffer::default(),
        passfile_problem,
    };
    session.introduce(settings, purpose).await?;
    let login = Login {
        endpoint,
        password: password.as_ref(),
        scram_keys: settings.scram_keys.as_ref(),
        passfile_problem: session.passfile_problem.as_ref(),
        protection,
        channel_binding: settings.channel_binding,
        allowed_methods: settings.allowed_methods.as_ref(),
    };
    login.run(&mut session.stream, &mut session.notices).await?;
    session.stream.trust();
    session.await_ready().await?;
    session.check_role(settings.target_session).await?;
    Ok(session)
}

/// The password that was given, else the one in the password file.
fn find_password(
    settings: &ConnectionSettings,
    purpose: Purpose,
    endpoint: &Endpoint,
) -> (Option<Secret>, Option<PasswordFileProblem>) {
    if let Some(password) = &settings.password {
        return (Some(password.clone()), None);
    }
    let Some(path) = &settings.passfile else { return (None, None) };
    // Replication has a database name of its own in password files.
    let databases = match purpose {
        Purpose::Sql => vec![settings.dbname.clone()],
        Purpose::Replication => vec!["replication".to_owned(), settings.dbname.clone()],
    };
    let query = PasswordQuery {
        hosts: &endpoint.host.address.passfile_names(),
        port: endpoint.host.port,
        databases: &databases,
        user: &settings.user,
    };
    match look_up_password(path, &query) {
        Ok(password) => (password, None),
        Err(problem) => (None, Some(problem)),
    }
}

impl Session {
    async fn introduce(&mut self, settings: &ConnectionSettings, purpose: Purpose) -> Result<(), ConnectError> {
        let mut parameters = vec![("user", settings.user.as_str()), ("client_encoding", "UTF8")];
        match purpose {
            Purpose::Sql => parameters.push(("database", settings.dbname.as_str())),
            Purpose::Replication => parameters.push(("replication", "true")),
        }
        if !settings.application_name.is_empty() {
            parameters.push(("application_name", settings.application_name.as_str()));
        }
        if let Some(options) = &settings.options {
            parameters.push(("options", options));
        }
        let sent = self.stream.send(|buffer| frontend::startup_message(parameters, buffer)).await;
        sent.map_err(|source| self.protocol_error(source))
    }

    /// Takes what the server tells after the login, until it waits for a command.
    async fn await_ready(&mut self) -> Result<(), ConnectError> {
        loop {
            let received = self.stream.receive().await.map_err(|source| self.protocol_error(source))?;
            let tag = char::from(received.tag);
            let malformed = |source| ProtocolError::Malformed { tag, source };
            match received.body {
                Body::Parsed(Message::ReadyForQuery(_)) => return Ok(()),
                Body::Parsed(Message::BackendKeyData(body)) => {
                    self.backend_key = Some((body.process_id(), body.secret_key()));
                }
                Body::Parsed(Message::ParameterStatus(body)) => {
                    let pair = body.name().and_then(|name| Ok((name.to_owned(), body.value()?.to_owned())));
                    let (name, value) = pair.map_err(malformed).map_err(|source| self.protocol_error(source))?;
                    if self.parameters.len() < MAX_PARAMETERS {
                        self.parameters.insert(name, value);
                    }
                }
                Body::Parsed(Message::NoticeResponse(body)) => {
                    let notice = ServerMessage::decode(body.fields()).map_err(malformed);
                    let notice = notice.map_err(|source| self.protocol_error(source))?;
                    self.notices.push(notice);
                }
                Body::Parsed(Message::ErrorResponse(body)) => {
                    let message = ServerMessage::decode(body.fields()).map_err(malformed);
                    let source = message.map_err(|source| self.protocol_error(source))?;
                    return Err(ConnectError::Rejected { endpoint: Box::new(self.endpoint.clone()), source });
                }
                _ => {
                    let source = ProtocolError::Unexpected { tag, expected: "the end of the login" };
                    return Err(self.protocol_error(source));
                }
            }
        }
    }

    /// Runs commands that belong to connecting; a refusal is a refused connection.
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<Vec<query::Row>, ConnectError> {
        match query::run(&mut self.stream, &mut self.notices, sql).await {
            Ok(rows) => Ok(rows),
            Err(query::QueryError::Server(source)) => {
                Err(ConnectError::Rejected { endpoint: Box::new(self.endpoint.clone()), source })
            }
            Err(query::QueryError::Protocol(source)) => Err(self.protocol_error(source)),
        }
    }

    fn protocol_error(&self, source: ProtocolError) -> ConnectError {
        ConnectError::Protocol { endpoint: Box::new(self.endpoint.clone()), source }
    }
}

/// Reads the number out of a version as servers report it: `15.4 (Debian ...)`, `18beta1`, `19devel`.
fn parse_version(text: &str) -> Option<u32> {
    let digits = |text: &str| -> Option<u32> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text.get(..end)?.parse().ok()
    };
    let major = digits(text)?;
    let minor = text.split_once('.').and_then(|(_, rest)| digits(rest)).unwrap_or(0);
    // COMPAT: before 10 the second number belonged to the major version.
    let weight = if major >= 10 { 1 } else { 100 };
    major.checked_mul(10_000)?.checked_add(minor.checked_mul(weight)?)
}

#[cfg(test)]
mod tests {
    use super::super::fake_server::settings;
    use super::*;

    #[test]
    fn versions_are_read_as_servers_write_them() {
        for (text, number) in [
            ("15.4 (Debian 15.4-1.pgdg120+1)", Some(150_004)),
            ("13.23", Some(130_023)),
            ("18beta1", Some(180_000)),
            ("19devel", Some(190_000)),
            ("9.6.24", Some(90_600)),
            ("", None),
            ("PostgreSQL", None),
            ("99999999999", None),
            ("4294967295.1", None),
        ] {
            assert_eq!(parse_version(text), number, "{text:?}");
        }
    }

    #[test]
    fn direct_tls_to_localhost_is_verified_when_it_leads_elsewhere() {
        let settings = settings("host=localhost sslnegotiation=direct");
        for (address, mode) in [("127.0.0.1", SslMode::Require), ("10.1.1.1", SslMode::VerifyFull)] {
            let address = Some(address.parse().unwrap());
            assert_eq!(endpoint_of(&settings, Purpose::Sql, &settings.hosts[0], address).ssl_mode, mode, "{address:?}");
        }
    }

    #[test]
    fn localhost_is_exempt_only_while_it_leads_here() {
        let settings = settings("host=localhost");
        let host = &settings.hosts[0];
        for (address, mode) in
            [("127.0.0.1", SslMode::Prefer), ("::1", SslMode::Prefer), ("10.1.1.1", SslMode::VerifyFull)]
        {
            let address = Some(address.parse().unwrap());
            assert_eq!(endpoint_of(&settings, Purpose::Sql, host, address).ssl_mode, mode, "{address:?}");
        }
    }
}
