//! Backups that share packs, and which part of which pack belongs to which of their files.
//!
//! LIMIT: memory. Nothing is kept for each file but what is sorted ([`SortedPieces`]); 16 bytes for each whose digest is
//! wrong. Families are looked at one after the other, and the maps are read again for the names of what is damaged.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use super::catalog::{ListedBackup, Tree};
use super::pieces::{FileFacts, FileId, Piece, SortedPieces, sorting_place};
use super::{VerifyError, VerifyOptions};
use crate::codec::ContentDigest;
use crate::fs::{FileError, Sorter};
use crate::repository::{
    BackupId, ClusterRef, Damage, Extent, FileEntry, FileKind, PackNeed, Repository, RepositoryError,
};

/// Names of lost files that are told for each backup and pack.
const NAMED_FILES_MAX: usize = 5;

/// Backups that share packs.
#[derive(Debug, Default)]
pub(super) struct Family {
    /// Which backups of the tree.
    pub(super) members: Vec<usize>,
    pub(super) packs: Vec<PackNeed>,
    /// The server's page size.
    pub(super) page_bytes: u32,
    pack_of: BTreeMap<(BackupId, u32), u32>,
}

/// Packs that belong together, and the backups that need them.
struct Group {
    packs: BTreeSet<(BackupId, u32)>,
    members: Vec<usize>,
}

/// What the maps of a family say of its files.
pub(super) struct MappedFiles {
    pub(super) pieces: SortedPieces,
    /// Files without content whose digest is not that of nothing: no part of a pack proves them.
    pub(super) wrong: BTreeSet<FileId>,
}

/// Why a map was not read to its end.
#[derive(Debug)]
enum Unread {
    Map(RepositoryError),
    Sort(FileError),
}

impl From<RepositoryError> for Unread {
    fn from(error: RepositoryError) -> Self {
        Self::Map(error)
    }
}

/// Lost files of a backup, by the pack that they are lost with.
pub(super) type LostFiles = BTreeMap<u32, (u64, Vec<String>)>;

impl Family {
    /// The families of a tree, without their files.
    pub(super) fn all(tree: &Tree) -> Vec<Self> {
        let mut groups: Vec<Group> = Vec::new();
        for (number, backup) in tree.backups.iter().enumerate() {
            let Some(needs) = &backup.needs else { continue };
            let mut packs: BTreeSet<_> = needs.packs.iter().map(|need| (need.backup, need.ordinal)).collect();
            let mut members = vec![number];
            groups.retain_mut(|other| {
                let is_apart = other.packs.is_disjoint(&packs);
                if !is_apart {
                    packs.append(&mut other.packs);
                    members.append(&mut other.members);
                }
                is_apart
            });
            members.sort_unstable();
            groups.push(Group { packs, members });
        }
        let needed = tree.needed_packs();
        let family = |Group { packs, members }: Group| {
            let mut family = Self { members, ..Self::default() };
            for (id, number) in packs.into_iter().zip(0..) {
                family.packs.extend(needed.get(&id).map(|need| (*need).clone()));
                family.pack_of.insert(id, number);
            }
            family
        };
        groups.into_iter().map(family).collect()
    }

    /// Reads the maps of its backups. What is wrong with one is handed to `problem` with the backup's number.
    pub(super) fn load(
        &mut self,
        repository: &Repository,
        tree: &Tree,
        options: &VerifyOptions,
        problem: &mut dyn FnMut(&ListedBackup, &RepositoryError),
    ) -> Result<MappedFiles, VerifyError> {
        let members: Vec<&ListedBackup> = self.members.iter().filter_map(|number| tree.backups.get(*number)).collect();
        let files = members.iter().fold(0, |sum: u64, backup| sum.saturating_add(backup.record.sizes.files));
        let place = sorting_place(options, files)?;
        let empty = repository.keys().plain_digest(b"");
        let (mut sorter, mut wrong) = (Sorter::new(&place), BTreeSet::new());
        for backup in members {
            self.page_bytes = backup.record.block_bytes;
            let mut sums = (0, 0);
            let read = self.each_file(repository, &tree.cluster, backup, &mut |file| {
                sums = (sums.0 + 1, sums.1 + file.facts.bytes);
                if file.facts.bytes == 0 && file.facts.digest != empty {
                    wrong.insert(file.facts.id);
                }
                file.pieces().try_for_each(|piece| sorter.push(&piece.encode())).map_err(Unread::Sort)
            });
            let expected = (backup.record.sizes.files, backup.record.sizes.file_bytes);
            match read {
                Ok(()) if sums == expected => {}
                Ok(()) => problem(backup, &wrong_sums(repository, tree, backup, sums)),
                Err(Unread::Map(error)) => problem(backup, &error),
                Err(Unread::Sort(error)) => return Err(VerifyError::Sort(error)),
            }
        }
        Ok(MappedFiles { pieces: SortedPieces::new(sorter.finish().map_err(VerifyError::Sort)?), wrong })
    }

    /// Hands over the parts of these files, by their place in each; what is wrong with a map was told when it was read
    /// first.
    pub(super) fn parts_of(
        &self,
        repository: &Repository,
        tree: &Tree,
        mut files: BTreeSet<FileId>,
        each: &mut dyn FnMut(FileFacts, BTreeMap<u64, Piece>),
    ) {
        for backup in self.members.iter().filter_map(|number| tree.backups.get(*number)) {
            let _ = self.each_file(repository, &tree.cluster, backup, &mut |file| {
                if files.remove(&file.facts.id) {
                    each(file.facts, file.pieces().map(|piece| (piece.at, piece)).collect());
                }
                Ok(())
            });
        }
    }

