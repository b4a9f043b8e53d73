//! That nothing of the server's own data is missing from a backup. Servers work happily with links in the place of
//! data, and no base backup follows them: `sendDir` of `src/backend/backup/basebackup.c` warns and goes on.
//!
//! INVARIANT: a backup without all databases, tablespaces and transaction logs is never listed.

use std::collections::BTreeSet;
use std::path::Path;

use super::BackupError;
use super::session::ServerSession;
use super::taken::{CUT_MAX, CutRelation, is_within_page};
use crate::error::{Classified, ErrorClass};
use crate::fs;
use crate::pg::{ControlFile, DataPath, is_own_data};
use crate::report::Reporter;
use crate::server::{BackupTablespace, ServerMessage};

/// Files that every cluster has.
const FILES: [&str; 3] = ["PG_VERSION", "global/pg_filenode.map", ControlFile::PATH];
/// Directories that every cluster has; those of transaction logs may be empty after pg_resetwal.
const DIRECTORIES: [&str; 6] =
    ["base", "global", "pg_multixact", "pg_multixact/members", "pg_multixact/offsets", "pg_xact"];
/// The function of the server that passes over what is no file and no directory.
const SENDS_DIRECTORIES: &str = "sendDir";

/// What ends a name in the messages of a server, by its language.
const CLOSING_QUOTES: &str = "\"'«»‘’“”「」『』";

/// Data of the server that a backup would lack.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IncompleteError {
    /// Data that was moved, with a link in its place.
    #[error(
        "\"{path}\" in the data directory is a link, which no base backup follows, so the backup would be incomplete"
    )]
    Moved {
        /// The link.
        path: DataPath,
    },
    /// The server does not send a tablespace that lies in its data directory.
    #[error(
        "this server leaves tablespace {oid}, which lies in the data directory itself, out of its base backups, so the \
         backup would be incomplete"
    )]
    Unsent {
        /// Its OID.
        oid: u32,
    },
    /// A tablespace whose files are not where they should be.
    #[error(
        "tablespace {oid} has no directory of this cluster at \"pg_tblspc/{oid}\", so the backup would be incomplete"
    )]
    NoTablespace {
        /// Its OID.
        oid: u32,
    },
    /// What every cluster has did not come.
    #[error("the server sent nothing of \"{path}\", so the backup would be incomplete")]
    Part {
        /// What it is.
        path: &'static str,
    },
}

impl Classified for IncompleteError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Refused
    }
}

/// Fails when the server says that it passes over data of its own.
pub(super) fn check_notice(notice: &ServerMessage, tablespaces: &[BackupTablespace]) -> Result<(), BackupError> {
    if !is_of_directory(notice) {
        return Ok(());
    }
    match named_path(&notice.message, tablespaces).filter(is_own_data) {
        Some(path) => Err(IncompleteError::Moved { path }.into()),
        None => Ok(()),
    }
}

/// Whether it is about something in a directory that is no file and no directory.
pub(super) fn is_of_directory(notice: &ServerMessage) -> bool {
    notice.routine.as_deref() == Some(SENDS_DIRECTORIES)
}

/// The path in a message of any language: below the data directory, or below the place of a tablespace. Names of the
/// server's own data have no other characters than these.
fn named_path(message: &str, tablespaces: &[BackupTablespace]) -> Option<DataPath> {
    let of_tablespaces = tablespaces.iter().filter_map(|tablespace| {
        let location = std::str::from_utf8(tablespace.location.as_deref()?).ok()?;
        let (_, rest) = message.split_once(&format!("{location}/"))?;
        Some((format!("pg_tblspc/{}/", tablespace.oid?), rest))
    });
    let in_directory = message.split_once("./").map(|(_, rest)| (String::new(), rest));
    let (prefix, rest) = of_tablespaces.chain(in_directory).next()?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_./".contains(letter);
    let end = rest.find(|letter| !is_plain(letter)).unwrap_or(rest.len());
    let (name, behind) = rest.split_at_checked(end)?;
    // A name with other characters is none of the server's.
    let is_whole = behind.trim_start().starts_with(|letter| CLOSING_QUOTES.contains(letter));
    DataPath::parse(format!("{prefix}{name}").as_bytes()).ok().filter(|_| is_whole)
}

/// What came of a stream, as far as it tells whether all did.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    page_bytes: u64,
    /// Of what every cluster has.
    parts: BTreeSet<&'static str>,
    /// Tablespaces with a directory of a cluster in them.
    tablespaces: BTreeSet<u32>,
    cut: Vec<CutRelation>,
    /// Files that are looked for, and did not come.
    awaited: BTreeSet<DataPath>,
}

impl Arrived {
    /// Of a server with pages of this size.
    pub(super) fn new(page_bytes: u32) -> Self {
        Self { page_bytes: page_bytes.into(), ..Self::default() }
    }

