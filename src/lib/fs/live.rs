//! Reading the files of a directory that a running server writes to meanwhile.
//!
//! INVARIANT: a name that has gone is told from every failure; no link is followed unless it is asked for; reading adds
//! nothing to the page cache, and throws out of it no more than the rest of a step whose first missing page is before it.

use std::ffi::OsStr;
use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{Advice, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::{FileError, PathKind};

/// An open directory of somebody else.
#[derive(Debug)]
pub struct LiveDirectory {
    fd: OwnedFd,
    path: PathBuf,
}

/// What the system says of a name in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveFacts {
    /// What it is; links are not followed.
    pub kind: PathKind,
    /// Its size.
    pub bytes: u64,
    /// Its permission bits.
    pub mode: u32,
    /// When it was last modified, in whole seconds.
    pub modified: Timestamp,
}

/// Takes names one by one, and what each is where that is told with it.
type EachName<'e, E> = &'e mut dyn FnMut(&OsStr, Option<PathKind>) -> Result<(), E>;

/// Whether a link is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// It is.
    Follow,
    /// It is not: then it is not what was looked for.
    Refuse,
}

impl LiveDirectory {
    /// Opens a directory by its path.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty());
        let fd = fd.map_err(|error| FileError::new("open directory", path, error))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a directory in it; `None` when it has gone, or another thing has come into its place.
    pub fn directory(&self, name: &OsStr, links: Links) -> Result<Option<Self>, FileError> {
        let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, links == Links::Refuse);
        let path = self.path.join(name);
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path })),
            Err(Errno::NOENT) if links == Links::Follow && self.facts(name)?.is_some() => {
                Err(FileError::new("follow link", &path, Errno::NOENT))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) if links == Links::Refuse => Ok(None),
            Err(error) => Err(FileError::new("open directory", &path, error)),
        }
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hands over the names in it, in no order and however many there are, and what each is where that is told at once.
    pub fn each_name<E: From<FileError>>(&self, each: EachName<'_, E>) -> Result<(), E> {
        let failed = |error: Errno| FileError::new("list directory", &self.path, error);
        for entry in Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                each(OsStr::from_bytes(name), kind_of(entry.file_type()))?;
            }
        }
        Ok(())
    }

    /// What stands under a name; `None` when nothing does any more.
    pub fn facts(&self, name: &OsStr) -> Result<Option<LiveFacts>, FileError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(facts_of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("look at", name, error)),
        }
    }

    /// What is known of the directory itself.
    pub fn own_facts(&self) -> Result<LiveFacts, FileError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|error| FileError::new("look at", &self.path, error))?;
        Ok(facts_of(&stat))
    }

    /// Where a link leads, as it is written in it; `None` when there is no link of that name any more.
    pub fn link_target(&self, name: &OsStr) -> Result<Option<PathBuf>, FileError> {
        match rustix::fs::readlinkat(&self.fd, name, Vec::new()) {
            Ok(target) => Ok(Some(PathBuf::from(OsStr::from_bytes(target.to_bytes())))),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(error) => Err(self.failed("read link", name, error)),
        }
    }

    /// Opens a regular file; `None` when it has gone, or another thing has come into its place.
    pub fn file(&self, name: &OsStr) -> Result<Option<LiveFile>, FileError> {
        // A named pipe that has come into its place is not waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(error) => return Err(self.failed("open", name, error)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|error| self.failed("look at", name, error))?;
        let facts = facts_of(&stat);
        // The kernel's reading ahead would find its way into the cache beyond what is asked for, and what was there
        // before could not be told from it: pieces are asked for as wholes, and each is one request to the disk.
        let _ = rustix::fs::fadvise(&fd, 0, None, Advice::Random);
        Ok((facts.kind == PathKind::File).then(|| LiveFile { fd, path: self.path.join(name), facts }))
    }

    fn failed(&self, action: &'static str, name: &OsStr, error: Errno) -> FileError {
        FileError::new(action, &self.path.join(name), error)
    }
}

/// An open file of somebody else.
#[derive(Debug)]
pub struct LiveFile {
    fd: OwnedFd,
    path: PathBuf,
    facts: LiveFacts,
}

impl LiveFile {
    /// What was known of it when it was opened.
    pub fn facts(&self) -> LiveFacts {
        self.facts
    }

