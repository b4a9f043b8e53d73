//! What can be wrong with certificates: the server's, and ours.

use std::io;
use std::path::PathBuf;

/// Why a server's certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// No trusted root vouches for it.
    #[error("it is not signed by a trusted root certificate")]
    UnknownIssuer,
    /// It is that of an authority, as one that signs itself often is: such a one must be trusted itself.
    #[error("it is an authority's own, as one that signs itself, and is not among the trusted root certificates")]
    OwnAuthority,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYetValid,
    /// It is made out to somebody else.
    #[error("it is not made out to \"{host}\" but to {}", if names.is_empty() { "no host at all".to_owned() } else { format!("\"{}\"", names.join("\", \"")) })]
    WrongHost {
        /// The host that we meant.
        host: String,
        /// The names that it carries.
        names: Vec<String>,
    },
    /// It is for other purposes than servers.
    #[error("it is not meant for servers")]
    WrongPurpose,
    /// A signature is false: it names a trusted root that did not sign it, or the server has no key for it.
    #[error("its signature is not that of a trusted root certificate")]
    BadSignature,
    /// A signature is by an algorithm that is not known here.
    #[error("it is signed by an algorithm that pgv does not know")]
    UnknownSignature,
    /// Its issuer has taken it back, or one of its issuers.
    #[error("it is on a certificate revocation list")]
    Revoked,
    /// Revocation lists are given, and one of its issuers has none among them.
    #[error("no valid certificate revocation list covers it and every authority above it")]
    NoRevocationList,
    /// The revocation list of one of its issuers is too old.
    #[error("the certificate revocation list that covers it has expired")]
    RevocationListExpired,
    /// Something else.
    #[error("{0}")]
    Other(String),
}

/// Why an encrypted private key of ours cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockedKeyProblem {
    /// Nobody said the passphrase.
    #[error("no sslpassword is given")]
    NoPassphrase,
    /// The passphrase is another one.
    #[error("the sslpassword does not open it")]
    WrongPassphrase,
    /// It is no PKCS #8.
    #[error("pgv does not read the traditional form of openssl")]
    TraditionalForm,
    /// PKCS #8 with another algorithm than those that are known.
    #[error("by an algorithm that pgv does not know")]
    UnknownAlgorithm,
    /// Not even its form is right.
    #[error("it is damaged")]
    Unreadable,
}

/// Certificates or keys of ours that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// A file could not be read.
    #[error("could not read {what} \"{}\"", path.display())]
    Unreadable {
        /// What the file is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{what} \"{}\" {problem}", path.display())]
    Invalid {
        /// What the file is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A passphrase protects the private key.
    #[error("private key \"{}\" is encrypted: {problem}", path.display())]
    LockedKey {
        /// The file.
        path: PathBuf,
        /// What keeps us from it.
        problem: LockedKeyProblem,
    },
    /// Others may read the private key.
    #[error("private key \"{}\" has mode {mode:04o}: others must have no access, the group at most if root owns it", path.display())]
    KeyMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system has no root certificates.
    #[error("no root certificates found on this system")]
    NoSystemRoots,
    /// The private key is not the one that the client's certificate is for.
    #[error("private key \"{}\" does not belong to certificate \"{}\"", key.display(), certificate.display())]
    KeyMismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Something that TLS itself complains about.
    #[error("invalid TLS settings")]
    Rejected(#[source] rustls::Error),
    /// What was demanded needs an authority that the person chose.
    #[error("{needed_by} needs a root certificate file (sslrootcert)")]
    NoRootFile {
        /// What was demanded.
        needed_by: &'static str,
    },
}
