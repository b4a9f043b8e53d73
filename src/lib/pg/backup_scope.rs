//! What a base backup takes of a data directory, by the rules of `BASE_BACKUP` (`sendDir` and `sendTablespace` of
//! `src/backend/backup/basebackup.c`), so that a backup of the files themselves holds the same.
//!
//! INVARIANT: nothing is left out that the server would send, but for what lies in `pg_tblspc` without being a
//! tablespace of this cluster, `.DS_Store`, which 13 and 14 send, and the marker of a killed restore.
//! COMPAT: 13 to 18. `pg_wal/summaries` is made from 17 on. A name counts as one of a relation by the strict rule of
//! 17, for all versions: the earlier ones also take a number with leading zeros, which no server writes, and verify
//! every file beside relations as if it were one, which gives false alarms.

use std::collections::BTreeSet;

use super::control_file::ControlFile;
use super::data_file_kind::{DataFileKind, RelationFile, RelationFork, parse_number};
use super::data_path::DataPath;
use super::own_data::is_own_data;

/// Directories that a server empties or makes anew when it starts; `excludeDirContents`.
const EMPTIED_DIRECTORIES: [&[u8]; 7] =
    [b"pg_stat_tmp", b"pg_replslot", b"pg_dynshmem", b"pg_notify", b"pg_serial", b"pg_snapshots", b"pg_subtrans"];

/// Names that are left out wherever they stand; `excludeFiles` and what `sendDir` skips before.
const LEFT_OUT_NAMES: [&[u8]; 8] = [
    b"postgresql.auto.conf.tmp",
    b"current_logfiles.tmp",
    b"backup_label",
    b"tablespace_map",
    b"backup_manifest",
    b"postmaster.pid",
    b"postmaster.opts",
    b".DS_Store",
];

/// Names that are left out wherever they stand when they begin like this.
const LEFT_OUT_PREFIXES: [&[u8]; 2] = [b"pgsql_tmp", b"pg_internal.init"];

/// The file of ours by which a directory is known that a restore did not complete. One that was killed in its last moment
/// leaves it in a data directory that is whole.
pub const RESTORE_MARKER: &str = "pgv-restore.incomplete";

const TABLESPACES: &str = "pg_tblspc";

/// Since when `pg_wal` has a directory of summaries.
const SUMMARIES_SINCE: u32 = 17;

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A socket, a pipe, a device.
    Special,
}

/// What a backup makes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryScope {
    /// A file, with its content.
    File,
    /// `global/pg_control`: with its content, after everything else.
    ControlFile,
    /// A directory, and what is in it.
    Directory,
    /// A directory without what is in it; also where a link to one stands.
    EmptyDirectory,
    /// A tablespace: a link in `pg_tblspc`, or a directory there (one that is "in place"). Of what is in it, only the
    /// directory of this cluster is taken.
    Tablespace,
    /// Nothing, as always.
    LeftOut,
    /// Nothing, and that is worth a warning: a link where none is followed, or no file at all.
    Unexpected,
    /// Nothing, and without it there is no backup: a link where the server's own data stands.
    Moved,
}

/// What base backups of a cluster hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupScope {
    /// The directory that this cluster has in each tablespace, as `PG_15_202209061`.
    tablespace_directory: String,
    relation_segment_blocks: u32,
    has_summaries: bool,
}

impl BackupScope {
    /// For the cluster of this control file.
    pub fn of(control: &ControlFile) -> Self {
        let major = control.major().get();
        Self {
            tablespace_directory: format!("PG_{major}_{}", control.catalog_version),
            relation_segment_blocks: control.relation_segment_blocks,
            has_summaries: major >= SUMMARIES_SINCE,
        }
    }

    /// The directory that this cluster has in each tablespace (`TABLESPACE_VERSION_DIRECTORY`).
    pub fn tablespace_directory(&self) -> &str {
        &self.tablespace_directory
    }

