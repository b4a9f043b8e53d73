//! Links between the documents lead to files and headings that are there.

use std::path::{Path, PathBuf};

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let markdown = in_docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    [root.join("README.md"), root.join("CHANGELOG.md")].into_iter().chain(markdown).collect()
}

/// The targets of `[text](target)` outside code blocks.
fn targets(text: &str) -> Vec<&str> {
    let outside_code = text.split("```").step_by(2);
    outside_code.flat_map(|part| part.split("](").skip(1)).filter_map(|rest| Some(rest.split_once(')')?.0)).collect()
}

/// The anchor that is made of a heading: lower case, blanks as hyphens, other punctuation left out.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut checked = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in targets(&text).into_iter().filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let path = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            assert!(path.exists(), "{document:?} links to \"{target}\"");
            if let Some(anchor) = anchor {
                let found = anchors(&std::fs::read_to_string(&path).unwrap());
                assert!(found.iter().any(|known| known == anchor), "{document:?} links to \"{target}\", {found:?}");
            }
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} links were found");
}
