//! The server's `backup_label` (`src/backend/access/transam/xlogbackup.c`, `read_backup_label` in `xlogrecovery.c`).
//!
//! INVARIANT: read only; the file itself is kept byte for byte, for recovery starts from what it says. The start time
//! is in the zone of the server's log with an abbreviation: it is shown and never interpreted.

use super::data_path::Escaped;
use super::{Lsn, TimelineId};
use crate::error::{Classified, ErrorClass};

/// What a backup label says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupLabel {
    /// The redo position of the start checkpoint: recovery reads WAL from here.
    pub start_lsn: Lsn,
    /// Name of the WAL segment that holds it.
    pub start_wal_file: String,
    /// The timeline of that segment.
    pub start_timeline: TimelineId,
    /// Where the start checkpoint's record is.
    pub checkpoint_lsn: Lsn,
    /// How it was taken: `streamed`, or `pg_start_backup` for the exclusive mode of old servers.
    pub method: Option<String>,
    /// What it was taken from.
    pub from: Option<BackupSource>,
    /// When it began, in the server's words.
    pub start_time: Option<String>,
    /// The label that its maker gave it.
    pub label: Option<String>,
    /// What an incremental backup builds on; none for a full one.
    pub incremental_from: Option<IncrementalFrom>,
}

/// The kind of server that a backup was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupSource {
    /// A primary. COMPAT: called `master` up to version 13.
    Primary,
    /// A standby.
    Standby,
}

/// Start of the backup that an incremental one builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncrementalFrom {
    /// Its start position.
    pub lsn: Lsn,
    /// Its timeline.
    pub timeline: TimelineId,
}

/// Why a text is no backup label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupLabelError {
    /// The first line is another one.
    #[error("first line of backup_label is \"{found}\", expected \"START WAL LOCATION: <LSN> (file <WAL segment>)\"")]
    StartLine {
        /// The line, escaped and shortened.
        found: String,
    },
    /// The second line is another one.
    #[error("second line of backup_label is \"{found}\", expected \"CHECKPOINT LOCATION: <LSN>\"")]
    CheckpointLine {
        /// The line, escaped and shortened.
        found: String,
    },
    /// A later line has a value that it cannot have.
    #[error("line \"{key}\" of backup_label has invalid value \"{found}\"")]
    Value {
        /// What stands before the value.
        key: &'static str,
        /// The value, escaped and shortened.
        found: String,
    },
    /// The timelines of segment and label differ.
    #[error("backup_label starts on timeline {stated}, but in a segment of timeline {of_segment}")]
    TimelineMismatch {
        /// By its own line.
        stated: TimelineId,
        /// By the name of the segment.
        of_segment: TimelineId,
    },
    /// The start position of the backup before without its timeline, or the reverse.
    #[error("backup_label names only half of the backup that it builds on")]
    HalfIncremental,
    /// It does not end with a line break: cut short.
    #[error("backup_label does not end with a line break")]
    Unterminated,
}

impl Classified for BackupLabelError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidInput
    }
}

const START: &str = "START WAL LOCATION: ";
const CHECKPOINT: &str = "CHECKPOINT LOCATION: ";
const METHOD: &str = "BACKUP METHOD: ";
const FROM: &str = "BACKUP FROM: ";
const TIME: &str = "START TIME: ";
const LABEL: &str = "LABEL: ";
const TIMELINE: &str = "START TIMELINE: ";
const INCREMENTAL_LSN: &str = "INCREMENTAL FROM LSN: ";
const INCREMENTAL_TIMELINE: &str = "INCREMENTAL FROM TLI: ";

