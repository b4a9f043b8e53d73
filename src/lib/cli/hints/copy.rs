//! Hints about copies that could harm their original, or could not be recovered.

use crate::cli::typed::shown;
use crate::pg::shell_quote;
use crate::restore::CopyError;

pub(super) fn hint(error: &CopyError) -> Vec<String> {
    match error {
        CopyError::TablespacePath { path, lsn, .. } => {
            let path = shell_quote(&shown(path));
            vec![
                "Recovery uses the very directory that CREATE TABLESPACE was given. If a server of this cluster uses it, \
                 recovery overwrites that server's files: restore on another machine."
                    .to_owned(),
                format!("To stop before it: --target-lsn {lsn} --target-exclusive"),
                format!("If it is a left-over, make room: mv -T {path} {path}.old && mkdir -m 0700 {path}"),
                format!("To let recovery write into it as it is: --allow-tablespace-path {path}"),
            ]
        }
        CopyError::NeedsLibrary { .. } => vec![
            "--trust-config lets the copy load the libraries of its original, and do all else that its configuration says; \
             they must be installed here."
                .to_owned(),
        ],
        CopyError::MinimalWal { lsn } => vec![
            format!("Everything before it can be recovered: --target-lsn {lsn} --target-exclusive"),
            "From a backup that was taken after it, what is later can; \"pgv info\" lists them.".to_owned(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_out_can_be_pasted() {
        let lsn = "0/500".parse().unwrap();
        let error = CopyError::TablespacePath { oid: 1, path: "/it's/full".into(), lsn, problem: "is not empty" };
        let hints = hint(&error).join("\n");
        for words in [
            "--target-lsn 0/500 --target-exclusive",
            r"mv -T '/it'\''s/full' '/it'\''s/full'.old && mkdir -m 0700 '/it'\''s/full'",
            r"--allow-tablespace-path '/it'\''s/full'",
        ] {
            assert!(hints.contains(words), "{words}\n{hints}");
        }
        let library = CopyError::NeedsLibrary { manager: 128, libraries: "a".to_owned() };
        assert!(hint(&library).join("\n").starts_with("--trust-config lets the copy load"));
        assert!(hint(&CopyError::MinimalWal { lsn }).join("\n").contains("--target-lsn 0/500 --target-exclusive"));
    }
}
