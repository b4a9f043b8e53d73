//! Whether text is sorted here as it was on the server of the backup: C libraries of other releases sort otherwise.

use std::collections::BTreeMap;

use crate::repository::ServerDescription;
use crate::server::libc_release;

/// What a person should know when the C library of the backup's server has another release than that of this host. Of ICU
/// PostgreSQL says it by itself.
pub(super) fn warning(server: &ServerDescription, here: &BTreeMap<String, String>) -> Option<String> {
    let (there, here) = (described(&server.libraries)?, described(here)?);
    (there.0 != here.0).then(|| {
        format!(
            "the backup's server had the C library {}, and here it is {}: text may be sorted otherwise here, and then \
             searches by an index on text miss rows, but for the locale C; once the copy is open, look with \
             \"pg_amcheck --all --install-missing\" (14 and later) or bt_index_check of the extension amcheck, and \
             REINDEX what it names",
            there.1, here.1
        )
    })
}

/// The release of the C library, and the words for it.
fn described(libraries: &BTreeMap<String, String>) -> Option<(&str, String)> {
    let release = libc_release(libraries.get("libc")?)?;
    let system = libraries.get("os").map(|os| format!(" ({os})")).unwrap_or_default();
    Some((release, format!("{release}{system}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libraries(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
    }

    #[test]
    fn other_releases_of_the_c_library_are_told_and_nothing_else() {
        let here = libraries(&[("os", "Debian 13"), ("libc", "(Debian GLIBC 2.41-12) stable release version 2.41")]);
        let told = |there: &[(&str, &str)]| {
            let server = ServerDescription { libraries: libraries(there), ..ServerDescription::default() };
            warning(&server, &here)
        };
        let text = told(&[("os", "Debian 12"), ("libc", "2.36")]).unwrap();
        assert!(text.contains("the C library 2.36 (Debian 12), and here it is 2.41 (Debian 13)"), "{text}");
        let text = told(&[("libc", "musl")]).unwrap();
        assert!(text.contains("the C library musl, and"), "{text}");
        // The same release of another builder, nothing known, something else.
        for there in [&[("os", "Fedora 42"), ("libc", "2.41")][..], &[], &[("os", "Debian 12")], &[("libc", "?")]] {
            assert_eq!(told(there), None, "{there:?}");
        }
        let server = ServerDescription { libraries: libraries(&[("libc", "2.36")]), ..ServerDescription::default() };
        assert_eq!(warning(&server, &BTreeMap::new()), None);
    }
}
