//! What PostgreSQL keeps under a path of a data directory (`src/common/relpath.c`, `src/backend/backup/basebackup.c`).
//!
//! INVARIANT: only names in the exact form that PostgreSQL writes count as relation files; everything else is
//! [`DataFileKind::Other`] and is handled as plain bytes, which is always right.

use super::data_path::DataPath;

/// What a file of a data directory is for; decides how a backup and a restore treat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataFileKind {
    /// `global/pg_control`: read last and written last.
    ControlFile,
    /// `backup_label`.
    BackupLabel,
    /// `tablespace_map`.
    TablespaceMap,
    /// `backup_manifest`.
    BackupManifest,
    /// `pg_wal` or anything below it.
    Wal,
    /// A configuration file in the data directory itself.
    Configuration,
    /// Pages of a relation.
    Relation(RelationFile),
    /// Anything else.
    Other,
}

/// The file of one segment of one fork of a relation; sorted as a backup's map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationFile {
    /// OID of the tablespace: [`RelationFile::DEFAULT_TABLESPACE`] below `base`, [`RelationFile::GLOBAL_TABLESPACE`]
    /// below `global`.
    pub tablespace_oid: u32,
    /// OID of the database; none for shared relations.
    pub database_oid: Option<u32>,
    /// The relation's file number (`pg_class.relfilenode`).
    pub file_number: u32,
    /// Which fork.
    pub fork: RelationFork,
    /// Number of the segment within the fork, from zero.
    pub segment: u32,
}

/// A fork of a relation: PostgreSQL's `ForkNumber`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelationFork {
    /// The pages themselves.
    Main,
    /// The free space map, `_fsm`.
    FreeSpaceMap,
    /// The visibility map, `_vm`.
    VisibilityMap,
    /// What an unlogged relation starts from after a crash, `_init`.
    Init,
}

/// The configuration files that PostgreSQL looks for in a data directory.
const CONFIGURATION_FILES: [&[u8]; 4] = [b"postgresql.conf", b"postgresql.auto.conf", b"pg_hba.conf", b"pg_ident.conf"];

impl RelationFile {
    /// The OID of `pg_default`, whose relations lie below `base`.
    pub const DEFAULT_TABLESPACE: u32 = 1663;
    /// The OID of `pg_global`, whose relations lie below `global`.
    pub const GLOBAL_TABLESPACE: u32 = 1664;

    /// From the file name, with the segment and fork suffixes.
    fn parse(tablespace_oid: u32, database_oid: Option<u32>, file_name: &[u8]) -> Option<Self> {
        let (name, segment) = match split_once(file_name, b'.') {
            Some((name, digits)) => (name, parse_number(digits)?),
            None => (file_name, 0),
        };
        let (digits, fork) = match split_once(name, b'_') {
            None => (name, RelationFork::Main),
            Some((digits, b"fsm")) => (digits, RelationFork::FreeSpaceMap),
            Some((digits, b"vm")) => (digits, RelationFork::VisibilityMap),
            Some((digits, b"init")) => (digits, RelationFork::Init),
            Some(_) => return None,
        };
        Some(Self { tablespace_oid, database_oid, file_number: parse_number(digits)?, fork, segment })
    }
}

impl DataFileKind {
    pub(super) fn of(path: &DataPath) -> Self {
        match path.as_bytes() {
            b"global/pg_control" => Self::ControlFile,
            b"backup_label" => Self::BackupLabel,
            b"tablespace_map" => Self::TablespaceMap,
            b"backup_manifest" => Self::BackupManifest,
            _ if path.starts_with_component("pg_wal") => Self::Wal,
            name if CONFIGURATION_FILES.contains(&name) => Self::Configuration,
            _ => Self::relation(path).map_or(Self::Other, Self::Relation),
        }
    }

    fn relation(path: &DataPath) -> Option<RelationFile> {
        let mut components = path.components();
        let (tablespace_oid, database_oid) = match components.next()? {
            b"global" => (RelationFile::GLOBAL_TABLESPACE, None),
            b"base" => (RelationFile::DEFAULT_TABLESPACE, Some(parse_number(components.next()?)?)),
            b"pg_tblspc" => {
                let oid = parse_number(components.next()?)?;
                if !components.next()?.starts_with(b"PG_") {
                    return None;
                }
                (oid, Some(parse_number(components.next()?)?))
            }
            _ => return None,
        };
        let file = RelationFile::parse(tablespace_oid, database_oid, components.next()?)?;
        if components.next().is_none() { Some(file) } else { None }
    }
}

