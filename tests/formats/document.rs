//! Reads docs/repository-format.md: its code blocks and its tables.

use std::path::Path;

/// The document's text.
pub(crate) fn text() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/repository-format.md")).unwrap()
}

/// The code blocks that are marked with that information string, in order.
pub(crate) fn blocks(text: &str, information: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<Option<String>> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(found)) => open = Some((found == information).then(String::new)),
            (Some(_), Some("")) => blocks.extend(open.take().flatten()),
            (Some(Some(block)), _) => {
                block.push_str(line);
                block.push('\n');
            }
            _ => {}
        }
    }
    assert!(open.is_none(), "a code block is not closed");
    blocks
}

/// The part of the document from the heading that begins with `heading` to the next heading of `##`.
pub(crate) fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(&format!("\n## {heading}")).unwrap_or_else(|| panic!("no heading \"{heading}\"")) + 1;
    let rest = &text[start..];
    &rest[..rest[3..].find("\n## ").map_or(rest.len(), |end| end + 3)]
}

/// The rows of every table of a text, each a list of cells without blanks around them.
pub(crate) fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    text.lines().filter(|line| line.starts_with('|') && !line.starts_with("| ---")).map(cells).collect()
}