    /// The directories that are made in `pg_wal`, which is otherwise empty, whether or not they are there.
    pub fn wal_directories(&self) -> &'static [&'static str] {
        if self.has_summaries { &["archive_status", "summaries"] } else { &["archive_status"] }
    }

    /// What a backup makes of an entry whose own directory it holds. Unlogged relations are
    /// [`UnloggedRelations`]' to tell.
    pub fn entry(&self, path: &DataPath, kind: EntryKind) -> EntryScope {
        let name = path.file_name();
        if LEFT_OUT_NAMES.contains(&name) || LEFT_OUT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            return EntryScope::LeftOut;
        }
        if path.starts_with_component(TABLESPACES)
            && let Some(scope) = self.near_tablespace(path, kind)
        {
            return scope;
        }
        let is_emptied = EMPTIED_DIRECTORIES.contains(&name) || path.as_bytes() == b"pg_wal";
        match kind {
            EntryKind::Directory | EntryKind::Link if is_emptied => EntryScope::EmptyDirectory,
            EntryKind::Directory => EntryScope::Directory,
            EntryKind::File if is_temporary_relation(path) => EntryScope::LeftOut,
            EntryKind::File if path.as_bytes() == RESTORE_MARKER.as_bytes() => EntryScope::LeftOut,
            EntryKind::File if path.classify() == DataFileKind::ControlFile => EntryScope::ControlFile,
            EntryKind::File => EntryScope::File,
            EntryKind::Link if is_own_data(path) => EntryScope::Moved,
            EntryKind::Link | EntryKind::Special => EntryScope::Unexpected,
        }
    }

    /// For the entries of `pg_tblspc` and of the tablespaces; `None` for all others.
    fn near_tablespace(&self, path: &DataPath, kind: EntryKind) -> Option<EntryScope> {
        let mut components = path.components().skip(1);
        let tablespace = components.next()?;
        let Some(directory) = components.next() else {
            return Some(match kind {
                EntryKind::Directory | EntryKind::Link if parse_number(tablespace).is_some() => EntryScope::Tablespace,
                EntryKind::Special => EntryScope::Unexpected,
                _ => EntryScope::LeftOut,
            });
        };
        if components.next().is_some() {
            return None;
        }
        Some(match kind {
            EntryKind::Directory if directory == self.tablespace_directory.as_bytes() => EntryScope::Directory,
            EntryKind::Link if directory == self.tablespace_directory.as_bytes() => EntryScope::Moved,
            EntryKind::Special => EntryScope::Unexpected,
            _ => EntryScope::LeftOut,
        })
    }

    /// The number, within its fork, of the first block of the file: `None` when the file's pages are not to be
    /// verified, since it is none of a relation or too far behind the largest possible one.
    pub fn first_block(&self, path: &DataPath) -> Option<u32> {
        match path.classify() {
            DataFileKind::Relation(RelationFile { segment, .. }) => segment.checked_mul(self.relation_segment_blocks),
            _ => None,
        }
    }
}

/// The unlogged relations of one directory, of which only the initial fork is kept: the server makes the others anew.
///
/// LIMIT: some 8 bytes for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnloggedRelations(BTreeSet<u32>);

impl UnloggedRelations {
    /// Takes each file of the directory, in any order.
    pub fn note(&mut self, path: &DataPath) {
        if let DataFileKind::Relation(RelationFile { file_number, fork: RelationFork::Init, segment: 0, .. }) =
            path.classify()
        {
            self.0.insert(file_number);
        }
    }

    /// Whether a file of the same directory is left out.
    pub fn leave_out(&self, path: &DataPath) -> bool {
        match path.classify() {
            DataFileKind::Relation(file) => file.fork != RelationFork::Init && self.0.contains(&file.file_number),
            _ => false,
        }
    }
}

