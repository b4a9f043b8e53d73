//! One door to every decoder, for `fuzz/` and for the tests that run its corpus: each target takes arbitrary bytes.
//!
//! A target returns when the bytes were refused by an error or read. It fails by a panic: the decoder's own, one about
//! what it made of the bytes (what is read must print and read back the same; what one reader of tar archives accepts,
//! another must see the same), one about a message of unbounded length, or one about memory.
//! `fuzz/README.md` lists the targets.

mod codec;
mod counting;
mod pg;
mod repository;
#[cfg(test)]
mod tests;

pub use counting::CountingAllocator;

/// A decoder, or a family of them, under the name of its fuzz target.
pub struct Target {
    /// The name.
    pub name: &'static str,
    run: fn(&[u8]),
    /// How much memory it may hold at once, whatever comes.
    constant_bytes: usize,
    /// How much more for each byte of input.
    factor: usize,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

const fn target(name: &'static str, run: fn(&[u8]), constant_bytes: usize, factor: usize) -> Target {
    Target { name, run, constant_bytes, factor }
}

/// All of them. The limits of memory are explained in `fuzz/README.md`.
pub const TARGETS: &[Target] = &[
    target("tar", pg::tar, 64 * KIB, 16),
    target("manifest", pg::manifest, 64 * KIB, 32),
    target("backup_files", pg::backup_files, 64 * KIB, 64),
    target("config_text", pg::config_text, 64 * KIB, 64),
    target("names", pg::names, 4 * MIB, 64),
    target("control_file", pg::control_file, 64 * KIB, 16),
    target("wal", crate::pg::fuzz_wal, 2 * MIB, 64),
    target("envelope", codec::envelope, 10 * MIB, 16),
    target("objects", repository::objects, 16 * MIB, 64),
    target("documents", repository::documents, 64 * KIB, 64),
    target("messages", crate::server::fuzz_messages, 4 * MIB, 64),
    target("base_backup", crate::server::fuzz_base_backup, 4 * MIB, 64),
    target("conninfo", crate::server::fuzz_conninfo, 64 * KIB, 64),
    target("certificates", crate::server::fuzz_certificates, 256 * KIB, 64),
    target("settings", crate::config::fuzz_settings, 256 * KIB, 1280),
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// Feeds these bytes to it. Memory is checked where [`CountingAllocator`] is the allocator.
    pub fn check(&self, data: &[u8]) {
        let held = counting::peak_of(|| (self.run)(data));
        let limit = self.constant_bytes.saturating_add(self.factor.saturating_mul(data.len()));
        assert!(
            held <= limit,
            "{}: {} bytes of input took {held} bytes of memory, over {limit}",
            self.name,
            data.len()
        );
    }
}
