//! The checksums of pages, as they are read from under a running server.
//!
//! INVARIANT: no page is called bad that the server was just writing: a page that looks bad is read again, and one that
//! was written while the backup was taken is not judged, since replay writes it anew. By its LSN a page was; one beyond
//! all that the server had written when the backup ended is none of the server's.

use std::time::Duration;

use crate::clock::wait;
use crate::fs::{FileError, LiveFile};
use crate::pg::{BackupScope, DataPath, Lsn, PageVerdict, judge_page};

/// How often a page that looks bad is read again before it is called bad.
const READ_AGAIN: u32 = 3;
/// The pause before it is, but for the first time.
const PAUSE: Duration = Duration::from_millis(5);
/// LIMIT: pauses for the pages of one piece, up to two for each; a file that is bad as a whole does not get better.
const PAUSES_MAX: u32 = 32;
/// LIMIT: files whose pages are told one by one.
const FILES_MAX: usize = 500;
/// LIMIT: pages of a file that are told one by one.
const PAGES_MAX: usize = 5;

/// Verifies the checksums of relation files.
pub(super) struct PageCheck {
    pub(super) scope: BackupScope,
    pub(super) start_lsn: Lsn,
    pub(super) page_bytes: usize,
}

/// LIMIT: pages in all whose LSN is still to be judged; torn ones that stay so are rare.
const LATER_MAX: usize = 100_000;

/// A page whose checksum is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadPage {
    /// Its LSN, when it is one since the start of the backup.
    pub(super) later: Option<Lsn>,
    /// Its number in the relation's fork.
    pub(super) block: u32,
    pub(super) stored: u16,
    pub(super) computed: u16,
}

impl PageCheck {
    /// Verifies what was read from `offset` of a file; a page that was read again is replaced by what was found then.
    pub(super) fn check(
        &self,
        path: &DataPath,
        file: &LiveFile,
        offset: u64,
        content: &mut [u8],
    ) -> Result<Vec<BadPage>, FileError> {
        let Some(first) = self.scope.first_block(path) else { return Ok(Vec::new()) };
        let page_bytes = self.page_bytes.max(1);
        let before = offset / page_bytes as u64;
        let mut bad = Vec::new();
        let mut pauses = 0;
        for (page, number) in content.chunks_exact_mut(page_bytes).zip(before..) {
            // A fork has at most u32::MAX pages; a file that is longer than that is none of a relation.
            let Some(block) = u32::try_from(number).ok().and_then(|number| first.checked_add(number)) else { break };
            if !looks_bad(judge_page(page, block, self.start_lsn)) {
                continue;
            }
            let verdict = self.judge_again(file, number * page_bytes as u64, page, block, &mut pauses)?;
            let (later, stored, computed) = match verdict {
                PageVerdict::Bad { stored, computed } => (None, stored, computed),
                PageVerdict::Torn { lsn, stored, computed } => (Some(lsn), stored, computed),
                PageVerdict::Good | PageVerdict::New | PageVerdict::Changing => continue,
            };
            bad.push(BadPage { later, block, stored, computed });
        }
        Ok(bad)
    }

    fn judge_again(
        &self,
        file: &LiveFile,
        at: u64,
        page: &mut [u8],
        block: u32,
        pauses: &mut u32,
    ) -> Result<PageVerdict, FileError> {
        let mut verdict = PageVerdict::New;
        for again in 0..READ_AGAIN {
            if again > 0 {
                if *pauses >= PAUSES_MAX {
                    break;
                }
                *pauses += 1;
                wait(PAUSE);
            }
            let read = file.read_at(at, page, page.len())?;
            // Cut off since: as if it had been so from the beginning.
            page.get_mut(read..).unwrap_or_default().fill(0);
            verdict = judge_page(page, block, self.start_lsn);
            if !looks_bad(verdict) {
                break;
            }
        }
        Ok(verdict)
    }
}

fn looks_bad(verdict: PageVerdict) -> bool {
    matches!(verdict, PageVerdict::Bad { .. } | PageVerdict::Torn { .. })
}

/// What was found, in the order of the map.
#[derive(Debug, Default)]
pub(super) struct Findings {
    files: Vec<FileFinding>,
    /// How many pages wait for their verdict.
    later: usize,
    /// How many more are too many to wait.
    later_beyond: u64,
    /// The file that was looked at last, when it is not among `files`.
    beyond: Option<DataPath>,
    files_beyond: u64,
}

#[derive(Debug)]
struct FileFinding {
    path: DataPath,
    first: Vec<BadPage>,
    count: u64,
    /// Those whose LSN is still to be judged.
    later: Vec<BadPage>,
}

