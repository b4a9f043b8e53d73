//! Where a server keeps data of its own. Base backups follow no link there, so a database that was moved behind one
//! is in none of them.

use super::data_file_kind::{DataFileKind, parse_number};
use super::data_path::DataPath;

/// Directories in which everything is the server's own.
const DIRECTORIES: [&[u8]; 6] =
    [b"pg_commit_ts", b"pg_logical", b"pg_multixact", b"pg_stat", b"pg_twophase", b"pg_xact"];

/// What a database has beside its relations, and `global` beside the shared ones.
const BESIDE_RELATIONS: [&[u8]; 3] = [b"PG_VERSION", b"pg_control", b"pg_filenode.map"];

/// Whether a server keeps data of its own under this path, which a restored one needs: not its WAL, which comes from
/// the archive, nor what a person put beside, nor configuration.
pub fn is_own_data(path: &DataPath) -> bool {
    let components: Vec<&[u8]> = path.components().collect();
    let in_database = |name: &[u8]| BESIDE_RELATIONS.contains(&name) || is_relation(path);
    match components.as_slice() {
        [b"PG_VERSION" | b"base" | b"global" | b"pg_tblspc"] => true,
        [top, ..] if DIRECTORIES.contains(top) => true,
        [b"base", database] => parse_number(database).is_some(),
        [b"pg_tblspc", tablespace, version] => is_tablespace(tablespace, version),
        [b"pg_tblspc", tablespace, version, database] => {
            is_tablespace(tablespace, version) && parse_number(database).is_some()
        }
        [b"global", name] | [b"base", _, name] | [b"pg_tblspc", _, _, _, name] => in_database(name),
        _ => false,
    }
}

fn is_tablespace(tablespace: &[u8], version: &[u8]) -> bool {
    parse_number(tablespace).is_some() && version.starts_with(b"PG_")
}

fn is_relation(path: &DataPath) -> bool {
    matches!(path.classify(), DataFileKind::Relation(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_the_server_is_told_from_what_lies_beside() {
        for (own, paths) in [
            (
                true,
                "PG_VERSION base global pg_tblspc pg_xact pg_xact/0000 pg_multixact pg_multixact/members/0000 pg_commit_ts \
                 pg_logical/replorigin_checkpoint pg_twophase base/5 base/5/1259 base/5/1259_fsm base/5/PG_VERSION \
                 base/5/pg_filenode.map global/1262 global/pg_control global/pg_filenode.map pg_stat \
                 pg_tblspc/16384/PG_15_202209061 pg_tblspc/16384/PG_15_202209061/5 \
                 pg_tblspc/16384/PG_15_202209061/5/16390.1",
            ),
            (
                false,
                "pg_wal pg_wal/000000010000000000000001 log pg_log server.crt postgresql.conf conf.d base/notes base/x/1259 \
                 base/5/notes base/5/1259.bak base/5/1259/x global/notes pg_stat_tmp pg_tblspc/16384 pg_tblspc/notes \
                 pg_tblspc/16384/notes pg_tblspc/notes/PG_15_202209061 pg_tblspc/16384/PG_15_202209061/notes \
                 x/base x/pg_xact",
            ),
        ] {
            for path in paths.split_whitespace() {
                assert_eq!(is_own_data(&DataPath::parse(path.as_bytes()).unwrap()), own, "{path}");
            }
        }
    }
}
