//! Where and how to connect: libpq's settings, resolved once into plain values.
//!
//! Precedence as with PostgreSQL's own programs: the connection string given with `-d`, the other options, the
//! configured connection string, the service that one of them or `PGSERVICE` names, the other `PG*` variables, the
//! defaults. Reads no environment: variables, account and home directory are handed in. The words are those of libpq
//! (`src/interfaces/libpq/fe-connect.c`); `keywords` has the table of what is honoured.

mod error;
mod for_libpq;
mod handed_on;
mod hosts;
mod keywords;
mod passfile;
mod service;
mod text;
mod tls;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::ConninfoError;
pub use for_libpq::{LibpqConninfo, check_for_libpq, holds_secret, without_secrets};
pub use handed_on::HandedOnSettings;
pub(crate) use handed_on::application_name_in;
pub use hosts::{HostAddress, ServerHost};
pub use passfile::PasswordFileProblem;
pub(crate) use passfile::{PasswordQuery, look_up_password};
pub(crate) use text::is_connection_string;
pub use tls::{FileSetting, RevocationLists, RootCertificates, TlsSettings};
pub use values::{
    AllowedMethods, AuthMethod, ChannelBindingMode, ClientCertificateMode, ScramKeys, SslMode, TargetSession,
    TcpSettings, TlsVersion,
};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use {passfile::fuzz as fuzz_passfile, service::fuzz as fuzz_service_file};

use super::secret::Secret;
use keywords::Support;
use service::ServiceFiles;

/// How long one attempt to connect may take when nobody said: from the first packet to the end of the login.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The port when nobody said.
pub const DEFAULT_PORT: u16 = 5432;

/// What the person typed, as `-h`, `-p`, `-U` and `-d`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// A host name, an address or a socket directory; or several, separated by commas.
    pub host: Option<String>,
    /// A port, or one for each host.
    pub port: Option<String>,
    /// The role.
    pub user: Option<String>,
    /// A database name, a connection string or a URI. As with PostgreSQL's programs, what a connection string says
    /// goes before the other options.
    pub dbname: Option<String>,
}

/// Everything that settings can come from.
pub struct ConnectionSources<'a> {
    /// From the command line.
    pub options: &'a ConnectionOptions,
    /// From the configuration.
    pub conninfo: Option<&'a str>,
    /// Looks up a `PG*` variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The name of the account that this process runs as.
    pub os_user: Option<&'a str>,
    /// The home directory of that account, for `.pgpass` and `.postgresql`.
    pub home: Option<&'a Path>,
    /// What the server shows as our name when nobody chose another.
    pub application_name: &'a str,
}

/// Where and how to connect. Holds a password perhaps; `Debug` does not show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// The servers, to be tried in order; never empty.
    pub hosts: Vec<ServerHost>,
    /// The role.
    pub user: String,
    /// The database; the name of the role when nobody said.
    pub dbname: String,
    /// Whether somebody said which database.
    pub dbname_given: bool,
    /// The password, unless it has to be looked up in the password file.
    pub password: Option<Secret>,
    /// Keys to use instead of a password.
    pub scram_keys: Option<ScramKeys>,
    /// The password file.
    pub passfile: Option<PathBuf>,
    /// Everything about TLS.
    pub tls: TlsSettings,
    /// Whether the login must be tied to the TLS session.
    pub channel_binding: ChannelBindingMode,
    /// The ways to log in that are allowed; all when absent, clear-text passwords on an open network excepted.
    pub allowed_methods: Option<AllowedMethods>,
    /// How long one attempt may take; for ever when absent.
    pub connect_timeout: Option<Duration>,
    /// What the server shows as our name.
    pub application_name: String,
    /// Command-line options for the server process.
    pub options: Option<String>,
    /// Settings that find dead peers.
    pub tcp: TcpSettings,
    /// Which of several servers will do.
    pub target_session: TargetSession,
    /// Whether hosts, and the addresses of each, are tried in random order.
    pub random_order: bool,
    /// The account that a server behind a local socket must run as.
    pub required_peer: Option<String>,
}

