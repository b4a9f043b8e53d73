use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::time::Duration;

use super::super::conninfo::{FileSetting, RootCertificates};
use super::super::fake_server;
use super::verifier::{TrustedRoots, Verification};
use super::*;

const HOST: &str = "db.example.test";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name)
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path(&format!("{name}.crt"))).unwrap()
}

fn roots(names: &[&str]) -> TrustedRoots {
    TrustedRoots::chosen(names.iter().map(|name| certificate(name)).collect())
}

/// A moment, in years after 1970, more or less.
fn year(year: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_556_952))
}

fn judge(verification: Verification, chain: &[&str], now: UnixTime) -> Result<(), rustls::Error> {
    let verifier = LibpqVerifier::new(verification, &Arc::new(ring::default_provider()));
    let chain: Vec<_> = chain.iter().map(|name| certificate(name)).collect();
    let name = ServerName::try_from(HOST).unwrap();
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], now).map(drop)
}

fn judge_host(host: &str, certificate: &str, root: &str) -> bool {
    judge(Verification::ChainAndHost(roots(&[root]), host.to_owned()), &[certificate], year(2040)).is_ok()
}

#[test]
fn chains_that_libpq_accepts_are_accepted_and_no_others() {
    for (trusted, chain, expected) in [
        (&["root"][..], &["leaf-san"][..], true),
        (&["root"], &["leaf-v1"], true),
        (&["root"], &["leaf-ca"], true),
        (&["root"], &["leaf-v1-intermediate", "intermediate"], true),
        (&["other", "root"], &["leaf-v1"], true),
        (&["root", "intermediate"], &["leaf-v1-intermediate"], true),
        (&["self-signed"], &["self-signed"], true),
        (&["leaf-v1"], &["leaf-v1"], true),
        (&["ed25519"], &["ed25519"], true),
        (&["root"], &["leaf-v1-intermediate"], false),
        // An authority that is not its own issuer is no root.
        (&["intermediate"], &["leaf-v1-intermediate"], false),
        (&["root"], &["leaf-client"], false),
        (&["root"], &["leaf-ca-client"], false),
        (&["root"], &["leaf-v1-other"], false),
        (&["other"], &["leaf-v1"], false),
        (&["other"], &["leaf-san"], false),
        (&["other"], &["leaf-ca"], false),
        (&["root"], &["self-signed"], false),
        (&["self-signed"], &["leaf-v1"], false),
        (&["root"], &["leaf-v1-not-an-authority", "leaf-san"], false),
        (&["root"], &["leaf-v1-constrained", "constrained"], false),
        (&["other"], &["leaf-v1-intermediate", "intermediate", "root"], false),
        (&["leaf-san"], &["leaf-v1-not-an-authority"], false),
    ] {
        let outcome = judge(Verification::Chain(roots(trusted)), chain, year(2040));
        assert_eq!(outcome.is_ok(), expected, "{trusted:?} {chain:?} {outcome:?}");
        let outcome = judge(Verification::Off, chain, year(2040));
        assert!(outcome.is_ok(), "nothing is checked: {chain:?}");
    }
}

#[test]
fn certificates_count_only_within_their_time() {
    for (root, leaf) in [("root", "leaf-san"), ("root", "leaf-v1"), ("root", "leaf-ca"), ("self-signed", "self-signed")]
    {
        for (now, expected) in [(year(2001), false), (year(2040), true), (year(2300), false)] {
            let outcome = judge(Verification::Chain(roots(&[root])), &[leaf], now);
            assert_eq!(outcome.is_ok(), expected, "{leaf} {now:?} {outcome:?}");
        }
    }
}

#[test]
fn host_names_follow_libpq() {
    for (host, certificate, root, expected) in [
        ("db.example.test", "leaf-san", "root", true),
        ("DB.EXAMPLE.TEST", "leaf-san", "root", true),
        ("db.example.test.", "leaf-san", "root", true),
        ("one.wild.test", "leaf-san", "root", true),
        ("one.two.wild.test", "leaf-san", "root", false),
        ("192.0.2.7", "leaf-san", "root", true),
        ("192.0.2.8", "leaf-san", "root", false),
        // The common name does not count beside alternative names.
        ("ignored.test", "leaf-san", "root", false),
        ("db.example.test", "leaf-v1", "root", true),
        ("other.example.test", "leaf-v1", "root", false),
        ("db.example.test", "self-signed", "self-signed", true),
        ("other.example.test", "self-signed", "self-signed", false),
    ] {
        assert_eq!(judge_host(host, certificate, root), expected, "{host} {certificate}");
    }
}

