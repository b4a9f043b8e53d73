use proptest::prelude::*;

use super::super::fake_server::{block_on, copy, error, message, notice, ready, result, walsender};
use super::options::MAX_LABEL_BYTES;
use super::*;
use crate::error::{Classified, ErrorClass};

fn start() -> Vec<u8> {
    let tablespaces: &[&[Option<&str>]] =
        &[&[Some("16384"), Some("/mnt/a b"), Some("12")], &[None, None, Some("2000")]];
    [
        notice("checkpoint takes its time"),
        result(&[&[Some("0/2000028"), Some("1")]]),
        result(tablespaces),
        message(b'H', &[0, 0, 0]),
    ]
    .concat()
}

fn data() -> Vec<u8> {
    [
        copy(b"n16384.tar\0/mnt/a b\0"),
        copy(b"dfirst"),
        copy(&[&b"p"[..], &7i64.to_be_bytes()].concat()),
        copy(b"nbase.tar\0\0"),
        notice("page verification failed"),
        copy(b"dsecond"),
        copy(b"m"),
        copy(b"d{}"),
    ]
    .concat()
}

fn end() -> Vec<u8> {
    [message(b'c', b""), result(&[&[Some("0/2000100"), Some("1")]]), message(b'C', b"SELECT\0"), ready()].concat()
}

/// Everything that comes out, and the end position, of a server that sends these bytes.
fn run(bytes: &[u8]) -> (Vec<BaseBackupEvent>, Result<Option<WalPosition>, ReplicationError>) {
    run_as("15.4", bytes)
}

fn run_as(version: &str, bytes: &[u8]) -> (Vec<BaseBackupEvent>, Result<Option<WalPosition>, ReplicationError>) {
    block_on(async {
        let mut walsender = walsender(version, bytes).await;
        let mut backup = match walsender.base_backup(&BaseBackupOptions::default()).await {
            Ok(backup) => backup,
            Err(error) => return (Vec::new(), Err(error)),
        };
        let mut events = Vec::new();
        loop {
            match backup.next_event().await {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, Ok(backup.end_position())),
                Err(error) => {
                    assert_eq!(backup.end_position(), None);
                    assert!(backup.next_event().await.is_err(), "a failed backup stays failed");
                    return (events, Err(error));
                }
            }
        }
    })
}

fn position(text: &str) -> WalPosition {
    WalPosition { lsn: text.parse().unwrap(), timeline: crate::pg::TimelineId::FIRST }
}

/// The position of the end comes before the error, so nothing is missing; any other error voids the backup.
#[test]
fn a_backup_with_bad_pages_is_complete_and_says_so() {
    for (code, is_complete) in [("XX001", true), ("XX000", false), ("57P01", false)] {
        let end = [
            message(b'c', b""),
            result(&[&[Some("0/2000100"), Some("1")]]),
            error("ERROR", code, "checksum verification failure during base backup"),
            ready(),
        ];
        let bytes = [start(), data(), end.concat()].concat();
        let found = block_on(async {
            let mut walsender = walsender("15.4", &bytes).await;
            let mut backup = walsender.base_backup(&BaseBackupOptions::default()).await.unwrap();
            while backup.next_event().await.ok()?.is_some() {}
            Some((backup.end_position(), backup.bad_pages().map(|message| message.message.clone())))
        });
        let words = "checksum verification failure during base backup".to_owned();
        let expected = is_complete.then(|| (Some(position("0/2000100")), Some(words)));
        assert_eq!(found, expected, "{code}");
    }
}

