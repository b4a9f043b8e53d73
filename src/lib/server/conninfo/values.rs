//! The values that connection keywords may take, as types.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::secret::Secret;
use super::ConninfoError;

/// The length of a SHA-256 key.
const SCRAM_KEY_BYTES: usize = 32;

/// How much TLS is demanded: libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only when the server does not let us in without.
    Allow,
    /// When the server offers it, unverified.
    Prefer,
    /// Always; verified only when a file of root certificates exists.
    Require,
    /// Always, with a certificate signed by a trusted root.
    VerifyCa,
    /// Always, with a certificate signed by a trusted root that names the host.
    VerifyFull,
}

impl SslMode {
    /// The word that libpq uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the login must be tied to the TLS session: libpq's `channel_binding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelBindingMode {
    /// Never.
    Disable,
    /// When both sides can.
    #[default]
    Prefer,
    /// Always; any other login is refused.
    Require,
}

/// Which of several servers will do: libpq's `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetSession {
    /// The first that answers.
    #[default]
    Any,
    /// One that accepts writes.
    ReadWrite,
    /// One whose sessions do not accept writes.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is in recovery.
    Standby,
    /// One that is in recovery; any other when there is none.
    PreferStandby,
}

/// Whether our certificate is shown: libpq's `sslcertmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificateMode {
    /// Never, even when there is one.
    Disable,
    /// When the server asks and there is one.
    #[default]
    Allow,
    /// Always: a server that does not ask is refused.
    Require,
}

/// What stands in for a password: keys that were derived from it, libpq's `scram_client_key` and `scram_server_key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// With which we prove who we are.
    pub client: Secret,
    /// With which the server does.
    pub server: Secret,
}

/// Lowest or highest version of TLS; nothing below 1.2 exists here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// How a server may ask us to prove who we are: libpq's `require_auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// The password in clear text.
    Password,
    /// The password hashed with MD5.
    Md5,
    /// SCRAM-SHA-256, with or without channel binding.
    Scram,
    /// Nothing at all, as with `trust`, `peer` and `cert`.
    NoExchange,
}

/// The TCP settings that find dead peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSettings {
    /// Whether probes are sent at all.
    pub keepalives: bool,
    /// Silence before the first probe; the system's default when absent.
    pub keepalives_idle: Option<Duration>,
    /// Time between probes; the system's default when absent.
    pub keepalives_interval: Option<Duration>,
    /// Unanswered probes before the connection counts as dead; the system's default when absent.
    pub keepalives_count: Option<u32>,
    /// How long sent data may stay unacknowledged; the system's default when absent.
    pub user_timeout: Option<Duration>,
}

impl Default for TcpSettings {
    /// Finds a dead peer within two minutes, where the system's own defaults would take more than two hours.
    fn default() -> Self {
        Self {
            keepalives: true,
            keepalives_idle: Some(Duration::from_secs(30)),
            keepalives_interval: Some(Duration::from_secs(15)),
            keepalives_count: Some(6),
            user_timeout: Some(Duration::from_secs(120)),
        }
    }
}

/// The ways to log in that `require_auth` allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedMethods {
    /// Each of them.
    pub methods: Vec<AuthMethod>,
    /// Whether clear-text passwords were asked for by name, not merely left over by excluding others.
    pub names_clear_text: bool,
}

fn one_of<T: Copy>(
    keyword: &'static str,
    value: &str,
    choices: &[(&str, T)],
    expected: &'static str,
) -> Result<T, ConninfoError> {
    choices
        .iter()
        .find(|(word, _)| *word == value)
        .map(|(_, choice)| *choice)
        .ok_or_else(|| ConninfoError::InvalidValue { keyword, value: value.to_owned(), expected })
}

pub(super) fn ssl_mode(value: &str) -> Result<SslMode, ConninfoError> {
    use SslMode::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};
    let choices = [Disable, Allow, Prefer, Require, VerifyCa, VerifyFull].map(|mode| (mode.as_str(), mode));
    one_of("sslmode", value, &choices, "disable, allow, prefer, require, verify-ca or verify-full")
}

pub(super) fn channel_binding(value: &str) -> Result<ChannelBindingMode, ConninfoError> {
    use ChannelBindingMode::{Disable, Prefer, Require};
    let choices = [("disable", Disable), ("prefer", Prefer), ("require", Require)];
    one_of("channel_binding", value, &choices, "disable, prefer or require")
}

pub(super) fn target_session(value: &str) -> Result<TargetSession, ConninfoError> {
    use TargetSession::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
    let choices = [
        ("any", Any),
        ("read-write", ReadWrite),
        ("read-only", ReadOnly),
        ("primary", Primary),
        ("standby", Standby),
        ("prefer-standby", PreferStandby),
    ];
    let expected = "any, read-write, read-only, primary, standby or prefer-standby";
    one_of("target_session_attrs", value, &choices, expected)
}

