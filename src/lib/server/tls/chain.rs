//! The path check for the server certificates that webpki refuses and libpq accepts: those without extensions
//! (version 1, what PostgreSQL's own manual makes) and those that carry `CA:TRUE` (what `openssl req -x509` makes).
//!
//! INVARIANT: it is asked only about such certificates, and it is stricter than OpenSSL wherever it is simpler:
//! issuers must be certificate authorities, valid now, without name constraints or unknown critical extensions.

use rustls::CertificateError;
use rustls::pki_types::{AlgorithmIdentifier, CertificateDer, SignatureVerificationAlgorithm};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

/// LIMIT: certificates between the server's and a root.
const MAX_INTERMEDIATES: usize = 8;

/// LIMIT: signatures that one check computes, whatever the server sends.
const MAX_SIGNATURE_CHECKS: usize = 32;

type Algorithms = [&'static dyn SignatureVerificationAlgorithm];

/// Whether webpki cannot judge this certificate and this module must.
pub(super) fn is_needed_for(leaf: &X509Certificate<'_>) -> bool {
    leaf.version() == X509Version::V1 || leaf.is_ca()
}

/// Checks that trusted roots vouch for the certificate, through the others that the server sent.
pub(super) fn verify(
    leaf: &X509Certificate<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &[CertificateDer<'static>],
    now: ASN1Time,
    algorithms: &Algorithms,
) -> Result<(), CertificateError> {
    check_leaf(leaf, now)?;
    let parse = |certificates: &'_ [CertificateDer<'_>]| -> Vec<Vec<u8>> {
        certificates.iter().map(|certificate| certificate.to_vec()).collect()
    };
    let (roots, mut intermediates) = (parse(roots), parse(intermediates));
    intermediates.truncate(MAX_INTERMEDIATES);
    let mut budget = MAX_SIGNATURE_CHECKS;
    let mut current = leaf.as_raw().to_vec();
    for depth in 0..=intermediates.len() {
        if find_issuer(&current, &roots, IssuerKind::Root, depth, now, algorithms, &mut budget).is_some() {
            return Ok(());
        }
        match find_issuer(&current, &intermediates, IssuerKind::Intermediate, depth, now, algorithms, &mut budget) {
            Some(index) => current = intermediates.swap_remove(index),
            None => break,
        }
    }
    Err(CertificateError::UnknownIssuer)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IssuerKind {
    Root,
    Intermediate,
}

/// The first of the candidates that vouches for `subject`, `depth` certificates above the server's.
fn find_issuer(
    subject: &[u8],
    candidates: &[Vec<u8>],
    kind: IssuerKind,
    depth: usize,
    now: ASN1Time,
    algorithms: &Algorithms,
    budget: &mut usize,
) -> Option<usize> {
    let (_, subject) = X509Certificate::from_der(subject).ok()?;
    candidates.iter().position(|candidate| {
        let Ok((_, issuer)) = X509Certificate::from_der(candidate) else { return false };
        if issuer.subject().as_raw() != subject.issuer().as_raw() || !may_issue(&issuer, kind, depth, now) {
            return false;
        }
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        is_signed_by(&subject, &issuer, algorithms)
    })
}

fn check_leaf(leaf: &X509Certificate<'_>, now: ASN1Time) -> Result<(), CertificateError> {
    check_validity(leaf, now)?;
    if has_unknown_critical_extension(leaf) {
        return Err(CertificateError::UnhandledCriticalExtension);
    }
    match leaf.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.any || usage.value.server_auth => Ok(()),
        Ok(Some(_)) => Err(CertificateError::InvalidPurpose),
        Err(_) => Err(CertificateError::BadEncoding),
    }
}

/// Whether a certificate is within its time.
pub(super) fn check_validity(certificate: &X509Certificate<'_>, now: ASN1Time) -> Result<(), CertificateError> {
    let validity = certificate.validity();
    if now < validity.not_before {
        return Err(CertificateError::NotValidYet);
    }
    if now > validity.not_after {
        return Err(CertificateError::Expired);
    }
    Ok(())
}

fn may_issue(issuer: &X509Certificate<'_>, kind: IssuerKind, depth: usize, now: ASN1Time) -> bool {
    if check_validity(issuer, now).is_err() || has_unknown_critical_extension(issuer) {
        return false;
    }
    // COMPAT: authorities of version 1 cannot say that they are some; OpenSSL believes those that are trusted.
    if issuer.version() == X509Version::V1 {
        return kind == IssuerKind::Root;
    }
    let is_authority = match issuer.basic_constraints() {
        Ok(Some(constraints)) => {
            let limit = constraints.value.path_len_constraint.map(usize::try_from);
            constraints.value.ca && limit.is_none_or(|limit| limit.is_ok_and(|limit| depth <= limit))
        }
        _ => false,
    };
    let may_sign = match issuer.key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Err(_) => false,
    };
    is_authority && may_sign
}

