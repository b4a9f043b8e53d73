//! Certificates and keys of ours: which files are read, and whether they may be used.

use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use super::super::conninfo::{
    ClientCertificateMode, FileSetting, RevocationLists, RootCertificates, SslMode, TlsSettings,
};
use super::error::TlsSetupError;
use super::key::private_key;
use super::verifier::{TrustedRoots, Verification};
use crate::fs::{FileError, open_for_reading, sorted_entries};

/// LIMIT: the size of a file of certificates.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

const ROOT_FILE: &str = "root certificate file";
const CERTIFICATE_FILE: &str = "client certificate file";
pub(super) const KEY_FILE: &str = "private key file";
const REVOCATION_FILE: &str = "certificate revocation list";
const REVOCATION_DIRECTORY: &str = "directory of certificate revocation lists";

/// LIMIT: names in a directory of revocation lists.
const MAX_REVOCATION_FILES: usize = 10_000;

/// What has to be checked for this mode, with the roots that are there.
pub(super) fn verification(settings: &TlsSettings, mode: SslMode, host: &str) -> Result<Verification, TlsSetupError> {
    if mode < SslMode::Require {
        // A mode that falls back to no TLS at all gains nothing from a check.
        return Ok(Verification::Off);
    }
    let roots = match &settings.root_certificates {
        RootCertificates::System => Some(system_roots()?),
        RootCertificates::File(path) => Some(file_roots(path, read(ROOT_FILE, path)?)?),
        RootCertificates::Default(path) => default_roots(path.as_deref(), mode)?,
    };
    let roots = match roots {
        Some(roots) => Some(TrustedRoots { revocation_lists: revocation_lists(settings, &roots)?, ..roots }),
        // Lists that nobody looks at would only seem to protect.
        None if matches!(settings.revocation_lists, RevocationLists::Given { .. }) => {
            return Err(TlsSetupError::NoRootFile { needed_by: "sslcrl" });
        }
        None => None,
    };
    Ok(match roots {
        None => Verification::Off,
        Some(roots) if mode == SslMode::VerifyFull => Verification::ChainAndHost(roots, host.to_owned()),
        Some(roots) => Verification::Chain(roots),
    })
}

