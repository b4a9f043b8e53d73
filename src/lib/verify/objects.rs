//! Every object but packs: which there are, and whether each is what it should be.

use super::finding::{Findings, problem_of};
use crate::codec::HEADER_BYTES;
use crate::error::{Classified, ErrorClass};
use crate::pg::{TimelineHistory, WalFileName, WalSegmentSize};
use crate::repository::{
    BackupBegin, BackupPart, ClusterIdentity, Damage, HIDDEN_FOLDERS_MAX, ObjectReader, Repository, RepositoryError,
    SinkError, StoredObject, Writer, WriterDescription,
};
use crate::store::ObjectKey;

/// Keys that are asked for at once.
const KEYS_PAGE: usize = 1000;
/// LIMIT: plain bytes of an object whose text is looked at beside its digest.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// The keys below a prefix, page by page. A folder that cannot be listed is told and passed over; ends after any other
/// error.
struct Keys<'a> {
    repository: &'a Repository,
    prefix: String,
    page: std::vec::IntoIter<ObjectKey>,
    /// What could not be listed behind the page.
    hidden: Option<RepositoryError>,
    hidden_folders: usize,
    after: String,
    is_over: bool,
}

/// A key, or why it cannot be listed, with the prefix that was asked for.
pub(super) type ListedKey = (String, Result<ObjectKey, RepositoryError>);

/// Every key below these prefixes.
pub(super) fn keys(repository: &Repository, prefixes: Vec<String>) -> Box<dyn Iterator<Item = ListedKey> + Send + '_> {
    let below = |prefix: String| Keys::below(repository, prefix.clone()).map(move |key| (prefix.clone(), key));
    Box::new(prefixes.into_iter().flat_map(below))
}