fn has_unknown_critical_extension(certificate: &X509Certificate<'_>) -> bool {
    certificate.iter_extensions().any(|extension| match extension.parsed_extension() {
        ParsedExtension::BasicConstraints(_)
        | ParsedExtension::KeyUsage(_)
        | ParsedExtension::ExtendedKeyUsage(_)
        | ParsedExtension::SubjectAlternativeName(_) => false,
        // A constraint that is not checked must not be passed over, critical or not.
        ParsedExtension::NameConstraints(_) => true,
        _ => extension.critical,
    })
}

fn is_signed_by(subject: &X509Certificate<'_>, issuer: &X509Certificate<'_>, algorithms: &Algorithms) -> bool {
    let Some(signed) = SignedData::split(subject.as_raw()) else { return false };
    let Some(key) = PublicKey::split(issuer.public_key().raw) else { return false };
    algorithms
        .iter()
        .filter(|algorithm| algorithm.signature_alg_id().as_ref() == signed.algorithm)
        .any(|algorithm| key.verifies(*algorithm, signed.message, signed.signature))
}

/// A signed structure, cut into its three parts.
struct SignedData<'a> {
    message: &'a [u8],
    /// Without its outermost tag and length, as `AlgorithmIdentifier` keeps it.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> SignedData<'a> {
    fn split(der: &'a [u8]) -> Option<Self> {
        let outer = Element::read(der)?.0;
        let (message, rest) = Element::read(outer.content)?;
        let (algorithm, rest) = Element::read(rest)?;
        let (signature, _) = Element::read(rest)?;
        Some(Self { message: message.whole, algorithm: algorithm.content, signature: signature.bit_string()? })
    }
}

/// A public key with the algorithm that it is for.
pub(super) struct PublicKey<'a> {
    algorithm: &'a [u8],
    key: &'a [u8],
}

impl<'a> PublicKey<'a> {
    /// Reads a `SubjectPublicKeyInfo`.
    pub(super) fn split(der: &'a [u8]) -> Option<Self> {
        let outer = Element::read(der)?.0;
        let (algorithm, rest) = Element::read(outer.content)?;
        let (key, _) = Element::read(rest)?;
        Some(Self { algorithm: algorithm.content, key: key.bit_string()? })
    }

    /// Whether the signature over the message is of this key.
    pub(super) fn verifies(
        &self,
        algorithm: &dyn SignatureVerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let wanted: AlgorithmIdentifier = algorithm.public_key_alg_id();
        wanted.as_ref() == self.algorithm && algorithm.verify_signature(self.key, message, signature).is_ok()
    }
}

/// One element of DER.
struct Element<'a> {
    tag: u8,
    whole: &'a [u8],
    content: &'a [u8],
}

impl<'a> Element<'a> {
    /// Reads one element; returns it and what follows.
    fn read(der: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (tag, length) = (*der.first()?, *der.get(1)?);
        let (header, length) = if length < 0x80 {
            (2, usize::from(length))
        } else {
            let count = usize::from(length & 0x7f);
            let bytes = der.get(2..2 + count).filter(|_| (1..=4).contains(&count))?;
            (2 + count, bytes.iter().fold(0usize, |length, byte| (length << 8) | usize::from(*byte)))
        };
        let end = header.checked_add(length)?;
        Some((Self { tag, whole: der.get(..end)?, content: der.get(header..end)? }, der.get(end..)?))
    }

    /// The content of a bit string of whole bytes.
    fn bit_string(&self) -> Option<&'a [u8]> {
        match (self.tag, self.content.split_first()) {
            (3, Some((0, bytes))) => Some(bytes),
            _ => None,
        }
    }
}