impl BackupLabel {
    /// Reads a label: the first two lines as strictly as the server, the others where they are.
    pub fn parse(text: &[u8]) -> Result<Self, BackupLabelError> {
        let text = text.strip_suffix(b"\n").ok_or(BackupLabelError::Unterminated)?;
        let mut lines = Lines(text.split(|&byte| byte == b'\n').collect());
        let (start_lsn, start_wal_file, start_timeline) = lines.start_line()?;
        let checkpoint_lsn = lines.checkpoint_line()?;
        let method = lines.take_first(METHOD);
        let from = lines.take_first(FROM).map(parse_source).transpose()?;
        let start_time = lines.take_first(TIME);
        // From the end, since the label of a backup may itself have line breaks, and lines that look like these.
        let incremental_timeline = lines.take_last(INCREMENTAL_TIMELINE);
        let incremental_lsn = lines.take_last(INCREMENTAL_LSN);
        let stated = lines.take_last(TIMELINE).map(|value| parse_timeline(TIMELINE, &value)).transpose()?;
        if let Some(stated) = stated.filter(|stated| *stated != start_timeline) {
            return Err(BackupLabelError::TimelineMismatch { stated, of_segment: start_timeline });
        }
        let incremental_from = parse_incremental(incremental_lsn, incremental_timeline)?;
        Ok(Self {
            start_lsn,
            start_wal_file,
            start_timeline,
            checkpoint_lsn,
            method,
            from,
            start_time,
            label: lines.label(),
            incremental_from,
        })
    }
}

/// The lines that are not read yet.
struct Lines<'a>(Vec<&'a [u8]>);

impl Lines<'_> {
    fn first(&self) -> &[u8] {
        self.0.first().copied().unwrap_or_default()
    }

    fn drop_first(&mut self) {
        self.0.drain(..1.min(self.0.len()));
    }

    fn start_line(&mut self) -> Result<(Lsn, String, TimelineId), BackupLabelError> {
        let parse = |line: &[u8]| {
            let (lsn, file) = std::str::from_utf8(line).ok()?.strip_prefix(START)?.split_once(" (file ")?;
            let file = file.strip_suffix(')')?;
            let (timeline, segment) = file.split_at_checked(8)?;
            // The other sixteen digits have the same form as the eight of a timeline, though each half may be zero.
            let digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
            let valid = segment.len() == 16 && segment.bytes().all(digit);
            let timeline = TimelineId::parse_hex(timeline).ok().filter(|_| valid)?;
            Some((lsn.parse().ok()?, file.to_owned(), timeline))
        };
        let start = parse(self.first());
        let start = start.ok_or_else(|| BackupLabelError::StartLine { found: shown(self.first()) })?;
        self.drop_first();
        Ok(start)
    }

    fn checkpoint_line(&mut self) -> Result<Lsn, BackupLabelError> {
        let parse = |line: &[u8]| std::str::from_utf8(line).ok()?.strip_prefix(CHECKPOINT)?.parse().ok();
        let lsn = parse(self.first());
        let lsn = lsn.ok_or_else(|| BackupLabelError::CheckpointLine { found: shown(self.first()) })?;
        self.drop_first();
        Ok(lsn)
    }

    /// Takes the first line that is left, when it has this key.
    fn take_first(&mut self, key: &str) -> Option<String> {
        let value = text(self.first().strip_prefix(key.as_bytes())?);
        self.drop_first();
        Some(value)
    }

    /// Takes the last line that is left, when it has this key.
    fn take_last(&mut self, key: &str) -> Option<String> {
        let value = text(self.0.last()?.strip_prefix(key.as_bytes())?);
        self.0.pop();
        Some(value)
    }

    /// What is left, when it is the label.
    fn label(&self) -> Option<String> {
        Some(text(self.0.join(&b'\n').strip_prefix(LABEL.as_bytes())?))
    }
}

fn parse_source(value: String) -> Result<BackupSource, BackupLabelError> {
    match value.as_str() {
        "primary" | "master" => Ok(BackupSource::Primary),
        "standby" => Ok(BackupSource::Standby),
        _ => Err(invalid(FROM, &value)),
    }
}

fn parse_timeline(key: &'static str, value: &str) -> Result<TimelineId, BackupLabelError> {
    TimelineId::parse_decimal(value).map_err(|_| invalid(key, value))
}

