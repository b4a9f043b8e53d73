//! Plain tables: columns of text that are only as wide as they must be.

use comfy_table::{ContentArrangement, Table, presets};

/// A table with a header, indented by two, without lines, no row ending in blanks.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    table.add_rows(rows);
    let lines = table.lines().map(|line| format!(" {}\n", line.trim_end()));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_rows_end_without_blanks() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(table(&["x", "y"], rows), "  x       y\n  a       b\n  longer\n");
    }
}
