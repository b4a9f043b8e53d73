//! The server versions that tests run with, and where they are installed.

use std::path::{Path, PathBuf};

/// A PostgreSQL major version that scripts/install provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PgVersion {
    V13,
    V14,
    V15,
    V16,
    V17,
    V18,
}

/// The programs that the packages of 13 and 14 have.
const SERVER_PROGRAMS: [&str; 3] = ["postgres", "initdb", "pg_ctl"];

impl PgVersion {
    pub(crate) const ALL: [Self; 6] = [Self::V13, Self::V14, Self::V15, Self::V16, Self::V17, Self::V18];

    pub(crate) fn number(self) -> u32 {
        match self {
            Self::V13 => 13,
            Self::V14 => 14,
            Self::V15 => 15,
            Self::V16 => 16,
            Self::V17 => 17,
            Self::V18 => 18,
        }
    }

    /// The path of one of its programs. `PGV_TEST_PG_<major>` names the directory, scripts/test sets it.
    ///
    /// Of 13 and 14 there is the server alone: clients and the tools that read its files are those of 15, which knows
    /// both (the control file and the manifest have one format from 13 to 16).
    pub(crate) fn tool(self, name: &str) -> PathBuf {
        if self < Self::V15 && !SERVER_PROGRAMS.contains(&name) {
            return Self::V15.tool(name);
        }
        let variable = format!("PGV_TEST_PG_{}", self.number());
        let folder = std::env::var_os(&variable).map_or_else(|| self.usual_folder(), PathBuf::from);
        let path = folder.join(name);
        assert!(
            path.exists(),
            "{path:?} is missing: run scripts/install and scripts/test, or set {variable} to the bin directory of \
             PostgreSQL {}",
            self.number()
        );
        path
    }

    fn usual_folder(self) -> PathBuf {
        match self {
            Self::V15 => PathBuf::from("/usr/lib/postgresql/15/bin"),
            other => {
                let servers = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers");
                servers.join(other.number().to_string()).join("bin")
            }
        }
    }
}
