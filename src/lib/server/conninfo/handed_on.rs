//! Settings as they are handed on to another program that uses libpq: by variables, or as a connection string.
//!
//! INVARIANT: the password leaves here by [`HandedOnSettings::password`] alone; neither the variables nor the connection
//! string hold a secret. They name one server and no service file, so that nothing else decides where it leads.

use std::collections::BTreeMap;

use super::keywords;
use super::{ConnectionSources, ConninfoError, HostAddress, Merged, ServerHost, text};
use crate::server::secret::Secret;

/// What chooses among servers: the choice is made.
const CHOOSING: [&str; 6] =
    ["service", "servicefile", "target_session_attrs", "load_balance_hosts", "host", "hostaddr"];

/// Secrets beside the password, for which libpq has no variable.
const SECRETS: [&str; 3] = ["sslpassword", "scram_client_key", "scram_server_key"];

/// What was said of a connection, to be handed on. `Debug` shows no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandedOnSettings {
    values: BTreeMap<&'static str, String>,
    password: Option<Secret>,
    secrets: Vec<&'static str>,
    hosts: usize,
}

impl HandedOnSettings {
    /// Merges the sources as [`super::ConnectionSettings::resolve`] does.
    pub fn resolve(sources: &ConnectionSources<'_>) -> Result<Self, ConninfoError> {
        let merged = Merged::collect(sources)?;
        let entries = |keyword: &str| merged.text(keyword).map_or(0, |list| list.split(',').count());
        let secrets = SECRETS.into_iter().filter(|keyword| merged.text(keyword).is_some()).collect();
        let kept = |keyword: &&'static str| {
            let left_out = [&CHOOSING[..], &SECRETS[..], &["password", "fallback_application_name"]].concat();
            !left_out.contains(keyword) && merged.text(keyword).is_some()
        };
        Ok(Self {
            hosts: entries("host").max(entries("hostaddr")),
            password: merged.text("password").map(Secret::new),
            secrets,
            values: merged
                .0
                .iter()
                .filter(|(keyword, _)| kept(keyword))
                .map(|(keyword, value)| (*keyword, value.clone()))
                .collect(),
        })
    }

    /// How many servers were named; none when the default was left.
    pub fn host_count(&self) -> usize {
        self.hosts
    }

    /// The same for one server.
    #[must_use]
    pub fn of_server(&self, host: &ServerHost, user: &str, dbname: &str) -> Self {
        let mut values = self.values.clone();
        match &host.address {
            HostAddress::Socket(directory) => {
                values.insert("host", directory.to_string_lossy().into_owned());
            }
            HostAddress::Tcp { name, address } => {
                values.insert("host", name.clone());
                values.extend(address.map(|address| ("hostaddr", address.to_string())));
            }
        }
        values.insert("port", host.port.to_string());
        values.insert("user", user.to_owned());
        values.insert("dbname", dbname.to_owned());
        Self { values, hosts: 1, ..self.clone() }
    }

    /// Libpq's variables and their values, without the password.
    pub fn variables(&self) -> Vec<(&'static str, &str)> {
        keywords::with_variables()
            .filter_map(|(keyword, variable)| Some((variable, self.values.get(keyword.name)?.as_str())))
            .collect()
    }

    /// The variables that choose a server: beside [`Self::variables`], they must not be left from before.
    pub fn choosing_variables() -> impl Iterator<Item = &'static str> {
        let choosing = keywords::with_variables().filter(|(keyword, _)| CHOOSING.contains(&keyword.name));
        choosing.map(|(_, variable)| variable).chain(["PGREQUIRESSL"])
    }

    /// As a connection string, without the password and other secrets.
    pub fn conninfo(&self) -> String {
        // What people look for comes first.
        let first = ["host", "hostaddr", "port", "user", "dbname"];
        let rest = self.values.keys().copied().filter(|keyword| !first.contains(keyword));
        let pairs = first.into_iter().chain(rest);
        let pairs = pairs.filter_map(|keyword| Some(text::pair(keyword, self.values.get(keyword)?)));
        pairs.collect::<Vec<_>>().join(" ")
    }

    /// The password, when it was given otherwise than in a password file.
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// What was said and cannot be handed on by variables.
    pub fn lost_in_variables(&self) -> Vec<&'static str> {
        let has_variable = |name: &&str| keywords::with_variables().any(|(keyword, _)| keyword.name == *name);
        let without = self.values.keys().copied().filter(|keyword| !has_variable(keyword));
        self.secrets.iter().copied().chain(without).collect()
    }
}

