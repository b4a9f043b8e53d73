//! What is to be done with the names of one directory, in the order of the map; outside memory when there are very many.

use crate::backup::BackupError;
use crate::fs::{FileError, Links, Sorted, Sorter, Tree};
use crate::pg::DataPath;

/// LIMIT: bytes of names of one directory that are in memory.
const NAMES_BYTES: usize = 4 << 20;
/// Bytes of a record beside its path.
const RECORD_BYTES: u64 = 2;
/// What is read back is what was written.
const LOST: BackupError = BackupError::Internal { what: "a sorted name was changed" };

/// Where names are sorted, and how many bytes of them in memory.
#[derive(Clone, Copy)]
pub(super) struct Sorting<'t> {
    pub(super) scratch: &'t Tree,
    pub(super) run_bytes: usize,
}

impl<'t> Sorting<'t> {
    pub(super) fn new(scratch: &'t Tree) -> Self {
        Self { scratch, run_bytes: NAMES_BYTES }
    }
}

/// What is still to be done with a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) path: DataPath,
    pub(super) action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    File,
    ControlFile,
    Directory,
    /// A directory without its content, or a link to one.
    EmptyDirectory,
    /// One that is made in an empty directory, as that one is.
    MadeDirectory,
    Tablespace,
    Descend(Links),
}

impl Action {
    /// Each with the byte by which a record has it.
    const ALL: [(u8, Self); 8] = [
        (b'f', Self::File),
        (b'c', Self::ControlFile),
        (b'd', Self::Directory),
        (b'e', Self::EmptyDirectory),
        (b'm', Self::MadeDirectory),
        (b't', Self::Tablespace),
        (b'<', Self::Descend(Links::Follow)),
        (b'>', Self::Descend(Links::Refuse)),
    ];
}

/// Takes steps in any order.
pub(super) struct Steps<'t>(Sorter<'t>);

/// The steps of a directory, in the order of the map.
pub(super) struct SortedSteps(Sorted);

impl<'t> Steps<'t> {
    pub(super) fn new(sorting: Sorting<'t>) -> Self {
        Self(Sorter::with_runs_of(sorting.scratch, sorting.run_bytes))
    }

    /// Room on the disk that so many names take, of paths of so many bytes in all.
    pub(super) fn spilled_bytes(count: u64, path_bytes: u64) -> u64 {
        let bytes = path_bytes.saturating_add(count.saturating_mul(RECORD_BYTES));
        Sorter::spilled_bytes_with(NAMES_BYTES, count, bytes)
    }

    pub(super) fn add(&mut self, path: &DataPath, action: Action) -> Result<(), BackupError> {
        self.0.push(&encode(path, action)).map_err(BackupError::Spill)
    }

    pub(super) fn finish(self) -> Result<SortedSteps, BackupError> {
        Ok(SortedSteps(self.0.finish().map_err(BackupError::Spill)?))
    }
}

impl Iterator for SortedSteps {
    type Item = Result<Step, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = |record: Result<Vec<u8>, FileError>| decode(&record.map_err(BackupError::Spill)?).ok_or(LOST);
        self.0.next().map(read)
    }
}

/// What is in a directory comes where its path and a slash come; the zero behind a path is less than what may follow it.
fn encode(path: &DataPath, action: Action) -> Vec<u8> {
    let slash: &[u8] = if matches!(action, Action::Descend(_)) { b"/" } else { b"" };
    let byte = Action::ALL.iter().find(|(_, one)| *one == action).map_or(0, |(byte, _)| *byte);
    [path.as_bytes(), slash, &[0, byte]].concat()
}

fn decode(record: &[u8]) -> Option<Step> {
    let (path, [0, byte]) = record.split_last_chunk::<2>()? else { return None };
    let (_, action) = Action::ALL.into_iter().find(|(one, _)| one == byte)?;
    let path = DataPath::parse(path.strip_suffix(b"/").unwrap_or(path)).ok()?;
    Some(Step { path, action })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_back_in_the_order_of_the_map() {
        let temp = tempfile::tempdir().unwrap();
        let tree = Tree::open(temp.path()).unwrap();
        let path = |text: &str| DataPath::parse(text.as_bytes()).unwrap();
        let expected: Vec<(&str, Action)> = vec![
            ("a", Action::Directory),
            ("a-b", Action::File),
            ("a", Action::Descend(Links::Refuse)),
            ("a0", Action::ControlFile),
            ("b", Action::Tablespace),
            ("b", Action::Descend(Links::Follow)),
            ("c", Action::EmptyDirectory),
            ("c/d", Action::MadeDirectory),
        ];
        for run_bytes in [1, 40, 1 << 20] {
            let mut steps = Steps::new(Sorting { scratch: &tree, run_bytes });
            for at in [3, 7, 0, 2, 6, 1, 5, 4] {
                steps.add(&path(expected[at].0), expected[at].1).unwrap();
            }
            let found: Vec<Step> = steps.finish().unwrap().map(Result::unwrap).collect();
            let expected = expected.iter().map(|(name, action)| Step { path: path(name), action: *action });
            assert_eq!(found, expected.collect::<Vec<_>>());
        }
    }
}