    /// The files of each backup that lie in these parts of packs, or are among `wrong`, which belong to the last pack.
    pub(super) fn lost_files(
        &self,
        repository: &Repository,
        tree: &Tree,
        damaged: &BTreeMap<u32, Vec<Range<u64>>>,
        wrong: &BTreeSet<FileId>,
    ) -> Vec<(BackupId, LostFiles, LostFiles)> {
        let mut all = Vec::new();
        for backup in self.members.iter().filter_map(|number| tree.backups.get(*number)) {
            let (mut lost, mut wrongly_mapped) = (LostFiles::new(), LostFiles::new());
            let note = |lost: &mut LostFiles, pack: u32, path: &str| {
                let (count, names) = lost.entry(pack).or_default();
                *count += 1;
                if names.len() < NAMED_FILES_MAX {
                    names.push(path.to_owned());
                }
            };
            // What is wrong with a map was told when it was read first.
            let _ = self.each_file(repository, &tree.cluster, backup, &mut |file| {
                let touched = |(pack, extent): &&(u32, Extent)| {
                    let end = extent.offset.saturating_add(extent.length);
                    let ranges = damaged.get(pack).map(Vec::as_slice).unwrap_or_default();
                    ranges.iter().any(|range| range.start < end && extent.offset < range.end)
                };
                let packs: BTreeSet<u32> = file.places.iter().filter(touched).map(|(pack, _)| *pack).collect();
                packs.iter().for_each(|pack| note(&mut lost, *pack, file.path));
                if wrong.contains(&file.facts.id) {
                    note(&mut wrongly_mapped, 0, file.path);
                }
                Ok(())
            });
            all.push((backup.record.id, lost, wrongly_mapped));
        }
        all
    }

    fn each_file(
        &self,
        repository: &Repository,
        cluster: &ClusterRef,
        backup: &ListedBackup,
        each: &mut dyn FnMut(MappedFile<'_>) -> Result<(), Unread>,
    ) -> Result<(), Unread> {
        let map = repository.file_map(cluster, &backup.record)?;
        let numbers: HashMap<u32, u32> = map
            .needs()
            .packs
            .iter()
            .filter_map(|need| Some((need.number, *self.pack_of.get(&(need.backup, need.ordinal))?)))
            .collect();
        map.for_each(&mut |path, entry: FileEntry| {
            let FileKind::File { bytes, digest, extents } = entry.kind else { return Ok(()) };
            let mut places = Vec::with_capacity(extents.len());
            for extent in extents {
                let pack = numbers.get(&extent.pack).copied();
                let need = pack.and_then(|pack| self.packs.get(pack as usize));
                let end = extent.offset.checked_add(extent.length);
                match (pack, need, end) {
                    (Some(pack), Some(need), Some(end)) if end <= need.plain_bytes => places.push((pack, extent)),
                    _ => return Err(out_of_pack(repository, cluster, backup, &path.to_string()).into()),
                }
            }
            let facts = FileFacts { id: file_id(repository, &digest, bytes, &places), digest, bytes };
            each(MappedFile { facts, places, path: &path.to_string() })
        })
    }
}

/// A file as a map has it.
struct MappedFile<'a> {
    facts: FileFacts,
    places: Vec<(u32, Extent)>,
    path: &'a str,
}

impl MappedFile<'_> {
    fn pieces(&self) -> impl Iterator<Item = Piece> {
        let mut next: u64 = 0;
        let piece = move |(pack, extent): &(u32, Extent)| {
            let (at, length) = (next, extent.length);
            next = next.saturating_add(length);
            Piece { pack: *pack, offset: extent.offset, length, at, file: self.facts }
        };
        self.places.iter().map(piece).filter(|piece| piece.length > 0)
    }
}

fn file_id(repository: &Repository, digest: &ContentDigest, bytes: u64, places: &[(u32, Extent)]) -> FileId {
    let mut hasher = repository.keys().plain_hasher();
    hasher.update(digest.as_bytes());
    hasher.update(&bytes.to_le_bytes());
    for (pack, extent) in places {
        hasher.update(&pack.to_le_bytes());
        hasher.update(&extent.offset.to_le_bytes());
        hasher.update(&extent.length.to_le_bytes());
    }
    let hash = hasher.finish();
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

fn map_key(cluster: &ClusterRef, backup: &ListedBackup) -> Option<crate::store::ObjectKey> {
    let part = crate::repository::BackupPart::Root;
    crate::repository::StoredObject::Backup { cluster: cluster.clone(), backup: backup.record.id, part }.key().ok()
}

fn damaged(repository: &Repository, cluster: &ClusterRef, backup: &ListedBackup, problem: String) -> RepositoryError {
    match map_key(cluster, backup) {
        Some(key) => repository.damaged(&key, Damage::Invalid { problem }),
        None => RepositoryError::SourceChanged { name: problem },
    }
}

fn out_of_pack(repository: &Repository, cluster: &ClusterRef, backup: &ListedBackup, path: &str) -> RepositoryError {
    damaged(repository, cluster, backup, format!("the file \"{path}\" lies where no pack has anything"))
}

fn wrong_sums(
    repository: &Repository,
    tree: &Tree,
    backup: &ListedBackup,
    (files, bytes): (u64, u64),
) -> RepositoryError {
    let sizes = &backup.record.sizes;
    let problem = format!(
        "it has {files} files of {bytes} bytes where the record says {} files of {} bytes",
        sizes.files, sizes.file_bytes
    );
    damaged(repository, &tree.cluster, backup, problem)
}
