//! The directories that replay of CREATE TABLESPACE uses (contract A3.12): literally those that it was given, whatever
//! the restore maps elsewhere (`create_tablespace_directories` in `src/backend/commands/tablespace.c`). A server of the
//! same cluster that uses such a directory has files of the very names that replay writes.

use std::path::{Path, PathBuf};

use super::CopyError;
use crate::fs::{self, FileError, PathKind};
use crate::pg::shell_quote;
use crate::restore::plan::RestorePlan;
use crate::restore::tablespaces::TablespacePlan;
use crate::wal_search::CreatedTablespace;

/// What is in a directory that was just formatted.
const LOST_AND_FOUND: &str = "lost+found";

/// What a directory of the WAL is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Absent,
    Usable,
    /// Replay cannot set its permissions.
    NotOurs,
    NoDirectory,
    NotEmpty,
}

/// Refuses directories that somebody uses, and warns of those that replay would not be able to use.
pub(super) fn check(
    created: &[CreatedTablespace],
    plan: &RestorePlan,
    allowed: &[PathBuf],
) -> Result<Vec<String>, CopyError> {
    check_places(created, (&plan.directory, &plan.tablespaces), allowed)
}

fn check_places(
    created: &[CreatedTablespace],
    (directory, plans): (&Path, &[TablespacePlan]),
    allowed: &[PathBuf],
) -> Result<Vec<String>, CopyError> {
    let mut warnings = Vec::new();
    for CreatedTablespace { span, oid, path, .. } in created {
        // What is restored there is checked on its own.
        let is_restored = plans.iter().any(|plan| plan.path == *path);
        let lsn = span.lsn;
        let found = match path.starts_with(directory) {
            _ if is_restored => Found::Usable,
            // Whatever is there now, the restore leaves nothing of it.
            true => Found::Absent,
            false => look(path),
        };
        let problem = match found {
            Found::Usable => continue,
            Found::Absent => {
                let (shown, command) =
                    (path.display(), format!("mkdir -m 0700 {}", shell_quote(&path.to_string_lossy())));
                warnings.push(format!(
                    "the WAL creates tablespace {oid} in \"{shown}\" at {lsn}, and recovery stops there while that directory \
                     is missing; before the start: {command}"
                ));
                continue;
            }
            Found::NotOurs => {
                warnings.push(format!(
                    "the WAL creates tablespace {oid} in \"{}\" at {lsn}, and that directory does not belong to this account: \
                     recovery stops there",
                    path.display()
                ));
                continue;
            }
            Found::NoDirectory => "is no directory",
            Found::NotEmpty if allowed.contains(path) => {
                warnings.push(format!(
                    "recovery will write into \"{}\", which is not empty: whatever server uses it must be gone for good, and \
                     pages in it that are newer than the target stay as they are; an empty directory has none",
                    path.display()
                ));
                continue;
            }
            Found::NotEmpty => "is not empty",
        };
        return Err(CopyError::TablespacePath { oid: *oid, path: path.clone(), lsn, problem });
    }
    Ok(warnings)
}

fn look(path: &Path) -> Found {
    let place = match fs::real_path(path) {
        Ok(place) => place,
        Err(error) if error.is_not_found() => return Found::Absent,
        Err(_) => return Found::NotOurs,
    };
    let judge = || -> Result<Found, FileError> {
        let Some(facts) = fs::look_at(&place)? else { return Ok(Found::Absent) };
        if facts.kind != PathKind::Directory {
            return Ok(Found::NoDirectory);
        }
        let entries = fs::sorted_entries(&place)?;
        if entries.iter().any(|entry| entry.name != LOST_AND_FOUND) {
            return Ok(Found::NotEmpty);
        }
        let account = rustix::process::geteuid();
        Ok(if account.is_root() || facts.owner == account.as_raw() { Found::Usable } else { Found::NotOurs })
    };
    judge().unwrap_or(Found::NotOurs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::TimelineId;
    use crate::restore::target_directory::DirectoryAction;
    use crate::restore::testing::lsn;
    use crate::wal_search::RecordSpan;

    fn created(path: &Path) -> Vec<CreatedTablespace> {
        let span = RecordSpan { lsn: lsn("0/500"), end_lsn: lsn("0/600") };
        vec![CreatedTablespace { span, timeline: TimelineId::FIRST, oid: 16_400, path: path.to_owned() }]
    }

    #[test]
    fn what_somebody_uses_is_refused_unless_it_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        for directory in ["empty", "mounted", "mounted/lost+found", "full", "full/PG_15_202209061"] {
            std::fs::create_dir(at(directory)).unwrap();
        }
        std::fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink(at("full"), at("link")).unwrap();
        let data = at("data");
        let check_of =
            |name: &str, allowed: &[PathBuf]| check_places(&created(&at(name)), (data.as_path(), &[]), allowed);
        assert_eq!(check_of("empty", &[]), Ok(Vec::new()));
        assert_eq!(check_of("mounted", &[]), Ok(Vec::new()));
        let [told] = check_of("it's", &[]).unwrap().try_into().unwrap();
        assert!(told.ends_with(&format!(r"mkdir -m 0700 '{}/it'\''s'", temp.path().display())), "{told}");
        for (name, problem) in [("full", "is not empty"), ("link", "is not empty"), ("file", "is no directory")] {
            let error = check_of(name, &[at("other")]).unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
            assert!(error.to_string().contains("0/500"), "{error}");
        }
        let [told] = check_of("full", &[at("full")]).unwrap().try_into().unwrap();
        assert!(told.contains("newer than the target"), "{told}");
        assert!(check_of("file", &[at("file")]).is_err());
        // The place of a restored tablespace has a check of its own.
        let plan =
            TablespacePlan { oid: 1, original: at("full"), path: at("full"), action: DirectoryAction::MoveAside };
        assert_eq!(check_places(&created(&at("full")), (data.as_path(), &[plan]), &[]), Ok(Vec::new()));
        let inside = check_places(&created(&at("full/x")), (at("full").as_path(), &[]), &[]).unwrap();
        assert!(inside[0].contains("mkdir"), "{inside:?}");
    }
}
