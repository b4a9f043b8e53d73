//! Streams that a server could send, honest and hostile ones, against what is made of them.

use bytes::Bytes;

use super::*;
use crate::backup::manifest_check;
use crate::backup::streamed::StreamedFiles;
use crate::backup::whole::Arrived;
use crate::codec::ContentDigest;
use crate::error::{Classified, ErrorClass};
use crate::fs::Sorter;
use crate::pg::{Lsn, ManifestError, SystemIdentifier, TimelineId};
use crate::report::Cancel;
use crate::repository::testing::{self, TestRepository};
use crate::repository::{
    BackupBegin, BackupId, BackupSizes, BackupWriter, DocumentKind, PackOptions, RepositoryError, StoredContent,
    backup_testing,
};
use crate::server::WalPosition;

/// One archive of a stream: its name, and files with their content.
type Archive<'a> = (&'a str, Vec<(&'a str, Vec<u8>)>);

pub(super) fn tar_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.as_ustar_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o600);
        header.set_size(content.len() as u64);
        header.set_mtime(1_790_000_000);
        header.set_uid(26);
        header.set_gid(26);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_cksum();
        builder.append(&header, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The manifest that an honest server would send for these archives.
pub(super) fn manifest_of(archives: &[Archive<'_>]) -> Vec<u8> {
    let mut files = Vec::new();
    for (archive, entries) in archives {
        let prefix = match archive.strip_suffix(".tar") {
            Some("base") | None => String::new(),
            Some(oid) => format!("pg_tblspc/{oid}/"),
        };
        for (path, content) in entries {
            let mut hasher = ManifestChecksum::hasher(MANIFEST_CHECKSUM);
            hasher.update(content);
            files.push(format!(
                r#"{{ "Path": "{prefix}{path}", "Size": {}, "Last-Modified": "2026-11-21 00:00:00 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "{}" }}"#,
                content.len(),
                hex(hasher.finish().as_bytes())
            ));
        }
    }
    let body = format!(
        "{{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n{}\n],\n\"WAL-Ranges\": [\n{{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }}\n],\n",
        files.join(",\n")
    );
    use sha2::Digest as _;
    let sum = hex(&sha2::Sha256::digest(body.as_bytes()));
    format!("{body}\"Manifest-Checksum\": \"{sum}\"}}\n").into_bytes()
}

fn honest() -> Vec<Archive<'static>> {
    vec![
        ("16385.tar", vec![("PG_15_202209061/5/16390", vec![7; 100_000])]),
        (
            "base.tar",
            vec![
                ("backup_label", b"START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n".to_vec()),
                ("tablespace_map", b"16385 /ts\n".to_vec()),
                ("PG_VERSION", b"15\n".to_vec()),
                ("base/5/2619", vec![1; 300_000]),
                ("global/pg_control", vec![9; 8192]),
            ],
        ),
    ]
}

/// What was made of a stream.
#[derive(Debug, PartialEq)]
pub(super) struct Received {
    backup_label: Vec<u8>,
    tablespace_map: Option<Vec<u8>>,
    manifest: Vec<u8>,
    root_digest: ContentDigest,
    sizes: BackupSizes,
    pub(super) entries: Vec<(DataPath, FileEntry)>,
}

/// Sends archives and manifest, in pieces, checks the manifest, and reads back what was stored.
fn received(archives: &[Archive<'_>], manifest: &[u8]) -> Result<Received, BackupError> {
    received_tars(&archives.iter().map(|(name, files)| (*name, tar_of(files))).collect::<Vec<_>>(), manifest, true)
}

fn received_tars(
    archives: &[(&str, Vec<u8>)],
    manifest: &[u8],
    ends_are_marked: bool,
) -> Result<Received, BackupError> {
    received_in(&testing::repository(), archives, manifest, ends_are_marked, 1 << 20)
}

fn begun(test: &TestRepository) -> BackupWriter {
    let begin = BackupBegin {
        id: BackupId::generate(Timestamp::UNIX_EPOCH),
        host: "h".to_owned(),
        parents: Vec::new(),
        began: Timestamp::UNIX_EPOCH,
    };
    BackupWriter::begin(&test.repository, &test.cluster, &test.writer, &begin).unwrap()
}

/// The list of files is sorted in runs of so many bytes.
pub(super) fn received_in(
    test: &TestRepository,
    archives: &[(&str, Vec<u8>)],
    manifest: &[u8],
    ends_are_marked: bool,
    run_bytes: usize,
) -> Result<Received, BackupError> {
    let mut backup = begun(test);
    let scratch = test.scratch();
    let packs = backup.packs(PackOptions::default()).unwrap();
    let storage = Storage::with_sorter(&scratch, Sorter::with_runs_of(&scratch, run_bytes), packs)?;
    let tablespace =
        BackupTablespace { oid: Some(16385), location: Some(Bytes::from_static(b"/ts")), estimated_kib: None };
    let mut content = Content::new(storage, &[tablespace], ends_are_marked)?;
    for (name, tar) in archives {
        content.begin_archive(name)?;
        for piece in tar.chunks(10_000) {
            content.data(piece)?;
        }
    }
    content.begin_manifest()?;
    for piece in manifest.chunks(10_000) {
        content.data(piece)?;
    }
    let StreamedContent { storage, backup_label, tablespace_map, .. } = content.finish()?;
    let Storage { packs, mut listing, manifest, arrived } = storage;
    let position = |lsn| WalPosition { lsn: Lsn::new(lsn).unwrap(), timeline: TimelineId::FIRST };
    let system_identifier = SystemIdentifier::new(7).unwrap();
    let cancel = Cancel::new();
    let (summary, mut manifest) = manifest.read(&mut listing, &cancel)?;
    manifest_check::check_summary(&summary, system_identifier, position(0x200_0028), position(0x200_0100))?;
    backup.store_document_file(DocumentKind::BackupManifest, "backup_manifest", &mut manifest)?;
    let stored = StreamedFiles { packs, listing: listing.finish()?, arrived }.store(&mut backup, &cancel)?;
    let record = backup_testing::record(test, backup.id(), &backup, &stored);
    backup.finish(&record).unwrap();
    let mut entries = Vec::new();
    let map = test.repository.file_map(&test.cluster, &record).unwrap();
    map.for_each(&mut |path, entry| {
        entries.push((path, entry));
        Ok::<(), RepositoryError>(())
    })
    .unwrap();
    let manifest = test.repository.document(&test.cluster, &record.id, record.documents.last().unwrap()).unwrap();
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "something stays behind");
    let StoredContent { root_digest, sizes, .. } = stored;
    Ok(Received { backup_label, tablespace_map, manifest, root_digest, sizes, entries })
}

#[test]
fn an_honest_stream_is_taken_apart() {
    let content = received(&honest(), &manifest_of(&honest())).unwrap();
    let paths: Vec<String> = content.entries.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(
        paths,
        [
            "PG_VERSION",
            "base/5/2619",
            "global/pg_control",
            "pg_tblspc/16385",
            "pg_tblspc/16385/PG_15_202209061/5/16390"
        ]
    );
    assert!(content.backup_label.starts_with(b"START WAL"));
    assert_eq!(content.tablespace_map.as_deref(), Some(b"16385 /ts\n".as_slice()));
    assert_eq!(content.manifest, manifest_of(&honest()), "byte for byte");
    let sizes = &content.sizes;
    assert_eq!((sizes.files, sizes.file_bytes), (4, 100_000 + 3 + 300_000 + 8192));
}

/// More files than a run of the list holds, in no order: the same backup as when all fit into memory.
#[test]
fn what_is_sorted_outside_memory_is_the_same_backup() {
    let names: Vec<String> = (0..3000u32)
        .map(|number| format!("base/{}/{}", number % 7, number.wrapping_mul(2_654_435_761) % 100_003))
        .collect();
    let mut archives = honest();
    let mut files: Vec<(&str, Vec<u8>)> =
        names.iter().map(|name| (name.as_str(), name.repeat(name.len() % 5).into_bytes())).collect();
    files.sort();
    files.dedup_by(|one, other| one.0 == other.0);
    files.sort_by_key(|(name, _)| crc32c::crc32c(name.as_bytes()));
    archives[1].1.splice(2..2, files);
    let tars: Vec<_> = archives.iter().map(|(name, files)| (*name, tar_of(files))).collect();
    let manifest = manifest_of(&archives);
    let test = testing::repository();
    let in_memory = received_in(&test, &tars, &manifest, true, 64 << 20).unwrap();
    assert!(in_memory.entries.len() > 2500);
    for run_bytes in [1, 4000, 50_000] {
        let spilled = received_in(&test, &tars, &manifest, true, run_bytes).unwrap();
        assert!(spilled == in_memory, "runs of {run_bytes} bytes");
    }
    // And what is wrong is found in the same way.
    for (at, name) in [(3, names[0].as_str()), (1500, names[17].as_str())] {
        let mut changed = archives.clone();
        changed[1].1[at].1.push(1);
        let tars: Vec<_> = changed.iter().map(|(name, files)| (*name, tar_of(files))).collect();
        let told = [4000, 64 << 20].map(|run| received_in(&test, &tars, &manifest, true, run).unwrap_err().to_string());
        assert_eq!(told[0], told[1], "{name}");
        assert!(told[0].contains("bytes came where it says"), "{told:?}");
    }
}

/// Changes one thing in what an honest server sends; each is refused, as damage.
#[test]
fn a_stream_that_differs_from_its_manifest_is_refused() {
    type Change = fn(&mut Vec<Archive<'static>>);
    let absent = "it did not come";
    let changes: &[(&str, Change, &str)] = &[
        ("missing file", |archives| drop(archives[1].1.remove(3)), absent),
        ("missing control file", |archives| drop(archives[1].1.remove(4)), absent),
        ("missing label", |archives| drop(archives[1].1.remove(0)), "the server sent no \"backup_label\""),
        ("extra file", |archives| archives[1].1.push(("base/5/1", vec![0])), "it came but is not listed"),
        ("extra file at the end", |archives| archives[1].1.push(("z", vec![0])), "it came but is not listed"),
        ("other content", |archives| archives[1].1[3].1[299_999] = 2, "its checksum differs"),
        ("shorter", |archives| archives[1].1[3].1.truncate(299_999), "299999 bytes came where it says 300000"),
        ("longer", |archives| archives[1].1[3].1.push(0), "300001 bytes came where it says 300000"),
        ("twice", |archives| archives[1].1.push(("PG_VERSION", b"15\n".to_vec())), "it came twice"),
        ("WAL twice", |archives| archives[1].1.extend(vec![("pg_wal/1", vec![1]); 2]), "it came twice"),
        ("other label", |archives| archives[1].1[0].1[0] = b's', "its checksum differs"),
        ("missing archive", |archives| drop(archives.remove(0)), absent),
    ];
    let manifest = manifest_of(&honest());
    for (name, change, problem) in changes {
        let mut archives = honest();
        change(&mut archives);
        let error = received(&archives, &manifest).err().unwrap_or_else(|| panic!("{name} was accepted"));
        assert_eq!(error.class(), ErrorClass::Corrupt, "{name}: {error}");
        assert!(error.to_string().contains(problem), "{name}: {error}");
    }
}

#[test]
fn hostile_names_are_refused() {
    for name in ["../x", "/etc/passwd", "a/../../x", "base/5/\\x", "a//b", "./a/."] {
        let archives = [("base.tar", vec![(name, vec![1])])];
        let error = received(&archives, b"").err().unwrap_or_else(|| panic!("{name} was accepted"));
        assert!(matches!(error, BackupError::Archive { .. }), "{name}: {error:?}");
    }
    for archive in ["../base.tar", "16385", "x.tar", "-1.tar", "16385.tar.gz"] {
        let error = received(&[(archive, Vec::new())], b"").err().unwrap_or_else(|| panic!("{archive} was accepted"));
        assert!(matches!(error, BackupError::ArchiveContent { .. }), "{archive}: {error:?}");
    }
}

#[test]
fn a_truncated_manifest_or_archive_is_refused() {
    let manifest = manifest_of(&honest());
    for length in [0, 1, manifest.len() / 2, manifest.len() - 1] {
        assert!(received(&honest(), &manifest[..length]).is_err(), "{length} bytes of a manifest");
    }
}

/// COMPAT: up to 14 the mark at the end of an archive is left to the client. What was not sent is found all the same.
#[test]
fn an_archive_without_a_mark_is_whole_only_where_the_server_writes_none() {
    let manifest = manifest_of(&honest());
    let tars = |cut: usize| -> Vec<(&str, Vec<u8>)> {
        let of = |(name, files): &Archive<'static>| {
            let mut tar = tar_of(files);
            tar.truncate(tar.len() - cut);
            (*name, tar)
        };
        honest().iter().map(of).collect()
    };
    const MARK: usize = 1024;
    // The last file of the second archive is a control file of 8 KiB with its header.
    const LAST: usize = MARK + 8192 + 512;
    received_tars(&tars(MARK), &manifest, false).unwrap();
    received_tars(&tars(0), &manifest, false).unwrap();
    for (cut, ends_are_marked) in [(MARK, true), (512, false), (MARK + 1, false), (MARK + 512, false), (LAST, false)] {
        let error = received_tars(&tars(cut), &manifest, ends_are_marked).err().unwrap_or_else(|| panic!("{cut}"));
        assert!(matches!(error.class(), ErrorClass::Corrupt | ErrorClass::InvalidInput), "{cut}: {error}");
    }
}

/// A manifest that lists a path twice, or lacks the control file, is none even when all came that it lists.
#[test]
fn a_manifest_that_no_server_writes_is_refused() {
    let mut archives = honest();
    archives[1].1.retain(|(name, _)| *name != "global/pg_control");
    let error = received(&archives, &manifest_of(&archives)).unwrap_err();
    assert!(matches!(error, BackupError::DocumentMissing { name: "global/pg_control" }), "{error:?}");
    let mut listed = honest();
    listed[1].1.push(("base/5/2619", vec![1; 300_000]));
    let error = received(&honest(), &manifest_of(&listed)).unwrap_err();
    assert!(matches!(&error, BackupError::Manifest(ManifestError::DuplicatePath { .. })), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Corrupt);
    // WAL is not in a manifest.
    let mut with_wal = honest();
    with_wal[1].1.push(("pg_wal/000000010000000000000002", vec![1]));
    assert!(received(&with_wal, &manifest_of(&honest())).is_ok());
}

#[test]
fn the_list_of_a_stream_has_a_bound() {
    let test = testing::repository();
    let scratch = test.scratch();
    let storage =
        Storage::new(&scratch, begun(&test).packs(PackOptions::default()).unwrap(), None, Arrived::new(8192)).unwrap();
    let content = Content::new(storage, &[], true).unwrap();
    assert!(content.sink.refuse_too_many(1).is_ok());
    let error = content.sink.refuse_too_many(0).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused, "{error}");
}

#[test]
fn room_for_the_list_is_checked_by_what_the_last_backup_had() {
    let test = testing::repository();
    let scratch = test.scratch();
    let packs = || begun(&test).packs(PackOptions::default()).unwrap();
    let last = |files| BackupSizes { files, ..BackupSizes::default() };
    assert!(Storage::new(&scratch, packs(), Some(&last(1000)), Arrived::new(8192)).is_ok());
    let error = Storage::new(&scratch, packs(), Some(&last(u64::MAX / 2)), Arrived::new(8192)).err().unwrap();
    assert_eq!(error.class(), ErrorClass::NoSpace);
    assert!(error.to_string().contains(&scratch.path().display().to_string()), "{error}");
}