#[test]
fn a_whole_backup_comes_out_in_order() {
    block_on(async {
        let bytes = [start(), data(), end(), result(&[&[Some("4711"), Some("1"), Some("0/2000100"), None]]), ready()];
        let mut walsender = walsender("15.4", &bytes.concat()).await;
        let mut backup = walsender.base_backup(&BaseBackupOptions::default()).await.unwrap();
        assert_eq!(backup.start_position(), position("0/2000028"));
        let location = Some(Bytes::from_static(b"/mnt/a b"));
        assert_eq!(
            backup.tablespaces(),
            [
                BackupTablespace { oid: Some(16384), location, estimated_kib: Some(12) },
                BackupTablespace { oid: None, location: None, estimated_kib: Some(2000) },
            ]
        );
        let mut shown = Vec::new();
        while let Some(event) = backup.next_event().await.unwrap() {
            shown.push(match event {
                BaseBackupEvent::ArchiveBegin { name, tablespace_path } => format!("{name:?} {tablespace_path:?}"),
                BaseBackupEvent::ManifestBegin => "manifest".to_owned(),
                BaseBackupEvent::Data(data) => format!("{data:?}"),
                BaseBackupEvent::Progress(done) => done.to_string(),
                BaseBackupEvent::Notice(notice) => notice.message,
            });
        }
        assert_eq!(
            shown,
            [
                "checkpoint takes its time",
                "b\"16384.tar\" b\"/mnt/a b\"",
                "b\"first\"",
                "7",
                "b\"base.tar\" b\"\"",
                "page verification failed",
                "b\"second\"",
                "manifest",
                "b\"{}\"",
            ]
        );
        assert_eq!(backup.end_position(), Some(position("0/2000100")));
        assert!(backup.next_event().await.unwrap().is_none());
        assert_eq!(walsender.identify_system().await.unwrap().system_identifier.get(), 4711, "the session goes on");
    });
}

#[test]
fn a_backup_without_its_final_position_is_an_error() {
    for tail in [
        Vec::new(),
        message(b'c', b""),
        [message(b'c', b""), message(b'C', b"SELECT\0"), ready()].concat(),
        [message(b'c', b""), result(&[]), ready()].concat(),
        [message(b'c', b""), result(&[&[Some("0/0"), Some("1")]]), ready()].concat(),
        [message(b'c', b""), result(&[&[Some("0/2000100"), Some("0")]]), ready()].concat(),
        [message(b'c', b""), result(&[&[Some("0/2000100"), None]]), ready()].concat(),
        [message(b'c', b""), result(&[&[Some("0/2000100"), Some("1")]])].concat(),
        [message(b'c', b""), error("ERROR", "XX001", "checksum verification failure"), ready()].concat(),
    ] {
        let (events, outcome) = run(&[start(), data(), tail].concat());
        assert_eq!(events.len(), 9);
        outcome.unwrap_err();
    }
}

#[test]
fn messages_out_of_order_are_corrupt() {
    for bytes in [
        copy(b"dtoo early"),
        copy(b""),
        copy(b"x"),
        copy(b"nbase.tar"),
        copy(b"nbase.tar\0"),
        copy(b"nbase.tar\0\0more"),
        copy(b"mmore"),
        copy(b"pshort"),
        copy(&[&b"p"[..], &(-1i64).to_be_bytes()].concat()),
        [copy(b"m"), copy(b"nbase.tar\0\0")].concat(),
        [copy(b"m"), copy(b"m")].concat(),
        message(b'c', b""),
        [copy(b"nbase.tar\0\0"), message(b'c', b"")].concat(),
        ready(),
        message(b'W', &[0, 0, 0]),
    ] {
        let (_, outcome) = run(&[start(), bytes.clone()].concat());
        assert_eq!(outcome.unwrap_err().class(), ErrorClass::Corrupt, "{bytes:?}");
    }
}

#[test]
fn an_error_of_the_server_is_handed_on_and_the_session_goes_on() {
    block_on(async {
        let failure = error("ERROR", "XX001", "checksum verification failure during base backup");
        let bytes = [start(), data(), failure, ready(), result(&[&[Some("on")]]), ready()].concat();
        let mut walsender = walsender("16.1", &bytes).await;
        let mut backup = walsender.base_backup(&BaseBackupOptions::default()).await.unwrap();
        let failure = loop {
            match backup.next_event().await {
                Ok(event) => assert!(event.is_some()),
                Err(error) => break error,
            }
        };
        assert_eq!(failure.class(), ErrorClass::Corrupt);
        assert_eq!(failure.sqlstate().unwrap().code(), "XX001");
        assert_eq!(walsender.show("fsync").await.unwrap(), "on");
    });
}

