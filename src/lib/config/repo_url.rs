//! Where a repository is: a path or URL.

use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

/// Kinds of stores that are planned, by the scheme of their URLs.
const LATER_SCHEMES: [&str; 8] = ["s3", "gs", "gcs", "az", "azure", "abfs", "sftp", "ssh"];

/// Why a text names no place for a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RepoUrlError {
    /// A relative path: pgv-archive runs in the data directory, people do not.
    #[error("expected an absolute path or a file:// URL")]
    NotAbsolute,
    /// A store that is planned.
    #[error("not supported yet: repositories on \"{0}\"")]
    NotSupportedYet(String),
    /// A store that nobody knows.
    #[error("unknown kind of repository \"{0}\"")]
    UnknownScheme(String),
    /// `file://host/...`
    #[error("a file:// URL cannot name another host (\"{0}\"); write three slashes: file:///PATH")]
    Host(String),
    /// Not a URL after all.
    #[error("invalid percent sign in the URL")]
    Percent,
    /// `..` or the root of the file system.
    #[error("expected a directory of its own, without \"..\"")]
    Unsafe,
}

/// The local path that a repository's URL names.
pub(super) fn local_path(url: &str) -> Result<PathBuf, RepoUrlError> {
    let path = match url.split_once("://") {
        None => PathBuf::from(url),
        Some(("file", rest)) => match rest.split_once('/') {
            Some(("" | "localhost", _)) => from_percent(rest.trim_start_matches("localhost"))?,
            Some((host, _)) => return Err(RepoUrlError::Host(host.to_owned())),
            None => return Err(RepoUrlError::NotAbsolute),
        },
        Some((scheme, _)) if LATER_SCHEMES.contains(&scheme) => {
            return Err(RepoUrlError::NotSupportedYet(scheme.to_owned()));
        }
        Some((scheme, _)) => return Err(RepoUrlError::UnknownScheme(scheme.to_owned())),
    };
    if !path.is_absolute() {
        return Err(RepoUrlError::NotAbsolute);
    }
    normalised(&path).ok_or(RepoUrlError::Unsafe)
}

/// Without doubled and trailing slashes and single dots.
fn normalised(path: &Path) -> Option<PathBuf> {
    let climbs = path.components().any(|part| part == Component::ParentDir);
    let path: PathBuf = path.components().collect();
    (!climbs && path.parent().is_some()).then_some(path)
}

fn from_percent(text: &str) -> Result<PathBuf, RepoUrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        if byte == b'%' {
            let mut digit = || left.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or(RepoUrlError::Percent);
            let code = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(code).map_err(|_| RepoUrlError::Percent)?);
        } else {
            bytes.push(byte);
        }
    }
    if bytes.contains(&0) {
        return Err(RepoUrlError::Percent);
    }
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_file_urls_are_local() {
        for (url, path) in [
            ("/srv/pgv", "/srv/pgv"),
            ("/srv//pgv/./", "/srv/pgv"),
            ("file:///srv/pgv", "/srv/pgv"),
            ("file://localhost/srv/pgv", "/srv/pgv"),
            ("file:///srv/my%20backups%2525", "/srv/my backups%25"),
            ("/srv/100%", "/srv/100%"),
        ] {
            assert_eq!(local_path(url), Ok(PathBuf::from(path)), "{url}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for (url, error) in [
            ("", RepoUrlError::NotAbsolute),
            ("srv/pgv", RepoUrlError::NotAbsolute),
            ("./pgv", RepoUrlError::NotAbsolute),
            ("file://", RepoUrlError::NotAbsolute),
            ("s3://bucket/pgv", RepoUrlError::NotSupportedYet("s3".to_owned())),
            ("sftp://host/pgv", RepoUrlError::NotSupportedYet("sftp".to_owned())),
            ("ftp://host/pgv", RepoUrlError::UnknownScheme("ftp".to_owned())),
            ("file://host/pgv", RepoUrlError::Host("host".to_owned())),
            ("file:///srv/%zz", RepoUrlError::Percent),
            ("file:///srv/%", RepoUrlError::Percent),
            ("file:///srv/%00", RepoUrlError::Percent),
            ("/", RepoUrlError::Unsafe),
            ("/srv/../etc", RepoUrlError::Unsafe),
        ] {
            assert_eq!(local_path(url), Err(error), "{url}");
        }
    }
}
