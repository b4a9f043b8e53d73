//! Sorts more records than memory should hold: in runs, which go to a file without a name and are merged.
//!
//! Records are bytes and sorted as bytes. What fits into one run never touches the disk.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::{FileError, Tree};

/// LIMIT: bytes of a run, with what finds its records.
pub const SORT_RUN_BYTES: usize = 16 << 20;
/// Bytes by which a record's place in a run is known.
const PLACE_BYTES: usize = size_of::<(u32, u32)>();
/// Bytes of a record's length in the file.
const LENGTH_BYTES: usize = 4;
/// How much of each run is read at once, and written.
const BUFFER_BYTES: usize = 64 << 10;
/// How much of each of very many runs is read at once, at least: all together take no more than a run does.
const BUFFER_BYTES_MIN: usize = 4 << 10;

/// Takes records in any order.
pub struct Sorter<'a> {
    tree: &'a Tree,
    run_bytes: usize,
    records: Vec<u8>,
    places: Vec<(u32, u32)>,
    spill: Option<Spill>,
}

/// The file that holds the runs.
struct Spill {
    file: Arc<File>,
    /// Where each run ends.
    ends: Vec<u64>,
}

/// Records in their order.
pub struct Sorted {
    path: PathBuf,
    source: Source,
}

enum Source {
    Memory { records: Vec<u8>, places: std::vec::IntoIter<(u32, u32)> },
    Runs { readers: Vec<RunReader>, next: BinaryHeap<Reverse<(Vec<u8>, usize)>>, failed: Option<std::io::Error> },
}

impl<'a> Sorter<'a> {
    /// One whose file, if it needs one, lies in that directory.
    pub fn new(tree: &'a Tree) -> Self {
        Self::with_runs_of(tree, SORT_RUN_BYTES)
    }

    /// The same, with runs of another size.
    pub fn with_runs_of(tree: &'a Tree, run_bytes: usize) -> Self {
        Self { tree, run_bytes, records: Vec::new(), places: Vec::new(), spill: None }
    }

    /// Room that so many records of so many bytes in all take on the disk.
    pub fn spilled_bytes(count: u64, bytes: u64) -> u64 {
        Self::spilled_bytes_with(SORT_RUN_BYTES, count, bytes)
    }

    /// The same, with runs of another size.
    pub fn spilled_bytes_with(run_bytes: usize, count: u64, bytes: u64) -> u64 {
        let in_memory = bytes.saturating_add(count.saturating_mul(PLACE_BYTES as u64));
        if in_memory < run_bytes as u64 {
            return 0;
        }
        bytes.saturating_add(count.saturating_mul(LENGTH_BYTES as u64))
    }

    /// Adds a record.
    pub fn push(&mut self, record: &[u8]) -> Result<(), FileError> {
        let used = self.records.len() + (self.places.len() + 1) * PLACE_BYTES + record.len();
        if used > self.run_bytes && !self.places.is_empty() {
            self.write_run()?;
        }
        let too_long = |_| FileError::new("sort in", self.tree.path(), std::io::ErrorKind::FileTooLarge);
        let place = (u32::try_from(self.records.len()), u32::try_from(record.len()));
        self.places.push((place.0.map_err(too_long)?, place.1.map_err(too_long)?));
        self.records.extend_from_slice(record);
        Ok(())
    }

    /// All records, in their order.
    pub fn finish(mut self) -> Result<Sorted, FileError> {
        let path = self.tree.path().to_owned();
        if self.spill.is_none() {
            self.sort();
            let (records, places) = (self.records, self.places.into_iter());
            return Ok(Sorted { path, source: Source::Memory { records, places } });
        }
        self.write_run()?;
        (self.records, self.places) = (Vec::new(), Vec::new());
        let mut readers = Vec::new();
        let mut begin = 0;
        if let Some(Spill { file, ends }) = self.spill {
            let buffer_bytes = (self.run_bytes / ends.len().max(1)).clamp(BUFFER_BYTES_MIN, BUFFER_BYTES);
            for end in ends {
                let section = Section { file: Arc::clone(&file), at: begin, end };
                readers.push(BufReader::with_capacity(buffer_bytes, section));
                begin = end;
            }
        }
        let mut next = BinaryHeap::new();
        for (number, reader) in readers.iter_mut().enumerate() {
            let record = read_record(reader).map_err(|error| FileError::new("sort in", &path, error))?;
            next.extend(record.map(|record| Reverse((record, number))));
        }
        Ok(Sorted { path, source: Source::Runs { readers, next, failed: None } })
    }

