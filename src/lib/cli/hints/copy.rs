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
                format!("If it is a left-over, make room: mv {path} {path}.old && mkdir -m 0700 {path}"),
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
