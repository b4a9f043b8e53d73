//! Streams that a server could send, honest and hostile ones, against what is made of them.

use bytes::Bytes;

use super::*;
use crate::backup::manifest_check;
use crate::error::{Classified, ErrorClass};
use crate::pg::{Lsn, SystemIdentifier, TimelineId};
use crate::repository::testing::{self, TestRepository};
use crate::repository::{BackupBegin, BackupId, BackupWriter, PackOptions};
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

/// Sends archives and manifest, in pieces, and checks the manifest.
fn received(archives: &[Archive<'_>], manifest: &[u8]) -> Result<StreamedContent, BackupError> {
    received_tars(&archives.iter().map(|(name, files)| (*name, tar_of(files))).collect::<Vec<_>>(), manifest, true)
}

fn received_tars(
    archives: &[(&str, Vec<u8>)],
    manifest: &[u8],
    ends_are_marked: bool,
) -> Result<StreamedContent, BackupError> {
    received_in(&testing::repository(), archives, manifest, ends_are_marked)
}

pub(super) fn received_in(
    test: &TestRepository,
    archives: &[(&str, Vec<u8>)],
    manifest: &[u8],
    ends_are_marked: bool,
) -> Result<StreamedContent, BackupError> {
    let begin = BackupBegin {
        id: BackupId::generate(Timestamp::UNIX_EPOCH),
        host: "h".to_owned(),
        parents: Vec::new(),
        began: Timestamp::UNIX_EPOCH,
    };
    let backup = BackupWriter::begin(&test.repository, &test.cluster, &test.writer, &begin).unwrap();
    let packs = backup.packs(PackOptions::default()).unwrap();
    let tablespace =
        BackupTablespace { oid: Some(16385), location: Some(Bytes::from_static(b"/ts")), estimated_kib: None };
    let mut content = Content::new(packs, &[tablespace], ends_are_marked)?;
    for (name, tar) in archives {
        content.begin_archive(name)?;
        for piece in tar.chunks(10_000) {
            content.data(piece)?;
        }
    }
    content.begin_manifest()?;
    content.data(manifest)?;
    let content = content.finish()?;
    let position = |lsn| WalPosition { lsn: Lsn::new(lsn).unwrap(), timeline: TimelineId::FIRST };
    let system_identifier = SystemIdentifier::new(7).unwrap();
    manifest_check::check(&content, system_identifier, position(0x200_0028), position(0x200_0100))?;
    Ok(content)
}

#[test]
fn an_honest_stream_is_taken_apart() {
    let content = received(&honest(), &manifest_of(&honest())).unwrap();
    let mut paths: Vec<String> = content.entries.iter().map(|(path, _)| path.to_string()).collect();
    paths.sort();
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
    assert_eq!((content.sizes().files, content.sizes().file_bytes), (4, 100_000 + 3 + 300_000 + 8192));
}

/// Changes one thing in what an honest server sends; each is refused, as damage.
#[test]
fn a_stream_that_differs_from_its_manifest_is_refused() {
    type Change = fn(&mut Vec<Archive<'static>>);
    let changes: &[(&str, Change)] = &[
        ("missing file", |archives| drop(archives[1].1.remove(3))),
        ("missing control file", |archives| drop(archives[1].1.remove(4))),
        ("missing label", |archives| drop(archives[1].1.remove(0))),
        ("extra file", |archives| archives[1].1.push(("base/5/1", vec![0]))),
        ("other content", |archives| archives[1].1[3].1[299_999] = 2),
        ("shorter", |archives| archives[1].1[3].1.truncate(299_999)),
        ("longer", |archives| archives[1].1[3].1.push(0)),
        ("twice", |archives| archives[1].1.push(("PG_VERSION", b"15\n".to_vec()))),
        ("other label", |archives| archives[1].1[0].1[0] = b's'),
        ("missing archive", |archives| drop(archives.remove(0))),
    ];
    let manifest = manifest_of(&honest());
    for (name, change) in changes {
        let mut archives = honest();
        change(&mut archives);
        let error = received(&archives, &manifest).err().unwrap_or_else(|| panic!("{name} was accepted"));
        assert_eq!(error.class(), ErrorClass::Corrupt, "{name}: {error}");
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

#[test]
fn what_is_kept_in_mind_of_a_stream_has_a_bound() {
    let test = testing::repository();
    let begin = BackupBegin {
        id: "20260101T000000Z-00000000".parse().unwrap(),
        host: "h".to_owned(),
        parents: Vec::new(),
        began: Timestamp::UNIX_EPOCH,
    };
    let backup = BackupWriter::begin(&test.repository, &test.cluster, &test.writer, &begin).unwrap();
    let content = Content::new(backup.packs(PackOptions::default()).unwrap(), &[], true).unwrap();
    assert!(content.sink.refuse_too_many(1).is_ok());
    let error = content.sink.refuse_too_many(0).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused, "{error}");
}