impl<'a> Keys<'a> {
    fn below(repository: &'a Repository, prefix: String) -> Self {
        let (page, after) = (Vec::new().into_iter(), String::new());
        Self { repository, prefix, page, hidden: None, hidden_folders: 0, after, is_over: false }
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<ObjectKey, RepositoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.page.next() {
                return Some(Ok(key));
            }
            if let Some(error) = self.hidden.take() {
                return Some(Err(error));
            }
            if self.is_over {
                return None;
            }
            match self.repository.page_after(&self.prefix, &self.after, KEYS_PAGE) {
                Ok(page) => {
                    self.page = page.keys.into_iter();
                    match page.next {
                        Some((after, hidden)) => {
                            self.after = after;
                            self.hidden_folders += usize::from(hidden.is_some());
                            self.is_over = self.hidden_folders >= HIDDEN_FOLDERS_MAX;
                            self.hidden = hidden.map(|hidden| hidden.error);
                        }
                        None => self.is_over = true,
                    }
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// An object to look at.
#[derive(Debug)]
pub(super) struct ObjectWork {
    pub(super) object: StoredObject,
    /// Whether all of it is read, or its header and seek table alone.
    pub(super) is_whole: bool,
    /// The size that segments must have.
    pub(super) segment_size: Option<WalSegmentSize>,
}

/// An object that was looked at.
#[derive(Debug)]
pub(super) struct CheckedObject {
    pub(super) object: StoredObject,
    /// How many stored bytes were read.
    pub(super) bytes: u64,
    pub(super) is_whole: bool,
    pub(super) problem: Option<(String, ErrorClass)>,
    /// Whether what it holds is whole all the same.
    pub(super) is_content_whole: bool,
}

impl CheckedObject {
    fn of(object: StoredObject, is_whole: bool, Checked { bytes, outcome, is_content_whole }: Checked) -> Self {
        // What is not there was there when the keys were listed, so somebody takes objects away.
        let problem = outcome.err().map(|error| (problem_of(&error), error.class()));
        Self { object, bytes, is_whole, problem, is_content_whole }
    }

    /// How many stored bytes were read behind its header.
    pub(super) fn body_bytes(&self) -> u64 {
        self.bytes.saturating_sub(HEADER_BYTES as u64)
    }

    /// Whether what it holds is not whole.
    pub(super) fn is_damaged(&self) -> bool {
        self.problem.is_some() && !self.is_content_whole
    }

    pub(super) fn note(&self, findings: &mut Findings) {
        match &self.problem {
            Some((problem, class)) if self.is_content_whole => {
                findings.add_spare(&self.object, problem.clone(), *class)
            }
            Some((problem, class)) => findings.add(&self.object, problem.clone(), *class),
            None => {}
        }
    }
}

/// What came of an object: the stored bytes that were read, and what is wrong.
struct Checked {
    bytes: u64,
    outcome: Result<(), RepositoryError>,
    /// Whether the damage lies where no reader looks: what the object holds is whole.
    is_content_whole: bool,
}

impl Checked {
    fn new(bytes: u64, outcome: Result<(), RepositoryError>) -> Self {
        Self { bytes, outcome, is_content_whole: false }
    }
}

/// Looks at one object.
pub(super) fn check(repository: &Repository, work: ObjectWork) -> CheckedObject {
    let checked = check_bytes(repository, &work, &mut |_| ());
    CheckedObject::of(work.object, work.is_whole, checked)
}

/// Looks at one object, if it is there, and hands its content to `sink`: each byte once, before it is known whether it is
/// right.
pub(super) fn check_there(
    repository: &Repository,
    work: ObjectWork,
    sink: &mut dyn FnMut(&[u8]),
) -> Option<CheckedObject> {
    let checked = check_bytes(repository, &work, sink);
    let is_there = !checked.outcome.as_ref().is_err_and(RepositoryError::is_not_found);
    is_there.then(|| CheckedObject::of(work.object, work.is_whole, checked))
}

fn check_bytes(repository: &Repository, work: &ObjectWork, sink: &mut dyn FnMut(&[u8])) -> Checked {
    let (Ok(key), Some(spec)) = (work.object.key(), work.object.spec()) else { return Checked::new(0, Ok(())) };
    let reader = match ObjectReader::open(repository, &key, &spec) {
        Ok(reader) => reader,
        Err(error) => return Checked::new(0, Err(error)),
    };
    if matches!(work.object, StoredObject::Pack { .. }) {
        return check_pack_alone(&reader, work.is_whole);
    }
    let header = reader.header();
    let invalid = |problem: String| Err(repository.damaged(&key, Damage::Invalid { problem }));
    if header.plain_bytes.is_none() || header.plain_digest.is_none() || header.body_digest.is_none() {
        return Checked::new(HEADER_BYTES as u64, invalid("its header lacks sizes or digests".to_owned()));
    }
    let is_segment = work.object.segment().is_some();
    if let Some(size) = work.segment_size.filter(|_| is_segment)
        && header.plain_bytes != Some(size.bytes())
    {
        let found = header.plain_bytes.unwrap_or_default();
        return Checked::new(0, invalid(format!("it holds {found} bytes where a segment has {}", size.bytes())));
    }
    if !work.is_whole {
        return Checked::new(HEADER_BYTES as u64, Ok(()));
    }
    let bytes = reader.body_bytes() + HEADER_BYTES as u64;
    let with_text = has_text(&work.object);
    let mut text = Vec::new();
    let (outcome, is_content_whole) = read_whole(&reader, &mut |plain| {
        if with_text && text.len() + plain.len() <= TEXT_BYTES_MAX {
            text.extend_from_slice(plain);
        }
        sink(plain);
    });
    let is_text = with_text && (outcome.is_ok() || is_content_whole);
    match is_text.then_some(text).and_then(|text| wrong_text(repository, &work.object, &text)) {
        Some(problem) => Checked::new(bytes, invalid(problem)),
        None => Checked { bytes, outcome, is_content_whole },
    }
}

/// Reads all of an object, and hands every plain byte to `sink` once. When something is wrong with it, it is read again
/// as readers do, who look at its content alone: whether that is whole is said, too.
fn read_whole(reader: &ObjectReader<'_>, sink: &mut dyn FnMut(&[u8])) -> (Result<(), RepositoryError>, bool) {
    let mut handed_over = 0;
    let outcome = reader.check_whole(&mut |plain| {
        handed_over += plain.len();
        sink(plain);
    });
    let is_damaged = outcome.as_ref().is_err_and(|error| error.class() == ErrorClass::Corrupt);
    let mut read_again = |plain: &[u8]| {
        let known = handed_over.min(plain.len());
        handed_over -= known;
        sink(plain.get(known..).unwrap_or_default());
        Ok::<(), std::convert::Infallible>(())
    };
    let is_content_whole = is_damaged && reader.read_to(&mut read_again).is_ok();
    (outcome, is_content_whole)
}

/// A pack of a backup whose table of packs cannot be read: nothing says what it should hold but zstd's checksums.
fn check_pack_alone(reader: &ObjectReader<'_>, is_whole: bool) -> Checked {
    let checked = reader.check_copy_alone();
    if !is_whole || checked.is_err() {
        return Checked::new(HEADER_BYTES as u64, checked);
    }
    let read = reader.read_frames(0..reader.frames().len(), &mut |_, _| Ok::<(), std::convert::Infallible>(()));
    let checked = match read {
        Ok(()) => Ok(()),
        Err(SinkError::Repository(error)) => Err(error),
        Err(SinkError::Sink(never)) => match never {},
    };
    Checked::new(reader.body_bytes() + HEADER_BYTES as u64, checked)
}

/// Whether what an object says is looked at here. Records, roots and needs are read with what refers to them.
fn has_text(object: &StoredObject) -> bool {
    match object {
        StoredObject::Writer { .. } | StoredObject::Identity(_) => true,
        StoredObject::Wal { name, .. } => matches!(name, WalFileName::TimelineHistory(_)),
        StoredObject::Backup { part, .. } => *part == BackupPart::Begin,
        StoredObject::Description | StoredObject::Pack { .. } => false,
    }
}

/// What is wrong with what an object says.
fn wrong_text(repository: &Repository, object: &StoredObject, text: &[u8]) -> Option<String> {
    let unreadable = |error: serde_json::Error| Some(format!("its text cannot be read: {error}"));
    match object {
        StoredObject::Writer { id, .. } => match serde_json::from_slice::<WriterDescription>(text) {
            Ok(description) => (Writer::new(repository, description).id() != *id)
                .then(|| "its id is not that of the host and directory in it".to_owned()),
            Err(error) => unreadable(error),
        },
        StoredObject::Identity(cluster) => match serde_json::from_slice::<ClusterIdentity>(text) {
            Ok(identity) => (identity.system_identifier != cluster.system_identifier)
                .then(|| format!("it is that of system identifier {}", identity.system_identifier)),
            Err(error) => unreadable(error),
        },
        StoredObject::Backup { backup, .. } => match serde_json::from_slice::<BackupBegin>(text) {
            Ok(begin) => (begin.id != *backup).then(|| format!("it is that of backup {}", begin.id)),
            Err(error) => unreadable(error),
        },
        StoredObject::Wal { name: WalFileName::TimelineHistory(timeline), .. } => {
            TimelineHistory::decode(*timeline, text).err().map(|error| error.to_string())
        }
        _ => None,
    }
}
