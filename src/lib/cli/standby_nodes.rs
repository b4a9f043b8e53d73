//! The nodes of a cluster: named by options, by one connection string with several hosts, or configured.

use super::args::ConnectionArgs;
use super::program::Program;
use super::usage::UsageError;
use crate::config::{ClusterSettings, ConfigError, Configuration, holds_password};
use crate::error::{Classified, ErrorClass};
use crate::pg::SystemIdentifier;
use crate::server::conninfo::{
    ConninfoError, HandedOnSettings, HostAddress, ServerHost, TargetSession, is_connection_string,
};
use crate::server::{ConnectionOptions, ConnectionSettings, ConnectionSources};
use crate::standby::{Node, NodeLabel, Nodes};

/// The name of the one node that is found where libpq looks when nobody names a server.
const LOCAL_NAME: &str = "local";

/// Variables that choose a server: a node is one already.
const CHOOSING_VARIABLES: [&str; 7] =
    ["PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE", "PGSERVICEFILE", "PGTARGETSESSIONATTRS", "PGLOADBALANCEHOSTS"];

/// The nodes, and the cluster that they should belong to, as far as that is known.
#[derive(Debug)]
pub(crate) struct KnownNodes {
    pub(crate) nodes: Nodes,
    pub(crate) expected: Option<SystemIdentifier>,
}

impl KnownNodes {
    /// Those that were named, else those that are configured, else the server that libpq would find.
    pub(crate) fn find(
        configuration: &Configuration,
        named: &[String],
        args: &ConnectionArgs,
        program: Program,
    ) -> Result<Self, Box<dyn Classified>> {
        let finder = Finder { configuration, args, program };
        let names_server =
            args.host.is_some() || args.port.is_some() || args.dbname.as_deref().is_some_and(is_connection_string);
        if !named.is_empty() && names_server {
            return Err(UsageError::new("--node and the options of one connection both name servers").into());
        }
        let cluster = cluster(configuration, !named.is_empty() || names_server)?;
        let configured = cluster.as_ref().map(|cluster| cluster.nodes.as_slice()).unwrap_or_default();
        let is_own = configuration.named_cluster().is_some();
        let (nodes, is_own) = if !named.is_empty() {
            (finder.named(named)?, is_own)
        } else if names_server || configured.is_empty() {
            (finder.hosts(cluster.as_ref().and_then(|cluster| cluster.conninfo.as_ref()))?, is_own || !names_server)
        } else {
            let nodes = configured.iter().map(|node| {
                let label = NodeLabel { name: node.name.clone(), zone: node.zone.clone(), priority: node.priority };
                finder.node(label, node.conninfo.expose())
            });
            (nodes.collect::<Result<_, _>>()?, true)
        };
        let expected = cluster.and_then(|cluster| cluster.system_identifier).filter(|_| is_own);
        Ok(Self { nodes: Nodes::new(nodes)?, expected })
    }
}

