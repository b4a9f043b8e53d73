//! What `pgv target` says: a point or a list, for people and for programs.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::printer::field;
use super::proof_text::{self, precise_text, target_options};
use super::table::table;
use crate::pg::{Lsn, RecoveryTarget, TargetBound, TimelineHistory};
use crate::repository::ClusterRef;
use crate::restore::{Decision, Listing, OldWalUse, Proof};
use crate::wal_search::{AroundSearch, DropSearch, Ending, ListedCommit, Removal, RemovedThing, WalSearchError};

/// The answer; fields are only ever added.
#[derive(Serialize)]
pub(super) struct Shown {
    schema_version: u32,
    cluster: String,
    system_identifier: String,
    /// The path of timelines, oldest first.
    timelines: Vec<u32>,
    /// Where the WAL that was read begins and ends; null when none was read.
    wal_from: Option<Lsn>,
    wal_to: Option<Lsn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    point: Option<Point>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commits: Option<Vec<Commit>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removals: Option<Vec<Gone>>,
    /// Segments that could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged_segments: Vec<String>,
    pub(super) warnings: Vec<String>,
    /// Why a list is not whole.
    #[serde(skip)]
    pub(super) damage: Option<WalSearchError>,
    #[serde(skip)]
    around: Option<Timestamp>,
}

/// A point that recovery stops at.
#[derive(Serialize)]
struct Point {
    target: String,
    backup: String,
    /// What reading the WAL has shown; null with --no-prove.
    proof: Option<Proof>,
    /// What is needed of the old pg_wal; null without --wal-from.
    old_wal: Option<OldWalUse>,
    /// The options of pgv-restore that lead there.
    options: String,
    #[serde(skip)]
    lines: Vec<(&'static str, String)>,
}

/// A commit of a list.
#[derive(Serialize)]
struct Commit {
    #[serde(flatten)]
    listed: ListedCommit,
    /// The options of pgv-restore that lead to just before it.
    options_before: String,
    /// Those that lead to just after it.
    options_after: String,
}

/// A removal of a list.
#[derive(Serialize)]
struct Gone {
    #[serde(flatten)]
    removal: Removal,
    /// The options of pgv-restore that lead to just before it.
    options_before: String,
}

impl Shown {
    fn new(cluster: &ClusterRef, path: &TimelineHistory, wal: Option<(Lsn, Lsn)>, warnings: Vec<String>) -> Self {
        Self {
            schema_version: 1,
            cluster: cluster.name.to_string(),
            system_identifier: cluster.system_identifier.to_string(),
            timelines: path.parents().chain([path.timeline()]).map(|timeline| timeline.get()).collect(),
            wal_from: wal.map(|(from, _)| from),
            wal_to: wal.map(|(_, to)| to),
            point: None,
            commits: None,
            removals: None,
            damaged_segments: Vec::new(),
            warnings,
            damage: None,
            around: None,
        }
    }

    /// Where a list has nothing, though there was something.
    fn with_damage(self, damage: Vec<WalSearchError>) -> Self {
        let damaged_segments = damage.iter().filter_map(|error| Some(error.segment()?.to_string())).collect();
        Self { damaged_segments, damage: damage.into_iter().next(), ..self }
    }

    /// Where recovery to a target stops.
    pub(super) fn point(decision: &Decision, target: &RecoveryTarget) -> Self {
        let Decision { selected, choice, proof, old_wal, .. } = decision;
        let wal = proof.as_ref().map(|proof| (choice.record.start_lsn, proof.last_record.end_lsn));
        let mut options = vec![format!("--target-timeline {}", choice.path.timeline())];
        options.insert(0, target_options(target));
        options.retain(|option| !option.is_empty());
        let of_proof = proof.iter().flat_map(|proof| proof_text::lines(proof, target));
        let point = Point {
            target: target.to_string(),
            backup: choice.record.id.to_string(),
            proof: proof.clone(),
            old_wal: old_wal.clone(),
            options: options.join(" "),
            lines: of_proof.chain(old_wal.iter().flat_map(proof_text::old_wal_lines)).collect(),
        };
        let shown = Self::new(&selected.cluster, &choice.path, wal, choice.warnings.clone());
        Self { point: Some(point), ..shown }
    }

    /// The commits around a moment.
    pub(super) fn commits(listing: Listing<AroundSearch>, around: Timestamp, along: Along) -> Self {
        let Listing { cluster, path, from, to, search, warnings, damage } = listing;
        let commit = |listed: ListedCommit| {
            let Ending { xid, span, .. } = listed.ending;
            Commit {
                options_before: along.lead_to(&path, xid, span.lsn, TargetBound::Exclusive),
                options_after: along.lead_to(&path, xid, span.lsn, TargetBound::Inclusive),
                listed,
            }
        };
        let shown = Self::new(&cluster, &path, Some((from, to)), warnings);
        let commits = search.commits().into_iter().map(commit).collect();
        Self { commits: Some(commits), around: Some(around), ..shown.with_damage(damage) }
    }