    /// Its size at this moment.
    pub fn bytes_now(&self) -> Result<u64, FileError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|error| FileError::new("look at", &self.path, error))?;
        Ok(facts_of(&stat).bytes)
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads from `offset` until `buffer` is full or the file ends, and says how much that was. Of each part of `step`
    /// bytes, what lies behind the first page that was not in the page cache before is not there afterwards.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8], step: usize) -> Result<usize, FileError> {
        let step = step.max(1);
        // What is cached first: asking for what is not also has the disk begin with it.
        let cached: Vec<Option<usize>> =
            buffer.chunks_mut(step).zip(offsets(offset, step)).map(|(part, at)| self.read_cached(at, part)).collect();
        let mut filled = 0;
        for ((part, at), cached) in buffer.chunks_mut(step).zip(offsets(offset, step)).zip(cached) {
            let had = cached.unwrap_or_default();
            let read = self.read_rest(at, part, had).map_err(|error| FileError::new("read", &self.path, error))?;
            if read > had && cached.is_some() {
                // What was there before its first missing page stays; behind it nobody can tell.
                self.forget(at.saturating_add(had as u64), read - had);
            }
            filled += read;
            if read < part.len() {
                break;
            }
        }
        Ok(filled)
    }

    /// Reads what is in the page cache; `None` where that cannot be told.
    ///
    /// COMPAT: file systems and kernels without RWF_NOWAIT: there nothing is thrown out, since others may use it.
    fn read_cached(&self, at: u64, part: &mut [u8]) -> Option<usize> {
        match self.read_once(at, part, ReadWriteFlags::NOWAIT) {
            Ok(read) => Some(read),
            Err(Errno::AGAIN) => Some(0),
            Err(_) => None,
        }
    }

    /// Fills `part`, of which `filled` bytes are there, or less of it at the end of the file.
    fn read_rest(&self, at: u64, part: &mut [u8], mut filled: usize) -> Result<usize, Errno> {
        while let Some(rest) = part.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_once(at.saturating_add(filled as u64), rest, ReadWriteFlags::empty())? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    fn read_once(&self, at: u64, part: &mut [u8], flags: ReadWriteFlags) -> Result<usize, Errno> {
        loop {
            match rustix::io::preadv2(&self.fd, &mut [IoSliceMut::new(part)], at, flags) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// Leaves nothing of a range in the page cache. A file system that cannot does no harm.
    fn forget(&self, begin: u64, length: usize) {
        if let Some(length) = NonZeroU64::new(length as u64) {
            let _ = rustix::fs::fadvise(&self.fd, begin, Some(length), Advice::DontNeed);
        }
    }
}

/// Where the parts of a buffer begin that is read from `offset`.
fn offsets(offset: u64, step: usize) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(offset), move |at| at.checked_add(step as u64))
}

fn kind_of(kind: FileType) -> Option<PathKind> {
    match kind {
        FileType::Directory => Some(PathKind::Directory),
        FileType::RegularFile => Some(PathKind::File),
        FileType::Symlink => Some(PathKind::Link),
        FileType::Unknown => None,
        _ => Some(PathKind::Other),
    }
}