impl Findings {
    /// Adds pages of a file; those of one file come together.
    pub(super) fn add(&mut self, path: &DataPath, bad: &[BadPage]) {
        if bad.is_empty() {
            return;
        }
        if self.files.last().is_none_or(|last| last.path != *path) {
            if self.files.len() >= FILES_MAX {
                if self.beyond.as_ref() != Some(path) {
                    self.beyond = Some(path.clone());
                    self.files_beyond += 1;
                }
                return;
            }
            self.files.push(FileFinding { path: path.clone(), first: Vec::new(), count: 0, later: Vec::new() });
        }
        let (later, certain): (Vec<BadPage>, Vec<BadPage>) = bad.iter().partition(|page| page.later.is_some());
        let room = LATER_MAX.saturating_sub(self.later).min(later.len());
        self.later += room;
        self.later_beyond += (later.len() - room) as u64;
        if let Some(file) = self.files.last_mut() {
            file.add(&certain);
            file.later.extend(later.iter().take(room));
        }
    }

    /// As the record has them, once it is known where the backup stops.
    pub(super) fn lines(&self, stop_lsn: Lsn) -> Vec<String> {
        let mut lines: Vec<String> = self.files.iter().filter_map(|file| file.judged(stop_lsn).line()).collect();
        if self.later_beyond > 0 {
            lines.push(format!("{} more pages have wrong checksums and were not judged", self.later_beyond));
        }
        if self.files_beyond > 0 {
            lines.push(format!("pages of {} more files have wrong checksums", self.files_beyond));
        }
        lines
    }
}

impl FileFinding {
    fn add(&mut self, bad: &[BadPage]) {
        self.count += bad.len() as u64;
        let room = PAGES_MAX.saturating_sub(self.first.len());
        self.first.extend(bad.iter().take(room));
    }

    /// With the pages that no server has written: their LSN is beyond its WAL.
    fn judged(&self, stop_lsn: Lsn) -> Self {
        let beyond = self.later.iter().filter(|page| page.later.is_some_and(|lsn| lsn > stop_lsn)).copied();
        let mut judged =
            Self { path: self.path.clone(), first: self.first.clone(), count: self.count, later: Vec::new() };
        judged.add(&beyond.collect::<Vec<_>>());
        judged.first.sort_by_key(|page| page.block);
        judged
    }

    /// `None` when nothing is wrong with it after all.
    fn line(&self) -> Option<String> {
        if self.count == 0 {
            return None;
        }
        let page =
            |page: &BadPage| format!("{} (found {:04X}, expected {:04X})", page.block, page.stored, page.computed);
        let pages = self.first.iter().map(page).collect::<Vec<_>>().join(", ");
        let more = self.count.saturating_sub(self.first.len() as u64);
        let (noun, have) = if self.count == 1 { ("page", "has") } else { ("pages", "have") };
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!("\"{}\": {noun} {pages}{rest} {have} a wrong checksum", self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_by_file_and_have_a_limit() {
        let path = |text: &str| DataPath::parse(text.as_bytes()).unwrap();
        let bad = |block| BadPage { later: None, block, stored: 0x1a, computed: 0x2b3c };
        let stop = Lsn::new(100).unwrap();
        let mut findings = Findings::default();
        findings.add(&path("base/1/1"), &[]);
        assert!(findings.lines(stop).is_empty());
        findings.add(&path("base/1/2"), &[bad(7)]);
        findings.add(&path("base/1/3"), &[bad(1), bad(2), bad(3)]);
        findings.add(&path("base/1/3"), &[bad(4), bad(5), bad(6), bad(9)]);
        let lines = findings.lines(stop);
        assert_eq!(lines[0], "\"base/1/2\": page 7 (found 001A, expected 2B3C) has a wrong checksum");
        assert!(lines[1].ends_with(", 5 (found 001A, expected 2B3C) and 2 more have a wrong checksum"), "{lines:?}");
        for number in 0..FILES_MAX + 3 {
            findings.add(&path(&format!("base/2/{number}")), &[bad(0)]);
            findings.add(&path(&format!("base/2/{number}")), &[bad(1)]);
        }
        assert_eq!(findings.lines(stop).len(), FILES_MAX + 1);
        assert_eq!(findings.lines(stop).last().unwrap(), "pages of 5 more files have wrong checksums");
    }

    #[test]
    fn a_page_of_no_server_is_found_by_where_the_backup_stops() {
        let path = |text: &str| DataPath::parse(text.as_bytes()).unwrap();
        let later = |block, lsn| BadPage { later: Lsn::new(lsn), block, stored: 1, computed: 2 };
        let mut findings = Findings::default();
        findings.add(&path("base/1/2"), &[later(1, 99), later(2, 100)]);
        findings.add(&path("base/1/3"), &[later(4, 101), BadPage { later: None, ..later(7, 1) }, later(9, u64::MAX)]);
        let lines = findings.lines(Lsn::new(100).unwrap());
        let words = ["\"base/1/3\": pages 4 (", "), 7 (", "), 9 (", ") have a wrong checksum"];
        assert!(lines.len() == 1 && words.iter().all(|words| lines[0].contains(words)), "{lines:?}");
        findings.add(&path("base/1/4"), &vec![later(0, 101); LATER_MAX]);
        let lines = findings.lines(Lsn::new(100).unwrap());
        assert_eq!(lines.last().unwrap(), "4 more pages have wrong checksums and were not judged");
    }
}
