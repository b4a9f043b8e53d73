//! Signed structures of X.509 as bytes: what is signed, with what, by which key.
//!
//! Used beside x509-parser, which checks no signatures here and does not keep these bytes apart.

use rustls::pki_types::{AlgorithmIdentifier, SignatureVerificationAlgorithm};

/// The algorithms that count.
pub(super) type Algorithms = [&'static dyn SignatureVerificationAlgorithm];

/// A signed structure, cut into its three parts.
pub(super) struct SignedData<'a> {
    pub(super) message: &'a [u8],
    /// Without its outermost tag and length, as `AlgorithmIdentifier` keeps it.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl<'a> SignedData<'a> {
    pub(super) fn split(der: &'a [u8]) -> Option<Self> {
        let outer = Element::read(der)?.0;
        let (message, rest) = Element::read(outer.content)?;
        let (algorithm, rest) = Element::read(rest)?;
        let (signature, _) = Element::read(rest)?;
        Some(Self { message: message.whole, algorithm: algorithm.content, signature: signature.bit_string()? })
    }
}

/// Whether `der`, a certificate or a revocation list, is signed with that key, a `SubjectPublicKeyInfo`.
pub(super) fn is_signed_by(der: &[u8], key: &[u8], algorithms: &Algorithms) -> bool {
    let Some(signed) = SignedData::split(der) else { return false };
    let Some(key) = PublicKey::split(key) else { return false };
    algorithms
        .iter()
        .filter(|algorithm| algorithm.signature_alg_id().as_ref() == signed.algorithm)
        .any(|algorithm| key.verifies(*algorithm, signed.message, signed.signature))
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

/// What an element holds, without its tag and length.
pub(super) fn content(der: &[u8]) -> Option<&[u8]> {
    Element::read(der).map(|(element, _)| element.content)
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
