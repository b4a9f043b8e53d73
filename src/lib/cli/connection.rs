//! From the connection options to settings: the same for every program that connects.

use super::args::ConnectionArgs;
use crate::config::Configuration;
use crate::server::conninfo::ConninfoError;
use crate::server::{ConnectionOptions, ConnectionSettings, ConnectionSources};

/// Where and how to connect.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) settings: ConnectionSettings,
    /// What was said of it as a connection string, without a password; empty when nothing was.
    pub(crate) said: String,
}

impl Connection {
    /// Merges the command line, the configured connection string and the variables.
    pub(crate) fn resolve(
        args: &ConnectionArgs,
        configured: Option<&str>,
        configuration: &Configuration,
    ) -> Result<Self, ConninfoError> {
        let options = ConnectionOptions {
            host: args.host.clone(),
            port: args.port.clone(),
            user: args.username.clone(),
            dbname: args.dbname.clone(),
        };
        let account = configuration.account();
        let sources = ConnectionSources {
            options: &options,
            conninfo: configured,
            variable: &|name| configuration.variable(name).map(str::to_owned),
            os_user: account.name.as_deref(),
            home: account.home.as_deref(),
            application_name: "pgv",
        };
        Ok(Self { settings: ConnectionSettings::resolve(&sources)?, said: ConnectionSettings::said(&sources)? })
    }
}

impl ConnectionArgs {
    /// Whether any of them was given.
    pub(crate) fn is_given(&self) -> bool {
        self.host.is_some() || self.port.is_some() || self.username.is_some() || self.dbname.is_some()
    }
}
