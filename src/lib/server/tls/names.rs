//! Whether a certificate names the host that we meant, by libpq's rules
//! (`src/interfaces/libpq/fe-secure-common.c`, `fe-secure-openssl.c`).
//!
//! Alternative names count first: DNS names, addresses when the host is one. The common name counts only when no
//! alternative name of the wanted kind exists.

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// LIMIT: names that a message lists.
const MAX_SHOWN_NAMES: usize = 8;

/// Whether the certificate is made out to that host.
pub(super) fn certificate_names_host(certificate: &X509Certificate<'_>, host: &str) -> bool {
    let host = host.strip_suffix('.').filter(|stripped| !stripped.is_empty()).unwrap_or(host);
    let address = host.parse::<IpAddr>().ok();
    let Ok(names) = certificate.subject_alternative_name() else { return false };
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let mut wanted_kind_seen = false;
    for name in names {
        match (name, address) {
            (GeneralName::DNSName(pattern), _) => {
                wanted_kind_seen |= address.is_none();
                if matches(pattern, host) {
                    return true;
                }
            }
            (GeneralName::IPAddress(bytes), Some(address)) => {
                wanted_kind_seen = true;
                if address_bytes(address) == *bytes {
                    return true;
                }
            }
            // One that cannot be read stands in the way of the common name, as if it were of the wanted kind.
            (GeneralName::Invalid(..), _) => wanted_kind_seen = true,
            _ => {}
        }
    }
    !wanted_kind_seen && common_name(certificate).is_some_and(|name| matches(name, host))
}

/// The names that the certificate carries, for a message.
pub(super) fn presented_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = match certificate.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.as_slice(),
        _ => &[],
    };
    let names = alternatives.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => shown_address(bytes),
        _ => None,
    });
    let names: Vec<String> = names.take(MAX_SHOWN_NAMES).collect();
    if names.is_empty() { common_name(certificate).map(str::to_owned).into_iter().collect() } else { names }
}

fn shown_address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
}

fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok())
}

/// Equal without regard to case, or a wildcard for exactly the first label.
fn matches(pattern: &str, host: &str) -> bool {
    if pattern.contains('\0') {
        return false;
    }
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(rest), Some((label, domain))) => {
            !label.is_empty()
                && !rest.is_empty()
                && rest.eq_ignore_ascii_case(domain)
                && host.parse::<IpAddr>().is_err()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_follow_libpq() {
        for (pattern, host, expected) in [
            ("db.example.org", "db.example.org", true),
            ("DB.Example.Org", "db.example.org", true),
            ("*.example.org", "db.example.org", true),
            ("*.example.org", "a.db.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.example.org", ".example.org", false),
            ("d*.example.org", "db.example.org", false),
            ("*", "db", false),
            ("*.", "db.", false),
            ("*.0.0.1", "127.0.0.1", false),
            ("db", "db.example.org", false),
            ("db.example.org\0.evil.org", "db.example.org", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, host), expected, "{pattern:?} {host:?}");
        }
    }
}
