//! Our private key, in the clear or with a passphrase (`initialize_SSL` in
//! `src/interfaces/libpq/fe-secure-openssl.c`; PKCS #8 is RFC 5958, its encryption RFC 8018).
//!
//! INVARIANT: a passphrase appears in no message.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::super::secret::Secret;
use super::error::{LockedKeyProblem, TlsSetupError};

const ENCRYPTED: (&str, &str) = ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "-----END ENCRYPTED PRIVATE KEY-----");
/// A line of RFC 1421 that openssl's traditional form has behind `BEGIN RSA PRIVATE KEY`.
const TRADITIONAL: &str = "Proc-Type: 4,ENCRYPTED";

/// The key in the content of a file; a passphrase that is not needed is not looked at.
pub(super) fn private_key(
    path: &Path,
    content: &[u8],
    passphrase: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, TlsSetupError> {
    if let Ok(key) = PrivateKeyDer::from_pem_slice(content) {
        return Ok(key);
    }
    let text = String::from_utf8_lossy(content);
    let problem = if let Some(encrypted) = encrypted_part(&text) {
        match decrypted(encrypted, passphrase) {
            Ok(key) => return Ok(PrivatePkcs8KeyDer::from(key).into()),
            Err(problem) => problem,
        }
    } else if text.contains(TRADITIONAL) {
        LockedKeyProblem::TraditionalForm
    } else {
        let problem = "holds no private key in PEM form".to_owned();
        return Err(TlsSetupError::Invalid { what: super::files::KEY_FILE, path: path.to_owned(), problem });
    };
    Err(TlsSetupError::LockedKey { path: path.to_owned(), problem })
}

fn encrypted_part(text: &str) -> Option<&str> {
    let (_, behind) = text.split_once(ENCRYPTED.0)?;
    Some(behind.split_once(ENCRYPTED.1)?.0)
}

fn decrypted(encoded: &str, passphrase: Option<&Secret>) -> Result<Vec<u8>, LockedKeyProblem> {
    let encoded: Zeroizing<String> = encoded.split_whitespace().collect::<String>().into();
    let der = STANDARD.decode(encoded.as_bytes()).map_err(|_| LockedKeyProblem::Unreadable)?;
    let info = EncryptedPrivateKeyInfoRef::try_from(der.as_slice()).map_err(|_| LockedKeyProblem::UnknownAlgorithm)?;
    let passphrase = passphrase.ok_or(LockedKeyProblem::NoPassphrase)?;
    match info.decrypt(passphrase.expose()) {
        Ok(key) => Ok(key.as_bytes().to_vec()),
        Err(pkcs8::Error::EncryptedPrivateKey(error)) if is_about_the_algorithm(&error) => {
            Err(LockedKeyProblem::UnknownAlgorithm)
        }
        // A wrong passphrase gives bytes that are no key.
        Err(_) => Err(LockedKeyProblem::WrongPassphrase),
    }
}

fn is_about_the_algorithm(error: &pkcs8::pkcs5::Error) -> bool {
    !matches!(error, pkcs8::pkcs5::Error::DecryptFailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_told_apart() {
        let key = |text: &str| private_key(Path::new("/k"), text.as_bytes(), None).unwrap_err().to_string();
        let (begin, end) = ENCRYPTED;
        assert_eq!(key(""), "private key file \"/k\" holds no private key in PEM form");
        assert!(key(&format!("{begin}\n*\n{end}\n")).contains("it is damaged"));
        assert!(key(&format!("{begin}\nMAA=\n{end}\n")).contains("algorithm"));
        let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
                           -----END RSA PRIVATE KEY-----\n";
        assert!(key(traditional).contains("traditional form"));
    }
}
