//! What decides, beside PostgreSQL itself, how text is sorted: the system and the libraries that a server has loaded, as
//! the files of its host show them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};

use super::postmaster::running_postmaster;
use crate::fs;

/// LIMIT: bytes of the list of what a process has loaded, of `os-release`, and of the C library.
pub const HOST_FILE_BYTES_MAX: u32 = 16 << 20;
/// What the process has loaded that reads it.
const LOADED: &str = "/proc/self/maps";
/// Where the system's name is, in the order of os-release(5).
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// Where the C library is that programs of this host load: of Debian, others, and Alpine.
const LIBC_PLACES: &str = "/lib/x86_64-linux-gnu/libc.so.6\n/lib/aarch64-linux-gnu/libc.so.6\n/lib64/libc.so.6\n\
                           /usr/lib/libc.so.6\n/lib/ld-musl-x86_64.so.1\n/lib/ld-musl-aarch64.so.1";
/// How musl's library is named here: it tells no version by itself, and sorts all text in the same way.
const MUSL: &str = "musl";
/// What stands in the GNU C library before its version.
const LIBC_BANNER: &[u8] = b"GNU C Library ";
/// LIMIT: bytes of a version.
const VERSION_BYTES_MAX: usize = 200;

/// Yields a file as a process of the server sees it.
type ReadFile<'a, E> = dyn FnMut(&str) -> Result<Option<Vec<u8>>, E> + 'a;

/// `os`, `libc` and `icu`, as far as they can be told. `read` yields what a process of the server reads at a path.
pub fn library_versions<E>(read: &mut ReadFile<'_, E>) -> Result<BTreeMap<String, String>, E> {
    let mut found = BTreeMap::new();
    for path in OS_RELEASE {
        let release = read(path)?.unwrap_or_default();
        if let Some(name) = pretty_name(&String::from_utf8_lossy(&release)) {
            found.insert("os".to_owned(), name);
            break;
        }
    }
    let loaded = String::from_utf8_lossy(&read(LOADED)?.unwrap_or_default()).into_owned();
    // One that was replaced under the running server is not there to read. Each is mapped several times.
    let mut seen = BTreeSet::new();
    let paths = loaded.lines().filter_map(|line| line.get(line.find('/')?..));
    for path in paths.filter(|path| !path.ends_with(" (deleted)") && seen.insert(*path)) {
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Some(version) = name.strip_prefix("libicui18n.so.") {
            found.insert("icu".to_owned(), version.to_owned());
        } else if name.starts_with("libc.so.")
            && !found.contains_key("libc")
            && let Some(version) = read(path)?.as_deref().and_then(libc_version)
        {
            found.insert("libc".to_owned(), version);
        } else if name.starts_with("ld-musl-") && !found.contains_key("libc") && read(path)?.is_some() {
            found.insert("libc".to_owned(), MUSL.to_owned());
        }
    }
    Ok(found)
}

/// The same, of the server that runs in this directory. In a container of its own it has other files than this program.
pub fn local_library_versions(data_directory: &Path) -> BTreeMap<String, String> {
    let Ok(Some(pid)) = running_postmaster(data_directory) else { return BTreeMap::new() };
    let process = PathBuf::from(format!("/proc/{pid}"));
    // Of another account's server the root cannot be looked into, and then it is not this account's to read either.
    let root = process.join("root");
    let mut read = |path: &str| {
        let path = if path == LOADED { process.join("maps") } else { root.join(path.trim_start_matches('/')) };
        Ok::<_, Infallible>(fs::read_at_most(&path, u64::from(HOST_FILE_BYTES_MAX)).ok())
    };
    let Ok(found) = library_versions(&mut read);
    found
}

/// `os` and `libc` of this host, as far as they can be told: what a server has that is started here.
pub fn host_library_versions() -> BTreeMap<String, String> {
    let mut read = |path: &str| match path {
        LOADED => Ok::<_, Infallible>(Some(LIBC_PLACES.into())),
        path => Ok(fs::read_at_most(Path::new(path), u64::from(HOST_FILE_BYTES_MAX)).ok()),
    };
    let Ok(found) = library_versions(&mut read);
    found
}

/// The C library by what a server tells everybody: `version()`, and the version of a collation of its C library.
pub fn told_libc(version: &str, collation: Option<&str>) -> Option<String> {
    // PostgreSQL takes the version of the GNU C library for that of its collations (`backend/utils/adt/pg_locale.c`).
    let gnu = collation.filter(|_| version.contains("-linux-gnu")).map(str::to_owned);
    gnu.or_else(|| version.contains("-linux-musl").then(|| MUSL.to_owned()))
}