    /// Looks for these files.
    pub(super) fn awaiting<'p>(self, files: impl Iterator<Item = &'p DataPath>) -> Self {
        Self { awaited: files.cloned().collect(), ..self }
    }

    /// Whether this file was looked for, and did not come.
    pub(super) fn lack(&self, path: &DataPath) -> bool {
        self.awaited.contains(path)
    }

    pub(super) fn note_file(&mut self, path: &DataPath, bytes: u64) {
        self.awaited.remove(path);
        self.parts.extend(FILES.into_iter().find(|file| file.as_bytes() == path.as_bytes()));
        if is_within_page(path, bytes, self.page_bytes) && self.cut.len() < CUT_MAX {
            self.cut.push(CutRelation { path: path.clone(), bytes });
        }
        self.tablespaces.extend(tablespace_of(path));
    }

    pub(super) fn note_directory(&mut self, path: &DataPath) {
        self.parts.extend(DIRECTORIES.into_iter().find(|directory| directory.as_bytes() == path.as_bytes()));
        self.tablespaces.extend(tablespace_of(path));
    }

    /// Relation files that end within a page.
    pub(super) fn cut(&self) -> &[CutRelation] {
        &self.cut
    }

    /// Fails when a part of every cluster is not among what came.
    pub(super) fn check_parts(&self) -> Result<(), IncompleteError> {
        match FILES.into_iter().chain(DIRECTORIES).find(|part| !self.parts.contains(part)) {
            Some(path) => Err(IncompleteError::Part { path }),
            None => Ok(()),
        }
    }
}

/// The tablespaces that a person made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tablespaces {
    oids: BTreeSet<u32>,
    /// Those that lie in the data directory itself (`allow_in_place_tablespaces`).
    in_place: BTreeSet<u32>,
}

impl Tablespaces {
    pub(super) fn of(session: &mut ServerSession<'_>) -> Result<Self, BackupError> {
        let tablespaces = session.sql(async |sql| sql.tablespaces().await)?;
        let in_place = tablespaces.iter().filter(|one| one.is_in_place).map(|one| one.oid).collect();
        Ok(Self { oids: tablespaces.iter().map(|one| one.oid).collect(), in_place })
    }

    #[cfg(test)]
    pub(super) fn of_oids(oids: &[u32]) -> Self {
        Self { oids: oids.iter().copied().collect(), in_place: BTreeSet::new() }
    }

    /// COMPAT: 15 and 16 leave those in place out of a base backup with a tablespace_map, without a word in the
    /// manifest.
    pub(super) fn check_announced(&self, announced: &[BackupTablespace]) -> Result<(), IncompleteError> {
        let is_announced = |oid: u32| announced.iter().any(|tablespace| tablespace.oid == Some(oid));
        match self.in_place.iter().find(|oid| !is_announced(**oid)) {
            Some(oid) => Err(IncompleteError::Unsent { oid: *oid }),
            None => Ok(()),
        }
    }

    /// Fails when a tablespace that was there all the time is not among what came. What the server announced that is
    /// none of its tablespaces, and empty, is told.
    pub(super) fn check_came(
        &self,
        later: &Self,
        announced: &[BackupTablespace],
        arrived: &Arrived,
        reporter: &dyn Reporter,
    ) -> Result<(), IncompleteError> {
        let came = &arrived.tablespaces;
        if let Some(oid) = self.oids.intersection(&later.oids).find(|oid| !came.contains(oid)) {
            return Err(IncompleteError::NoTablespace { oid: *oid });
        }
        let is_left_over = |oid: &u32| !came.contains(oid) && !self.contains(*oid) && !later.contains(*oid);
        for oid in announced.iter().filter_map(|tablespace| tablespace.oid).filter(is_left_over) {
            warn_of_left_over(oid, reporter);
        }
        Ok(())
    }

    /// Fails when one of them has no directory with this name in the data directory.
    pub(super) fn check_directory(&self, data_directory: &Path, name: &str) -> Result<(), BackupError> {
        for oid in &self.oids {
            if !fs::is_directory(&data_directory.join(format!("pg_tblspc/{oid}")).join(name))? {
                return Err(IncompleteError::NoTablespace { oid: *oid }.into());
            }
        }
        Ok(())
    }

    pub(super) fn contains(&self, oid: u32) -> bool {
        self.oids.contains(&oid)
    }
}

/// A crash while a tablespace was made or dropped leaves its link.
pub(super) fn warn_of_left_over(oid: u32, reporter: &dyn Reporter) {
    reporter.warn(&format!(
        "\"pg_tblspc/{oid}\" in the data directory is none of the server's tablespaces and leads to nothing; it can be \
         removed"
    ));
}