pub(super) fn certificate_mode(value: &str) -> Result<ClientCertificateMode, ConninfoError> {
    use ClientCertificateMode::{Allow, Disable, Require};
    let choices = [("disable", Disable), ("allow", Allow), ("require", Require)];
    one_of("sslcertmode", value, &choices, "disable, allow or require")
}

/// A key of SCRAM: 32 bytes in base64. Never shown.
pub(super) fn scram_key(keyword: &'static str, value: &str) -> Result<Secret, ConninfoError> {
    let key = STANDARD.decode(value).ok().filter(|key| key.len() == SCRAM_KEY_BYTES);
    key.map(Secret::new).ok_or(ConninfoError::InvalidKey { keyword })
}

/// Version 3.0 is what is spoken here; a higher one may be allowed, not demanded.
pub(super) fn check_protocol_version(keyword: &'static str, value: &str) -> Result<(), ConninfoError> {
    let choices = [("3.0", true), ("3.2", false), ("latest", false)];
    if one_of(keyword, value, &choices, "3.0, 3.2 or latest")? || keyword == "max_protocol_version" {
        return Ok(());
    }
    Err(ConninfoError::UnsupportedKeyword { keyword, reason: "pgv speaks version 3.0 of the protocol" })
}

pub(super) fn tls_version(keyword: &'static str, value: &str) -> Result<TlsVersion, ConninfoError> {
    let choices = [
        // COMPAT: libpq still knows the two oldest; as a lower bound they mean no less than what is offered here.
        ("TLSv1", TlsVersion::Tls12),
        ("TLSv1.1", TlsVersion::Tls12),
        ("TLSv1.2", TlsVersion::Tls12),
        ("TLSv1.3", TlsVersion::Tls13),
    ];
    let offered = if keyword == "ssl_max_protocol_version" { choices.split_at(2).1 } else { &choices };
    one_of(keyword, value, offered, "TLSv1.2 or TLSv1.3")
}

/// GSSAPI encryption does not exist here: wanting it is an error, preferring it is not.
pub(super) fn check_gss_mode(value: &str) -> Result<(), ConninfoError> {
    let choices = [("disable", true), ("prefer", true), ("require", false)];
    if one_of("gssencmode", value, &choices, "disable or prefer")? {
        return Ok(());
    }
    Err(ConninfoError::UnsupportedKeyword { keyword: "gssencmode", reason: "GSSAPI encryption is not available" })
}

/// Whether TLS begins without asking first.
pub(super) fn direct_negotiation(value: &str) -> Result<bool, ConninfoError> {
    one_of("sslnegotiation", value, &[("postgres", false), ("direct", true)], "postgres or direct")
}

/// Whether hosts are tried in random order.
pub(super) fn random_order(value: &str) -> Result<bool, ConninfoError> {
    one_of("load_balance_hosts", value, &[("disable", false), ("random", true)], "disable or random")
}

/// Reads libpq's `require_auth`: a list of methods, each with a "!" to exclude it, never mixed.
pub(super) fn allowed_methods(value: &str) -> Result<AllowedMethods, ConninfoError> {
    let all = [
        ("password", Some(AuthMethod::Password)),
        ("md5", Some(AuthMethod::Md5)),
        ("scram-sha-256", Some(AuthMethod::Scram)),
        ("none", Some(AuthMethod::NoExchange)),
        ("gss", None),
        ("sspi", None),
        ("oauth", None),
    ];
    let expected = "password, md5, scram-sha-256 or none, all or no entry with a leading \"!\"";
    let invalid = || ConninfoError::InvalidValue { keyword: "require_auth", value: value.to_owned(), expected };
    let entries: Vec<&str> = value.split(',').map(str::trim).collect();
    let excluding = entries.iter().filter(|entry| entry.starts_with('!')).count();
    if excluding != 0 && excluding != entries.len() {
        return Err(invalid());
    }
    let mut named = Vec::new();
    for entry in &entries {
        let word = entry.strip_prefix('!').unwrap_or(entry).trim();
        let (_, method) = all.iter().find(|(name, _)| *name == word).ok_or_else(invalid)?;
        named.extend(*method);
    }
    if excluding == 0 {
        let names_clear_text = named.contains(&AuthMethod::Password);
        return Ok(AllowedMethods { methods: named, names_clear_text });
    }
    let methods = all.iter().filter_map(|(_, method)| *method).filter(|method| !named.contains(method)).collect();
    Ok(AllowedMethods { methods, names_clear_text: false })
}

fn integer(keyword: &'static str, value: &str) -> Result<i32, ConninfoError> {
    value.trim().parse().map_err(|_| ConninfoError::InvalidValue {
        keyword,
        value: value.to_owned(),
        expected: "a whole number",
    })
}

