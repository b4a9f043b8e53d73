//! The server versions that tests run with, and where they are installed.

use std::path::{Path, PathBuf};

/// A PostgreSQL major version that scripts/install provides with all its tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PgVersion {
    V15,
    V17,
}

impl PgVersion {
    pub(crate) const ALL: [Self; 2] = [Self::V15, Self::V17];

    pub(crate) fn number(self) -> u32 {
        match self {
            Self::V15 => 15,
            Self::V17 => 17,
        }
    }

    /// The path of one of its programs. `PGV_TEST_PG_<major>` names the directory, scripts/test sets it.
    pub(crate) fn tool(self, name: &str) -> PathBuf {
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
            Self::V17 => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers/17/bin"),
        }
    }
}
