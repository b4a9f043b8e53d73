//! Of the backups, the archived WAL, the histories and the timelines.

use super::{Words, see};
use crate::check::{CheckName, Concern, Flaw, TimelineFinding, TreeFinding, Unreadable};
use crate::cli::size::duration_text;
use crate::error::chain;
use crate::pg::TimelineId;
use crate::repository::{CostlyHole, Lack};

/// Things of one kind that are named.
const NAMED_MAX: usize = 3;

pub(super) fn of_tree(finding: &TreeFinding) -> Words {
    match finding {
        TreeFinding::NoBackup => {
            Words::of("there is no backup").then("Nothing can be restored. Take one: pgv-basebackup")
        }
        TreeFinding::NoneGood { count, newest: (id, flaw) } => {
            Words::of(format!("none of {count} backups is good; the newest, {id}, {}", flaw_text(flaw)))
                .then("No backup can be restored to a sound database. pgv verify says more; take one: pgv-basebackup")
        }
        TreeFinding::LastGood { id, age, is_old, newest } => {
            let newest = newest
                .as_ref()
                .map_or_else(String::new, |(newest, flaw)| format!("; {newest}, newer, {}", flaw_text(flaw)));
            Words::of(format!("{id} ended {} ago{newest}", duration_text(*age))).then(match is_old {
                true => "Is its timer running? systemctl list-timers 'pgv-*', or take one now: pgv-basebackup",
                false => "pgv info and pgv verify say what is wrong with it.",
            })
        }
        TreeFinding::Catalog { count: 1 } => Words::of("1 backup listed, all readable"),
        TreeFinding::Catalog { count } => Words::of(format!("{count} backups listed, all readable")),
        TreeFinding::Unreadable(unreadable) => Words::of(some_of(unreadable, unreadable_text, "; "))
            .then("pgv verify says what is damaged and what that costs."),
        TreeFinding::Holes { holes, .. } if holes.is_empty() => Words::of("the archived WAL has none"),
        TreeFinding::Holes { holes, concern } => {
            let found = format!("missing: {}", some_of(holes, hole_text, ", "));
            match concern {
                Concern::Nothing => Words::of(format!("{found}; no backup is concerned")),
                Concern::OlderBackups => Words::of(found).then(
                    "Recovery from older backups ends there; the newest backup is not concerned. pgv info has the list.",
                ),
                Concern::NewestBackup => Words::of(found).then(
                    "Recovery from the newest backup ends there. Archive them if a pg_wal still has them \
                     (pgv-restore --wal-from), and take a new backup now: pgv-basebackup",
                ),
            }
        }
        TreeFinding::Histories => Words::of("every timeline has its history"),
        TreeFinding::MissingHistories(timelines) => {
            Words::of(format!("{} is not archived", some_of(timelines, history_name, ", "))).then(
                "Recovery does not find its way onto that timeline. The file is in pg_wal of a server that was on it: \
                 run pgv-archive with its path there.",
            )
        }
    }
}

fn flaw_text(flaw: &Flaw) -> String {
    match flaw {
        Flaw::NotWhole(lacks) => format!("lacks {}", some_of(lacks, Lack::to_string, "; ")),
        Flaw::PacksUnknown => "has no table of packs that can be read".to_owned(),
        Flaw::DamagedPages => "has damaged pages".to_owned(),
        Flaw::LacksWal => "lacks WAL".to_owned(),
    }
}

fn unreadable_text(unreadable: &Unreadable) -> String {
    match unreadable {
        Unreadable::Folder(cause) => chain(cause),
        Unreadable::Backup { id, cause } => format!("backup {id}: {}", chain(cause)),
        Unreadable::NotWhole { id, lacks } => {
            format!("backup {id} lacks {}", some_of(lacks, Lack::to_string, "; "))
        }
        Unreadable::History { timeline, problem } => format!("{}: {problem}", history_name(timeline)),
    }
}

fn hole_text(hole: &CostlyHole) -> String {
    match hole.count {
        1 => hole.first.to_string(),
        count => format!("{} to {} ({count})", hole.first, hole.last),
    }
}

fn history_name(timeline: &TimelineId) -> String {
    format!("{}.history", timeline.to_hex())
}

fn some_of<T>(things: &[T], text: impl Fn(&T) -> String, separator: &str) -> String {
    let more = things.len().saturating_sub(NAMED_MAX);
    let rest = (more > 0).then(|| format!("and {more} more"));
    things.iter().take(NAMED_MAX).map(text).chain(rest).collect::<Vec<_>>().join(separator)
}

pub(super) fn of_timeline(finding: TimelineFinding) -> Words {
    use TimelineFinding::{
        ArchiveAhead, BackupBehind, BackupBehindArchive, BackupBehindUnarchived, One, ServerUnknown, Unarchived,
    };
    const CROSSING: &str = "Recovery has to cross the promotion. Take a backup of the new primary: pgv-basebackup";
    match finding {
        One(timeline) => Words::of(format!("all is on timeline {timeline}")),
        ArchiveAhead { server, archive } => {
            Words::of(format!("the server is on timeline {server}, the archive has timeline {archive}"))
                .then("Another server writes into this archive, or this one is an old primary. Which one should it be?")
        }
        BackupBehindUnarchived { server, backup } => Words::of(format!(
            "the newest backup is of timeline {backup}, the server is on {server}, and nothing of that is archived"
        ))
        .then(CROSSING),
        Unarchived { server } => Words::of(format!("the server is on timeline {server}, of which nothing is archived"))
            .then("Does the new primary archive? The lines above say what its archiver does."),
        BackupBehind { server, backup } => {
            Words::of(format!("the newest backup is of timeline {backup}, the server and its WAL of {server}"))
                .then(CROSSING)
        }
        BackupBehindArchive { archive, backup } => {
            Words::of(format!("the newest backup is of timeline {backup}, the archived WAL of {archive}"))
                .then(CROSSING)
        }
        ServerUnknown { archive } => {
            Words::of(format!("the archive is on timeline {archive}, that of the server is not known"))
                .then(see(CheckName::Server))
        }
    }
}