fn facts_of(stat: &rustix::fs::Stat) -> LiveFacts {
    LiveFacts {
        kind: kind_of(FileType::from_raw_mode(stat.st_mode)).unwrap_or(PathKind::Other),
        bytes: u64::try_from(stat.st_size).unwrap_or_default(),
        mode: stat.st_mode & 0o7777,
        modified: Timestamp::from_second(stat.st_mtime).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn what_has_gone_or_changed_its_kind_is_no_failure() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::write(at("file"), "content").unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        std::os::unix::fs::symlink("directory", at("way")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).unwrap();
        let directory = LiveDirectory::open(temp.path()).unwrap();
        for absent in ["absent", "link", "pipe", "directory"] {
            assert!(directory.file(name(absent)).unwrap().is_none(), "{absent}");
        }
        for absent in ["absent", "file", "way"] {
            assert!(directory.directory(name(absent), Links::Refuse).unwrap().is_none(), "{absent}");
        }
        assert!(directory.directory(name("way"), Links::Follow).unwrap().is_some());
        assert!(directory.directory(name("dangling"), Links::Follow).is_err(), "it may be an unmounted file system");
        assert!(directory.facts(name("absent")).unwrap().is_none());
        assert!(directory.link_target(name("file")).unwrap().is_none());
        assert_eq!(directory.link_target(name("link")).unwrap().unwrap(), Path::new("file"));
        assert_eq!(directory.facts(name("link")).unwrap().unwrap().kind, PathKind::Link);
        assert_eq!(directory.file(name("file")).unwrap().unwrap().facts().bytes, 7);
        let mut names = Vec::new();
        let listed = directory.each_name(&mut |name, kind| {
            names.push((name.to_owned(), kind));
            Ok::<(), FileError>(())
        });
        listed.unwrap();
        names.sort();
        assert_eq!(names.len(), 6);
        assert_eq!(names.first().unwrap(), &("dangling".into(), Some(PathKind::Link)));
    }

    #[test]
    fn ranges_are_read_in_steps_up_to_the_end_of_the_file() {
        let temp = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
        std::fs::write(temp.path().join("file"), &content).unwrap();
        let file = LiveDirectory::open(temp.path()).unwrap().file(name("file")).unwrap().unwrap();
        for (offset, length, step) in
            [(0, 100_000, 4096), (0, 200_000, 65_536), (7, 5_000, 999), (99_999, 9, 4), (100_000, 9, 4)]
        {
            let mut buffer = vec![0; length];
            let read = file.read_at(offset, &mut buffer, step).unwrap();
            let expected = &content[offset as usize..content.len().min(offset as usize + length)];
            assert_eq!(&buffer[..read], expected, "{offset} {length} {step}");
        }
    }

    /// What the page cache holds of a file's quarters (the first page of each) while it is read again and again.
    #[derive(Debug, PartialEq, Eq)]
    struct Residence {
        /// After it was read as it had been written: all of it had been there.
        written: Option<usize>,
        /// After it was dropped and read: nothing of it had been there.
        dropped: Option<usize>,
        /// After it was dropped, its first page alone read, and then all of it: the first and the last quarter.
        begun: (Option<usize>, Option<usize>),
    }

    fn look_at_the_page_cache() -> Residence {
        use std::io::Write as _;
        let mut temp = tempfile::NamedTempFile::new_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target")).unwrap();
        temp.write_all(&vec![7; 1 << 20]).unwrap();
        temp.as_file().sync_all().unwrap();
        let directory = LiveDirectory::open(temp.path().parent().unwrap()).unwrap();
        let file = directory.file(temp.path().file_name().unwrap()).unwrap().unwrap();
        let mut buffer = vec![0; 1 << 20];
        let read_whole = |buffer: &mut [u8]| {
            buffer.fill(0);
            assert_eq!(file.read_at(0, buffer, 1 << 18).unwrap(), 1 << 20);
            assert!(buffer.iter().all(|byte| *byte == 7));
        };
        // Asking for a page that is not there has the disk read it: each is asked for once.
        let cached = |quarter: u64| file.read_cached(quarter << 18, &mut [0; 4096]);
        read_whole(&mut buffer);
        let written = cached(1);
        file.forget(0, 1 << 20);
        read_whole(&mut buffer);
        let dropped = cached(2);
        file.forget(0, 1 << 20);
        assert_eq!(file.read_rest(0, &mut buffer[..4096], 0).unwrap(), 4096);
        read_whole(&mut buffer);
        Residence { written, dropped, begun: (cached(0), cached(3)) }
    }

    /// Needs a file system that tells what is in the cache and keeps files elsewhere, as that of a build is.
    ///
    /// The kernel may drop any page, keeps one that it is busy with, and a quick disk has brought a page before the answer that
    /// it is not there: so the cache is as it should be sometimes, and never when reading does not leave it so.
    #[test]
    fn the_page_cache_is_left_as_it_was_found() {
        let expected = Residence { written: Some(4096), dropped: Some(0), begun: (Some(4096), Some(0)) };
        let seen: Vec<Residence> =
            (0..50).map(|_| look_at_the_page_cache()).take_while(|seen| *seen != expected).collect();
        assert!(seen.len() < 50, "never {expected:?} but {:?}", seen.last());
    }
}