/// The tablespace in which this is the directory of a cluster.
fn tablespace_of(path: &DataPath) -> Option<u32> {
    let mut components = path.components();
    let is_in = components.next() == Some(b"pg_tblspc");
    let oid = std::str::from_utf8(components.next()?).ok()?.parse().ok()?;
    let is_version = components.next()?.starts_with(b"PG_");
    (is_in && is_version).then_some(oid)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::report::CollectingReporter;

    fn notice(routine: &str, message: &str) -> ServerMessage {
        ServerMessage {
            severity: "WARNING".to_owned(),
            sqlstate: None,
            message: message.to_owned(),
            detail: None,
            hint: None,
            routine: Some(routine.to_owned()),
        }
    }

    #[test]
    fn what_the_server_passes_over_is_told_in_any_language() {
        let location = Some(Bytes::from_static("/srv/it's «it»".as_bytes()));
        let spaces = [BackupTablespace { oid: Some(16385), location, estimated_kib: None }];
        for (message, expected) in [
            ("skipping special file \"./base\"", Some("base")),
            ("überspringe besondere Datei »./base/5/1259_fsm.1«", Some("base/5/1259_fsm.1")),
            ("fichier spécial « ./pg_xact » ignoré", Some("pg_xact")),
            ("skipping special file or directory \"./pg_multixact/members\"", Some("pg_multixact/members")),
            (
                "skipping special file \"/srv/it's «it»/PG_15_202209061/5/16390\"",
                Some("pg_tblspc/16385/PG_15_202209061/5/16390"),
            ),
            ("skipping special file \"./log\"", None),
            ("skipping special file \"./server.crt\"", None),
            ("skipping special file \"./base and more\"", None),
            ("skipping special file \"./base-old\"", None),
            ("skipping special file \"/elsewhere/base\"", None),
            ("skipping special file \"./\"", None),
            ("", None),
        ] {
            let found = match check_notice(&notice("sendDir", message), &spaces) {
                Ok(()) => None,
                Err(BackupError::Incomplete(IncompleteError::Moved { path })) => Some(path.to_string()),
                Err(error) => panic!("{error}"),
            };
            assert_eq!(found.as_deref(), expected, "{message}");
        }
        let other = "checksum verification failed in file \"./base/5/1259\", block 3";
        check_notice(&notice("sendFile", other), &spaces).unwrap();
    }

    fn path(text: &str) -> DataPath {
        DataPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_backup_without_a_part_of_every_cluster_is_refused() {
        let files = ["PG_VERSION", "base/5/PG_VERSION", "global/pg_control", "global/pg_filenode.map", "pg_xact/0000"];
        let arrived = |left_out: Option<&str>| {
            let mut arrived = Arrived::new(8192);
            let comes = |name: &&str| Some(*name) != left_out;
            DIRECTORIES.iter().copied().filter(comes).for_each(|name| arrived.note_directory(&path(name)));
            files.iter().copied().filter(comes).for_each(|name| arrived.note_file(&path(name), 8192));
            arrived
        };
        arrived(None).check_parts().unwrap();
        for left_out in FILES.into_iter().chain(DIRECTORIES) {
            let error = arrived(Some(left_out)).check_parts().unwrap_err();
            assert_eq!(error.class(), ErrorClass::Refused);
            assert!(
                matches!(error, IncompleteError::Part { path } if left_out.starts_with(path)),
                "{left_out}: {error}"
            );
        }
    }

    #[test]
    fn relations_that_end_within_a_page_are_noted() {
        let mut arrived = Arrived::new(8192);
        for (name, bytes) in [("base/5/1", 8192), ("base/5/2", 0), ("base/5/3", 100), ("base/5/PG_VERSION", 3)] {
            arrived.note_file(&path(name), bytes);
        }
        assert_eq!(arrived.cut(), [CutRelation { path: path("base/5/3"), bytes: 100 }]);
    }

    #[test]
    fn a_tablespace_that_was_there_all_the_time_must_come() {
        let of = Tablespaces::of_oids;
        let mut arrived = Arrived::new(8192);
        ["pg_tblspc/1", "pg_tblspc/1/PG_15_202209061"].iter().for_each(|name| arrived.note_directory(&path(name)));
        let reporter = CollectingReporter::default();
        let announced = [1, 2, 4].map(|oid| BackupTablespace { oid: Some(oid), location: None, estimated_kib: None });
        let came = |before: &[u32], later: &[u32]| of(before).check_came(&of(later), &announced, &arrived, &reporter);
        came(&[1, 2], &[1, 3]).unwrap();
        let lines = reporter.lines();
        assert!(lines.len() == 1 && lines[0].contains("\"pg_tblspc/4\""), "{lines:?}");
        let error = came(&[1, 2], &[1, 2]).unwrap_err();
        assert!(matches!(error, IncompleteError::NoTablespace { oid: 2 }), "{error}");
    }
}
