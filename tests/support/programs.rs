//! The programs under test, where the test account can run them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::support::TestAccount;

/// The path of the built program `name` (`pgv-archive`), runnable by the test account.
pub(crate) fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let path = FOLDER.get_or_init(runnable_folder).join(name);
    assert!(path.exists(), "there is no program {name:?} at {path:?}; is there a src/bin/{name}.rs?");
    path
}

/// Cargo's own folder, or a copy of it when the account cannot reach that (a checkout below /root).
fn runnable_folder() -> PathBuf {
    let pgv = Path::new(env!("CARGO_BIN_EXE_pgv"));
    let built = pgv.parent().expect("a program lies in a folder");
    if TestAccount::get().can_execute(pgv) { built.to_owned() } else { copy_of(built) }
}

/// One folder per target folder, refreshed in place, so that test runs do not pile up copies.
fn copy_of(built: &Path) -> PathBuf {
    let key = fs::metadata(built).expect("the target folder exists").ino();
    let folder = std::env::temp_dir().join(format!("pgv-test-programs-{key}"));
    match fs::create_dir(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => panic!("could not create {folder:?}: {error}"),
    }
    let found = fs::symlink_metadata(&folder).unwrap();
    let own = rustix::process::geteuid().as_raw();
    assert!(found.is_dir() && found.uid() == own, "{folder:?} is not ours; remove it");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(built).unwrap() {
        let source = entry.unwrap().path();
        let name = source.file_name().unwrap().to_string_lossy().into_owned();
        if source.is_file() && (name == "pgv" || name.starts_with("pgv-")) && source.extension().is_none() {
            let staged = folder.join(format!(".{name}-{}", std::process::id()));
            fs::copy(&source, &staged).unwrap_or_else(|error| panic!("could not copy {source:?}: {error}"));
            fs::rename(&staged, folder.join(&name)).unwrap();
        }
    }
    folder
}
