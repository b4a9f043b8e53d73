//! Configuration files and files of variables, for [`crate::fuzzing`].

use std::path::Path;

use super::account::Account;
use super::environment::Environment;
use super::load::Merged;
use super::resolve::resolve;
use super::{env_file, file, secret};
use crate::fuzz_check::{seen, split_choice, text};

/// pgv.toml, read and resolved; or a file of variables. The first byte chooses.
pub(crate) fn settings(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let Ok(content) = std::str::from_utf8(rest) else { return };
    if choice & 1 == 1 {
        match env_file::parse(content) {
            Ok(found) => {
                for assignment in found {
                    assert!(assignment.line >= 1 && !assignment.name.is_empty());
                    let _ = secret::variable_holds_password(&assignment.name, &assignment.value);
                }
            }
            Err(error) => text(&error.message),
        }
        return;
    }
    let content = match file::parse(Path::new("/etc/pgv/pgv.toml"), content) {
        Ok(content) => content,
        Err(error) => return seen(&error),
    };
    let url_in_file = content.values.get("repo.url").map(|value| value.text.clone());
    let merged = Merged {
        values: content.values,
        clusters: content.clusters,
        nodes: content.nodes,
        url_in_file,
        source: None,
        is_usual_file: false,
        env_file: None,
        new_files: Vec::new(),
        account: Account { uid: 0, name: None, home: None },
        variables: std::iter::empty::<(String, String)>().collect::<Environment>(),
        warnings: Vec::new(),
    };
    match resolve(merged) {
        Ok(configuration) => {
            configuration.warnings().iter().for_each(|warning| text(warning));
            if let Err(error) = configuration.cluster() {
                seen(&error);
            }
        }
        Err(error) => seen(&error),
    }
}