/// The cluster that is meant, as it is configured. Who named the servers needs none; nobody else is asked in place of one
/// that cannot be told.
fn cluster(configuration: &Configuration, names_servers: bool) -> Result<Option<ClusterSettings>, Box<dyn Classified>> {
    if names_servers {
        return Ok(configuration.cluster().ok());
    }
    if let Some(name) = configuration.named_cluster()
        && !configuration.clusters().is_empty()
        && !configuration.clusters().contains_key(name)
    {
        let known: Vec<String> = configuration.clusters().keys().map(ToString::to_string).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(UsageError::unknown("cluster", &name.to_string(), &known).into());
    }
    match configuration.cluster() {
        Ok(cluster) => Ok(Some(cluster)),
        Err(ConfigError::NoCluster) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Which node's connection string it is that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("could not use the connection string of node \"{}\"", name.escape_debug())]
struct NodeConnectionError {
    name: String,
    source: ConninfoError,
}

impl Classified for NodeConnectionError {
    fn class(&self) -> ErrorClass {
        self.source.class()
    }
}

struct Finder<'a> {
    configuration: &'a Configuration,
    args: &'a ConnectionArgs,
    program: Program,
}

impl Finder<'_> {
    /// Of `--node NAME=CONNINFO`.
    fn named(&self, named: &[String]) -> Result<Vec<Node>, Box<dyn Classified>> {
        let node = |text: &String| {
            let Some((name, conninfo)) = text.split_once('=') else {
                return Err(UsageError::new("--node needs a name and a connection string: NAME=CONNINFO").into());
            };
            if holds_password(conninfo) {
                let error = UsageError::new(format!("the connection string of node \"{name}\" holds a password"));
                let hint = "Everybody on this host sees the arguments of programs: put it into ~/.pgpass (mode 0600).";
                return Err(error.with_hint(hint).into());
            }
            self.node(NodeLabel { name: name.to_owned(), ..NodeLabel::default() }, conninfo)
        };
        named.iter().map(node).collect()
    }

    fn node(&self, label: NodeLabel, conninfo: &str) -> Result<Node, Box<dyn Classified>> {
        let options = ConnectionOptions {
            user: self.args.username.clone(),
            dbname: self.args.dbname.clone(),
            ..ConnectionOptions::default()
        };
        let variable = |name: &str| {
            self.configuration.variable(name).filter(|_| !CHOOSING_VARIABLES.contains(&name)).map(str::to_owned)
        };
        let name = label.name.clone();
        let of_node = |source| NodeConnectionError { name: name.clone(), source };
        self.with_sources(&options, Some(conninfo), &variable, |sources| {
            let connection = ConnectionSettings::resolve(sources).map_err(of_node)?;
            let connection = ConnectionSettings { target_session: TargetSession::Any, ..connection };
            Ok(Node { label, connection, handed_on: HandedOnSettings::resolve(sources).map_err(of_node)? })
        })
    }

    /// Every host of one connection string.
    fn hosts(&self, conninfo: Option<&crate::config::Conninfo>) -> Result<Vec<Node>, Box<dyn Classified>> {
        let options = ConnectionOptions {
            host: self.args.host.clone(),
            port: self.args.port.clone(),
            user: self.args.username.clone(),
            dbname: self.args.dbname.clone(),
        };
        let variable = |name: &str| self.configuration.variable(name).map(str::to_owned);
        self.with_sources(&options, conninfo.map(|conninfo| conninfo.expose()), &variable, |sources| {
            let connection = ConnectionSettings::resolve(sources)?;
            let connection =
                ConnectionSettings { target_session: TargetSession::Any, random_order: false, ..connection };
            let handed_on = HandedOnSettings::resolve(sources)?;
            let of = |name: String, hosts: Vec<ServerHost>, handed_on: HandedOnSettings| Node {
                label: NodeLabel { name, ..NodeLabel::default() },
                connection: ConnectionSettings { hosts, ..connection.clone() },
                handed_on,
            };
            if handed_on.host_count() == 0 {
                return Ok(vec![of(LOCAL_NAME.to_owned(), connection.hosts.clone(), handed_on)]);
            }
            let nodes = connection.hosts.iter().map(|host| {
                let one = handed_on.of_server(host, &connection.user, &connection.dbname);
                of(host_name(host, &connection.hosts), vec![host.clone()], one)
            });
            Ok(nodes.collect())
        })
    }

    fn with_sources<T>(
        &self,
        options: &ConnectionOptions,
        conninfo: Option<&str>,
        variable: &dyn Fn(&str) -> Option<String>,
        use_them: impl FnOnce(&ConnectionSources<'_>) -> Result<T, Box<dyn Classified>>,
    ) -> Result<T, Box<dyn Classified>> {
        let account = self.configuration.account();
        use_them(&ConnectionSources {
            options,
            conninfo,
            variable,
            os_user: account.name.as_deref(),
            home: account.home.as_deref(),
            application_name: self.program.name(),
        })
    }
}

/// What a host is called; with its port, or address, too where that is what tells it from another.
fn host_name(host: &ServerHost, all: &[ServerHost]) -> String {
    let name = |host: &ServerHost| match &host.address {
        // A name is one word.
        HostAddress::Socket(directory) => directory.to_string_lossy().replace(char::is_whitespace, "_"),
        HostAddress::Tcp { name, .. } => name.clone(),
    };
    let with_port = |host: &ServerHost| format!("{}:{}", name(host), host.port);
    let with_address = |host: &ServerHost| match &host.address {
        HostAddress::Tcp { address: Some(address), .. } => format!("{}:{address}:{}", name(host), host.port),
        _ => with_port(host),
    };
    let is_only = |of: &dyn Fn(&ServerHost) -> String| all.iter().filter(|other| of(other) == of(host)).count() <= 1;
    if is_only(&name) {
        name(host)
    } else if is_only(&with_port) {
        with_port(host)
    } else {
        with_address(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart_by_what_differs() {
        let host = |name: &str, address: Option<&str>, port| ServerHost {
            address: HostAddress::Tcp {
                name: name.to_owned(),
                address: address.map(|address| address.parse().unwrap()),
            },
            port,
        };
        let all = [
            host("a", None, 1),
            host("b", None, 1),
            host("b", None, 2),
            host("c", Some("10.0.0.1"), 1),
            host("c", Some("10.0.0.2"), 1),
            ServerHost { address: HostAddress::Socket("/run/my pg".into()), port: 1 },
        ];
        let names: Vec<String> = all.iter().map(|host| host_name(host, &all)).collect();
        assert_eq!(names, ["a", "b:1", "b:2", "c:10.0.0.1:1", "c:10.0.0.2:1", "/run/my_pg"]);
    }
}
