//! The nodes of a cluster: named by options, by one connection string with several hosts, or configured.

use super::args::ConnectionArgs;
use super::program::Program;
use super::usage::UsageError;
use crate::config::{Configuration, holds_password};
use crate::error::Classified;
use crate::pg::SystemIdentifier;
use crate::server::conninfo::{HandedOnSettings, HostAddress, ServerHost, TargetSession, is_connection_string};
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
        // Without a cluster there are no configured nodes; who named others needs none.
        let cluster = configuration.cluster().ok();
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
        self.with_sources(&options, Some(conninfo), &variable, |sources| {
            let connection = ConnectionSettings::resolve(sources)?;
            let connection = ConnectionSettings { target_session: TargetSession::Any, ..connection };
            Ok(Node { label, connection, handed_on: HandedOnSettings::resolve(sources)? })
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

/// What a host is called; with its port where that is what tells it from another.
fn host_name(host: &ServerHost, all: &[ServerHost]) -> String {
    let name = |host: &ServerHost| match &host.address {
        HostAddress::Socket(directory) => directory.to_string_lossy().into_owned(),
        HostAddress::Tcp { name, .. } => name.clone(),
    };
    let own = name(host);
    if all.iter().filter(|other| name(other) == own).count() > 1 { format!("{own}:{}", host.port) } else { own }
}
