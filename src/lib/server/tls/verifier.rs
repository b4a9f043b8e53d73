//! Accepts the server certificates that libpq accepts (`initialize_SSL` and `open_client_SSL` in
//! `src/interfaces/libpq/fe-secure-openssl.c`).
//!
//! webpki judges first, and `chain` adds what it does not look at. Three kinds of certificates that webpki refuses on
//! principle and that real servers have are judged here: a certificate that is itself in the file of roots, one without
//! extensions, one with `CA:TRUE`.

use std::cell::Cell;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::chain::{self, IssuerKind, is_self_issued};
use super::der::{self, PublicKey};
use super::names::{certificate_names_host, presented_names};
use super::revocation;

/// Whom to trust.
#[derive(Debug)]
pub(super) struct TrustedRoots {
    /// In webpki's form; of a file that the person chose only those that are their own issuers, as with OpenSSL.
    pub(super) store: RootCertStore,
    /// All of them, as they stand in the file or the system's store.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// Whether the person chose them.
    pub(super) chosen: bool,
    /// Lists of revoked certificates, in DER; when there are any, they must cover every certificate.
    pub(super) revocation_lists: Option<Vec<Vec<u8>>>,
}

impl TrustedRoots {
    /// The roots of a file; certificates that are not their own issuers lead to a root, or are a server's own.
    pub(super) fn chosen(certificates: Vec<CertificateDer<'static>>) -> Self {
        let mut store = RootCertStore::empty();
        let roots = certificates.iter().filter(|certificate| parse(certificate).is_ok_and(|it| is_self_issued(&it)));
        store.add_parsable_certificates(roots.cloned());
        Self { store, certificates, chosen: true, revocation_lists: None }
    }
}

/// How much of a server's certificate is checked.
#[derive(Debug)]
pub(super) enum Verification {
    /// Nothing.
    Off,
    /// A trusted root vouches for it.
    Chain(TrustedRoots),
    /// A trusted root vouches for it, and it names this host.
    ChainAndHost(TrustedRoots, String),
}

/// The verifier of one connection.
#[derive(Debug)]
pub(super) struct LibpqVerifier {
    verification: Verification,
    algorithms: WebPkiSupportedAlgorithms,
}