    fn sort(&mut self) {
        let records = &self.records;
        self.places.sort_unstable_by(|a, b| slice(records, *a).cmp(slice(records, *b)));
    }

    fn write_run(&mut self) -> Result<(), FileError> {
        self.sort();
        let mut spill = match self.spill.take() {
            Some(spill) => spill,
            None => Spill { file: Arc::new(self.tree.nameless_file()?), ends: Vec::new() },
        };
        let mut end = spill.ends.last().copied().unwrap_or(0);
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        let mut write = |buffer: &mut Vec<u8>| {
            let written = spill.file.write_all_at(buffer, end);
            end += buffer.len() as u64;
            buffer.clear();
            written.map_err(|error| FileError::new("sort in", self.tree.path(), error))
        };
        for place in self.places.drain(..) {
            buffer.extend_from_slice(&place.1.to_le_bytes());
            buffer.extend_from_slice(slice(&self.records, place));
            if buffer.len() >= BUFFER_BYTES {
                write(&mut buffer)?;
            }
        }
        write(&mut buffer)?;
        spill.ends.push(end);
        self.spill = Some(spill);
        self.records.clear();
        Ok(())
    }
}

impl Iterator for Sorted {
    type Item = Result<Vec<u8>, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            Source::Memory { records, places } => places.next().map(|place| Ok(slice(records, place).to_vec())),
            Source::Runs { readers, next, failed } => {
                if let Some(error) = failed.take() {
                    return Some(Err(FileError::new("sort in", &self.path, error)));
                }
                let Reverse((record, number)) = next.pop()?;
                match readers.get_mut(number).map(read_record) {
                    Some(Ok(Some(following))) => next.push(Reverse((following, number))),
                    Some(Ok(None)) | None => {}
                    // Nothing may be missing without a word.
                    Some(Err(error)) => *failed = Some(error),
                }
                Some(Ok(record))
            }
        }
    }
}

fn slice(records: &[u8], (at, length): (u32, u32)) -> &[u8] {
    let at = at as usize;
    records.get(at..at + length as usize).unwrap_or_default()
}

/// Part of a file.
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(buffer.get_mut(..left).unwrap_or_default(), self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

type RunReader = BufReader<Section>;

fn read_record(reader: &mut RunReader) -> std::io::Result<Option<Vec<u8>>> {
    let section = reader.get_ref();
    if section.at == section.end && reader.buffer().is_empty() {
        return Ok(None);
    }
    let mut length = [0; LENGTH_BYTES];
    reader.read_exact(&mut length)?;
    let mut record = vec![0; u32::from_le_bytes(length) as usize];
    reader.read_exact(&mut record)?;
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(records: &[Vec<u8>], run_bytes: usize) -> Vec<Vec<u8>> {
        let temp = tempfile::tempdir().unwrap();
        let tree = Tree::open(temp.path()).unwrap();
        let mut sorter = Sorter::with_runs_of(&tree, run_bytes);
        records.iter().for_each(|record| sorter.push(record).unwrap());
        let all = sorter.finish().unwrap().map(Result::unwrap).collect();
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "its file has no name");
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_record_comes_back_in_order(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..400),
            run_bytes in 1usize..30_000,
        ) {
            let mut expected = records.clone();
            expected.sort();
            prop_assert_eq!(sorted(&records, run_bytes), expected);
        }
    }

    #[test]
    fn runs_longer_than_what_is_read_at_once_are_merged() {
        let records: Vec<Vec<u8>> =
            (0..60_000u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes().to_vec()).collect();
        let mut expected = records.clone();
        expected.sort();
        assert!(sorted(&records, 300_000) == expected);
    }

    #[test]
    fn the_room_is_known_before() {
        assert_eq!(Sorter::spilled_bytes(1000, 100_000), 0);
        assert_eq!(Sorter::spilled_bytes(1 << 20, 100 << 20), 104 << 20);
    }
}