    /// What was removed.
    pub(super) fn removals(listing: Listing<DropSearch>, along: Along) -> Self {
        let Listing { cluster, path, from, to, search, warnings, damage } = listing;
        let gone = |removal: Removal| {
            // A database is gone before its commit, and cannot be connected to before that.
            let xid = match removal.what {
                RemovedThing::RelationFiles { .. } => removal.xid,
                RemovedThing::Database { .. } | RemovedThing::Tablespace { .. } => None,
            };
            Gone { options_before: along.lead_to(&path, xid, removal.whole_until, TargetBound::Exclusive), removal }
        };
        let shown = Self::new(&cluster, &path, Some((from, to)), warnings);
        Self { removals: Some(search.removals.into_iter().map(gone).collect()), ..shown.with_damage(damage) }
    }
}

/// Along which timeline a list was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Along {
    /// Whether a person has said so.
    pub(super) is_named: bool,
}

impl Along {
    /// The options that lead to just before or just after a record. They carry the timeline where it was named, or
    /// where another path could hold a transaction of the same number.
    fn lead_to(self, path: &TimelineHistory, xid: Option<u32>, lsn: Lsn, bound: TargetBound) -> String {
        let target = match xid.and_then(|xid| crate::pg::TransactionId::new(u64::from(xid))) {
            Some(xid) => RecoveryTarget::TransactionId(xid, bound),
            None => RecoveryTarget::Lsn(lsn, bound),
        };
        let options = target_options(&target);
        if self.is_named || path.parents().next().is_some() {
            format!("{options} --target-timeline {}", path.timeline())
        } else {
            options
        }
    }
}

/// The answer for people.
pub(super) fn text(shown: &Shown) -> String {
    let mut text = String::new();
    if let Some(point) = &shown.point {
        text.push_str(&field("target", &point.target));
        for (name, value) in &point.lines {
            text.push_str(&field(name, value));
        }
        text.push_str(&field("backup", &point.backup));
        text.push_str(&field("options", &point.options));
    }
    if let Some(commits) = &shown.commits {
        text.push_str(&commits_text(commits, shown.around));
    }
    if let Some(removals) = &shown.removals {
        text.push_str(&removals_text(removals));
    }
    if let (None, Some(from), Some(to)) = (&shown.point, shown.wal_from, shown.wal_to) {
        let timelines: Vec<String> = shown.timelines.iter().map(u32::to_string).collect();
        let _ = writeln!(text, "WAL from {from} to {to} was read, timeline {}", timelines.join(", then "));
    }
    text
}

fn commits_text(commits: &[Commit], around: Option<Timestamp>) -> String {
    if commits.is_empty() {
        return "no commits\n".to_owned();
    }
    let rows = commits.iter().map(|commit| {
        let ListedCommit { ending, removed } = &commit.listed;
        let removed: Vec<String> = removed.iter().map(thing_text).collect();
        let side = if around.is_some_and(|around| ending.time < around) { "" } else { "*" };
        vec![
            side.to_owned(),
            precise_text(ending.time),
            ending.xid.map(|xid| xid.to_string()).unwrap_or_default(),
            ending.span.lsn.to_string(),
            removed.join("; "),
            commit.options_before.clone(),
        ]
    });
    let header = ["", "committed", "transaction", "LSN", "removed", "to stop before it"];
    table(&header, rows) + "  * at the time or later; without --target-exclusive, recovery stops after it\n"
}

fn removed_text(files: u32) -> String {
    match files {
        1 => "1 relation".to_owned(),
        count => format!("{count} relations"),
    }
}

fn removals_text(removals: &[Gone]) -> String {
    if removals.is_empty() {
        return "nothing was removed\n".to_owned();
    }
    let rows = removals.iter().map(|gone| {
        let removal = &gone.removal;
        vec![
            removal.time.map(precise_text).unwrap_or_default(),
            removal.xid.map(|xid| xid.to_string()).unwrap_or_default(),
            removal.span.lsn.to_string(),
            thing_text(&removal.what),
            gone.options_before.clone(),
        ]
    });
    table(&["committed", "transaction", "LSN", "removed", "to stop before it"], rows)
        + "  while recovery pauses there, whoever looks at it waits for the transaction that removes it: open the copy first\n"
}

/// `2 relations: 1663/5/16390, 1663/5/16393`: tablespace, database and file number, as in the names of the files.
fn thing_text(thing: &RemovedThing) -> String {
    match thing {
        RemovedThing::Database { oid } => format!("database {oid}"),
        RemovedThing::Tablespace { oid } => format!("tablespace {oid}"),
        RemovedThing::RelationFiles { count, first } => {
            let name = |file: &crate::wal_search::RelationFiles| {
                let database = file.database_oid.unwrap_or(0);
                format!("{}/{database}/{}", file.tablespace_oid, file.file_number)
            };
            let names: Vec<String> = first.iter().take(3).map(name).collect();
            let more = if *count as usize > names.len() { ", ..." } else { "" };
            format!("{}: {}{more}", removed_text(*count), names.join(", "))
        }
    }
}
