//! Asks all nodes at once, each with its own deadline; the primary once more after each answer of a standby.
//!
//! ORDER: the primary's position is read after the standbys'. A standby that was at S when it was asked, and a primary
//! that is at P later, are at most P - S apart at the time of the first question. The other way round, what was written
//! between the two questions would be missing, and a lag could be understated by any amount. The first answer of the
//! primary serves, too: who has replayed that lacks nothing that was written before it. The second is not left to the
//! end of the deadline, which one silent node uses up: a primary that is far away would have no time for it.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Builder;
use tokio::sync::watch;

use super::{Answer, Node, Nodes, Probe, Reading, Survey, Unreachable};
use crate::clock::{Deadline, Stopwatch};
use crate::error::{Classified, ErrorClass, chain};
use crate::pg::SystemIdentifier;
use crate::report::Cancel;
use crate::server::{ConnectError, PrimaryPosition, ReplicationFacts, ReplicationRole, SqlClient, drive};

/// The part of the deadline that the last question to the primary, and the good-byes, may take beyond it: a twentieth.
const SECOND_PART: u32 = 20;

/// Why the nodes could not be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No runtime.
    #[error("could not prepare to connect")]
    Runtime(#[source] std::io::Error),
    /// A signal came.
    #[error("ended by a signal")]
    Cancelled,
}

impl Classified for ProbeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Runtime(error) => ErrorClass::of_io(error),
            Self::Cancelled => ErrorClass::Interrupted,
        }
    }
}

/// Asks all nodes. Takes no longer than the deadline and a tenth of it.
pub fn survey(
    nodes: &Nodes,
    expected: Option<SystemIdentifier>,
    deadline: Duration,
    cancel: &Cancel,
) -> Result<Survey, ProbeError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(ProbeError::Runtime)?;
    let probes = drive(&runtime, cancel, ask_all(nodes, deadline));
    // A name that is still being looked up would be waited for.
    runtime.shutdown_background();
    Ok(Survey { expected, probes: probes.ok_or(ProbeError::Cancelled)? })
}

/// A node that was asked, with its connection when there is one.
struct Asked<'a> {
    node: &'a Node,
    took: Duration,
    outcome: Result<(SqlClient, ReplicationFacts), Unreachable>,
    /// How many standbys have answered with this one.
    place: usize,
    /// What a primary said the first time.
    earlier: Option<PrimaryPosition>,
    /// What it said after that.
    readings: Vec<Reading>,
}

/// How far the first questions are, for who asks a primary again.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// Standbys that have answered.
    answers: usize,
    /// Nodes that still may answer.
    open: usize,
}

async fn ask_all(nodes: &Nodes, limit: Duration) -> Vec<Probe> {
    let deadline = Deadline::after(limit);
    let round = watch::Sender::new(Round { answers: 0, open: nodes.iter().count() });
    let asked = join_all(nodes.iter().map(|node| async {
        let mut asked = ask(node, limit).await;
        let is_standby = matches!(&asked.outcome, Ok((_, facts)) if !facts.is_primary());
        round.send_modify(|round| {
            round.answers += usize::from(is_standby);
            round.open -= 1;
        });
        asked.place = if is_standby { round.borrow().answers } else { 0 };
        ask_again(&mut asked, deadline, round.subscribe()).await;
        asked
    }));
    let asked = asked.await;
    let (probes, clients): (Vec<_>, Vec<_>) = asked.into_iter().map(Asked::into_probe).unzip();
    let goodbyes = join_all(clients.into_iter().flatten().map(SqlClient::close));
    // The sessions are over whether or not the servers hear of it.
    let _ = tokio::time::timeout(limit / SECOND_PART, goodbyes).await;
    probes
}

async fn ask(node: &Node, limit: Duration) -> Asked<'_> {
    let watch = Stopwatch::start();
    let answer = async {
        let client = SqlClient::connect(&node.connection).await.map_err(|error| Unreachable::of_connect(&error))?;
        let facts = client.replication_facts().await.map_err(|error| Unreachable::of(&error))?;
        Ok((client, facts))
    };
    let outcome = tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(Unreachable::silent(limit)));
    Asked { node, took: watch.elapsed(), outcome, place: 0, earlier: None, readings: Vec::new() }
}

/// Reads the position of a primary again, until that was done after the last answer of a standby; one that does not answer
/// any more is not reachable.
async fn ask_again(asked: &mut Asked<'_>, deadline: Deadline, mut round: watch::Receiver<Round>) {
    let Ok((client, facts)) = &mut asked.outcome else { return };
    let ReplicationRole::Primary { current } = facts.role else { return };
    asked.earlier = Some(PrimaryPosition { lsn: current, now: facts.now });
    loop {
        // ORDER: what has answered by now did so before the question.
        let answers = round.borrow_and_update().answers;
        let limit = deadline.remaining().max(deadline.limit() / SECOND_PART);
        let problem = match tokio::time::timeout(limit, client.primary_position()).await {
            Ok(Ok(Some(position))) => {
                facts.role = ReplicationRole::Primary { current: position.lsn };
                facts.now = position.now;
                asked.readings.push(Reading { after: answers, position });
                let more = round.wait_for(|round| round.answers > answers || round.open == 0).await;
                if more.is_ok_and(|round| round.answers > answers) {
                    continue;
                }
                return;
            }
            Ok(Ok(None)) => Unreachable::changed(),
            Ok(Err(error)) => Unreachable::of(&error),
            Err(_) => Unreachable::fell_silent(limit),
        };
        asked.outcome = Err(problem);
        return;
    }
}

impl Asked<'_> {
    fn into_probe(self) -> (Probe, Option<SqlClient>) {
        let (outcome, client) = match self.outcome {
            Ok((client, facts)) => {
                let (server, database) = (client.endpoint().host.clone(), client.endpoint().database.clone());
                let Self { place, earlier, readings, .. } = self;
                let answer = Answer { facts, server, database, place, earlier, readings };
                (Ok(answer), Some(client))
            }
            Err(problem) => (Err(problem), None),
        };
        (Probe { node: self.node.label.clone(), took: self.took, outcome }, client)
    }
}

impl Unreachable {
    /// With the server's own detail: it says why a standby takes no queries.
    fn of_connect(error: &ConnectError) -> Self {
        let unreachable = Self::of(error);
        match error.server_message().and_then(|message| message.detail.as_deref()) {
            Some(detail) => {
                Self { problem: format!("{}: {}", unreachable.problem, detail.trim_end_matches('.')), ..unreachable }
            }
            None => unreachable,
        }
    }

    fn of<E: Classified + 'static>(error: &E) -> Self {
        Self { problem: chain(error), class: error.class() }
    }

    fn silent(limit: Duration) -> Self {
        Self { problem: format!("no answer within {:?}", limit), class: ErrorClass::TimedOut }
    }

    fn fell_silent(limit: Duration) -> Self {
        let problem = format!("it answered once, and then not again within {} ms", limit.as_millis());
        Self { problem, class: ErrorClass::TimedOut }
    }

    fn changed() -> Self {
        Self { problem: "it stopped being a primary while it was asked".to_owned(), class: ErrorClass::Unavailable }
    }
}