/// The release of a C library, as `2.36`, in any of the words that a backup records.
pub fn libc_release(libc: &str) -> Option<&str> {
    let last = libc.split_whitespace().next_back()?;
    let is_number = last.contains('.') && last.split('.').all(|part| part.parse::<u32>().is_ok());
    (is_number || last == MUSL).then_some(last)
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

    const LIBRARY: &[u8] = b"\x7fELF\0GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\nCopyright\0";

    #[test]
    fn versions_are_what_system_and_library_say() {
        assert_eq!(
            pretty_name("ID=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n").unwrap(),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(pretty_name("PRETTY_NAME=\n"), None);
        assert_eq!(libc_version(LIBRARY).unwrap(), "(Debian GLIBC 2.36-9) stable release version 2.36");
        assert_eq!(libc_version(b"GNU C Library "), None);
        assert_eq!(libc_version(b""), None);
    }

    /// What is found where the process of a server sees these files.
    fn found(files: &[(&str, &[u8])]) -> Vec<(String, String)> {
        let mut read = |path: &str| {
            let file = files.iter().find(|(name, _)| *name == path);
            Ok::<_, Infallible>(file.map(|(_, bytes)| bytes.to_vec()))
        };
        let Ok(found) = library_versions(&mut read);
        found.into_iter().collect()
    }

    #[test]
    fn versions_are_those_of_the_files_that_the_process_has_loaded() {
        let named = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let maps = b"7f00-7f01 r-xp 0 08:01 1 /usr/lib/libicui18n.so.72.1\n7f02-7f03 rw-p 0 00:00 0 [heap]\n\
                     7f03-7f04 r-xp 0 08:01 3 /usr/lib/libicui18n.so.71.1 (deleted)\n\
                     7f04-7f05 r-xp 0 08:01 2 /usr/lib/libc.so.6\n";
        let all: [(&str, &[u8]); 3] =
            [("/usr/lib/os-release", b"PRETTY_NAME=Some\n"), (LOADED, maps), ("/usr/lib/libc.so.6", LIBRARY)];
        let libc = "(Debian GLIBC 2.36-9) stable release version 2.36";
        assert_eq!(found(&all), [named("icu", "72.1"), named("libc", libc), named("os", "Some")]);
        assert_eq!(found(&all[1..2]), [named("icu", "72.1")]);
        let musl: [(&str, &[u8]); 2] = [
            (LOADED, b"7f00-7f01 r-xp 0 08:01 1 /lib/ld-musl-x86_64.so.1\n"),
            ("/lib/ld-musl-x86_64.so.1", b"\x7fELF"),
        ];
        assert_eq!(found(&musl), [named("libc", "musl")]);
        assert_eq!(found(&[]), []);
    }

    #[test]
    fn a_server_tells_everybody_which_c_library_it_has() {
        let debian = "PostgreSQL 15.20 (Debian 15.20-0+deb12u1) on x86_64-pc-linux-gnu, compiled by gcc, 64-bit";
        assert_eq!(told_libc(debian, Some("2.36")).unwrap(), "2.36");
        assert_eq!(told_libc(debian, None), None);
        let alpine = "PostgreSQL 16.1 on x86_64-pc-linux-musl, compiled by gcc (Alpine 13.2.1), 64-bit";
        assert_eq!(told_libc(alpine, None).unwrap(), "musl");
        // The version of collations is that of something else there.
        assert_eq!(told_libc("PostgreSQL 16.1 on x86_64-portbld-freebsd14.0, compiled by clang", Some("34.0")), None);
    }

    #[test]
    fn the_release_is_the_last_word() {
        for libc in ["(Debian GLIBC 2.36-9+deb12u13) stable release version 2.36", "2.36"] {
            assert_eq!(libc_release(libc), Some("2.36"));
        }
        assert_eq!(libc_release("musl"), Some("musl"));
        for libc in ["", "unknown", "version 2", "2.x"] {
            assert_eq!(libc_release(libc), None, "{libc}");
        }
    }

    /// The tests run programs of this host.
    #[test]
    fn this_host_has_a_c_library() {
        let versions = host_library_versions();
        assert!(versions.get("libc").is_some_and(|libc| libc_release(libc).is_some()), "{versions:?}");
        assert!(versions.contains_key("os"), "{versions:?}");
    }
}
