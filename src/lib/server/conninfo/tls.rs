//! Everything about TLS that connection settings say: whom to trust, who we are, how the handshake begins.

use std::path::{Path, PathBuf};

use super::super::secret::Secret;
use super::values::{self, ClientCertificateMode, SslMode, TlsVersion};
use super::{ConninfoError, HostAddress, Merged};

/// Everything about TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// What the person demanded; absent when nothing was said, see [`TlsSettings::mode_for`].
    pub mode: Option<SslMode>,
    /// Whom to trust.
    pub root_certificates: RootCertificates,
    /// The client's certificate; a default place is looked at only when it exists.
    pub certificate: FileSetting,
    /// The client's private key.
    pub key: FileSetting,
    /// What opens that key, when it is encrypted.
    pub key_passphrase: Option<Secret>,
    /// Whether our certificate is shown.
    pub certificate_mode: ClientCertificateMode,
    /// Lists of certificates that are no longer valid.
    pub revocation_lists: RevocationLists,
    /// Whether TLS begins without asking first, as servers understand from 17 on.
    pub direct: bool,
    /// Whether the host name is sent in the handshake.
    pub send_host_name: bool,
    /// The lowest version.
    pub min_version: TlsVersion,
    /// The highest version.
    pub max_version: TlsVersion,
}

/// Whom to trust as a signer of server certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCertificates {
    /// The file that was named.
    File(PathBuf),
    /// The system's own.
    System,
    /// Nothing was said: libpq's file when it exists, else the system's own where verification is demanded.
    Default(Option<PathBuf>),
}

/// Where the lists of revoked certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationLists {
    /// Named: a file, a directory, or both.
    Given {
        /// The file.
        file: Option<PathBuf>,
        /// The directory, with files named as `openssl rehash` does.
        directory: Option<PathBuf>,
    },
    /// libpq's file, which need not exist; none without a home directory.
    Default(Option<PathBuf>),
}

/// A file that is read when it is named, or when it stands in its default place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSetting {
    /// Named: it must exist.
    Given(PathBuf),
    /// Its default place, where it need not exist; none without a home directory.
    Default(Option<PathBuf>),
}

impl FileSetting {
    /// The file, whether or not it exists.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Given(path) => Some(path),
            Self::Default(path) => path.as_deref(),
        }
    }
}

impl TlsSettings {
    /// The mode for a host: what was said; without a word, verification for everything that leaves this machine.
    pub fn mode_for(&self, address: &HostAddress) -> SslMode {
        match (address, self.mode) {
            (HostAddress::Socket(_), _) => SslMode::Disable,
            (HostAddress::Tcp { .. }, Some(mode)) => mode,
            (HostAddress::Tcp { .. }, None) if self.root_certificates == RootCertificates::System => {
                SslMode::VerifyFull
            }
            // There is nothing to fall back to when nothing is asked.
            (HostAddress::Tcp { .. }, None) if address.is_loopback() && self.direct => SslMode::Require,
            (HostAddress::Tcp { .. }, None) if address.is_loopback() => SslMode::Prefer,
            (HostAddress::Tcp { .. }, None) => SslMode::VerifyFull,
        }
    }
}

/// Checks the settings of TLS.
pub(super) fn resolve(merged: &Merged, home: Option<&Path>) -> Result<TlsSettings, ConninfoError> {
    let in_home = |name: &str| home.map(|home| home.join(".postgresql").join(name));
    let mode = merged.with("sslmode", values::ssl_mode)?;
    let root_certificates = match merged.text("sslrootcert") {
        Some("system") => RootCertificates::System,
        Some(path) => RootCertificates::File(PathBuf::from(path)),
        None => RootCertificates::Default(in_home("root.crt")),
    };
    if let Some(mode) = mode.filter(|mode| *mode < SslMode::VerifyFull)
        && root_certificates == RootCertificates::System
    {
        // Any public authority would do for any host: libpq refuses this too.
        return Err(ConninfoError::Contradiction { keyword: format!("sslmode={mode}"), with: "sslrootcert=system" });
    }
    let direct = merged.with("sslnegotiation", values::direct_negotiation)?.unwrap_or(false);
    if let Some(mode) = mode.filter(|mode| direct && *mode < SslMode::Require) {
        return Err(ConninfoError::Contradiction { keyword: format!("sslmode={mode}"), with: "sslnegotiation=direct" });
    }
    let named = |keyword: &str| merged.text(keyword).map(PathBuf::from);
    let revocation_lists = match (named("sslcrl"), named("sslcrldir")) {
        (None, None) => RevocationLists::Default(in_home("root.crl")),
        (file, directory) => RevocationLists::Given { file, directory },
    };
    let file = |keyword: &str, default: &str| match merged.text(keyword) {
        Some(path) => FileSetting::Given(PathBuf::from(path)),
        None => FileSetting::Default(in_home(default)),
    };
    let version = |keyword: &'static str| match merged.text(keyword) {
        Some(value) => values::tls_version(keyword, value).map(Some),
        None => Ok(None),
    };
    let min_version = version("ssl_min_protocol_version")?.unwrap_or(TlsVersion::Tls12);
    let max_version = version("ssl_max_protocol_version")?.unwrap_or(TlsVersion::Tls13);
    if min_version > max_version {
        return Err(ConninfoError::Contradiction {
            keyword: "ssl_min_protocol_version".to_owned(),
            with: "ssl_max_protocol_version",
        });
    }
    Ok(TlsSettings {
        mode,
        root_certificates,
        certificate: file("sslcert", "postgresql.crt"),
        key: file("sslkey", "postgresql.key"),
        key_passphrase: merged.text("sslpassword").map(Secret::new),
        certificate_mode: merged.with("sslcertmode", values::certificate_mode)?.unwrap_or_default(),
        revocation_lists,
        direct,
        send_host_name: merged.with("sslsni", |value| values::boolean("sslsni", value))?.unwrap_or(true),
        min_version,
        max_version,
    })
}
