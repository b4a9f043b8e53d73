//! Connection strings that libpq will read, not we: `primary_conninfo` of a standby.
//!
//! INVARIANT: nothing is refused that libpq takes: keywords that pgv does not honour are valid here.

use super::{ConninfoError, hosts, keywords, text, values};

/// What there is to say of a connection string that libpq will read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LibpqConninfo {
    /// Whether it holds a password or another secret.
    pub holds_secret: bool,
}

/// Keywords whose values are secrets.
const SECRETS: [&str; 5] = ["password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"];

/// Checks a connection string or URI: its form, its keywords, and the values that say where the server is.
pub fn check_for_libpq(conninfo: &str) -> Result<LibpqConninfo, ConninfoError> {
    let pairs = text::parse(conninfo)?;
    for (keyword, value) in &pairs {
        let keyword = keywords::known(keyword)?;
        if value.contains('\0') {
            return Err(ConninfoError::ZeroByte { keyword: keyword.name });
        }
    }
    // The last mention counts; an empty value means the default.
    let value = |name: &str| {
        let value = pairs.iter().rev().find(|(keyword, _)| keyword == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    };
    hosts::resolve(value("host"), value("hostaddr"), value("port"))?;
    value("sslmode").map(values::ssl_mode).transpose()?;
    Ok(LibpqConninfo { holds_secret: SECRETS.iter().any(|name| value(name).is_some()) })
}

/// Whether a connection string holds a secret; one that cannot be read may.
pub fn holds_secret(conninfo: &str) -> bool {
    check_for_libpq(conninfo).map_or(true, |checked| checked.holds_secret)
}

/// What stands for a secret in a connection string that is shown.
const HIDDEN: &str = "NOT-SHOWN";

/// The connection string for people to see: itself, unless it holds secrets, which then are not shown.
pub fn without_secrets(conninfo: &str) -> String {
    let Ok(pairs) = text::parse(conninfo) else { return HIDDEN.to_owned() };
    let is_secret = |(keyword, value): &(String, String)| SECRETS.contains(&keyword.as_str()) && !value.is_empty();
    if !pairs.iter().any(is_secret) {
        return conninfo.to_owned();
    }
    let shown = pairs.iter().map(|pair| {
        let value = if is_secret(pair) { HIDDEN } else { &pair.1 };
        let is_plain = !value.is_empty() && !value.contains(['\\', '\'', ' ', '\t', '\n', '\r']);
        let escaped = || value.replace('\\', "\\\\").replace('\'', "\\'");
        let value = if is_plain { value.to_owned() } else { format!("'{}'", escaped()) };
        format!("{}={value}", pair.0)
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libpq_takes_is_taken_and_secrets_are_seen() {
        for (conninfo, holds_secret) in [
            ("", false),
            ("host=db1 user=replicator", false),
            ("service=primary sslcrl=/x requirepeer=postgres replication=true", false),
            ("host=a,b port=5432,5433 target_session_attrs=primary", false),
            ("host=/var/run/postgresql user=postgres passfile=/var/lib/postgresql/.pgpass", false),
            ("postgresql://replicator@db1:5433/?sslmode=verify-full", false),
            ("host=db1 password=x", true),
            ("host=db1 password=''", false),
            ("postgresql://replicator:x@db1", true),
            ("host=db1 sslpassword=x", true),
        ] {
            assert_eq!(check_for_libpq(conninfo), Ok(LibpqConninfo { holds_secret }), "{conninfo}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (conninfo, shown) in [
            ("host=db1 user=replicator", "host=db1 user=replicator"),
            ("host=db1 password=''", "host=db1 password=''"),
            ("host=db1 password='ca na\\'ry' user='a b'", "host=db1 password=NOT-SHOWN user='a b'"),
            (
                "password=canary password=canary options='-c a=\\\\b'",
                "password=NOT-SHOWN password=NOT-SHOWN options='-c a=\\\\b'",
            ),
            (
                "postgresql://x:canary@db1/?sslpassword=canary",
                "user=x password=NOT-SHOWN host=db1 sslpassword=NOT-SHOWN",
            ),
            ("host=db1 password='canary", "NOT-SHOWN"),
        ] {
            assert_eq!(without_secrets(conninfo), shown);
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_place_and_without_its_values() {
        for (conninfo, message) in [
            ("db1", "missing \"=\" after the keyword at byte 0 of the connection string"),
            ("host=db1 canary", "missing \"=\" after the keyword at byte 9 of the connection string"),
            ("host=a password='canary", "unterminated quoted value of \"password\" at byte 7 of the connection string"),
            ("hots=db1", "unknown connection option \"hots\""),
            ("host=db1 sslmode=always", "invalid value \"always\" for connection option \"sslmode\": expected"),
            ("host=db1 port=70000", "invalid value \"70000\" for connection option \"port\""),
            ("host=a,b port=1,2,3", "connection options name 3 values of \"port\" for 2 hosts"),
            ("host=a\0b", "the value of connection option \"host\" holds a zero byte"),
        ] {
            let error = check_for_libpq(conninfo).unwrap_err().to_string();
            assert!(error.starts_with(message) && !error.contains("canary"), "{conninfo}: {error}");
        }
    }
}
