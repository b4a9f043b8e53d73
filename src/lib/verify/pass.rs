//! The pass over the repository: hands the work out to threads, and takes what comes back in order.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};

use super::catalog::{self, Tree};
use super::chooser::{Chooser, Ranges, of_backup};
use super::costs::{Judged, LostWithPacks, map_of};
use super::family::{Family, MappedFiles};
use super::finding::{Cost, Findings, PackDamage, Subject};
use super::left_overs::LeftOvers;
use super::objects::{self, CheckedObject, ObjectWork, keys};
use super::packs::{self, FileProofs, PackResult, Proof};
use super::pieces::{FileId, SortedPieces};
use super::report::{VerifyLeftOver, VerifyRead};
use super::runs::{PackRuns, RunLimits};
use super::sample::Sampler;
use super::segments::CheckedSegments;
use super::wal_costs::BackupSpan;
use super::wal_records::RecordReader;
use super::{Depth, THREADS_MAX, VerifyError, VerifyOptions};
use crate::error::{Classified, ErrorClass, chain};
use crate::parallel;
use crate::pg::WalSegmentSize;
use crate::report::{Cancel, Progress, Reporter};
use crate::repository::{
    ArchiveFacts, BackupId, ClusterRef, Repository, RepositoryError, StoredObject, UnlistedWal, WalArchive,
};

/// What to call the place where writers prepare what they store, when it cannot be looked at.
const STAGING: &str = ".staging";

/// What is known so far.
pub(super) struct Pass<'a> {
    repository: &'a Repository,
    options: &'a VerifyOptions,
    reporter: &'a dyn Reporter,
    cancel: &'a Cancel,
    threads: usize,
    sampler: Sampler,
    findings: Findings,
    left_overs: LeftOvers,
    read: VerifyRead,
    /// Which segments there are.
    ranges: BTreeMap<ClusterRef, Ranges>,
    /// Folders of segments that cannot be listed.
    unlisted: BTreeMap<ClusterRef, Vec<UnlistedWal>>,
}

