//! TLS on the way to a server: the request, the handshake, and what it proves
//! (`pqsecure_open_client` in `src/interfaces/libpq/fe-secure.c`).
//!
//! One provider, ring, is handed over explicitly; nothing has to be installed for the process. TLS 1.2 is the least.

mod binding;
mod chain;
mod der;
mod error;
mod files;
mod identity;
mod key;
mod names;
mod revocation;
mod verifier;

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, OtherError, SupportedProtocolVersion, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::auth::Protection;
use super::conninfo::{ClientCertificateMode, HostAddress, TlsSettings, TlsVersion};
use super::error::{ConnectError, Endpoint};
use super::framing::{ProtocolError, Transport};
use super::message::clean_text;
pub use error::{CertificateProblem, LockedKeyProblem, TlsSetupError};
use identity::ShownIdentity;
use verifier::LibpqVerifier;

/// The name of the protocol inside TLS, as libpq gives it from 17 on.
const APPLICATION_PROTOCOL: &[u8] = b"postgresql";

/// Asks the server for TLS, unless it is to begin directly, and shakes hands; returns the open transport when the
/// server has none and it is not required.
pub(crate) async fn negotiate(
    mut transport: Box<dyn Transport>,
    settings: &TlsSettings,
    endpoint: &Endpoint,
    required: bool,
) -> Result<(Box<dyn Transport>, Protection), ConnectError> {
    let here = || Box::new(endpoint.clone());
    // Trouble with our own files is told before the server is asked.
    let (config, identity) =
        client_config(settings, endpoint).map_err(|source| ConnectError::TlsSetup { endpoint: here(), source })?;
    if !settings.direct && !is_offered(&mut transport, endpoint, required).await? {
        return Ok((transport, Protection::Open));
    }
    let connector = TlsConnector::from(Arc::new(config));
    let stream =
        connector.connect(server_name(endpoint), transport).await.map_err(|error| handshake_error(error, endpoint))?;
    let session = stream.get_ref().1;
    if settings.direct && session.alpn_protocol() != Some(APPLICATION_PROTOCOL) {
        let source = io::Error::other("the server did not agree on the protocol \"postgresql\" inside TLS");
        return Err(ConnectError::TlsHandshake { endpoint: here(), source });
    }
    if let Some(problem) = identity.problem().filter(|_| settings.certificate_mode == ClientCertificateMode::Require) {
        return Err(ConnectError::ClientCertificateUnused { endpoint: here(), problem });
    }
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let certificate_hash = certificate.and_then(|certificate| binding::certificate_hash(certificate));
    Ok((Box::new(stream), Protection::Tls { certificate_hash }))
}

/// Whether the server does TLS; an error when it does not and must.
async fn is_offered(
    transport: &mut Box<dyn Transport>,
    endpoint: &Endpoint,
    required: bool,
) -> Result<bool, ConnectError> {
    let here = || Box::new(endpoint.clone());
    match ask(transport).await {
        Ok(b'S') => Ok(true),
        Ok(b'N') if required => Err(ConnectError::TlsNotOffered { endpoint: here() }),
        Ok(b'N') => Ok(false),
        // Whatever follows is not authenticated, so that its text is not shown.
        Ok(b'E') => {
            let source = io::Error::other("the server answered the request for TLS with an error");
            Err(ConnectError::TlsHandshake { endpoint: here(), source })
        }
        Ok(tag) => {
            let source = ProtocolError::Unexpected { tag: char::from(tag), expected: "an answer about TLS" };
            Err(ConnectError::Protocol { endpoint: here(), source })
        }
        Err(source) => Err(ConnectError::Protocol { endpoint: here(), source: ProtocolError::Lost(source) }),
    }
}

/// INVARIANT: exactly one byte is read before the handshake, so that nothing sent in the open is taken for encrypted.
async fn ask(transport: &mut Box<dyn Transport>) -> io::Result<u8> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    transport.write_all(&request).await?;
    transport.flush().await?;
    transport.read_u8().await
}

