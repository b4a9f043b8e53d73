//! Whether valid pages follow a place where the WAL could not be read: what tells damage from the end of the log.

use super::fault::WalFault;
use super::page::{LONG_HEADER_BYTES, WalFormat};
use crate::pg::{Lsn, TimelineHistory};

/// Looks only at page headers, and counts those that belong where they are. Fed like a reader.
///
/// A recycled segment holds pages of older positions, a new one zeros: neither counts. LIMIT: keeps one header.
#[derive(Debug, Clone)]
pub struct WalPageScan {
    format: WalFormat,
    path: TimelineHistory,
    position: u64,
    header: [u8; LONG_HEADER_BYTES],
    valid_pages: u64,
    last_valid: Option<Lsn>,
}

impl WalPageScan {
    /// A scan whose first byte is at `start`; pages before which begin there are not seen.
    pub fn new(format: WalFormat, path: TimelineHistory, start: Lsn) -> Self {
        let (position, header) = (start.get(), [0; LONG_HEADER_BYTES]);
        Self { format, path, position, header, valid_pages: 0, last_valid: None }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let page = self.position - self.position % self.format.block();
            let in_page = usize::try_from(self.position - page).unwrap_or(usize::MAX);
            let header_bytes = self.format.header_bytes(page);
            let wanted = if in_page < header_bytes {
                header_bytes - in_page
            } else {
                usize::try_from(self.format.block()).unwrap_or(usize::MAX) - in_page
            };
            let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
            if let Some(space) = self.header.get_mut(in_page..in_page + taken.len()).filter(|_| in_page < header_bytes)
            {
                space.copy_from_slice(taken);
                if in_page + taken.len() == header_bytes {
                    self.judge(page);
                }
            }
            let Some(position) = self.position.checked_add(taken.len() as u64) else { return };
            (self.position, bytes) = (position, rest);
        }
    }

    fn judge(&mut self, page: u64) {
        let Some(page) = Lsn::new(page) else { return };
        let checked: Result<_, WalFault> = self.format.check_page(&self.header, page, &self.path);
        // A scan that began inside of a header has zeros before it, and finds the magic missing.
        if checked.is_ok() {
            self.valid_pages += 1;
            self.last_valid = Some(page);
        }
        self.header = [0; LONG_HEADER_BYTES];
    }

    /// How many valid pages there were.
    pub const fn valid_pages(&self) -> u64 {
        self.valid_pages
    }

    /// Where the last valid one begins.
    pub const fn last_valid(&self) -> Option<Lsn> {
        self.last_valid
    }
}
