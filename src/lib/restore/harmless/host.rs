//! Whether this machine has the memory that the settings of a copy ask for.

use std::path::Path;

use crate::fs;
use crate::pg::{ConfigEntry, config_value};

/// What tells the memory of a machine.
const MEMORY_FILE: &str = "/proc/meminfo";
/// LIMIT: bytes of it.
const MEMORY_FILE_BYTES_MAX: u64 = 64 << 10;
/// `shared_buffers` of a server that is not told.
const DEFAULT_BUFFERS_BYTES: u64 = 128 << 20;
/// A number without a unit counts pages.
const PAGE_BYTES: u64 = 8192;
/// The usual share of the memory.
const USUAL_SHARE: u64 = 4;

/// The memory of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HostMemory {
    bytes: u64,
    free_huge_bytes: u64,
}

/// What a server with these settings could not have here, and the lines that help. `file` gets them.
pub(super) fn lacking_memory(entries: &[ConfigEntry], file: &Path) -> Vec<String> {
    let text = fs::read_at_most(Path::new(MEMORY_FILE), MEMORY_FILE_BYTES_MAX).unwrap_or_default();
    match HostMemory::parse(&String::from_utf8_lossy(&text)) {
        Some(memory) => memory.lacking(entries, file),
        None => Vec::new(),
    }
}

impl HostMemory {
    fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_ascii_whitespace().next()?.parse().ok()
        };
        let kibibytes = |name| number(name)?.checked_mul(1024);
        let free_huge_bytes = number("HugePages_Free").zip(kibibytes("Hugepagesize"));
        let free_huge_bytes = free_huge_bytes.map_or(0, |(count, bytes)| count.saturating_mul(bytes));
        Some(Self { bytes: kibibytes("MemTotal")?, free_huge_bytes })
    }

    fn lacking(self, entries: &[ConfigEntry], file: &Path) -> Vec<String> {
        let value = |name| config_value(entries, name).and_then(|value| std::str::from_utf8(value).ok());
        let Some(buffers) = value("shared_buffers").map_or(Some(DEFAULT_BUFFERS_BYTES), memory_bytes) else {
            return Vec::new();
        };
        let (asked, file) = (buffers >> 20, file.display());
        let mut lacking = Vec::new();
        if buffers > self.bytes {
            lacking.push(format!(
                "shared_buffers = {asked} MB is more than the memory of this machine ({} MB), so the server may not start; \
                 at the end of \"{file}\" write: shared_buffers = '{}MB'",
                self.bytes >> 20,
                (self.bytes / USUAL_SHARE) >> 20
            ));
        }
        if value("huge_pages").is_some_and(|value| value.eq_ignore_ascii_case("on")) && buffers > self.free_huge_bytes {
            lacking.push(format!(
                "huge_pages = on needs more than {asked} MB of huge pages, and {} MB are free on this machine, so the server \
                 does not start; at the end of \"{file}\" write: huge_pages = 'try'",
                self.free_huge_bytes >> 20
            ));
        }
        lacking
    }
}

/// A whole number with or without a unit; what else the server takes is not judged.
fn memory_bytes(value: &str) -> Option<u64> {
    let value = value.trim_ascii();
    let digits = value.find(|character: char| !character.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at_checked(digits)?;
    let unit = match unit.trim_ascii() {
        "" => PAGE_BYTES,
        "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::parse_config;

    const TEXT: &str = "MemTotal:       8388608 kB\nMemFree:  1 kB\nHugePages_Total:     200\nHugePages_Free:      100\n\
                        Hugepagesize:       2048 kB\n";

    fn lacking(text: &str) -> Vec<String> {
        let memory = HostMemory::parse(TEXT).unwrap();
        memory.lacking(&parse_config(text.as_bytes()).unwrap(), Path::new("/data/postgresql.auto.conf"))
    }

    #[test]
    fn what_does_not_fit_gets_the_line_that_helps() {
        for text in ["", "shared_buffers = 8GB\n", "huge_pages = try\nshared_buffers = 1000\n", "huge_pages = on\n"] {
            assert_eq!(lacking(text), [""; 0], "{text}");
        }
        let [told] = lacking("shared_buffers = '9GB'\n").try_into().unwrap();
        assert!(told.contains("9216 MB") && told.ends_with("shared_buffers = '2048MB'"), "{told}");
        let [told] = lacking("shared_buffers = 201MB\nhuge_pages = ON\n").try_into().unwrap();
        assert!(told.contains("200 MB are free") && told.ends_with("huge_pages = 'try'"), "{told}");
    }

    #[test]
    fn memory_is_read_as_the_server_reads_it() {
        for (text, bytes) in [
            ("16384", Some(128 << 20)),
            ("128MB", Some(128 << 20)),
            (" 1 GB ", Some(1 << 30)),
            ("1TB", Some(1 << 40)),
            ("8192B", Some(8192)),
            ("1.5GB", None),
            ("1gb", None),
            ("", None),
            ("99999999999999TB", None),
        ] {
            assert_eq!(memory_bytes(text), bytes, "{text}");
        }
        assert_eq!(HostMemory::parse("MemTotal: 4 kB\n"), Some(HostMemory { bytes: 4096, free_huge_bytes: 0 }));
        assert_eq!(HostMemory::parse(""), None);
    }
}
