//! A document that is too long for memory, in a file without a name.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::path::PathBuf;

use super::{FileError, Tree};

/// Written from its beginning to its end, then read; it ends with this program.
#[derive(Debug)]
pub struct SpillFile {
    file: File,
    /// The directory that it lies in, for messages.
    path: PathBuf,
    written: u64,
}

impl SpillFile {
    /// An empty one.
    pub fn create_in(tree: &Tree) -> Result<Self, FileError> {
        Ok(Self { file: tree.nameless_file()?, path: tree.path().to_owned(), written: 0 })
    }

    /// Adds to its end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).map_err(|error| FileError::new("write in", &self.path, error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Bytes that were written.
    pub fn written_bytes(&self) -> u64 {
        self.written
    }
}

impl Read for SpillFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for SpillFile {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_stays() {
        let temp = tempfile::tempdir().unwrap();
        let mut spill = SpillFile::create_in(&Tree::open(temp.path()).unwrap()).unwrap();
        spill.append(b"one ").unwrap();
        spill.append(b"two").unwrap();
        assert_eq!(spill.written_bytes(), 7);
        for _ in 0..2 {
            let mut text = String::new();
            spill.rewind().unwrap();
            spill.read_to_string(&mut text).unwrap();
            assert_eq!(text, "one two");
        }
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
