//! What a chain of certificates must keep to beyond what webpki checks, and the path check for the server certificates
//! that webpki refuses and libpq accepts: those without extensions (version 1, what PostgreSQL's own manual makes) and
//! those that carry `CA:TRUE` (what `openssl req -x509` makes).
//!
//! The rules are those of RFC 5280 as OpenSSL applies them (`check_extensions` in its `crypto/x509/x509_vfy.c`, the
//! purpose `sslserver` in `v3_purp.c`): webpki trusts a root whatever it says of itself, and asks nobody for the right
//! to sign certificates.
//!
//! INVARIANT: where this is simpler than OpenSSL it is stricter: path lengths count every authority, and `verify` takes
//! no name constraints, which webpki alone judges.

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{KeyUsage, ParsedExtension};
use x509_parser::oid_registry as oids;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

use super::der::{Algorithms, is_signed_by};

/// LIMIT: certificates between the server's and a root.
const MAX_INTERMEDIATES: usize = 8;

/// LIMIT: signatures that one check computes, whatever the server sends.
const MAX_SIGNATURE_CHECKS: usize = 32;

/// From the server's certificate to a root, in DER.
pub(super) type Path = Vec<Vec<u8>>;

/// Whether webpki cannot judge this certificate and `verify` must.
pub(super) fn is_needed_for(leaf: &X509Certificate<'_>) -> bool {
    leaf.version() == X509Version::V1 || leaf.is_ca()
}

/// Whether a certificate is its own issuer by name, as roots are.
pub(super) fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

/// Finds a path to a trusted root, through the others that the server sent or that stand beside the roots.
pub(super) fn verify(
    leaf: &X509Certificate<'_>,
    intermediates: &[CertificateDer<'_>],
    trusted: &[CertificateDer<'_>],
    now: ASN1Time,
    algorithms: &Algorithms,
) -> Result<Path, CertificateError> {
    let mut search = Search {
        roots: trusted.iter().map(|certificate| certificate.to_vec()).collect(),
        intermediates: intermediates
            .iter()
            .take(MAX_INTERMEDIATES)
            .chain(trusted)
            .map(|certificate| certificate.to_vec())
            .collect(),
        now,
        algorithms,
        budget: MAX_SIGNATURE_CHECKS,
    };
    let mut path = vec![leaf.as_raw().to_vec()];
    for depth in 0..=MAX_INTERMEDIATES {
        let Some(current) = path.last() else { break };
        if let Some(index) = search.find_issuer(current, IssuerKind::Root, depth) {
            path.push(search.roots.swap_remove(index));
            return Ok(path);
        }
        match search.find_issuer(current, IssuerKind::Intermediate, depth) {
            Some(index) => path.push(search.intermediates.swap_remove(index)),
            None => break,
        }
    }
    Err(CertificateError::UnknownIssuer)
}

/// What role a certificate has in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IssuerKind {
    /// Trusted, and its own issuer.
    Root,
    /// Vouched for by the next one.
    Intermediate,
}

struct Search<'a> {
    roots: Vec<Vec<u8>>,
    intermediates: Vec<Vec<u8>>,
    now: ASN1Time,
    algorithms: &'a Algorithms,
    budget: usize,
}

impl Search<'_> {
    /// The first of the candidates that vouches for `subject`, `depth` authorities above the server's certificate.
    fn find_issuer(&mut self, subject: &[u8], kind: IssuerKind, depth: usize) -> Option<usize> {
        let (_, subject) = X509Certificate::from_der(subject).ok()?;
        if !names_one_algorithm(&subject) {
            return None;
        }
        let candidates = match kind {
            IssuerKind::Root => &self.roots,
            IssuerKind::Intermediate => &self.intermediates,
        };
        let (now, algorithms, budget) = (self.now, self.algorithms, &mut self.budget);
        candidates.iter().position(|candidate| {
            let Ok((_, issuer)) = X509Certificate::from_der(candidate) else { return false };
            if issuer.subject().as_raw() != subject.issuer().as_raw()
                || has_unhandled_extension(&issuer)
                || !may_issue(&issuer, kind, depth, now)
                || *budget == 0
            {
                return false;
            }
            *budget -= 1;
            is_signed_by(subject.as_raw(), issuer.public_key().raw, algorithms)
        })
    }
}

