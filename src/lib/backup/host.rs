//! What decides, beside PostgreSQL itself, how text is sorted: the system and the libraries that the server has loaded,
//! as its process shows them on this host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::fs;
use crate::server::running_postmaster;

/// LIMIT: bytes of the list of what a process has loaded, and of `os-release`.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// LIMIT: bytes of the C library.
const LIBRARY_BYTES_MAX: u64 = 64 << 20;
/// What stands in the GNU C library before its version.
const LIBC_BANNER: &[u8] = b"GNU C Library ";
/// LIMIT: bytes of a version.
const VERSION_BYTES_MAX: usize = 200;

/// `os`, `libc` and `icu`, as far as they can be told, of the server that runs in this directory. In a container of its
/// own it has other files than this program.
pub(super) fn versions(data_directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let Ok(Some(pid)) = running_postmaster(data_directory) else { return found };
    let process = PathBuf::from(format!("/proc/{pid}"));
    let text =
        |path: &Path| fs::read_at_most(path, TEXT_BYTES_MAX).map(|text| String::from_utf8_lossy(&text).into_owned());
    // Of another account's server the root cannot be looked into, and then it is not this account's to read either.
    let root = process.join("root");
    let release = text(&root.join("etc/os-release")).or_else(|_| text(&root.join("usr/lib/os-release")));
    if let Some(name) = release.ok().as_deref().and_then(pretty_name) {
        found.insert("os".to_owned(), name);
    }
    let loaded = text(&process.join("maps")).unwrap_or_default();
    for path in loaded.lines().filter_map(|line| line.find('/').and_then(|at| line.get(at..))) {
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Some(version) = name.strip_prefix("libicui18n.so.") {
            found.insert("icu".to_owned(), version.to_owned());
        } else if name.starts_with("libc.so.") && !found.contains_key("libc") {
            let library = fs::read_at_most(&root.join(path.trim_start_matches('/')), LIBRARY_BYTES_MAX);
            if let Some(version) = library.ok().as_deref().and_then(libc_version) {
                found.insert("libc".to_owned(), version);
            }
        }
    }
    found
}

/// `PRETTY_NAME` of an `os-release`.
fn pretty_name(release: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned()).filter(|name| !name.is_empty())
}

/// What the GNU C library says of itself, as `(Debian GLIBC 2.36-9+deb12u13) stable release version 2.36`.
fn libc_version(library: &[u8]) -> Option<String> {
    let at = library.windows(LIBC_BANNER.len()).position(|bytes| bytes == LIBC_BANNER)?;
    let rest = library.get(at + LIBC_BANNER.len()..)?;
    let line = rest.split(|byte| matches!(byte, b'\n' | 0)).next()?;
    let text = std::str::from_utf8(line.get(..VERSION_BYTES_MAX.min(line.len()))?).ok()?;
    Some(text.trim_end_matches('.').to_owned()).filter(|text| text.contains("version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_what_system_and_library_say() {
        assert_eq!(
            pretty_name("ID=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n").unwrap(),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(pretty_name("PRETTY_NAME=\n"), None);
        let library = b"\x7fELF\0GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\nCopyright\0";
        assert_eq!(libc_version(library).unwrap(), "(Debian GLIBC 2.36-9) stable release version 2.36");
        assert_eq!(libc_version(b"GNU C Library "), None);
        assert_eq!(libc_version(b""), None);
    }
}
