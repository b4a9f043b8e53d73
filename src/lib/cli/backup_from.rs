//! `pgv-basebackup --from`: the nodes that a backup may be taken from, best first, and the next when one fails.
//!
//! INVARIANT: another node is tried only while nothing of the backup is stored.

use std::time::Duration;

use clap::Args;

use super::args::ConnectionArgs;
use super::context::Context;
use super::opening;
use super::program::Program;
use super::standby::{Look, parse_size};
use super::standby_nodes::KnownNodes;
use crate::backup::{BackupReport, FailedBackup};
use crate::error::{Classified, ErrorClass, chain};
use crate::report::Reporter;
use crate::server::ConnectionSettings;
use crate::standby::{Policy, Preference, Purpose, StandbyError};

/// How long a node may take to say how far it is.
const DEADLINE: Duration = Duration::from_secs(3);

/// Which node a backup is taken from.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Choice of the server")]
pub(crate) struct FromArgs {
    /// Node to take it from: auto (standbys first, then the primary), standby, primary or the name of one
    #[arg(long, value_name = "NODE")]
    pub(crate) from: Option<String>,

    /// Most WAL that the node may lack, such as 16MB
    #[arg(long, value_name = "SIZE", requires = "from", value_parser = parse_size)]
    pub(crate) max_lag: Option<u64>,

    /// A node, in place of the configured ones; repeat it for each
    #[arg(long = "node", value_name = "NAME=CONNINFO", requires = "from")]
    pub(crate) nodes: Vec<String>,
}

/// No node to take a backup from.
#[derive(Debug, thiserror::Error)]
#[error("could not choose a node to take the backup from")]
pub(crate) struct NoNode(#[source] StandbyError);

impl Classified for NoNode {
    fn class(&self) -> ErrorClass {
        match self.0.class() {
            // A backup that was not taken is no answer.
            ErrorClass::NotFound => ErrorClass::Refused,
            class => class,
        }
    }
}

/// Where a backup may be taken from, best first; never empty.
pub(super) struct Servers {
    first: Server,
    others: Vec<Server>,
}

struct Server {
    /// The name of a node that was chosen; `None` of the server that the connection options name.
    node: Option<String>,
    connection: ConnectionSettings,
}

impl FromArgs {
    /// The server of the connection options; or, with `--from`, the nodes that will do.
    pub(super) fn servers(
        &self,
        connection: &ConnectionArgs,
        context: &Context,
    ) -> Result<Servers, Box<dyn Classified>> {
        let configuration = context.configuration();
        let Some(from) = &self.from else {
            let connection = opening::connection(configuration, connection, Program::BaseBackup)?;
            return Ok(Servers { first: Server { node: None, connection }, others: Vec::new() });
        };
        let known = KnownNodes::find(configuration, &self.nodes, connection, Program::BaseBackup)?;
        let preference = match from.as_str() {
            "auto" => Preference::Standby,
            "standby" => Preference::StandbyOnly,
            "primary" => Preference::Primary,
            name => {
                let names: Vec<&str> = known.nodes.iter().map(|node| node.label.name.as_str()).collect();
                if !names.contains(&name) {
                    let choices = [&["auto", "standby", "primary"], &names[..]].concat();
                    return Err(super::usage::UsageError::unknown("node", name, &choices).into());
                }
                Preference::Any
            }
        };
        let policy = Policy { max_lag: self.max_lag, preference, purpose: Purpose::Backup, ..Policy::default() };
        let look = Look { known, policy, deadline: DEADLINE };
        let mut seen = look.once(context.cancel())?;
        let probes = &seen.survey.probes;
        seen.choice.ranking.retain(|index| {
            let probe = probes.get(*index);
            match from.as_str() {
                "auto" | "standby" => true,
                "primary" => probe.and_then(|probe| probe.facts()).is_some_and(|facts| facts.is_primary()),
                name => probe.is_some_and(|probe| probe.node.name == name),
            }
        });
        let ranked = seen.choice.ranking.iter().filter_map(|index| {
            let node = look.known.nodes.named(&probes.get(*index)?.node.name)?;
            Some(Server { node: Some(node.label.name.clone()), connection: node.connection.clone() })
        });
        let mut ranked = ranked.collect::<Vec<_>>().into_iter();
        match ranked.next() {
            Some(first) => Ok(Servers { first, others: ranked.collect() }),
            None => Err(NoNode(StandbyError::of(&seen.survey, &seen.choice)).into()),
        }
    }
}

impl Servers {
    /// The backup of the first server that does not fail before any data was stored.
    pub(super) fn take_first(
        self,
        reporter: &dyn Reporter,
        take: impl Fn(&ConnectionSettings) -> Result<Result<BackupReport, Box<FailedBackup>>, Box<dyn Classified>>,
    ) -> Result<BackupReport, Box<dyn Classified>> {
        let mut others = self.others.into_iter();
        let mut server = self.first;
        loop {
            if let Some(node) = &server.node {
                reporter.step(&format!("the backup is taken from node \"{node}\""));
            }
            let failed = match take(&server.connection)? {
                Ok(report) => return Ok(report),
                Err(failed) => failed,
            };
            let next = others.next().filter(|_| failed.another_may_do());
            let Some(next) = next else { return Err(failed.error.into()) };
            let node = server.node.as_deref().unwrap_or_default();
            reporter.warn(&format!("node \"{node}\" sends no backup: {}; the next one is tried", chain(&failed.error)));
            server = next;
        }
    }
}
