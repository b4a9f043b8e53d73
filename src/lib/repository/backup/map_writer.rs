//! Writing a file map: entries in, in the order of their paths; leaves out, as soon as they are full.
//!
//! INVARIANT: one leaf is in memory at a time, however many entries there are, and no two entries have one path.

use std::collections::BTreeMap;

use super::file_map::{FileEntry, FileKind, LEAF_BYTES, LeafRef, MapRoot};
use super::record::BackupSizes;
use super::writer::BackupWriterError;
use crate::codec::DigestKeys;
use crate::pg::DataPath;
use crate::repository::Repository;
use crate::repository::pack::{Extent, PackError, PackNeed};

/// Stores a leaf as a frame of its own, and says where it lies.
type StoreLeaf<'a> = &'a mut dyn FnMut(&[u8]) -> Result<Extent, PackError>;

/// Cuts sorted entries into leaves.
pub struct MapWriter {
    keys: DigestKeys,
    leaf: Vec<u8>,
    /// The first path of the leaf.
    first: String,
    last: Option<DataPath>,
    root: MapRoot,
    sizes: BackupSizes,
    /// Bytes that are referred to, by the number of the pack.
    live: BTreeMap<u32, u64>,
    room: Option<Room>,
}

/// Where the leaf of an entry belongs that comes last.
struct Room {
    path: DataPath,
    leaves_before: usize,
}

impl MapWriter {
    /// Begins the map of a backup in this repository.
    pub fn new(repository: &Repository) -> Self {
        Self {
            keys: repository.keys().clone(),
            leaf: Vec::new(),
            first: String::new(),
            last: None,
            root: MapRoot { leaves: Vec::new(), entries: 0 },
            sizes: BackupSizes::default(),
            live: BTreeMap::new(),
            room: None,
        }
    }

    /// Adds the entry that comes next in the order of paths.
    pub fn add(&mut self, path: &DataPath, entry: &FileEntry, store: StoreLeaf<'_>) -> Result<(), BackupWriterError> {
        self.follow(path)?;
        let line = line_of(path, entry)?;
        if self.leaf.len() + line.len() > LEAF_BYTES {
            self.end_leaf(store)?;
        }
        if self.leaf.is_empty() {
            self.first = path.to_string();
        }
        self.leaf.extend_from_slice(&line);
        self.count(entry);
        Ok(())
    }

    /// Leaves room for an entry that comes next in the order of paths, and is only known when all others are.
    pub fn leave_room(&mut self, path: &DataPath, store: StoreLeaf<'_>) -> Result<(), BackupWriterError> {
        if self.room.is_some() {
            return Err(BackupWriterError::Room { path: path.clone() });
        }
        self.follow(path)?;
        self.end_leaf(store)?;
        self.room = Some(Room { path: path.clone(), leaves_before: self.root.leaves.len() });
        Ok(())
    }

    /// Adds the entry that room was left for.
    pub fn fill_room(&mut self, entry: &FileEntry, store: StoreLeaf<'_>) -> Result<(), BackupWriterError> {
        self.end_leaf(store)?;
        let Some(Room { path, leaves_before }) = self.room.take() else {
            return Err(BackupWriterError::NoRoom);
        };
        self.leaf = line_of(&path, entry)?;
        self.first = path.to_string();
        self.count(entry);
        self.end_leaf(store)?;
        if let Some(leaf) = self.root.leaves.pop() {
            self.root.leaves.insert(leaves_before, leaf);
        }
        Ok(())
    }

    /// What was added so far.
    pub fn sizes(&self) -> &BackupSizes {
        &self.sizes
    }

    /// Stores the last leaf.
    pub(super) fn end(&mut self, store: StoreLeaf<'_>) -> Result<(), BackupWriterError> {
        self.end_leaf(store)?;
        match &self.room {
            Some(room) => Err(BackupWriterError::Room { path: room.path.clone() }),
            None => Ok(()),
        }
    }

    /// The root, once [`MapWriter::end`] was called; notes in the table of packs how much of each is referred to.
    pub(super) fn into_root(self, needs: &mut [PackNeed]) -> MapRoot {
        for need in needs {
            need.live_bytes = self.live.get(&need.number).copied().unwrap_or_default();
        }
        self.root
    }

    fn follow(&mut self, path: &DataPath) -> Result<(), BackupWriterError> {
        match &self.last {
            Some(last) if last == path => Err(BackupWriterError::DuplicatePath { path: path.clone() }),
            Some(last) if last > path => Err(BackupWriterError::Order { path: path.clone() }),
            _ => {
                self.last = Some(path.clone());
                Ok(())
            }
        }
    }

