//! What the `tar` crate sees in an archive, for tests and fuzzing: our reader must see the same.

use std::io::Read as _;

/// What a reader of archives sees: name, type, size, mode, link, and a sum over the data.
pub(crate) type SeenInTar = Vec<(Vec<u8>, u8, u64, u32, Option<Vec<u8>>, u32)>;

/// As the `tar` crate sees it, in the form of [`same_form`].
pub(crate) fn seen_by_tar_crate(archive: &[u8]) -> std::io::Result<SeenInTar> {
    let mut seen = Vec::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let name = entry.path_bytes().into_owned();
        let link = entry.link_name_bytes().map(|link| link.into_owned());
        let (kind, mode, size) = (entry.header().entry_type().as_byte(), entry.header().mode()?, entry.size());
        let mut sum = 0;
        let mut buffer = [0; 4096];
        loop {
            match entry.read(&mut buffer)? {
                0 => break,
                count => sum = crc32c::crc32c_append(sum, &buffer[..count]),
            }
        }
        seen.push((name, kind, size, mode, link, sum));
    }
    Ok(same_form(seen))
}

/// Names without the slash and the "./" of directories; '\0' and '0' are the same type.
pub(crate) fn same_form(mut seen: SeenInTar) -> SeenInTar {
    for entry in &mut seen {
        if entry.1 != b'0' && entry.1 != 0 && entry.0.ends_with(b"/") {
            entry.0.pop();
        }
        if entry.1 == b'5' && entry.0.starts_with(b"./") {
            entry.0.drain(..2);
        }
        if entry.1 == 0 {
            entry.1 = b'0';
        }
    }
    seen
}