/// The name that a program gives itself, in a connection string that it shows.
pub(crate) fn application_name_in(conninfo: &str) -> Option<String> {
    let pairs = text::parse(conninfo).ok()?;
    ["application_name", "fallback_application_name"].into_iter().find_map(|name| {
        let value = pairs.iter().rev().find(|(keyword, _)| keyword == name).map(|(_, value)| value.clone());
        value.filter(|value| !value.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::super::{ConnectionOptions, ConnectionSettings};
    use super::*;

    fn handed_on(conninfo: &str, variables: &[(&str, &str)]) -> (HandedOnSettings, ConnectionSettings) {
        let options = ConnectionOptions::default();
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let sources = ConnectionSources {
            options: &options,
            conninfo: Some(conninfo),
            variable: &variable,
            os_user: Some("ann"),
            home: None,
            application_name: "pgv-standby",
        };
        (HandedOnSettings::resolve(&sources).unwrap(), ConnectionSettings::resolve(&sources).unwrap())
    }

    #[test]
    fn one_server_is_named_without_any_secret() {
        let conninfo = "host=db1,db2 port=5433 password=canary sslpassword=canary sslmode=require keepalives_idle=9 \
                        target_session_attrs=standby dbname='my app'";
        let (settings, connection) = handed_on(conninfo, &[("PGSSLROOTCERT", "/root.crt"), ("PGHOSTADDR", "")]);
        assert_eq!(settings.host_count(), 2);
        let chosen = settings.of_server(&connection.hosts[1], "ann", "my app");
        assert_eq!(
            chosen.variables(),
            [
                ("PGHOST", "db2"),
                ("PGPORT", "5433"),
                ("PGUSER", "ann"),
                ("PGDATABASE", "my app"),
                ("PGSSLMODE", "require"),
                ("PGSSLROOTCERT", "/root.crt"),
            ]
        );
        assert_eq!(
            chosen.conninfo(),
            "host=db2 port=5433 user=ann dbname='my app' keepalives_idle=9 sslmode=require sslrootcert=/root.crt"
        );
        assert_eq!(chosen.password().unwrap().expose(), b"canary");
        assert_eq!(chosen.lost_in_variables(), ["sslpassword", "keepalives_idle"]);
        assert!(!format!("{chosen:?}").contains("canary"));
    }

    #[test]
    fn an_address_and_a_socket_are_named_as_they_were() {
        let (settings, connection) = handed_on("host=db1 hostaddr=127.0.0.1", &[]);
        let tcp = settings.of_server(&connection.hosts[0], "u", "d").conninfo();
        assert_eq!(tcp, "host=db1 hostaddr=127.0.0.1 port=5432 user=u dbname=d");
        let (settings, connection) = handed_on("host=/run/pg hostaddr=''", &[]);
        let socket = settings.of_server(&connection.hosts[0], "u", "d").conninfo();
        assert_eq!(socket, "host=/run/pg port=5432 user=u dbname=d");
    }

    #[test]
    fn every_variable_that_chooses_a_server_is_known() {
        let all: Vec<&str> = HandedOnSettings::choosing_variables().collect();
        let expected = [
            "PGHOST",
            "PGHOSTADDR",
            "PGSERVICE",
            "PGSERVICEFILE",
            "PGTARGETSESSIONATTRS",
            "PGLOADBALANCEHOSTS",
            "PGREQUIRESSL",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_receiver_has_the_name_that_it_shows() {
        for (conninfo, name) in [
            ("user=r host=db1 fallback_application_name=walreceiver", Some("walreceiver")),
            ("user=r application_name=s1 fallback_application_name=walreceiver", Some("s1")),
            ("application_name='' fallback_application_name=two", Some("two")),
            ("user=r", None),
            ("nonsense", None),
        ] {
            assert_eq!(application_name_in(conninfo).as_deref(), name, "{conninfo}");
        }
    }
}
