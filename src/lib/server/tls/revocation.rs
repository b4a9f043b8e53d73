//! Lists of certificates that their issuers have taken back (RFC 5280, section 5).
//!
//! As with libpq, which sets `X509_V_FLAG_CRL_CHECK_ALL`: where lists are given, every certificate of the path needs a
//! valid one of its issuer, the root's own included. INVARIANT: a list that cannot be understood vouches for nobody.

use rustls::CertificateError;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;

use super::chain::is_self_issued;
use super::der::{Algorithms, is_signed_by};

/// Checks a path from the server's certificate to its root.
pub(super) fn check(
    path: &[Vec<u8>],
    lists: &[Vec<u8>],
    now: ASN1Time,
    algorithms: &Algorithms,
) -> Result<(), CertificateError> {
    let parsed: Result<Vec<_>, _> =
        path.iter().map(|der| X509Certificate::from_der(der).map(|(_, parsed)| parsed)).collect();
    let parsed = parsed.map_err(|_| CertificateError::BadEncoding)?;
    let Some(last) = parsed.last() else { return Err(CertificateError::UnknownRevocationStatus) };
    if !is_self_issued(last) {
        return Err(CertificateError::UnknownRevocationStatus);
    }
    let issuers = parsed.iter().skip(1).chain([last]);
    parsed.iter().zip(issuers).try_for_each(|(subject, issuer)| check_one(subject, issuer, lists, now, algorithms))
}

fn check_one(
    subject: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    lists: &[Vec<u8>],
    now: ASN1Time,
    algorithms: &Algorithms,
) -> Result<(), CertificateError> {
    let may_sign = issuer.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.crl_sign()));
    let mut outcome = Err(CertificateError::UnknownRevocationStatus);
    for der in lists {
        let Ok((_, list)) = CertificateRevocationList::from_der(der) else { continue };
        let is_of_issuer = list.issuer().as_raw() == issuer.subject().as_raw();
        if !is_of_issuer
            || !may_sign
            || !is_understood(&list)
            || !is_signed_by(der, issuer.public_key().raw, algorithms)
        {
            continue;
        }
        // A certificate stays revoked, however old the list that says so.
        if list.iter_revoked_certificates().any(|entry| *entry.serial() == subject.tbs_certificate.serial) {
            return Err(CertificateError::Revoked);
        }
        if now < list.last_update() {
            continue;
        }
        if list.next_update().is_some_and(|next| next < now) {
            if outcome.is_err() {
                outcome = Err(CertificateError::ExpiredRevocationList);
            }
            continue;
        }
        outcome = Ok(());
    }
    outcome
}

/// Lists in parts, of changes, or for others carry critical extensions; they are not known here.
fn is_understood(list: &CertificateRevocationList<'_>) -> bool {
    let critical_entry = |entry: &x509_parser::revocation_list::RevokedCertificate<'_>| {
        entry.extensions().iter().any(|extension| extension.critical)
    };
    list.signature_algorithm == list.tbs_cert_list.signature
        && !list.extensions().iter().any(|extension| extension.critical)
        && !list.iter_revoked_certificates().any(critical_entry)
}