/// libpq's own file when it exists. Without it, `require` checks nothing; `verify-full` may trust the system's roots,
/// since the host name is checked too; `verify-ca` may not, since any host of the world would do.
fn default_roots(path: Option<&Path>, mode: SslMode) -> Result<Option<TrustedRoots>, TlsSetupError> {
    if let Some(path) = path {
        match read(ROOT_FILE, path) {
            Ok(content) => return file_roots(path, content).map(Some),
            Err(TlsSetupError::Unreadable { source, .. }) if is_absent(&source) => {}
            Err(error) => return Err(error),
        }
    }
    match mode {
        SslMode::VerifyFull => system_roots().map(Some),
        SslMode::VerifyCa => Err(TlsSetupError::NoRootFile { needed_by: "sslmode=verify-ca" }),
        _ => Ok(None),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn system_roots() -> Result<TrustedRoots, TlsSetupError> {
    let mut store = RootCertStore::empty();
    let certificates = rustls_native_certs::load_native_certs().certs;
    store.add_parsable_certificates(certificates.iter().cloned());
    if store.is_empty() {
        return Err(TlsSetupError::NoSystemRoots);
    }
    Ok(TrustedRoots { store, certificates, chosen: false, revocation_lists: None })
}

fn file_roots(path: &Path, content: Zeroizing<Vec<u8>>) -> Result<TrustedRoots, TlsSetupError> {
    let chosen = certificates(ROOT_FILE, path, &content)?;
    if !chosen.iter().any(|certificate| X509Certificate::from_der(certificate).is_ok()) {
        return Err(invalid(ROOT_FILE, path, "holds no certificate that can be read"));
    }
    Ok(TrustedRoots::chosen(chosen))
}

/// The lists of revoked certificates that were named, or libpq's file beside roots of a file; none without either.
fn revocation_lists(settings: &TlsSettings, roots: &TrustedRoots) -> Result<Option<Vec<Vec<u8>>>, TlsSetupError> {
    let mut lists = Vec::new();
    match &settings.revocation_lists {
        RevocationLists::Default(path) => {
            let Some(path) = path.as_deref().filter(|_| roots.chosen) else { return Ok(None) };
            match read(REVOCATION_FILE, path) {
                Ok(content) => lists.extend(lists_in(path, &content)?),
                Err(TlsSetupError::Unreadable { source, .. }) if is_absent(&source) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        RevocationLists::Given { file, directory } => {
            if let Some(path) = file {
                lists.extend(lists_in(path, &read(REVOCATION_FILE, path)?)?);
            }
            if let Some(directory) = directory {
                let unreadable = |error: FileError| TlsSetupError::Unreadable {
                    what: REVOCATION_DIRECTORY,
                    path: directory.clone(),
                    source: error.source,
                };
                for entry in sorted_entries(directory).map_err(unreadable)?.iter().take(MAX_REVOCATION_FILES) {
                    if is_hashed_name(&entry.name.to_string_lossy()) {
                        let path = directory.join(&entry.name);
                        lists.extend(lists_in(&path, &read(REVOCATION_FILE, &path)?)?);
                    }
                }
            }
        }
    }
    Ok(Some(lists))
}

/// A name that `openssl rehash` gives to a list: eight digits of a hash, `.r`, a number.
fn is_hashed_name(name: &str) -> bool {
    let Some((hash, number)) = name.split_once(".r") else { return false };
    hash.len() == 8
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn lists_in(path: &Path, content: &[u8]) -> Result<Vec<Vec<u8>>, TlsSetupError> {
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(content).collect();
    let lists = lists.map_err(|error| invalid(REVOCATION_FILE, path, &format!("is not valid PEM: {error}")))?;
    let readable = |list: &CertificateRevocationListDer<'_>| CertificateRevocationList::from_der(list).is_ok();
    if lists.is_empty() || !lists.iter().all(readable) {
        return Err(invalid(REVOCATION_FILE, path, "holds no revocation list in PEM form, or one that cannot be read"));
    }
    Ok(lists.iter().map(|list| list.to_vec()).collect())
}

/// Who we are to servers that ask for a certificate; nobody without one.
pub(super) fn identity(
    settings: &TlsSettings,
    provider: &CryptoProvider,
) -> Result<Option<CertifiedKey>, TlsSetupError> {
    if settings.certificate_mode == ClientCertificateMode::Disable {
        return Ok(None);
    }
    let Some(content) = read_setting(CERTIFICATE_FILE, &settings.certificate)? else { return Ok(None) };
    let path = settings.certificate.path().unwrap_or(Path::new(""));
    let chain = certificates(CERTIFICATE_FILE, path, &content)?;
    let Some(key_path) = settings.key.path() else {
        return Err(invalid(CERTIFICATE_FILE, path, "has no private key: none is named"));
    };
    check_key_mode(key_path)?;
    let content = read(KEY_FILE, key_path)?;
    let key = private_key(key_path, &content, settings.key_passphrase.as_ref())?;
    let key = provider.key_provider.load_private_key(key).map_err(TlsSetupError::Rejected)?;
    // rustls has a check of its own, which refuses certificates without extensions.
    let certified = chain.first().and_then(|certificate| X509Certificate::from_der(certificate).ok());
    let matches = match (&certified, key.public_key()) {
        (Some((_, certificate)), Some(public)) => certificate.public_key().raw == public.as_ref(),
        _ => false,
    };
    if !matches {
        return Err(TlsSetupError::KeyMismatch { certificate: path.to_owned(), key: key_path.to_owned() });
    }
    Ok(Some(CertifiedKey::new(chain, key)))
}

/// The rule of libpq and of the server: only the owner, or root with a group that may read.
fn check_key_mode(path: &Path) -> Result<(), TlsSetupError> {
    let unreadable = |source| TlsSetupError::Unreadable { what: KEY_FILE, path: path.to_owned(), source };
    let file = open_for_reading(path).map_err(|error| unreadable(error.source))?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(invalid(KEY_FILE, path, "is not a plain file"));
    }
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    let mode = metadata.mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(TlsSetupError::KeyMode { path: path.to_owned(), mode });
    }
    Ok(())
}

/// The content of a file that may be absent where it is only looked for, not named.
fn read_setting(what: &'static str, setting: &FileSetting) -> Result<Option<Zeroizing<Vec<u8>>>, TlsSetupError> {
    match setting {
        FileSetting::Given(path) => read(what, path).map(Some),
        FileSetting::Default(None) => Ok(None),
        FileSetting::Default(Some(path)) => match read(what, path) {
            Ok(content) => Ok(Some(content)),
            Err(TlsSetupError::Unreadable { source, .. }) if is_absent(&source) => Ok(None),
            Err(error) => Err(error),
        },
    }
}

fn read(what: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsSetupError> {
    let unreadable = |source| TlsSetupError::Unreadable { what, path: path.to_owned(), source };
    let file = open_for_reading(path).map_err(|error| unreadable(error.source))?;
    let mut content = Zeroizing::new(Vec::new());
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(unreadable)?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(invalid(what, path, &format!("is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(content)
}

fn certificates(
    what: &'static str,
    path: &Path,
    content: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    match list {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(invalid(what, path, "holds no certificate in PEM form")),
        Err(error) => Err(invalid(what, path, &format!("is not valid PEM: {error}"))),
    }
}

fn invalid(what: &'static str, path: &Path, problem: &str) -> TlsSetupError {
    TlsSetupError::Invalid { what, path: path.to_owned(), problem: problem.to_owned() }
}