fn client_config(
    settings: &TlsSettings,
    endpoint: &Endpoint,
) -> Result<(ClientConfig, Arc<ShownIdentity>), TlsSetupError> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let verification = files::verification(settings, endpoint.ssl_mode, host_name(endpoint))?;
    let verifier = Arc::new(LibpqVerifier::new(verification, &provider));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&protocol_versions(settings))
        .map_err(TlsSetupError::Rejected)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let identity = Arc::new(ShownIdentity::new(files::identity(settings, builder.crypto_provider())?));
    let mut config = builder.with_client_cert_resolver(Arc::clone(&identity) as Arc<dyn ResolvesClientCert>);
    config.enable_sni = settings.send_host_name;
    config.alpn_protocols = vec![APPLICATION_PROTOCOL.to_vec()];
    // PostgreSQL's servers do not resume sessions.
    config.resumption = Resumption::disabled();
    Ok((config, identity))
}

fn handshake_error(error: io::Error, endpoint: &Endpoint) -> ConnectError {
    let endpoint = Box::new(endpoint.clone());
    let refusal = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(refusal)) => refusal.clone(),
        _ => return ConnectError::TlsHandshake { endpoint, source: error },
    };
    let source = match refusal {
        CertificateError::UnknownIssuer => CertificateProblem::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => CertificateProblem::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => CertificateProblem::NotYetValid,
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = presented.iter().map(|name| clean_text(name)).collect();
            CertificateProblem::WrongHost { host: host_name(&endpoint).to_owned(), names }
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            CertificateProblem::WrongPurpose
        }
        CertificateError::BadSignature => CertificateProblem::BadSignature,
        CertificateError::Revoked => CertificateProblem::Revoked,
        CertificateError::UnknownRevocationStatus => CertificateProblem::NoRevocationList,
        CertificateError::ExpiredRevocationList => CertificateProblem::RevocationListExpired,
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            CertificateProblem::UnknownSignature
        }
        CertificateError::Other(other) if is_own_authority(&other) => CertificateProblem::OwnAuthority,
        other => CertificateProblem::Other(clean_text(&other.to_string())),
    };
    ConnectError::CertificateRefused { endpoint, source }
}

/// What `openssl req -x509` makes is one, and no server certificate below a root.
fn is_own_authority(error: &OtherError) -> bool {
    matches!(error.0.downcast_ref::<webpki::Error>(), Some(webpki::Error::CaUsedAsEndEntity))
}

fn protocol_versions(settings: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    match (settings.min_version, settings.max_version) {
        (TlsVersion::Tls13, _) => vec![&version::TLS13],
        (TlsVersion::Tls12, TlsVersion::Tls12) => vec![&version::TLS12],
        (TlsVersion::Tls12, TlsVersion::Tls13) => vec![&version::TLS13, &version::TLS12],
    }
}

fn host_name(endpoint: &Endpoint) -> &str {
    match &endpoint.host.address {
        HostAddress::Tcp { name, .. } => name,
        HostAddress::Socket(_) => "",
    }
}

/// What the handshake may tell about whom we want. The verifier goes by the name that was given, so that a name that
/// cannot be sent is no obstacle.
fn server_name(endpoint: &Endpoint) -> ServerName<'static> {
    let address = || endpoint.address.unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    ServerName::try_from(host_name(endpoint).to_owned()).unwrap_or_else(|_| ServerName::IpAddress(address().into()))
}

#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn fuzz_verifier(
    roots: Vec<rustls::pki_types::CertificateDer<'static>>,
    lists: Option<Vec<Vec<u8>>>,
    host: &str,
) -> impl rustls::client::danger::ServerCertVerifier {
    let roots = verifier::TrustedRoots { revocation_lists: lists, ..verifier::TrustedRoots::chosen(roots) };
    let verification = verifier::Verification::ChainAndHost(roots, host.to_owned());
    LibpqVerifier::new(verification, &Arc::new(ring::default_provider()))
}

#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn fuzz_certificate(der: &[u8]) {
    let _ =
        (binding::certificate_hash(der), der::content(der), der::SignedData::split(der), der::PublicKey::split(der));
}

#[cfg(test)]
mod tests;