impl LibpqVerifier {
    pub(super) fn new(verification: Verification, provider: &Arc<CryptoProvider>) -> Self {
        Self { verification, algorithms: provider.signature_verification_algorithms }
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        roots: &TrustedRoots,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = parse(leaf)?;
        let seconds = i64::try_from(now.as_secs()).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
        let moment = seconds.ok_or(CertificateError::Expired)?;
        chain::check_leaf(&parsed, moment)?;
        if roots.chosen && roots.certificates.iter().any(|root| root.as_ref() == leaf.as_ref()) {
            // Named by the person, byte for byte.
            return Ok(self.check_revocation(&[leaf.to_vec()], roots, moment)?);
        }
        // What stands beside the roots may lead to them, as if the server had sent it.
        let beside = roots.certificates.iter().filter(|_| roots.chosen);
        let intermediates: Vec<_> = intermediates.iter().chain(beside).cloned().collect();
        let judged = ParsedCertificate::try_from(leaf).and_then(|parsed| {
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &roots.store, &intermediates, now, algorithms)
        });
        match judged {
            Ok(()) => self.check_webpki_path(leaf, &intermediates, roots, now, moment).map_err(Error::from),
            Err(refusal) if !roots.chosen || !chain::is_needed_for(&parsed) => Err(refusal),
            Err(_) => {
                let trusted = &roots.certificates;
                let path = chain::verify(&parsed, &intermediates, trusted, moment, self.algorithms.all)?;
                Ok(self.check_revocation(&path, roots, moment)?)
            }
        }
    }

    /// Looks for a path that webpki accepts and that also keeps to the rules that webpki does not have.
    fn check_webpki_path(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        roots: &TrustedRoots,
        now: UnixTime,
        moment: ASN1Time,
    ) -> Result<(), CertificateError> {
        let leaf = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
        let refusal = Cell::new(None);
        let check = |path: &VerifiedPath<'_>| {
            self.check_path(path, roots, moment).map_err(|problem| {
                refusal.set(Some(problem));
                webpki::Error::UnknownIssuer
            })
        };
        let (algorithms, anchors) = (self.algorithms.all, &roots.store.roots);
        let usage = KeyUsage::server_auth();
        let found = leaf.verify_for_usage(algorithms, anchors, intermediates, now, usage, None, Some(&check));
        found.map(drop).map_err(|_| refusal.take().unwrap_or(CertificateError::UnknownIssuer))
    }

    fn check_path(
        &self,
        path: &VerifiedPath<'_>,
        roots: &TrustedRoots,
        moment: ASN1Time,
    ) -> Result<(), CertificateError> {
        let mut whole = vec![path.end_entity().der().to_vec()];
        for (depth, intermediate) in path.intermediate_certificates().enumerate() {
            let intermediate = intermediate.der();
            let parsed = parse(&intermediate).map_err(|_| CertificateError::BadEncoding)?;
            if !chain::may_issue(&parsed, IssuerKind::Intermediate, depth, moment) {
                return Err(CertificateError::UnknownIssuer);
            }
            whole.push(intermediate.to_vec());
        }
        let depth = whole.len() - 1;
        // A system's store may hold roots that are signed by older ones.
        let kind = if roots.chosen { IssuerKind::Root } else { IssuerKind::Intermediate };
        let is_anchor = |certificate: &X509Certificate<'_>| {
            der::content(certificate.subject().as_raw()) == Some(path.anchor().subject.as_ref())
                && der::content(certificate.public_key().raw) == Some(path.anchor().subject_public_key_info.as_ref())
        };
        let root = roots.certificates.iter().find(|certificate| {
            parse(certificate).is_ok_and(|root| {
                let kind = if is_self_issued(&root) { IssuerKind::Root } else { kind };
                is_anchor(&root) && chain::may_issue(&root, kind, depth, moment)
            })
        });
        whole.push(root.ok_or(CertificateError::UnknownIssuer)?.to_vec());
        self.check_revocation(&whole, roots, moment)
    }

    fn check_revocation(
        &self,
        path: &[Vec<u8>],
        roots: &TrustedRoots,
        moment: ASN1Time,
    ) -> Result<(), CertificateError> {
        match &roots.revocation_lists {
            Some(lists) => revocation::check(path, lists, moment, self.algorithms.all),
            None => Ok(()),
        }
    }

    /// Checks a signature with the key of a certificate that webpki does not read.
    fn verify_with_raw_key(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let parsed = parse(certificate)?;
        let key = PublicKey::split(parsed.public_key().raw).ok_or(CertificateError::BadEncoding)?;
        let offered = self.algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let valid = offered
            .flat_map(|(_, algorithms)| algorithms.iter())
            .any(|algorithm| key.verifies(*algorithm, message, signed.signature()));
        if valid { Ok(HandshakeSignatureValid::assertion()) } else { Err(CertificateError::BadSignature.into()) }
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(CertificateError::BadEncoding.into()),
    }
}

impl ServerCertVerifier for LibpqVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.verification {
            Verification::Off => {}
            Verification::Chain(roots) => self.verify_chain(end_entity, intermediates, roots, now)?,
            Verification::ChainAndHost(roots, host) => {
                self.verify_chain(end_entity, intermediates, roots, now)?;
                let parsed = parse(end_entity)?;
                if !certificate_names_host(&parsed, host) {
                    let expected = server_name.to_owned();
                    let presented = presented_names(&parsed);
                    return Err(CertificateError::NotValidForNameContext { expected, presented }.into());
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match ParsedCertificate::try_from(cert) {
            Ok(_) => verify_tls12_signature(message, cert, dss, &self.algorithms),
            Err(_) => self.verify_with_raw_key(message, cert, dss),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if ParsedCertificate::try_from(cert).is_ok() {
            return verify_tls13_signature(message, cert, dss, &self.algorithms);
        }
        let parsed = parse(cert)?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