fn parse_incremental(
    lsn: Option<String>,
    timeline: Option<String>,
) -> Result<Option<IncrementalFrom>, BackupLabelError> {
    match (lsn, timeline) {
        (None, None) => Ok(None),
        (Some(lsn), Some(timeline)) => Ok(Some(IncrementalFrom {
            lsn: lsn.parse().map_err(|_| invalid(INCREMENTAL_LSN, &lsn))?,
            timeline: parse_timeline(INCREMENTAL_TIMELINE, &timeline)?,
        })),
        _ => Err(BackupLabelError::HalfIncremental),
    }
}

fn invalid(key: &'static str, value: &str) -> BackupLabelError {
    BackupLabelError::Value { key: key.trim_end_matches([':', ' ']), found: shown(value.as_bytes()) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shown(line: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 100;
    Escaped(line.get(..SHOWN_BYTES_MAX).unwrap_or(line)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REAL: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
        CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
        START TIME: 2026-11-21 01:09:39 UTC\nLABEL: weekly, by hand\nSTART TIMELINE: 1\n";

    fn parse(text: &str) -> Result<BackupLabel, BackupLabelError> {
        BackupLabel::parse(text.as_bytes())
    }

    #[test]
    fn reads_the_label_of_a_real_server() {
        // The first file of the archive that a server of version 15 sent.
        let archive = include_bytes!("../../../tests/data/postgres-15/base.tar");
        assert_eq!(&archive[512..512 + REAL.len()], REAL.as_bytes());
        let label = parse(REAL).unwrap();
        assert_eq!(
            label,
            BackupLabel {
                start_lsn: "0/2000028".parse().unwrap(),
                start_wal_file: "000000010000000000000002".to_owned(),
                start_timeline: TimelineId::FIRST,
                checkpoint_lsn: "0/2000060".parse().unwrap(),
                method: Some("streamed".to_owned()),
                from: Some(BackupSource::Primary),
                start_time: Some("2026-11-21 01:09:39 UTC".to_owned()),
                label: Some("weekly, by hand".to_owned()),
                incremental_from: None,
            }
        );
    }

    #[test]
    fn reads_other_servers_labels() {
        assert_eq!(parse(&REAL.replace("primary", "master")).unwrap().from, Some(BackupSource::Primary));
        assert_eq!(parse(&REAL.replace("primary", "standby")).unwrap().from, Some(BackupSource::Standby));
        let incremental = format!("{REAL}INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\n");
        let from = IncrementalFrom { lsn: "0/1000028".parse().unwrap(), timeline: TimelineId::FIRST };
        assert_eq!(parse(&incremental).unwrap().incremental_from, Some(from));
        let two_lines: String = REAL.split_inclusive('\n').take(2).collect();
        let label = parse(&two_lines).unwrap();
        assert_eq!((label.method, label.from, label.start_time, label.label), (None, None, None, None));
        let tenth = REAL.replace("(file 00000001", "(file 0000000A").replace("TIMELINE: 1", "TIMELINE: 10");
        assert_eq!(parse(&tenth).unwrap().start_timeline.get(), 10);
    }

    #[test]
    fn a_label_with_line_breaks_changes_nothing_else() {
        let tricky = "x\nSTART TIMELINE: 7\nINCREMENTAL FROM TLI: 3\n";
        let label = parse(&REAL.replace("weekly, by hand", tricky)).unwrap();
        assert_eq!(label.label.as_deref(), Some(tricky));
        assert_eq!((label.start_timeline, label.incremental_from), (TimelineId::FIRST, None));
        let bytes = REAL.replace("weekly", "caf\u{fffd}");
        let raw: Vec<u8> = REAL.replace("weekly", "caf#").bytes().map(|b| if b == b'#' { 0xe9 } else { b }).collect();
        assert_eq!(BackupLabel::parse(&raw).unwrap(), parse(&bytes).unwrap());
    }

    #[test]
    fn refuses_each_wrong_line() {
        use BackupLabelError as E;
        assert_eq!(parse("").unwrap_err(), E::Unterminated);
        assert_eq!(parse(REAL.trim_end()).unwrap_err(), E::Unterminated);
        for (from, to) in [
            ("START WAL", "START  WAL"),
            ("START WAL", " START WAL"),
            ("0/2000028", "0/0"),
            ("0/2000028", "0-2000028"),
            ("(file 0", "(file "),
            ("(file 0", "(file 00"),
            ("(file 00000001", "(file 00000000"),
            ("(file 00000001", "(file 0000000a"),
            ("000002)", "00000g)"),
            ("000002)\n", "000002)\r\n"),
            ("000002)\n", "000002) \n"),
        ] {
            let error = parse(&REAL.replacen(from, to, 1)).unwrap_err();
            assert!(matches!(error, E::StartLine { .. }), "{from} {to}: {error}");
            assert_eq!(error.class(), ErrorClass::InvalidInput);
        }
        for (from, to) in [("CHECKPOINT", "Checkpoint"), ("0/2000060", ""), ("0/2000060", "0/2000060 ")] {
            let error = parse(&REAL.replacen(from, to, 1)).unwrap_err();
            assert!(matches!(error, E::CheckpointLine { .. }), "{from} {to}");
        }
        for (from, to, wrong) in [
            ("primary", "elsewhere", "BACKUP FROM"),
            ("TIMELINE: 1", "TIMELINE: 0", "START TIMELINE"),
            ("TIMELINE: 1", "TIMELINE: x", "START TIMELINE"),
            (
                "TIMELINE: 1\n",
                "TIMELINE: 1\nINCREMENTAL FROM LSN: x\nINCREMENTAL FROM TLI: 1\n",
                "INCREMENTAL FROM LSN",
            ),
            (
                "TIMELINE: 1\n",
                "TIMELINE: 1\nINCREMENTAL FROM LSN: 0/1\nINCREMENTAL FROM TLI: 0\n",
                "INCREMENTAL FROM TLI",
            ),
        ] {
            match parse(&REAL.replacen(from, to, 1)).unwrap_err() {
                E::Value { key, .. } => assert_eq!(key, wrong),
                other => panic!("{to}: {other}"),
            }
        }
        let mismatch = parse(&REAL.replace("TIMELINE: 1", "TIMELINE: 2")).unwrap_err();
        assert!(matches!(mismatch, E::TimelineMismatch { .. }));
        assert_eq!(parse(&format!("{REAL}INCREMENTAL FROM TLI: 1\n")).unwrap_err(), E::HalfIncremental);
        assert_eq!(parse(&format!("{REAL}INCREMENTAL FROM LSN: 0/1\n")).unwrap_err(), E::HalfIncremental);
    }

    proptest! {
        #[test]
        fn prints_what_it_parses(start in 1u64.., checkpoint in 1u64.., timeline in 1u32.., label in ".{0,60}", segment in any::<u64>()) {
            let (start, checkpoint) = (Lsn::new(start).unwrap(), Lsn::new(checkpoint).unwrap());
            let text = format!(
                "START WAL LOCATION: {start} (file {timeline:08X}{segment:016X})\nCHECKPOINT LOCATION: {checkpoint}\n\
                 BACKUP METHOD: streamed\nBACKUP FROM: standby\nSTART TIME: x\nLABEL: {label}\nSTART TIMELINE: {timeline}\n"
            );
            let parsed = parse(&text).unwrap();
            prop_assert_eq!((parsed.start_lsn, parsed.checkpoint_lsn), (start, checkpoint));
            prop_assert_eq!(parsed.start_timeline.get(), timeline);
            prop_assert_eq!(parsed.label, Some(label));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..REAL.len()) {
            let _ = BackupLabel::parse(&bytes);
            let _ = parse(&format!("{}\n", &REAL[..cut]));
        }
    }
}
