//! Every connection keyword that libpq knows, what pgv does with it, and the environment variable that sets it.
//!
//! INVARIANT: nothing that makes a connection safer is ignored: it is honoured or refused by name. The list follows
//! `PQconninfoOptions` in `src/interfaces/libpq/fe-connect.c` of PostgreSQL 18, and `servicefile` of 19.

use super::ConninfoError;

/// What becomes of a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// Honoured.
    Used,
    /// Without meaning here, and harmless.
    Ignored,
    /// Refused, with the reason.
    Refused(&'static str),
}

/// A keyword of libpq.
#[derive(Debug)]
pub(super) struct Keyword {
    pub(super) name: &'static str,
    pub(super) variable: Option<&'static str>,
    pub(super) support: Support,
}

const NO_OAUTH: &str = "pgv cannot log in with OAuth, which needs a person at a browser";

const fn used(name: &'static str, variable: &'static str) -> Keyword {
    Keyword { name, variable: Some(variable), support: Support::Used }
}

const fn used_in_text(name: &'static str) -> Keyword {
    Keyword { name, variable: None, support: Support::Used }
}

const fn ignored(name: &'static str, variable: Option<&'static str>) -> Keyword {
    Keyword { name, variable, support: Support::Ignored }
}

const fn refused(name: &'static str, variable: Option<&'static str>, reason: &'static str) -> Keyword {
    Keyword { name, variable, support: Support::Refused(reason) }
}

const KEYWORDS: &[Keyword] = &[
    used("host", "PGHOST"),
    used("hostaddr", "PGHOSTADDR"),
    used("port", "PGPORT"),
    used("user", "PGUSER"),
    used("password", "PGPASSWORD"),
    used("passfile", "PGPASSFILE"),
    used("dbname", "PGDATABASE"),
    used("options", "PGOPTIONS"),
    used("application_name", "PGAPPNAME"),
    used_in_text("fallback_application_name"),
    used("connect_timeout", "PGCONNECT_TIMEOUT"),
    used("service", "PGSERVICE"),
    used("servicefile", "PGSERVICEFILE"),
    used("requirepeer", "PGREQUIREPEER"),
    used("sslmode", "PGSSLMODE"),
    used("sslrootcert", "PGSSLROOTCERT"),
    used("sslcert", "PGSSLCERT"),
    used("sslkey", "PGSSLKEY"),
    used_in_text("sslpassword"),
    used("sslcertmode", "PGSSLCERTMODE"),
    used("sslcrl", "PGSSLCRL"),
    used("sslcrldir", "PGSSLCRLDIR"),
    used("sslsni", "PGSSLSNI"),
    used("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    used("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    used("channel_binding", "PGCHANNELBINDING"),
    used("require_auth", "PGREQUIREAUTH"),
    used_in_text("scram_client_key"),
    used_in_text("scram_server_key"),
    used("min_protocol_version", "PGMINPROTOCOLVERSION"),
    used("max_protocol_version", "PGMAXPROTOCOLVERSION"),
    used("target_session_attrs", "PGTARGETSESSIONATTRS"),
    used("gssencmode", "PGGSSENCMODE"),
    used("sslnegotiation", "PGSSLNEGOTIATION"),
    used("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    used_in_text("keepalives"),
    used_in_text("keepalives_idle"),
    used_in_text("keepalives_interval"),
    used_in_text("keepalives_count"),
    used_in_text("tcp_user_timeout"),
    ignored("client_encoding", None),
    ignored("sslcompression", None),
    ignored("krbsrvname", Some("PGKRBSRVNAME")),
    ignored("gsslib", Some("PGGSSLIB")),
    ignored("gssdelegation", Some("PGGSSDELEGATION")),
    refused("replication", None, "pgv chooses it itself"),
    refused("sslkeylogfile", None, "pgv never writes the keys of a session to a file"),
    refused("oauth_issuer", None, NO_OAUTH),
    refused("oauth_client_id", None, NO_OAUTH),
    refused("oauth_client_secret", None, NO_OAUTH),
    refused("oauth_scope", None, NO_OAUTH),
];

/// The keyword of that name, when libpq knows it.
pub(super) fn known(name: &str) -> Result<&'static Keyword, ConninfoError> {
    let unknown = || ConninfoError::UnknownKeyword { keyword: name.to_owned() };
    KEYWORDS.iter().find(|keyword| keyword.name == name).ok_or_else(unknown)
}

/// The keyword of that name, when pgv honours or ignores it.
pub(super) fn find(name: &str) -> Result<&'static Keyword, ConninfoError> {
    let keyword = known(name)?;
    match keyword.support {
        Support::Refused(reason) => Err(ConninfoError::UnsupportedKeyword { keyword: keyword.name, reason }),
        Support::Used | Support::Ignored => Ok(keyword),
    }
}

/// The keywords that an environment variable can set, with its name.
pub(super) fn with_variables() -> impl Iterator<Item = (&'static Keyword, &'static str)> {
    KEYWORDS.iter().filter_map(|keyword| keyword.variable.map(|variable| (keyword, variable)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_variables_are_unique() {
        let names: BTreeSet<_> = KEYWORDS.iter().map(|keyword| keyword.name).collect();
        let variables: Vec<_> = with_variables().map(|(_, variable)| variable).collect();
        assert_eq!(names.len(), KEYWORDS.len());
        assert_eq!(variables.iter().collect::<BTreeSet<_>>().len(), variables.len());
    }

    #[test]
    fn refuses_by_name() {
        for name in ["oauth_issuer", "sslkeylogfile", "replication"] {
            let error = find(name).unwrap_err();
            assert!(matches!(error, ConninfoError::UnsupportedKeyword { .. }), "{name}");
            assert!(error.to_string().contains(&format!("\"{name}\"")), "{error}");
        }
        assert_eq!(find("hots").unwrap_err(), ConninfoError::UnknownKeyword { keyword: "hots".to_owned() });
    }
}
