//! What a server, a person's file or a certificate may hold, for [`crate::fuzzing`].

use std::path::Path;

use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{join, sink};

use super::auth::{Protection, fuzz_scram};
use super::basebackup::BaseBackupEvent;
use super::conninfo::{self, ConnectionOptions, ConnectionSettings, ConnectionSources};
use super::framing::{MessageStream, Transport};
use super::made_session::{self, endpoint, settings};
use super::recovery_state::PostmasterFile;
use super::session::{Purpose, log_in};
use super::tls;
use super::walsender::Walsender;
use super::{BaseBackupOptions, ServerMessage};
use crate::fuzz_check::{shown, split_choice, split_piece, text};
use crate::pg::{TarEntry, TarError, TarReader, TarSink, TimelineId};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}

/// A server that sends these bytes and hangs up, and takes whatever we send.
fn transport(bytes: &[u8]) -> Box<dyn Transport> {
    Box::new(join(std::io::Cursor::new(bytes.to_vec()), sink()))
}

fn walsender(version: &str, bytes: &[u8]) -> Walsender {
    made_session::walsender(version, MessageStream::new(transport(bytes)))
}

fn notice(message: &ServerMessage) {
    for field in [Some(&message.message), Some(&message.severity), message.detail.as_ref(), message.hint.as_ref()] {
        field.into_iter().for_each(|field| text(field));
    }
}

/// Messages outside a base backup: logging in, and the results of commands. The first byte chooses.
pub(crate) fn messages(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    match choice % 5 {
        0 | 1 => {
            // Keys instead of a password: their exchange takes no rounds, which a server could ask for by the billion.
            let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
            let extra = if choice % 5 == 0 { "target_session_attrs=standby" } else { "application_name=fuzz" };
            let conninfo = format!("host=/run/fuzz scram_client_key={key} scram_server_key={key} {extra}");
            let settings = settings(&conninfo);
            let endpoint = endpoint(&settings);
            let purpose = if choice & 0x80 == 0 { Purpose::Sql } else { Purpose::Replication };
            match block_on(log_in(transport(rest), &settings, purpose, &endpoint, &Protection::Local)) {
                Ok(session) => {
                    let _ = session.version_num();
                    session.notices.iter().for_each(notice);
                }
                Err(error) => shown(&error),
            }
        }
        2 => block_on(fuzz_scram(rest)),
        _ => {
            let mut walsender = walsender("15.4", rest);
            block_on(async {
                if let Err(error) = walsender.identify_system().await {
                    shown(&error);
                }
                if let Err(error) = walsender.timeline_history(TimelineId::FIRST).await {
                    shown(&error);
                }
                if let Err(error) = walsender.show("wal_segment_size").await {
                    shown(&error);
                }
            });
            walsender.take_notices().iter().for_each(notice);
        }
    }
}

/// The stream of a base backup, both dialects, into the reader of archives.
pub(crate) fn base_backup(data: &[u8]) {
    struct Nowhere;
    impl TarSink for Nowhere {
        type Error = TarError;
        fn begin(&mut self, _: TarEntry) -> Result<(), TarError> {
            Ok(())
        }
        fn data(&mut self, _: &[u8]) -> Result<(), TarError> {
            Ok(())
        }
        fn end(&mut self) -> Result<(), TarError> {
            Ok(())
        }
    }
    let (choice, rest) = split_choice(data);
    let mut walsender = walsender(["13.9", "14.1", "15.4", "18.0"][usize::from(choice % 4)], rest);
    block_on(async {
        let mut backup = match walsender.base_backup(&BaseBackupOptions::default()).await {
            Ok(backup) => backup,
            Err(error) => return shown(&error),
        };
        let mut archive: Option<TarReader> = None;
        loop {
            match backup.next_event().await {
                Ok(None) => {
                    assert!(backup.end_position().is_some());
                    return;
                }
                Ok(Some(BaseBackupEvent::ArchiveBegin { .. })) => archive = Some(TarReader::new()),
                Ok(Some(BaseBackupEvent::ManifestBegin)) => archive = None,
                Ok(Some(BaseBackupEvent::Data(bytes))) => {
                    if let Some(Err(error)) = archive.as_mut().map(|archive| archive.push(&bytes, &mut Nowhere)) {
                        return shown(&error);
                    }
                }
                Ok(Some(BaseBackupEvent::Progress(_))) => {}
                Ok(Some(BaseBackupEvent::Notice(message))) => notice(&message),
                Err(error) => {
                    shown(&error);
                    assert!(backup.next_event().await.is_err(), "a backup that failed stays failed");
                    return;
                }
            }
        }
    });
}

/// Connection strings and URIs, password and service files, and the file of a running server.
pub(crate) fn conninfo(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    match choice % 4 {
        0 => conninfo::fuzz_passfile(rest),
        1 => match conninfo::fuzz_service_file(rest) {
            Ok(()) => {}
            Err(error) => shown(&error),
        },
        2 => {
            let _ = PostmasterFile::of(rest);
            let _ = super::role::account_name(rest, 0);
        }
        _ => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            let sources = ConnectionSources {
                options: &ConnectionOptions::default(),
                conninfo: Some(text),
                variable: &|_| None,
                os_user: Some("tester"),
                home: Some(Path::new("/nonexistent")),
                application_name: "pgv",
            };
            // A service would be looked up in this machine's files.
            if text.contains("service") {
                return;
            }
            match ConnectionSettings::resolve(&sources) {
                Ok(settings) => {
                    assert!(!settings.hosts.is_empty());
                    let said = ConnectionSettings::said(&sources).expect("what was read can be said");
                    conninfo::check_for_libpq(&said).expect("what it says itself");
                }
                Err(error) => shown(&error),
            }
            if let Err(error) = conninfo::check_for_libpq(text) {
                shown(&error);
            }
        }
    }
}

/// The certificates of a server: pieces of DER, each behind its length: the server's, two that it sends, two roots,
/// and a list of revoked ones. The first byte says which of them are left out.
pub(crate) fn certificates(data: &[u8]) {
    let (choice, mut rest) = split_choice(data);
    let mut next = || CertificateDer::from(split_piece(&mut rest).to_vec());
    let leaf = next();
    let mut intermediates = vec![next(), next()];
    intermediates.truncate(usize::from(choice % 3));
    let mut roots = vec![next(), next()];
    if choice & 0x40 != 0 {
        roots.push(leaf.clone());
    }
    let list = (choice & 0x80 != 0).then(|| vec![next().to_vec()]);
    let verifier = tls::fuzz_verifier(roots, list, "db.example.org");
    let name = ServerName::try_from("db.example.org").expect("a name");
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_795_000_000));
    if let Err(error) = verifier.verify_server_cert(&leaf, &intermediates, &name, &[], now) {
        let _ = error.to_string();
    }
    tls::fuzz_certificate(&leaf);
}