impl ConnectionSettings {
    /// What was said of the connection, from whatever source, as one connection string: without a password, and
    /// without our name. Empty when nothing was said.
    pub fn said(sources: &ConnectionSources<'_>) -> Result<String, ConninfoError> {
        // What a service says is written out.
        const LEFT_OUT: [&str; 7] = [
            "password",
            "scram_client_key",
            "scram_server_key",
            "application_name",
            "fallback_application_name",
            "service",
            "servicefile",
        ];
        let merged = Merged::collect(sources)?;
        let told = merged.0.iter().filter(|(keyword, value)| !LEFT_OUT.contains(*keyword) && !value.is_empty());
        Ok(told.map(|(keyword, value)| text::pair(keyword, value)).collect::<Vec<_>>().join(" "))
    }

    /// Merges the sources and checks every value.
    pub fn resolve(sources: &ConnectionSources<'_>) -> Result<Self, ConninfoError> {
        let merged = Merged::collect(sources)?;
        let user = merged.text("user").or(sources.os_user).ok_or(ConninfoError::NoUser)?.to_owned();
        let in_home = |name: &str| sources.home.map(|home| home.join(name));
        let dbname = merged.text("dbname");
        merged.with("gssencmode", values::check_gss_mode)?;
        for keyword in ["min_protocol_version", "max_protocol_version"] {
            merged.with(keyword, |value| values::check_protocol_version(keyword, value))?;
        }
        Ok(Self {
            hosts: hosts::resolve(merged.text("host"), merged.text("hostaddr"), merged.text("port"))?,
            dbname: dbname.unwrap_or(&user).to_owned(),
            dbname_given: dbname.is_some(),
            user,
            password: merged.text("password").map(Secret::new),
            scram_keys: resolve_scram_keys(&merged)?,
            passfile: merged.text("passfile").map(PathBuf::from).or_else(|| in_home(".pgpass")),
            tls: tls::resolve(&merged, sources.home)?,
            channel_binding: merged.with("channel_binding", values::channel_binding)?.unwrap_or_default(),
            allowed_methods: merged.with("require_auth", values::allowed_methods)?,
            connect_timeout: match merged.text("connect_timeout") {
                Some(value) => values::seconds("connect_timeout", value)?,
                None => Some(DEFAULT_CONNECT_TIMEOUT),
            },
            application_name: merged
                .text("application_name")
                .or(merged.text("fallback_application_name"))
                .unwrap_or(sources.application_name)
                .to_owned(),
            options: merged.text("options").map(str::to_owned),
            tcp: resolve_tcp(&merged)?,
            target_session: merged.with("target_session_attrs", values::target_session)?.unwrap_or_default(),
            random_order: merged.with("load_balance_hosts", values::random_order)?.unwrap_or(false),
            required_peer: merged.text("requirepeer").map(str::to_owned),
        })
    }
}

/// One key without the other would leave one side unproven.
fn resolve_scram_keys(merged: &Merged) -> Result<Option<ScramKeys>, ConninfoError> {
    let key = |keyword: &'static str| merged.with(keyword, |value| values::scram_key(keyword, value));
    let incomplete = |keyword, missing| Err(ConninfoError::Incomplete { keyword, missing });
    match (key("scram_client_key")?, key("scram_server_key")?) {
        (Some(client), Some(server)) => Ok(Some(ScramKeys { client, server })),
        (Some(_), None) => incomplete("scram_client_key", "scram_server_key"),
        (None, Some(_)) => incomplete("scram_server_key", "scram_client_key"),
        (None, None) => Ok(None),
    }
}

