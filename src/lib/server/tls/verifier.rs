//! Accepts the server certificates that libpq accepts (`initialize_SSL` and `open_client_SSL` in
//! `src/interfaces/libpq/fe-secure-openssl.c`).
//!
//! webpki judges first. Three kinds of certificates that it refuses on principle and that real servers have are
//! judged here: a certificate that is itself in the file of roots, one without extensions, one with `CA:TRUE`.

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
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::chain::{self, PublicKey};
use super::names::{certificate_names_host, presented_names};

/// Whom to trust.
#[derive(Debug)]
pub(super) struct TrustedRoots {
    /// In webpki's form.
    pub(super) store: RootCertStore,
    /// As they stand in a file that the person chose; empty for the system's own.
    pub(super) chosen: Vec<CertificateDer<'static>>,
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
        let judged = ParsedCertificate::try_from(leaf).and_then(|parsed| {
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &roots.store, intermediates, now, algorithms)
        });
        let Err(refusal) = judged else { return Ok(()) };
        let parsed = parse(leaf)?;
        let now = i64::try_from(now.as_secs()).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
        let now = now.ok_or(CertificateError::Expired)?;
        if roots.chosen.iter().any(|root| root.as_ref() == leaf.as_ref()) {
            // Named by the person, byte for byte: only its time is left to check.
            return chain::check_validity(&parsed, now).map_err(Error::from);
        }
        if !chain::is_needed_for(&parsed) {
            return Err(refusal);
        }
        chain::verify(&parsed, intermediates, &roots.chosen, now, self.algorithms.all).map_err(Error::from)
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