    fn count(&mut self, entry: &FileEntry) {
        self.root.entries += 1;
        match &entry.kind {
            FileKind::File { bytes, extents, .. } => {
                self.sizes.files += 1;
                self.sizes.file_bytes += bytes;
                extents.iter().for_each(|extent| self.refer_to(extent));
            }
            FileKind::Directory => self.sizes.directories += 1,
            FileKind::Link { .. } => {}
        }
    }

    fn refer_to(&mut self, extent: &Extent) {
        let live = self.live.entry(extent.pack).or_default();
        *live = live.saturating_add(extent.length);
    }

    fn end_leaf(&mut self, store: StoreLeaf<'_>) -> Result<(), BackupWriterError> {
        if self.leaf.is_empty() {
            return Ok(());
        }
        let digest = self.keys.plain_digest(&self.leaf);
        let place = store(&self.leaf)?;
        self.refer_to(&place);
        self.root.leaves.push(LeafRef { first: std::mem::take(&mut self.first), place, digest });
        self.leaf.clear();
        Ok(())
    }
}

/// An entry as a leaf has it, with its line break.
fn line_of(path: &DataPath, entry: &FileEntry) -> Result<Vec<u8>, BackupWriterError> {
    let text = |source| BackupWriterError::Text { path: path.clone(), source };
    let mut line = serde_json::to_vec(entry).map_err(text)?;
    line.push(b'\n');
    if line.len() > LEAF_BYTES {
        return Err(BackupWriterError::EntryTooLong { path: path.clone() });
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::testing;
    use jiff::Timestamp;

    fn path(text: &str) -> DataPath {
        DataPath::parse(text.as_bytes()).unwrap()
    }

    /// An entry of more bytes than half a leaf.
    fn large(text: &str) -> FileEntry {
        let target = "x".repeat(LEAF_BYTES / 2).into();
        FileEntry::new(&path(text), 0o777, Timestamp::UNIX_EPOCH, FileKind::Link { target })
    }

    fn small(text: &str) -> FileEntry {
        FileEntry::new(&path(text), 0o700, Timestamp::UNIX_EPOCH, FileKind::Directory)
    }

    /// Adds these entries; one with a question mark comes last.
    fn leaves(names: &[&str]) -> Result<Vec<String>, BackupWriterError> {
        let test = testing::repository();
        let mut map = MapWriter::new(&test.repository);
        let mut offset = 0;
        let mut store = |leaf: &[u8]| {
            let place = Extent { pack: 0, offset, length: leaf.len() as u64 };
            offset += place.length;
            Ok(place)
        };
        for name in names {
            match name.strip_suffix('?') {
                Some(name) => map.leave_room(&path(name), &mut store)?,
                None if name.starts_with("large") => map.add(&path(name), &large(name), &mut store)?,
                None => map.add(&path(name), &small(name), &mut store)?,
            }
        }
        if let Some(last) = names.iter().find_map(|name| name.strip_suffix('?')) {
            map.fill_room(&small(last), &mut store)?;
        }
        map.end(&mut store)?;
        assert_eq!(map.root.entries, names.len() as u64);
        assert_eq!(map.live.values().sum::<u64>(), offset);
        Ok(map.root.leaves.into_iter().map(|leaf| leaf.first).collect())
    }

    #[test]
    fn leaves_are_cut_when_they_are_full_and_where_room_is_left() {
        for (names, expected) in [
            (&["a", "b", "c"] as &[_], &["a"] as &[_]),
            (&["a", "large-1", "large-2", "z"], &["a", "large-2"]),
            (&["a", "b", "c?", "d", "e"], &["a", "c", "d"]),
            (&["c?", "d"], &["c", "d"]),
            (&["b", "c?"], &["b", "c"]),
            (&["a", "b?", "large-1", "large-2"], &["a", "b", "large-1", "large-2"]),
            (&[], &[]),
        ] {
            assert_eq!(leaves(names).unwrap(), expected, "{names:?}");
        }
    }

    #[test]
    fn paths_come_once_and_in_order() {
        assert!(matches!(leaves(&["a", "a"]), Err(BackupWriterError::DuplicatePath { .. })));
        assert!(matches!(leaves(&["a?", "a"]), Err(BackupWriterError::DuplicatePath { .. })));
        assert!(matches!(leaves(&["b", "a"]), Err(BackupWriterError::Order { .. })));
        assert!(matches!(leaves(&["b?", "a"]), Err(BackupWriterError::Order { .. })));
        assert!(matches!(leaves(&["a?", "b?"]), Err(BackupWriterError::Room { .. })));
    }
}