/// A number as PostgreSQL prints OIDs and segments: decimal digits, not zero, without leading zeros.
pub(super) fn parse_number(digits: &[u8]) -> Option<u32> {
    let canonical = matches!(digits.first(), Some(b'1'..=b'9')) && digits.iter().all(u8::is_ascii_digit);
    if canonical { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == separator)?;
    Some((bytes.get(..at)?, bytes.get(at.checked_add(1)?..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(path: &str) -> DataFileKind {
        DataPath::parse(path.as_bytes()).unwrap().classify()
    }

    fn relation(
        tablespace_oid: u32,
        database_oid: Option<u32>,
        file_number: u32,
        fork: RelationFork,
        segment: u32,
    ) -> DataFileKind {
        DataFileKind::Relation(RelationFile { tablespace_oid, database_oid, file_number, fork, segment })
    }

    #[test]
    fn tells_files_apart() {
        use RelationFork::{FreeSpaceMap, Init, Main, VisibilityMap};
        let table = [
            ("global/pg_control", DataFileKind::ControlFile),
            ("backup_label", DataFileKind::BackupLabel),
            ("tablespace_map", DataFileKind::TablespaceMap),
            ("backup_manifest", DataFileKind::BackupManifest),
            ("pg_wal", DataFileKind::Wal),
            ("pg_wal/archive_status/x", DataFileKind::Wal),
            ("postgresql.conf", DataFileKind::Configuration),
            ("postgresql.auto.conf", DataFileKind::Configuration),
            ("pg_hba.conf", DataFileKind::Configuration),
            ("pg_ident.conf", DataFileKind::Configuration),
            ("base/5/1259", relation(1663, Some(5), 1259, Main, 0)),
            ("base/5/1259.12", relation(1663, Some(5), 1259, Main, 12)),
            ("base/5/1259_fsm.1", relation(1663, Some(5), 1259, FreeSpaceMap, 1)),
            ("global/1262_vm", relation(1664, None, 1262, VisibilityMap, 0)),
            ("pg_tblspc/16384/PG_15_202209061/5/4294967295_init", relation(16384, Some(5), u32::MAX, Init, 0)),
        ];
        for (path, expected) in table {
            assert_eq!(kind(path), expected, "{path}");
        }
    }

    #[test]
    fn takes_nothing_else_for_a_relation() {
        for path in [
            "base/5",
            "base/5/PG_VERSION",
            "base/5/pg_filenode.map",
            "base/5/t3_16400",
            "base/5/01259",
            "base/5/0",
            "base/5/4294967296",
            "base/5/1259.0",
            "base/5/1259.01",
            "base/5/1259.",
            "base/5/1259.1.1",
            "base/5/1259_",
            "base/5/1259_fsm_vm",
            "base/5/1259_other",
            "base/5/_fsm",
            "base/5/INCREMENTAL.1259",
            "base/5/1259/x",
            "base/x/1259",
            "base/pgsql_tmp/1",
            "global/5/1259",
            "global/pg_filenode.map",
            "pg_tblspc/16384",
            "pg_tblspc/16384/x/5/1259",
            "pg_tblspc/16384/PG_15_202209061/1259",
            "pg_walx",
            "x/postgresql.conf",
            "x/backup_label",
            "pg_xact/0000",
        ] {
            assert_eq!(kind(path), DataFileKind::Other, "{path}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_every_relation_name(db in 1u32.., file in 1u32.., fork in 0usize..4, segment in any::<u32>()) {
            let suffix = ["", "_fsm", "_vm", "_init"][fork];
            let forks = [RelationFork::Main, RelationFork::FreeSpaceMap, RelationFork::VisibilityMap, RelationFork::Init];
            let tail = if segment == 0 { String::new() } else { format!(".{segment}") };
            let found = kind(&format!("base/{db}/{file}{suffix}{tail}"));
            prop_assert_eq!(found, relation(1663, Some(db), file, forks[fork], segment));
        }
    }
}