fn resolve_tcp(merged: &Merged) -> Result<TcpSettings, ConninfoError> {
    let default = TcpSettings::default();
    let seconds = |keyword: &'static str, default| match merged.text(keyword) {
        Some(value) => values::seconds(keyword, value),
        None => Ok(default),
    };
    Ok(TcpSettings {
        keepalives: merged
            .with("keepalives", |value| values::boolean("keepalives", value))?
            .unwrap_or(default.keepalives),
        keepalives_idle: seconds("keepalives_idle", default.keepalives_idle)?,
        keepalives_interval: seconds("keepalives_interval", default.keepalives_interval)?,
        keepalives_count: match merged.text("keepalives_count") {
            Some(value) => values::count("keepalives_count", value)?,
            None => default.keepalives_count,
        },
        user_timeout: match merged.text("tcp_user_timeout") {
            Some(value) => values::milliseconds("tcp_user_timeout", value)?,
            None => default.user_timeout,
        },
    })
}

/// The value of each keyword from the first source that names it.
struct Merged(BTreeMap<&'static str, String>);

impl Merged {
    fn collect(sources: &ConnectionSources<'_>) -> Result<Self, ConninfoError> {
        let mut merged = Self(BTreeMap::new());
        let options = sources.options;
        let given_dbname = options.dbname.as_deref();
        if let Some(conninfo) = given_dbname.filter(|text| text::is_connection_string(text)) {
            merged.add_connection_string(conninfo)?;
        } else if let Some(dbname) = given_dbname {
            merged.add("dbname", dbname)?;
        }
        for (keyword, value) in [("host", &options.host), ("port", &options.port), ("user", &options.user)] {
            if let Some(value) = value {
                merged.add(keyword, value)?;
            }
        }
        if let Some(conninfo) = sources.conninfo {
            merged.add_connection_string(conninfo)?;
        }
        merged.add_service(sources)?;
        let variable = |name: &str| (sources.variable)(name).filter(|value| !value.is_empty());
        for (keyword, name) in keywords::with_variables() {
            if let Some(value) = variable(name) {
                merged.add(keyword.name, &value)?;
            }
        }
        // COMPAT: what came before PGSSLMODE, and still counts.
        if variable("PGREQUIRESSL").is_some_and(|value| value.starts_with('1')) {
            merged.add("sslmode", "require")?;
        }
        Ok(merged)
    }

    /// Adds what the service says that was named, in whatever way.
    fn add_service(&mut self, sources: &ConnectionSources<'_>) -> Result<(), ConninfoError> {
        for (keyword, name) in [("service", "PGSERVICE"), ("servicefile", "PGSERVICEFILE")] {
            if let Some(value) = (sources.variable)(name).filter(|value| !value.is_empty()) {
                self.add(keyword, &value)?;
            }
        }
        let Some(service) = self.text("service") else { return Ok(()) };
        let system = (sources.variable)("PGSYSCONFDIR").filter(|value| !value.is_empty());
        let files = ServiceFiles::find(self.text("servicefile"), sources.home, system.as_deref());
        files.look_up(service)?.iter().try_for_each(|(keyword, value)| self.add(keyword, value))
    }

    /// Within one string the last mention of a keyword counts.
    fn add_connection_string(&mut self, text: &str) -> Result<(), ConninfoError> {
        let pairs: BTreeMap<String, String> = text::parse(text)?.into_iter().collect();
        pairs.iter().try_for_each(|(keyword, value)| self.add(keyword, value))
    }

    fn add(&mut self, keyword: &str, value: &str) -> Result<(), ConninfoError> {
        let keyword = keywords::find(keyword)?;
        if value.contains('\0') {
            return Err(ConninfoError::ZeroByte { keyword: keyword.name });
        }
        if keyword.support == Support::Used {
            self.0.entry(keyword.name).or_insert_with(|| value.to_owned());
        }
        Ok(())
    }

    /// The value of a keyword; an empty one means the default.
    fn text(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn with<T>(
        &self,
        keyword: &str,
        parse: impl Fn(&str) -> Result<T, ConninfoError>,
    ) -> Result<Option<T>, ConninfoError> {
        self.text(keyword).map(parse).transpose()
    }
}

#[cfg(test)]
mod tests;