#[test]
fn a_refused_start_is_handed_on() {
    let refusal = error("ERROR", "55000", "WAL level not sufficient for making an online backup");
    let (_, outcome) = run(&[refusal, ready()].concat());
    assert_eq!(outcome.unwrap_err().class(), ErrorClass::Refused);
    let (_, outcome) = run(&error("FATAL", "57P01", "terminating connection"));
    let error = outcome.unwrap_err();
    assert_eq!(error.server_message().unwrap().message, "terminating connection");
    for bytes in [
        [result(&[]), ready()].concat(),
        [result(&[&[Some("0/1"), Some("1")], &[Some("0/1"), Some("1")]]), result(&[]), message(b'H', &[0, 0, 0])]
            .concat(),
        [result(&[&[Some("16/B374D848Z"), Some("1")]]), result(&[]), message(b'H', &[0, 0, 0])].concat(),
        [result(&[&[Some("0/1"), Some("1")]]), result(&[&[Some("-1")]]), message(b'H', &[0, 0, 0])].concat(),
        [result(&[&[Some("0/1"), Some("1")]]), result(&[]), ready()].concat(),
    ] {
        let (_, outcome) = run(&bytes);
        assert_eq!(outcome.unwrap_err().class(), ErrorClass::Corrupt, "{bytes:?}");
    }
}

#[test]
fn other_versions_are_refused_before_anything_is_asked() {
    for (version, named) in [("12.22", "12"), ("9.6.1", "9"), ("19devel", "19"), ("nonsense", "nonsense")] {
        block_on(async {
            let mut walsender = walsender(version, b"").await;
            let error = walsender.base_backup(&BaseBackupOptions::default()).await.map(drop).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Unsupported, "{version}: {error}");
            let cause = std::error::Error::source(&error).unwrap().to_string();
            let expected = format!("PostgreSQL version \"{named}\" is not supported: this pgv knows 13 to 18");
            assert_eq!(cause, expected);
        });
    }
}

#[test]
fn the_command_quotes_what_people_choose() {
    let options = BaseBackupOptions {
        label: "it's \"mine\"; DROP".to_owned(),
        checkpoint: CheckpointMode::Fast,
        max_rate_kib: Some(4096),
        manifest_checksum: crate::pg::ManifestChecksumAlgorithm::Crc32c,
        ..BaseBackupOptions::default()
    };
    assert_eq!(
        options.command(Dialect::Messages).unwrap(),
        "BASE_BACKUP (LABEL 'it''s \"mine\"; DROP', PROGRESS true, CHECKPOINT 'fast', WAIT false, TABLESPACE_MAP true, \
         MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', VERIFY_CHECKSUMS true, MAX_RATE 4096)"
    );
    assert_eq!(
        options.command(Dialect::Copies).unwrap(),
        "BASE_BACKUP LABEL 'it''s \"mine\"; DROP' PROGRESS FAST NOWAIT TABLESPACE_MAP MANIFEST 'yes' \
         MANIFEST_CHECKSUMS 'CRC32C' MAX_RATE 4096"
    );
    let options = BaseBackupOptions {
        estimate_sizes: false,
        wait_for_archive: true,
        verify_checksums: false,
        ..BaseBackupOptions::default()
    };
    assert_eq!(
        options.command(Dialect::Copies).unwrap(),
        "BASE_BACKUP LABEL 'pgv' TABLESPACE_MAP NOVERIFY_CHECKSUMS MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA256'"
    );
    for label in ["x".repeat(MAX_LABEL_BYTES + 1), "a\0b".to_owned()] {
        let options = BaseBackupOptions { label, ..BaseBackupOptions::default() };
        for dialect in [Dialect::Copies, Dialect::Messages] {
            assert_eq!(options.command(dialect).unwrap_err().class(), ErrorClass::Usage);
        }
    }
}

#[test]
fn settings_are_asked_for_by_plain_names_only() {
    block_on(async {
        let mut walsender = walsender("15.4", b"").await;
        for name in ["", "a b", "a;b", "a'b"] {
            assert_eq!(walsender.show(name).await.unwrap_err().class(), ErrorClass::Usage, "{name:?}");
        }
    });
}

mod older;

proptest! {
    #[test]
    fn arbitrary_copy_data_never_panics(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..10)) {
        let bytes: Vec<u8> = bodies.iter().flat_map(|body| copy(body)).collect();
        let (_, outcome) = run(&[start(), bytes, end()].concat());
        if let Ok(position) = outcome {
            prop_assert!(position.is_some());
        }
    }
}