#[test]
fn certificate_hashes_follow_the_signature() {
    for (name, length) in [("leaf-san", Some(32)), ("sha384", Some(48)), ("ed25519", None)] {
        assert_eq!(binding::certificate_hash(&certificate(name)).map(|hash| hash.len()), length, "{name}");
    }
    assert_eq!(binding::certificate_hash(b"no certificate"), None);
}

#[test]
fn garbage_is_refused_and_never_panics() {
    let der = certificate("leaf-v1");
    let verifier = LibpqVerifier::new(
        Verification::ChainAndHost(roots(&["root"]), HOST.to_owned()),
        &Arc::new(ring::default_provider()),
    );
    let name = ServerName::try_from(HOST).unwrap();
    for index in 0..der.len() {
        let mut broken = der.to_vec();
        broken[index] ^= 0x55;
        let broken = CertificateDer::from(broken);
        let outcome = verifier.verify_server_cert(&broken, &[], &name, &[], year(2040));
        assert!(outcome.is_err(), "byte {index} changed and nobody noticed");
        let short = CertificateDer::from(der[..index].to_vec());
        assert!(verifier.verify_server_cert(&short, &[], &name, &[], year(2040)).is_err());
        let _ = binding::certificate_hash(&broken);
    }
}

#[test]
fn what_is_verified_follows_sslmode_and_the_files_that_exist() {
    let directory = tempfile::tempdir().unwrap();
    let absent = RootCertificates::Default(Some(directory.path().join("root.crt")));
    let present = RootCertificates::Default(Some(path("root.crt")));
    let named = RootCertificates::File(path("root.crt"));
    let verification = |roots: &RootCertificates, mode| {
        let mut settings = fake_server::settings("host=h").tls;
        settings.root_certificates = roots.clone();
        files::verification(&settings, mode, HOST).map(|verification| match verification {
            Verification::Off => "off",
            Verification::Chain(_) => "chain",
            Verification::ChainAndHost(..) => "host",
        })
    };
    use super::super::conninfo::SslMode::{Allow, Prefer, Require, VerifyCa, VerifyFull};
    for (roots, mode, expected) in [
        (&present, Allow, "off"),
        (&present, Prefer, "off"),
        (&absent, Require, "off"),
        (&present, Require, "chain"),
        (&named, Require, "chain"),
        (&named, VerifyCa, "chain"),
        (&present, VerifyFull, "host"),
        (&named, VerifyFull, "host"),
    ] {
        assert_eq!(verification(roots, mode).unwrap(), expected, "{roots:?} {mode}");
    }
    assert!(matches!(verification(&absent, VerifyCa), Err(TlsSetupError::NoRootFile { .. })));
    let missing = RootCertificates::File(directory.path().join("absent.crt"));
    assert!(matches!(verification(&missing, Require), Err(TlsSetupError::Unreadable { .. })));
    let wrong = RootCertificates::File(path("leaf-v1.key"));
    assert!(matches!(verification(&wrong, VerifyFull), Err(TlsSetupError::Invalid { .. })));
}

#[test]
fn client_keys_must_be_private_and_fit() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("client.key");
    fs::copy(path("leaf-v1.key"), &key).unwrap();
    let set_mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    let identity = |certificate: &Path| {
        let mut settings = fake_server::settings("host=h").tls;
        settings.certificate = FileSetting::Given(certificate.to_owned());
        settings.key = FileSetting::Given(key.clone());
        files::identity(&settings, &ring::default_provider())
    };
    set_mode(0o600);
    assert!(identity(&path("leaf-v1.crt")).unwrap().is_some());
    assert!(matches!(identity(&path("leaf-san.crt")), Err(TlsSetupError::KeyMismatch { .. })));
    assert!(matches!(identity(&path("absent.crt")), Err(TlsSetupError::Unreadable { .. })));
    for mode in [0o604, 0o660, 0o777] {
        set_mode(mode);
        let outcome = identity(&path("leaf-v1.crt"));
        assert!(matches!(outcome, Err(TlsSetupError::KeyMode { mode: found, .. }) if found == mode), "{mode:o}");
    }
    set_mode(0o600);
    fs::write(&key, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n").unwrap();
    assert!(matches!(identity(&path("leaf-v1.crt")), Err(TlsSetupError::LockedKey { .. })));
    let nobody = fake_server::settings("host=h").tls;
    assert!(files::identity(&nobody, &ring::default_provider()).unwrap().is_none());
}

/// What `openssl req -x509` makes is an authority, and against the system's roots webpki says only that.
#[test]
fn an_authority_s_own_certificate_is_called_one() {
    let other = |error: webpki::Error| OtherError(Arc::new(error));
    assert!(is_own_authority(&other(webpki::Error::CaUsedAsEndEntity)));
    assert!(!is_own_authority(&other(webpki::Error::EndEntityUsedAsCa)));
    assert!(!is_own_authority(&OtherError(Arc::new(std::io::Error::other("x")))));
}
