//! The hash of a server's certificate that ties a login to its TLS session: `tls-server-end-point` of RFC 5929
//! (`pgtls_get_peer_certificate_hash` in `src/interfaces/libpq/fe-secure-openssl.c`).

use ring::digest::{self, Algorithm, SHA256, SHA384, SHA512};
use sha2::{Digest, Sha224};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::oid;
use x509_parser::der_parser::oid::Oid;
use x509_parser::oid_registry as oids;
use x509_parser::prelude::FromDer;
use x509_parser::signature_algorithm::SignatureAlgorithm;

/// `ecdsa-with-SHA1` of RFC 3279.
const OID_ECDSA_WITH_SHA1: Oid<'static> = oid!(1.2.840.10045.4.1);

/// The hash, by the algorithm that the certificate is signed with; `None` where the RFC defines none, as for Ed25519.
pub(super) fn certificate_hash(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let hash_of = |algorithm: &'static Algorithm| Some(digest::digest(algorithm, certificate).as_ref().to_vec());
    match signature_hash(&parsed)? {
        SignatureHash::Sha224 => Some(Sha224::digest(certificate).to_vec()),
        SignatureHash::Sha256 => hash_of(&SHA256),
        SignatureHash::Sha384 => hash_of(&SHA384),
        SignatureHash::Sha512 => hash_of(&SHA512),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignatureHash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

fn signature_hash(certificate: &X509Certificate<'_>) -> Option<SignatureHash> {
    let oid = &certificate.signature_algorithm.algorithm;
    if *oid == oids::OID_PKCS1_RSASSAPSS {
        return match SignatureAlgorithm::try_from(&certificate.signature_algorithm).ok()? {
            SignatureAlgorithm::RSASSA_PSS(parameters) => plain_hash(parameters.hash_algorithm_oid()),
            _ => None,
        };
    }
    let known = [
        // The RFC replaces the two broken ones by SHA-256.
        (oids::OID_PKCS1_MD5WITHRSAENC, SignatureHash::Sha256),
        (oids::OID_PKCS1_SHA1WITHRSA, SignatureHash::Sha256),
        (OID_ECDSA_WITH_SHA1, SignatureHash::Sha256),
        (oids::OID_PKCS1_SHA224WITHRSA, SignatureHash::Sha224),
        (oids::OID_SIG_ECDSA_WITH_SHA224, SignatureHash::Sha224),
        (oids::OID_PKCS1_SHA256WITHRSA, SignatureHash::Sha256),
        (oids::OID_SIG_ECDSA_WITH_SHA256, SignatureHash::Sha256),
        (oids::OID_PKCS1_SHA384WITHRSA, SignatureHash::Sha384),
        (oids::OID_SIG_ECDSA_WITH_SHA384, SignatureHash::Sha384),
        (oids::OID_PKCS1_SHA512WITHRSA, SignatureHash::Sha512),
        (oids::OID_SIG_ECDSA_WITH_SHA512, SignatureHash::Sha512),
    ];
    known.into_iter().find(|(known, _)| known == oid).map(|(_, hash)| hash)
}

fn plain_hash(oid: &Oid<'_>) -> Option<SignatureHash> {
    let known = [
        (oids::OID_HASH_SHA1, SignatureHash::Sha256),
        (oids::OID_NIST_HASH_SHA256, SignatureHash::Sha256),
        (oids::OID_NIST_HASH_SHA384, SignatureHash::Sha384),
        (oids::OID_NIST_HASH_SHA512, SignatureHash::Sha512),
    ];
    known.into_iter().find(|(known, _)| known == oid).map(|(_, hash)| hash)
}