/// The algorithm stands in a certificate twice, signed and unsigned.
fn names_one_algorithm(certificate: &X509Certificate<'_>) -> bool {
    certificate.signature_algorithm == certificate.tbs_certificate.signature
}

/// Checks a server's own certificate: its time, and that it is for servers.
pub(super) fn check_leaf(leaf: &X509Certificate<'_>, now: ASN1Time) -> Result<(), CertificateError> {
    check_validity(leaf, now)?;
    if has_broken_extension(leaf) {
        return Err(CertificateError::BadEncoding);
    }
    if has_unknown_critical_extension(leaf) {
        return Err(CertificateError::UnhandledCriticalExtension);
    }
    let may_serve = |usage: &KeyUsage| usage.digital_signature() || usage.key_encipherment() || usage.key_agreement();
    match leaf.key_usage() {
        Ok(None) => {}
        Ok(Some(usage)) if may_serve(usage.value) => {}
        Ok(Some(_)) => return Err(CertificateError::InvalidPurpose),
        Err(_) => return Err(CertificateError::BadEncoding),
    }
    if is_for_servers(leaf) { Ok(()) } else { Err(CertificateError::InvalidPurpose) }
}

/// Whether a certificate is within its time.
fn check_validity(certificate: &X509Certificate<'_>, now: ASN1Time) -> Result<(), CertificateError> {
    let validity = certificate.validity();
    if now < validity.not_before {
        return Err(CertificateError::NotValidYet);
    }
    if now > validity.not_after {
        return Err(CertificateError::Expired);
    }
    Ok(())
}

/// Purposes that are listed must list servers, in authorities too; "any" is not among them, as with OpenSSL.
fn is_for_servers(certificate: &X509Certificate<'_>) -> bool {
    match certificate.extended_key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.server_auth),
        Err(_) => false,
    }
}

/// Whether a certificate may vouch for others, `depth` authorities above the server's.
pub(super) fn may_issue(issuer: &X509Certificate<'_>, kind: IssuerKind, depth: usize, now: ASN1Time) -> bool {
    if check_validity(issuer, now).is_err() || has_broken_extension(issuer) || !is_for_servers(issuer) {
        return false;
    }
    let is_root = kind == IssuerKind::Root;
    if is_root && !is_self_issued(issuer) {
        return false;
    }
    // COMPAT: authorities of version 1 cannot say that they are some; OpenSSL believes roots.
    if issuer.version() == X509Version::V1 {
        return is_root;
    }
    let usage = match issuer.key_usage() {
        Ok(usage) => usage.map(|usage| usage.value.key_cert_sign()),
        Err(_) => return false,
    };
    let is_authority = match issuer.basic_constraints() {
        Ok(Some(constraints)) => {
            let limit = constraints.value.path_len_constraint.map(usize::try_from);
            constraints.value.ca && limit.is_none_or(|limit| limit.is_ok_and(|limit| depth <= limit))
        }
        // COMPAT: roots that say it by their key usage alone.
        Ok(None) => is_root && usage == Some(true),
        Err(_) => false,
    };
    is_authority && usage.unwrap_or(true)
}

/// Whether an extension that decides something cannot be read: it must not count as absent.
fn has_broken_extension(certificate: &X509Certificate<'_>) -> bool {
    let deciding = [
        oids::OID_X509_EXT_BASIC_CONSTRAINTS,
        oids::OID_X509_EXT_KEY_USAGE,
        oids::OID_X509_EXT_EXTENDED_KEY_USAGE,
        oids::OID_X509_EXT_SUBJECT_ALT_NAME,
        oids::OID_X509_EXT_NAME_CONSTRAINTS,
    ];
    certificate.iter_extensions().any(|extension| {
        matches!(extension.parsed_extension(), ParsedExtension::ParseError { .. }) && deciding.contains(&extension.oid)
    })
}

fn has_unknown_critical_extension(certificate: &X509Certificate<'_>) -> bool {
    certificate.iter_extensions().any(|extension| {
        let is_known = matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
                | ParsedExtension::NameConstraints(_)
        );
        extension.critical && !is_known
    })
}

/// A constraint that is not checked must not be passed over, critical or not.
fn has_unhandled_extension(issuer: &X509Certificate<'_>) -> bool {
    let constrained = |extension: &ParsedExtension<'_>| matches!(extension, ParsedExtension::NameConstraints(_));
    has_unknown_critical_extension(issuer)
        || issuer.iter_extensions().any(|extension| constrained(extension.parsed_extension()))
}
