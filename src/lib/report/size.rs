//! Sizes and spans as people read them.

use std::time::Duration;

use bytesize::ByteSize;

/// A number of bytes in the largest binary unit that leaves something before the point: `1.2 GiB`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// A span in its two largest units: `1 h 5 min`.
pub(crate) fn duration_text(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (length, name) in units {
        let count = left / length;
        left %= length;
        if count > 0 {
            parts.push(format!("{count} {name}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_unit() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (16 << 20, "16.0 MiB"), (1_288_490_189, "1.2 GiB")] {
            assert_eq!(bytes_text(bytes), text);
        }
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let cases = [(0, "0 s"), (59, "59 s"), (90, "1 min 30 s"), (3600, "1 h"), (3605, "1 h"), (90_061, "1 d 1 h")];
        for (seconds, text) in cases {
            assert_eq!(duration_text(Duration::from_secs(seconds)), text);
        }
    }
}