/// Whether this is a file of a temporary relation (`looks_like_temp_rel_name`): in the directory of a database, `t`,
/// the backend's number, `_` and what other relations are called.
fn is_temporary_relation(path: &DataPath) -> bool {
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let in_database = path.parent().is_some_and(|parent| {
        let components: Vec<&[u8]> = parent.components().collect();
        match components.as_slice() {
            [b"base", database] => digits(database),
            [b"pg_tblspc", _, version, database] => version.starts_with(b"PG_") && digits(database),
            _ => false,
        }
    });
    let name = path.file_name();
    in_database
        && name.strip_prefix(b"t").is_some_and(|rest| {
            let (rest, segment) = split_at_byte(rest, b'.');
            let (backend, relation) = split_at_byte(rest, b'_');
            let (number, fork) = split_at_byte(relation.unwrap_or_default(), b'_');
            digits(backend)
                && digits(number)
                && fork.is_none_or(|fork| [&b"fsm"[..], b"vm", b"init"].contains(&fork))
                && segment.is_none_or(digits)
        })
}

/// What stands before the first such byte, and after it when there is one.
fn split_at_byte(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let mut parts = bytes.splitn(2, |&byte| byte == separator);
    (parts.next().unwrap_or_default(), parts.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> DataPath {
        DataPath::parse(text.as_bytes()).unwrap()
    }

    fn scope(major: u32) -> BackupScope {
        let control = std::fs::read(format!("tests/data/postgres-{major}/pg_control")).unwrap();
        BackupScope::of(&ControlFile::decode(&control).unwrap())
    }

    #[test]
    fn takes_what_servers_send() {
        use EntryKind::{Directory, File, Link, Special};
        use EntryScope as S;
        let table = [
            ("PG_VERSION", File, S::File),
            ("global/pg_control", File, S::ControlFile),
            ("x/global/pg_control", File, S::File),
            ("base/5/1259", File, S::File),
            ("base/5/1259_fsm", File, S::File),
            ("base", Directory, S::Directory),
            ("base/pgsql_tmp", Directory, S::LeftOut),
            ("base/5/pgsql_tmp123.4", File, S::LeftOut),
            ("global/pg_internal.init", File, S::LeftOut),
            ("base/5/pg_internal.init.77", File, S::LeftOut),
            ("postmaster.pid", File, S::LeftOut),
            ("x/postmaster.pid", File, S::LeftOut),
            ("postmaster.pid.old", File, S::File),
            ("backup_label", Directory, S::LeftOut),
            ("backup_label.old", File, S::File),
            ("pgv-restore.incomplete", File, S::LeftOut),
            ("pgv-restore.incomplete", Directory, S::Directory),
            ("base/pgv-restore.incomplete", File, S::File),
            ("pg_replslot", Directory, S::EmptyDirectory),
            ("pg_replslot", Link, S::EmptyDirectory),
            ("x/pg_notify", Directory, S::EmptyDirectory),
            ("pg_notify", File, S::File),
            ("pg_wal", Directory, S::EmptyDirectory),
            ("pg_wal", Link, S::EmptyDirectory),
            ("x/pg_wal", Directory, S::Directory),
            ("x/pg_wal", Link, S::Unexpected),
            ("pg_log", Link, S::Unexpected),
            ("fifo", Special, S::Unexpected),
            ("base/5/t3_16384", File, S::LeftOut),
            ("base/5/t03_016384_fsm.12", File, S::LeftOut),
            ("base/5/t3_16384_init", File, S::LeftOut),
            ("base/5/t3_16384_other", File, S::File),
            ("base/5/t3_16384.", File, S::File),
            ("base/5/t3_16384.x", File, S::File),
            ("base/5/t3_", File, S::File),
            ("base/5/t_16384", File, S::File),
            ("base/5/t3", File, S::File),
            ("base/x/t3_16384", File, S::File),
            ("base/t3_16384", File, S::File),
            ("global/t3_16384", File, S::File),
            ("pg_tblspc/16384/PG_15_202209061/5/t3_16384", File, S::LeftOut),
            ("pg_tblspc", Directory, S::Directory),
            ("pg_tblspc/16384", Link, S::Tablespace),
            ("pg_tblspc/16384", Directory, S::Tablespace),
            ("pg_tblspc/16384", File, S::LeftOut),
            ("pg_tblspc/016384", Link, S::LeftOut),
            ("pg_tblspc/notes", Directory, S::LeftOut),
            ("pg_tblspc/fifo", Special, S::Unexpected),
            ("pg_tblspc/16384/PG_15_202209061", Directory, S::Directory),
            ("pg_tblspc/16384/PG_15_202209061", Link, S::Moved),
            ("pg_tblspc/16384/PG_14_202107181", Link, S::LeftOut),
            ("pg_tblspc/16384/PG_15_202209061/5/1259", Link, S::Moved),
            ("pg_tblspc", Link, S::Moved),
            ("base", Link, S::Moved),
            ("base/5", Link, S::Moved),
            ("base/5/1259", Link, S::Moved),
            ("base/5/notes", Link, S::Unexpected),
            ("base/pgsql_tmp", Link, S::LeftOut),
            ("pg_multixact/members", Link, S::Moved),
            ("pg_stat_tmp", Link, S::EmptyDirectory),
            ("pg_tblspc/16384/PG_14_202107181", Directory, S::LeftOut),
            ("pg_tblspc/16384/notes", File, S::LeftOut),
            ("pg_tblspc/16384/PG_15_202209061/pgsql_tmp", Directory, S::LeftOut),
            ("pg_tblspc/16384/PG_15_202209061/5", Directory, S::Directory),
            ("pg_tblspc/16384/PG_15_202209061/5/1259", File, S::File),
        ];
        for (text, kind, expected) in table {
            assert_eq!(scope(15).entry(&path(text), kind), expected, "{text} {kind:?}");
        }
    }

    #[test]
    fn versions_differ_by_their_directories() {
        for (major, directory, summaries) in [
            (13, "PG_13_202007201", false),
            (14, "PG_14_202107181", false),
            (15, "PG_15_202209061", false),
            (16, "PG_16_202307071", false),
            (17, "PG_17_202406281", true),
            (18, "PG_18_202506291", true),
        ] {
            assert_eq!(scope(major).tablespace_directory(), directory);
            assert_eq!(scope(major).wal_directories().contains(&"summaries"), summaries, "{major}");
            assert!(scope(major).wal_directories().contains(&"archive_status"));
        }
    }

    #[test]
    fn blocks_count_over_the_files_of_a_relation() {
        let scope = scope(15);
        for (text, expected) in [
            ("base/5/1259", Some(0)),
            ("global/1262_fsm", Some(0)),
            ("base/5/1259_init", Some(0)),
            ("base/5/1259.1", Some(131_072)),
            ("base/5/1259_vm.3", Some(393_216)),
            ("pg_tblspc/16384/PG_15_202209061/5/1259.32767", Some(4_294_836_224)),
            ("base/5/1259.32768", None),
            ("base/5/1259.bak", None),
            ("base/5/PG_VERSION", None),
            ("base/5/pg_filenode.map", None),
            ("global/pg_control", None),
            ("pg_xact/0000", None),
        ] {
            assert_eq!(scope.first_block(&path(text)), expected, "{text}");
        }
    }

    #[test]
    fn of_an_unlogged_relation_only_the_initial_fork_is_kept() {
        let files = ["1", "10", "10_init", "10_fsm", "10.1", "10_vm", "11_init.1", "11", "x_init", "10_init.1"];
        let files: Vec<DataPath> = files.iter().map(|name| path(&format!("base/5/{name}"))).collect();
        let mut unlogged = UnloggedRelations::default();
        files.iter().for_each(|file| unlogged.note(file));
        let left_out: Vec<&[u8]> =
            files.iter().filter(|file| unlogged.leave_out(file)).map(DataPath::file_name).collect();
        assert_eq!(left_out, [&b"10"[..], b"10_fsm", b"10.1", b"10_vm"]);
    }
}
