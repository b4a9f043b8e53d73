//! Backups that share packs, and which part of which pack belongs to which of their files.
//!
//! LIMIT: memory. For each different file of the backups of one family, 80 bytes and 40 for each further extent; when
//! a family has several backups, 40 more; up to twice that, for room to grow. Families are looked at one after the other, and names are not kept: the maps
//! are read again for the names of what is damaged.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use super::catalog::{ListedBackup, Tree};
use crate::codec::ContentDigest;
use crate::repository::{
    BackupId, ClusterRef, Damage, Extent, FileEntry, FileKind, PackNeed, Repository, RepositoryError,
};

/// Names of lost files that are told for each backup and pack.
const NAMED_FILES_MAX: usize = 5;

/// What is known of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileFacts {
    pub(super) digest: ContentDigest,
    pub(super) bytes: u64,
}

/// Part of a pack that belongs to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    /// Which pack of the family.
    pub(super) pack: u32,
    /// Where it begins in the pack's plain content.
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Which file of the family.
    pub(super) file: u32,
    /// Where it begins in the file.
    pub(super) at: u64,
}

/// Backups that share packs.
#[derive(Debug, Default)]
pub(super) struct Family {
    /// Which backups of the tree.
    pub(super) members: Vec<usize>,
    pub(super) packs: Vec<PackNeed>,
    pub(super) files: Vec<FileFacts>,
    /// In the order of the packs.
    pub(super) pieces: Vec<Piece>,
    /// The server's page size.
    pub(super) page_bytes: u32,
    pack_of: BTreeMap<(BackupId, u32), u32>,
}

/// Packs that belong together, and the backups that need them.
struct Group {
    packs: BTreeSet<(BackupId, u32)>,
    members: Vec<usize>,
}

/// Gives each different file of a family a number, the same each time that its maps are read.
#[derive(Debug, Default)]
struct Numbering {
    next: u32,
    known: Option<HashMap<[u8; 32], u32>>,
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
        problem: &mut dyn FnMut(&ListedBackup, &RepositoryError),
    ) {
        let members = std::mem::take(&mut self.members);
        let mut numbering = Numbering::of(&members);
        for backup in members.iter().filter_map(|number| tree.backups.get(*number)) {
            self.page_bytes = backup.record.block_bytes;
            let mut sums = (0, 0);
            let read = self.each_file(repository, &tree.cluster, backup, &mut numbering, &mut |family, file| {
                sums = (sums.0 + 1, sums.1 + file.facts.bytes);
                family.take(&file);
            });
            let expected = (backup.record.sizes.files, backup.record.sizes.file_bytes);
            let read =
                read.and_then(|()| if sums == expected { Ok(()) } else { wrong_sums(repository, tree, backup, sums) });
            if let Err(error) = read {
                problem(backup, &error);
            }
        }
        self.members = members;
        self.pieces.sort_unstable();
    }

    fn take(&mut self, file: &MappedFile<'_>) {
        if file.number as usize != self.files.len() {
            return; // another backup has the same one
        }
        let mut at = 0;
        for (pack, extent) in &file.places {
            let (offset, length) = (extent.offset, extent.length);
            self.pieces.push(Piece { pack: *pack, offset, length, file: file.number, at });
            at += length;
        }
        self.files.push(file.facts);
    }

    /// Files without content whose digest is not that of nothing: no part of a pack proves them.
    pub(super) fn wrong_empty_files(&self, repository: &Repository) -> Vec<u32> {
        let empty = repository.keys().plain_digest(b"");
        let numbered = self.files.iter().zip(0..);
        numbered.filter(|(facts, _)| facts.bytes == 0 && facts.digest != empty).map(|(_, file)| file).collect()
    }

    /// The files of each backup that lie in these parts of packs, or are among `wrong`, which belong to the last pack.
    pub(super) fn lost_files(
        &self,
        repository: &Repository,
        tree: &Tree,
        damaged: &BTreeMap<u32, Vec<Range<u64>>>,
        wrong: &BTreeSet<u32>,
    ) -> Vec<(BackupId, LostFiles, LostFiles)> {
        let mut numbering = Numbering::of(&self.members);
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
            let mut family = Self { packs: self.packs.clone(), pack_of: self.pack_of.clone(), ..Self::default() };
            // What is wrong with a map was told when it was read first.
            let _ = family.each_file(repository, &tree.cluster, backup, &mut numbering, &mut |_, file| {
                let touched = |(pack, extent): &&(u32, Extent)| {
                    let end = extent.offset.saturating_add(extent.length);
                    let ranges = damaged.get(pack).map(Vec::as_slice).unwrap_or_default();
                    ranges.iter().any(|range| range.start < end && extent.offset < range.end)
                };
                let packs: BTreeSet<u32> = file.places.iter().filter(touched).map(|(pack, _)| *pack).collect();
                packs.iter().for_each(|pack| note(&mut lost, *pack, file.path));
                if wrong.contains(&file.number) {
                    note(&mut wrongly_mapped, 0, file.path);
                }
            });
            all.push((backup.record.id, lost, wrongly_mapped));
        }
        all
    }

    fn each_file(
        &mut self,
        repository: &Repository,
        cluster: &ClusterRef,
        backup: &ListedBackup,
        numbering: &mut Numbering,
        each: &mut dyn FnMut(&mut Self, MappedFile<'_>),
    ) -> Result<(), RepositoryError> {
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
                    _ => return Err(out_of_pack(repository, cluster, backup, &path.to_string())),
                }
            }
            let facts = FileFacts { digest, bytes };
            let number = numbering.number(repository, &facts, &places);
            each(self, MappedFile { number, facts, places, path: &path.to_string() });
            Ok(())
        })
    }
}

/// A file as a map has it.
struct MappedFile<'a> {
    number: u32,
    facts: FileFacts,
    places: Vec<(u32, Extent)>,
    path: &'a str,
}

impl Numbering {
    fn of(members: &[usize]) -> Self {
        Self { next: 0, known: (members.len() > 1).then(HashMap::new) }
    }

    fn number(&mut self, repository: &Repository, facts: &FileFacts, places: &[(u32, Extent)]) -> u32 {
        let new = self.next;
        let Some(known) = &mut self.known else {
            self.next = self.next.saturating_add(1);
            return new;
        };
        let mut hasher = repository.keys().plain_hasher();
        hasher.update(facts.digest.as_bytes());
        hasher.update(&facts.bytes.to_le_bytes());
        for (pack, extent) in places {
            hasher.update(&pack.to_le_bytes());
            hasher.update(&extent.offset.to_le_bytes());
            hasher.update(&extent.length.to_le_bytes());
        }
        let number = *known.entry(*hasher.finish().as_bytes()).or_insert(new);
        self.next = self.next.max(number.saturating_add(1));
        number
    }
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
) -> Result<(), RepositoryError> {
    let sizes = &backup.record.sizes;
    let problem = format!(
        "it has {files} files of {bytes} bytes where the record says {} files of {} bytes",
        sizes.files, sizes.file_bytes
    );
    Err(damaged(repository, &tree.cluster, backup, problem))
}