pub(super) fn boolean(keyword: &'static str, value: &str) -> Result<bool, ConninfoError> {
    Ok(integer(keyword, value)? != 0)
}

/// A number of seconds; zero and less mean that nothing is set.
pub(super) fn seconds(keyword: &'static str, value: &str) -> Result<Option<Duration>, ConninfoError> {
    let number = u64::try_from(integer(keyword, value)?).unwrap_or(0);
    Ok(Some(number).filter(|number| *number > 0).map(Duration::from_secs))
}

/// A number of milliseconds; zero and less mean that nothing is set.
pub(super) fn milliseconds(keyword: &'static str, value: &str) -> Result<Option<Duration>, ConninfoError> {
    let number = u64::try_from(integer(keyword, value)?).unwrap_or(0);
    Ok(Some(number).filter(|number| *number > 0).map(Duration::from_millis))
}

/// A count; zero and less mean that nothing is set.
pub(super) fn count(keyword: &'static str, value: &str) -> Result<Option<u32>, ConninfoError> {
    let number = u32::try_from(integer(keyword, value)?).unwrap_or(0);
    Ok(Some(number).filter(|number| *number > 0))
}

pub(super) fn port(value: &str) -> Result<u16, ConninfoError> {
    value.trim().parse().ok().filter(|port| *port > 0).ok_or_else(|| ConninfoError::InvalidValue {
        keyword: "port",
        value: value.to_owned(),
        expected: "a number from 1 to 65535",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn require_auth_lists_or_excludes() {
        use AuthMethod::{Md5, NoExchange, Password, Scram};
        for (text, methods, names_clear_text) in [
            ("scram-sha-256", &[Scram][..], false),
            ("password, md5", &[Password, Md5], true),
            ("!password,!md5", &[Scram, NoExchange], false),
            ("!md5", &[Password, Scram, NoExchange], false),
            ("gss", &[], false),
        ] {
            let expected = AllowedMethods { methods: methods.to_vec(), names_clear_text };
            assert_eq!(allowed_methods(text).unwrap(), expected, "{text}");
        }
        for text in ["", "scram", "!password,md5", "password,"] {
            assert!(allowed_methods(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_follow_libpq() {
        assert_eq!(seconds("connect_timeout", " 5 ").unwrap(), Some(Duration::from_secs(5)));
        for text in ["0", "-1"] {
            assert_eq!(seconds("connect_timeout", text).unwrap(), None);
        }
        for text in ["", "five", "1s", "99999999999"] {
            assert!(seconds("connect_timeout", text).is_err(), "{text:?}");
        }
        for text in ["0", "-5432", "65536", "5432x"] {
            assert!(port(text).is_err(), "{text:?}");
        }
        assert_eq!(port("65535").unwrap(), 65535);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        assert!(matches!(check_gss_mode("require"), Err(ConninfoError::UnsupportedKeyword { .. })));
        assert!(matches!(check_gss_mode("always"), Err(ConninfoError::InvalidValue { .. })));
        assert!(check_gss_mode("prefer").is_ok());
        assert!(matches!(target_session("nearest"), Err(ConninfoError::InvalidValue { .. })));
        assert!(check_protocol_version("min_protocol_version", "3.0").is_ok());
        assert!(check_protocol_version("max_protocol_version", "3.2").is_ok());
        for value in ["3.2", "latest"] {
            let outcome = check_protocol_version("min_protocol_version", value);
            assert!(matches!(outcome, Err(ConninfoError::UnsupportedKeyword { .. })), "{value}");
        }
        assert!(matches!(check_protocol_version("min_protocol_version", "4"), Err(ConninfoError::InvalidValue { .. })));
        assert!(tls_version("ssl_min_protocol_version", "TLSv1").is_ok());
        assert!(tls_version("ssl_max_protocol_version", "TLSv1").is_err());
    }

    #[test]
    fn keys_have_32_bytes_and_are_never_shown() {
        let key = STANDARD.encode([7; 32]);
        assert_eq!(scram_key("scram_client_key", &key).unwrap().expose(), [7; 32]);
        for wrong in [STANDARD.encode([7; 31]), STANDARD.encode([7; 33]), "canary".to_owned(), String::new()] {
            let error = scram_key("scram_client_key", &wrong).unwrap_err();
            assert_eq!(error, ConninfoError::InvalidKey { keyword: "scram_client_key" });
            assert!(!error.to_string().contains("canary"));
        }
    }

    #[test]
    fn modes_grow_stronger() {
        let words = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
        let modes: Vec<_> = words.iter().map(|word| ssl_mode(word).unwrap()).collect();
        assert!(modes.is_sorted());
        assert_eq!(modes.iter().map(|mode| mode.as_str()).collect::<Vec<_>>(), words);
        assert!(ssl_mode("Verify-Full").is_err());
    }
}
