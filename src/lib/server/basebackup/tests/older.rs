//! The form that 13 and 14 speak: plain bytes, one copy after the other.

use super::*;

fn copy_out() -> Vec<u8> {
    message(b'H', &[0, 0, 0])
}

fn copy_done() -> Vec<u8> {
    message(b'c', b"")
}

/// As `start`, of which the copy is the first archive's.
fn archives() -> Vec<u8> {
    [
        copy(b"first"),
        copy_done(),
        notice("page verification failed"),
        copy_out(),
        copy(b"nothing is a header here"),
        copy(b"second"),
        copy_done(),
    ]
    .concat()
}

fn manifest() -> Vec<u8> {
    [copy_out(), copy(b"{"), copy(b"}")].concat()
}

fn shown(events: Vec<BaseBackupEvent>) -> Vec<String> {
    let show = |event| match event {
        BaseBackupEvent::ArchiveBegin { name, tablespace_path } => format!("{name:?} {tablespace_path:?}"),
        BaseBackupEvent::ManifestBegin => "manifest".to_owned(),
        BaseBackupEvent::Data(data) => format!("{data:?}"),
        BaseBackupEvent::Progress(done) => done.to_string(),
        BaseBackupEvent::Notice(notice) => notice.message,
    };
    events.into_iter().map(show).collect()
}

#[test]
fn its_copies_come_out_as_the_same_events() {
    for version in ["13.23", "14.23 (Debian)"] {
        let (events, outcome) = run_as(version, &[start(), archives(), manifest(), end()].concat());
        assert_eq!(outcome.unwrap(), Some(position("0/2000100")));
        assert_eq!(
            shown(events),
            [
                "checkpoint takes its time",
                "b\"16384.tar\" b\"/mnt/a b\"",
                "b\"first\"",
                "page verification failed",
                "b\"base.tar\" b\"\"",
                "b\"nothing is a header here\"",
                "b\"second\"",
                "manifest",
                "b\"{\"",
                "b\"}\"",
            ]
        );
    }
}

#[test]
fn the_session_goes_on_and_the_ends_of_archives_are_not_marked() {
    block_on(async {
        let tail = [result(&[&[Some("on")]]), ready()].concat();
        let bytes = [start(), archives(), manifest(), end(), tail].concat();
        let mut walsender = walsender("14.1", &bytes).await;
        let mut backup = walsender.base_backup(&BaseBackupOptions::default()).await.unwrap();
        assert!(!backup.marks_ends_of_archives());
        while backup.next_event().await.unwrap().is_some() {}
        assert!(backup.next_event().await.unwrap().is_none());
        assert_eq!(walsender.show("fsync").await.unwrap(), "on");
    });
}

#[test]
fn cut_anywhere_it_is_an_error() {
    let whole = [start(), archives(), manifest(), end()].concat();
    for length in 0..whole.len() {
        let (_, outcome) = run_as("13.23", &whole[..length]);
        outcome.expect_err("a part of a backup is none");
    }
}

#[test]
fn copies_out_of_order_are_corrupt() {
    for bytes in [
        // the newer form, whose messages would be files' content here
        end(),
        [copy_done(), end()].concat(),
        // one archive, one manifest too few or too many
        [copy_done(), copy_out(), copy_done(), end()].concat(),
        [archives(), end()].concat(),
        [archives(), manifest(), copy_done(), copy_out(), copy_done(), end()].concat(),
        // data between two copies, a copy within a copy
        [copy_done(), copy(b"nowhere")].concat(),
        copy_out(),
        [copy_done(), copy_done()].concat(),
        message(b'W', &[0, 0, 0]),
    ] {
        let (_, outcome) = run_as("14.23", &[start(), bytes.clone()].concat());
        assert_eq!(outcome.unwrap_err().class(), ErrorClass::Corrupt, "{bytes:?}");
    }
}

/// Archives are known by their place in the list alone, so it must be one that names each.
#[test]
fn a_list_of_tablespaces_that_names_no_archives_is_corrupt() {
    let lists: [&[&[Option<&str>]]; 6] = [
        &[],
        &[&[Some("16384"), Some("/mnt"), None]],
        &[&[None, None, None], &[Some("16384"), Some("/mnt"), None]],
        &[&[None, None, None], &[None, None, None]],
        &[&[Some("16384"), None, None], &[None, None, None]],
        &[&[Some("16384"), Some("/mnt"), None], &[None, Some("/mnt"), None]],
    ];
    for list in lists {
        let begin = [result(&[&[Some("0/2000028"), Some("1")]]), result(list), copy_out()].concat();
        let (events, outcome) = run_as("13.1", &[begin, archives(), manifest(), end()].concat());
        assert_eq!(outcome.unwrap_err().class(), ErrorClass::Corrupt, "{list:?}");
        assert_eq!(events, []);
    }
}

#[test]
fn an_error_of_the_server_ends_it_even_behind_the_final_position() {
    let failure = error("ERROR", "XX001", "checksum verification failure during base backup");
    let position = result(&[&[Some("0/2000100"), Some("1")]]);
    for bytes in [
        [failure.clone(), ready()].concat(),
        [archives(), failure.clone(), ready()].concat(),
        [archives(), manifest(), copy_done(), position.clone(), error("ERROR", "XX000", "lost"), ready()].concat(),
    ] {
        let (_, outcome) = run_as("13.23", &[start(), bytes].concat());
        let error = outcome.unwrap_err();
        assert!(error.sqlstate().unwrap().code().starts_with("XX00"), "{error}");
    }
    // Bad pages are said when nothing is missing.
    let bytes = [archives(), manifest(), copy_done(), position, failure, ready()].concat();
    let (_, outcome) = run_as("13.23", &[start(), bytes].concat());
    assert!(outcome.unwrap().is_some());
}

proptest! {
    #[test]
    fn arbitrary_messages_never_panic(
        messages in proptest::collection::vec(
            (proptest::sample::select(&b"dcHNCZTDE"[..]), proptest::collection::vec(any::<u8>(), 0..12)), 0..12),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
        let (_, outcome) = run_as("13.23", &[start(), bytes, end()].concat());
        if let Ok(position) = outcome {
            prop_assert!(position.is_some());
        }
    }
}