/// What came of the pass.
pub(super) struct Outcome {
    pub(super) findings: Findings,
    pub(super) read: VerifyRead,
    pub(super) left_overs: Vec<VerifyLeftOver>,
    pub(super) more_left_overs: u64,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        options: &'a VerifyOptions,
        reporter: &'a dyn Reporter,
        cancel: &'a Cancel,
        findings: Findings,
    ) -> Self {
        Self {
            repository,
            options,
            reporter,
            cancel,
            threads: options.threads.min(THREADS_MAX),
            sampler: Sampler::new(options.depth),
            findings,
            left_overs: LeftOvers::default(),
            read: VerifyRead { objects: 1, whole_objects: 1, ..VerifyRead::default() }, // repository.json
            ranges: BTreeMap::new(),
            unlisted: BTreeMap::new(),
        }
    }

    /// Looks at every object but packs.
    pub(super) fn objects(&mut self, trees: &[Tree]) -> Result<(), VerifyError> {
        let mut chooser = Chooser::new(trees, self.sampler.clone());
        let repository = self.repository;
        let chosen: Box<dyn Iterator<Item = ObjectWork> + Send + '_> = match self.options.backup {
            Some(_) => Box::new(trees.iter().flat_map(|tree| of_backup(repository, tree, self.options.depth))),
            None => {
                let named = || catalog::names(trees).iter().map(|name| format!("{name}/")).collect();
                let prefixes = if self.options.cluster.is_none() { vec![String::new()] } else { named() };
                Box::new(keys(repository, prefixes).filter_map(|key| chooser.choose(key)))
            }
        };
        let is_later = self.checks_segments_later();
        let has_size = |work: &ObjectWork| work.object.segment().is_some() && work.segment_size.is_some();
        let chosen =
            chosen.map(|work| ObjectWork { is_whole: work.is_whole && !(is_later && has_size(&work)), ..work });
        self.check_all(chosen, |read, checked| {
            read.objects += 1;
            read.whole_objects += u64::from(checked.is_whole);
            read.stored_bytes += checked.bytes;
        })?;
        for (folder, error) in chooser.errors {
            if folder.is_empty() {
                return Err(error.into());
            }
            let tree = self.findings.add_folder(trees, &folder, &error);
            if let Some(tree) = tree {
                self.unlisted.entry(tree.cluster.clone()).or_default().extend(tree.unlisted_wal(&folder, error));
            }
        }
        (self.sampler, self.left_overs, self.ranges) = (chooser.sampler, chooser.left_overs, chooser.ranges);
        Ok(())
    }

    /// Whether segments are checked when their records are read: then each is read once. Of a sample, and of one backup
    /// alone, other segments are checked than are read for their records.
    fn checks_segments_later(&self) -> bool {
        self.options.wal_records && self.options.depth == Depth::Full && self.options.backup.is_none()
    }

    fn check_all(
        &mut self,
        work: impl Iterator<Item = ObjectWork> + Send,
        count: impl Fn(&mut VerifyRead, &CheckedObject),
    ) -> Result<(), VerifyError> {
        let (repository, threads) = (self.repository, self.threads);
        let check = |work, _: &std::sync::atomic::AtomicBool| objects::check(repository, work);
        let done = parallel::in_order(threads, work, check, |checked| {
            count(&mut self.read, &checked);
            checked.note(&mut self.findings);
            let done_bytes = self.read.stored_bytes;
            self.reporter.progress(&Progress { phase: "verifying objects", done_bytes, total_bytes: None });
            if self.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match done.map_err(VerifyError::Thread)? {
            Some(()) => Err(VerifyError::Cancelled),
            None => Ok(()),
        }
    }

    /// Looks at the packs that the backups of a tree need.
    pub(super) fn packs(&mut self, tree: &Tree) -> Result<LostWithPacks, VerifyError> {
        let mut lost = LostWithPacks::new();
        let total: u64 = tree.needed_packs().values().map(|need| need.body_bytes).sum();
        let mut done = 0;
        for mut family in Family::all(tree) {
            let mut unread_maps = BTreeSet::new();
            let mut files = MappedFiles { pieces: SortedPieces::none(), wrong: BTreeSet::new() };
            if self.options.depth != Depth::Quick {
                let findings = &mut self.findings;
                files = family.load(self.repository, tree, self.options, &mut |backup, error| {
                    unread_maps.insert(backup.record.id);
                    if !findings.has_lost(&tree.cluster, &backup.record.id) {
                        let name = format!("file map of backup {}", backup.record.id);
                        let subject = Subject::BackupPart(backup.record.id);
                        findings.add_named(&tree.cluster, name, chain(error), error.class(), subject);
                    }
                })?;
            }
            self.family(tree, (&family, files), &unread_maps, (&mut done, total), &mut lost)?;
        }
        Ok(lost)
    }

    fn family(
        &mut self,
        tree: &Tree,
        (family, files): (&Family, MappedFiles),
        unread_maps: &BTreeSet<BackupId>,
        (done, total): (&mut u64, u64),
        lost: &mut LostWithPacks,
    ) -> Result<(), VerifyError> {
        let (repository, cluster) = (self.repository, &tree.cluster);
        let is_sample = matches!(self.options.depth, Depth::Sample { .. });
        let is_quick = self.options.depth == Depth::Quick;
        let (sample, limits) = ((self.sampler.clone(), is_quick), RunLimits::of(self.threads));
        let runs = PackRuns::new((repository, cluster), (family, files.pieces), sample, limits);
        let mut proofs = FileProofs::default();
        let mut damaged: BTreeMap<u32, Vec<Range<u64>>> = BTreeMap::new();
        let check = |work, _: &std::sync::atomic::AtomicBool| packs::check(repository, family, work);
        let ended = parallel::in_order(self.threads, runs, check, |mut result: PackResult| {
            if let Some(error) = result.failed.take() {
                return ControlFlow::Break(error);
            }
            self.read.objects += u64::from(result.is_opened);
            self.read.stored_bytes += result.bytes;
            *done += result.bytes;
            let progress = Progress { phase: "verifying packs", done_bytes: *done, total_bytes: Some(total) };
            self.reporter.progress(&progress);
            for proof in std::mem::take(&mut result.proofs) {
                // Of a sample, only what lies in one piece can be put together.
                if !is_sample || matches!(proof, Proof::Wrong(_) | Proof::Lost(_)) {
                    proofs.take(repository, proof);
                }
            }
            note_pack(&mut self.findings, cluster, family, &result, &mut damaged);
            if self.cancel.is_cancelled() {
                return ControlFlow::Break(VerifyError::Cancelled);
            }
            ControlFlow::Continue(())
        });
        if let Some(error) = ended.map_err(VerifyError::Thread)? {
            return Err(error);
        }
        // Packs that were sampled by their runs go on from other numbers than the next family's.
        for _ in &family.packs {
            self.sampler.takes();
        }
        if !is_quick && !is_sample {
            self.read.whole_objects += family.packs.len() as u64;
            proofs.end();
            self.prove_again(tree, family, &damaged, &mut proofs);
        }
        proofs.wrong.extend(files.wrong);
        if !damaged.is_empty() || !proofs.wrong.is_empty() {
            self.lost_files(tree, family, &damaged, &proofs.wrong, unread_maps, lost);
        }
        Ok(())
    }

    /// Files that could not be put together on the way.
    fn prove_again(
        &mut self,
        tree: &Tree,
        family: &Family,
        damaged: &BTreeMap<u32, Vec<Range<u64>>>,
        proofs: &mut FileProofs,
    ) {
        let (repository, cluster) = (self.repository, &tree.cluster);
        family.parts_of(repository, tree, std::mem::take(&mut proofs.again), &mut |file, parts| {
            if parts.values().any(|piece| damaged.contains_key(&piece.pack)) {
                // Whether it is among what is lost is told by the ranges.
                return;
            }
            match packs::digest_again(repository, cluster, family, &parts, file.bytes) {
                Ok(digest) if digest == file.digest => {}
                Ok(_) => {
                    proofs.wrong.insert(file.id);
                }
                Err(error) => {
                    let name = format!("a file in the packs of cluster {cluster}");
                    self.findings.add_named(cluster, name, chain(&error), error.class(), Subject::Folder);
                }
            }
        });
    }

    /// Names the files that are lost, and the backups that lose them.
    fn lost_files(
        &mut self,
        tree: &Tree,
        family: &Family,
        damaged: &BTreeMap<u32, Vec<Range<u64>>>,
        wrong: &BTreeSet<FileId>,
        unread_maps: &BTreeSet<BackupId>,
        lost: &mut LostWithPacks,
    ) {
        for (backup, with_packs, wrongly_mapped) in family.lost_files(self.repository, tree, damaged, wrong) {
            for pack in damaged.keys() {
                let Some(need) = family.packs.get(*pack as usize) else { continue };
                let is_member = tree.backups.iter().any(|known| known.record.id == backup && known.has_pack(need));
                let cost = match with_packs.get(pack) {
                    Some((files, names)) => Cost::Backup { backup, files: Some(*files), named_files: names.clone() },
                    None if is_member && (unread_maps.contains(&backup) || self.options.depth == Depth::Quick) => {
                        Cost::Backup { backup, files: None, named_files: Vec::new() }
                    }
                    None => continue,
                };
                lost.entry((need.backup, need.ordinal)).or_default().push(cost);
            }
            for (files, names) in wrongly_mapped.into_values() {
                let problem =
                    format!("the digests of {files} files are not those of their content: {}", names.join(", "));
                self.findings.add(&map_of(tree, backup), problem, ErrorClass::Corrupt);
            }
        }
    }

    /// The WAL of a tree, and what all damage in it costs.
    pub(super) fn judge(&mut self, tree: &Tree, lost: &LostWithPacks) -> Result<BTreeSet<BackupId>, VerifyError> {
        // Those whose size is known.
        let segments = self.ranges.get(&tree.cluster).cloned().unwrap_or_default();
        let archive = match self.archive(tree).transpose() {
            Ok(archive) => archive,
            Err(error) => {
                let folder = format!("{}/{}/wal", tree.cluster.name, tree.cluster.system_identifier);
                self.findings.add_folder(std::slice::from_ref(tree), &folder, &error);
                None
            }
        };
        if let Some(size) = tree.segment_size().filter(|_| self.options.wal_records) {
            self.records(tree, size, archive.as_ref(), &segments)?;
        }
        let with_targets = self.options.backup.is_none();
        let judged = Judged { tree, archive: archive.as_ref(), lost_with_packs: lost, with_targets };
        Ok(judged.judge(&mut self.findings))
    }

    /// The records of the WAL, and every segment that was not checked yet.
    fn records(
        &mut self,
        tree: &Tree,
        size: WalSegmentSize,
        archive: Option<&ArchiveFacts>,
        segments: &Ranges,
    ) -> Result<(), VerifyError> {
        let source = CheckedSegments::new(self.repository, &tree.cluster, size, self.checks_segments_later());
        if let Some(archive) = archive {
            let spans: Vec<BackupSpan> = tree.backups.iter().map(|one| BackupSpan::of(&one.record, false)).collect();
            let reader = RecordReader {
                cluster: &tree.cluster,
                source: &source,
                archive,
                threads: self.threads,
                only_needed: self.options.backup.is_some(),
                reporter: self.reporter,
                cancel: self.cancel,
            };
            self.read.wal_records += reader.read_all(&spans, &mut self.findings)?;
        }
        if !self.checks_segments_later() {
            return Ok(());
        }
        let damaged = self.findings.damaged_segments(&tree.cluster);
        let (unread, read) = source.finish(segments);
        // They were counted as objects when their headers were looked at.
        self.read.whole_objects += read.count;
        self.read.stored_bytes += read.body_bytes;
        read.problems.iter().for_each(|checked| checked.note(&mut self.findings));
        let is_known = |work: &ObjectWork| work.object.segment().is_some_and(|name| damaged.contains(&name));
        self.check_all(unread.filter(|work| !is_known(work)), |read, checked| {
            read.whole_objects += 1;
            read.stored_bytes += checked.body_bytes();
        })
    }

    fn archive(&mut self, tree: &Tree) -> Option<Result<ArchiveFacts, RepositoryError>> {
        let size = tree.segment_size()?;
        let archive = WalArchive::new(self.repository, &tree.cluster);
        Some(match self.options.backup {
            Some(_) => ArchiveFacts::gather(&archive, size),
            None => {
                let ranges = self.ranges.remove(&tree.cluster).unwrap_or_default();
                let unlisted = self.unlisted.remove(&tree.cluster).unwrap_or_default();
                let histories = archive.histories().or_else(|error| match error.unlistable_folder() {
                    // It is told as a folder; what is known to be missing of it follows from the segments.
                    Some(_) => Ok(Vec::new()),
                    None => Err(error),
                });
                histories.map(|known| ArchiveFacts::with_histories(&archive, size, ranges, unlisted, known))
            }
        })
    }

    /// Ends the pass.
    pub(super) fn finish(mut self, trees: &[Tree]) -> Result<Outcome, VerifyError> {
        let with_store = self.options.cluster.is_none() && self.options.backup.is_none();
        let (left_overs, more_left_overs, problem) = self.left_overs.finish(self.repository, trees, with_store)?;
        if let Some(problem) = problem {
            self.findings.add_folder(&[], STAGING, &problem);
        }
        Ok(Outcome { findings: self.findings, read: self.read, left_overs, more_left_overs })
    }
}

/// Keeps what is wrong with a pack or with frames of it.
fn note_pack(
    findings: &mut Findings,
    cluster: &ClusterRef,
    family: &Family,
    result: &PackResult,
    damaged: &mut BTreeMap<u32, Vec<Range<u64>>>,
) {
    let Some(need) = family.packs.get(result.pack as usize) else { return };
    let (backup, ordinal) = (need.backup, need.ordinal);
    let object = StoredObject::Pack { cluster: cluster.clone(), backup, ordinal };
    if let (Some((problem, class)), true) = (&result.problem, result.is_content_whole) {
        findings.add_spare(&object, problem.clone(), *class);
    } else if let Some((problem, class)) = &result.problem {
        damaged.entry(result.pack).or_default().push(0..need.plain_bytes.max(1));
        findings.add(&object, problem.clone(), *class);
    }
    for (range, problem, class) in &result.damaged {
        damaged.entry(result.pack).or_default().push(range.clone());
        let name = object.key().map_or_else(|error| error.text, |key| key.to_string());
        let subject = Subject::Pack(PackDamage { backup, ordinal, ranges: Some(vec![range.clone()]) });
        findings.add_named(cluster, name, problem.clone(), *class, subject);
    }
}
