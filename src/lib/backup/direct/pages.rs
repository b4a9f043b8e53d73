//! The checksums of pages, as they are read from under a running server.
//!
//! INVARIANT: no page is called bad that the server was just writing: a page that looks bad is read again, and one that
//! was written since the backup began is not judged, since replay writes it anew.

use std::time::Duration;

use crate::clock::wait;
use crate::fs::{FileError, LiveFile};
use crate::pg::{BackupScope, DataPath, Lsn, PageVerdict, judge_page};

/// How often a page that looks bad is read again before it is called bad.
const READ_AGAIN: u32 = 3;
/// The pause before it is, but for the first time.
const PAUSE: Duration = Duration::from_millis(5);
/// LIMIT: pages of one piece that are paused for; a file that is bad as a whole does not get better.
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

/// A page whose checksum is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadPage {
    /// Its number in the relation's fork.
    pub(super) block: u64,
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
            if let PageVerdict::Bad { .. } = judge_page(page, block, self.start_lsn)
                && let PageVerdict::Bad { stored, computed } =
                    self.judge_again(file, number * page_bytes as u64, page, block, &mut pauses)?
            {
                bad.push(BadPage { block: u64::from(block), stored, computed });
            }
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
            if !matches!(verdict, PageVerdict::Bad { .. }) {
                break;
            }
        }
        Ok(verdict)
    }
}

/// What was found, in the order of the map.
#[derive(Debug, Default)]
pub(super) struct Findings {
    files: Vec<FileFinding>,
    /// The file that was looked at last, when it is not among `files`.
    beyond: Option<DataPath>,
    files_beyond: u64,
}

#[derive(Debug)]
struct FileFinding {
    path: DataPath,
    first: Vec<BadPage>,
    count: u64,
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
            self.files.push(FileFinding { path: path.clone(), first: Vec::new(), count: 0 });
        }
        if let Some(file) = self.files.last_mut() {
            file.add(bad);
        }
    }

    /// As the record has them.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.files.iter().map(FileFinding::line).collect();
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

    fn line(&self) -> String {
        let page =
            |page: &BadPage| format!("{} (found {:04X}, expected {:04X})", page.block, page.stored, page.computed);
        let pages = self.first.iter().map(page).collect::<Vec<_>>().join(", ");
        let more = self.count.saturating_sub(self.first.len() as u64);
        let (noun, have) = if self.count == 1 { ("page", "has") } else { ("pages", "have") };
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("\"{}\": {noun} {pages}{rest} {have} a wrong checksum", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_by_file_and_have_a_limit() {
        let path = |text: &str| DataPath::parse(text.as_bytes()).unwrap();
        let bad = |block| BadPage { block, stored: 0x1a, computed: 0x2b3c };
        let mut findings = Findings::default();
        findings.add(&path("base/1/1"), &[]);
        assert!(findings.lines().is_empty());
        findings.add(&path("base/1/2"), &[bad(7)]);
        findings.add(&path("base/1/3"), &[bad(1), bad(2), bad(3)]);
        findings.add(&path("base/1/3"), &[bad(4), bad(5), bad(6), bad(9)]);
        let lines = findings.lines();
        assert_eq!(lines[0], "\"base/1/2\": page 7 (found 001A, expected 2B3C) has a wrong checksum");
        assert!(lines[1].ends_with(", 5 (found 001A, expected 2B3C) and 2 more have a wrong checksum"), "{lines:?}");
        for number in 0..FILES_MAX + 3 {
            findings.add(&path(&format!("base/2/{number}")), &[bad(0)]);
            findings.add(&path(&format!("base/2/{number}")), &[bad(1)]);
        }
        assert_eq!(findings.lines().len(), FILES_MAX + 1);
        assert_eq!(findings.lines().last().unwrap(), "pages of 5 more files have wrong checksums");
    }
}
