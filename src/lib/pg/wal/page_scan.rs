//! Whether valid pages follow a place where the WAL could not be read: what tells damage from the end of the log.

use super::page::{LONG_HEADER_BYTES, WalFormat};
use crate::pg::{Lsn, TimelineHistory};

/// Picks the page headers out of bytes that are fed like a reader's.
///
/// LIMIT: keeps one header.
#[derive(Debug, Clone)]
pub(super) struct PageHeaders {
    format: WalFormat,
    position: u64,
    header: [u8; LONG_HEADER_BYTES],
}

impl PageHeaders {
    /// The first byte is at `start`. Of a page that begins before, the missing bytes of the header are zeros.
    pub(super) fn new(format: WalFormat, start: Lsn) -> Self {
        Self { format, position: start.get(), header: [0; LONG_HEADER_BYTES] }
    }

    /// Takes the next bytes, and hands each header that ends in them to `each`, with its page's position.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&WalFormat, &[u8; LONG_HEADER_BYTES], Lsn)) {
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
                if let Some(page) = Lsn::new(page).filter(|_| in_page + taken.len() == header_bytes) {
                    each(&self.format, &self.header, page);
                    self.header = [0; LONG_HEADER_BYTES];
                }
            }
            let Some(position) = self.position.checked_add(taken.len() as u64) else { return };
            (self.position, bytes) = (position, rest);
        }
    }
}

/// Looks only at page headers, and counts those that belong where they are. Fed like a reader.
///
/// A recycled segment holds pages of older positions, a new one zeros: neither counts.
#[derive(Debug, Clone)]
pub struct WalPageScan {
    headers: PageHeaders,
    path: TimelineHistory,
    valid_pages: u64,
    last_valid: Option<Lsn>,
}

impl WalPageScan {
    /// A scan whose first byte is at `start`; pages before which begin there are not seen.
    pub fn new(format: WalFormat, path: TimelineHistory, start: Lsn) -> Self {
        Self { headers: PageHeaders::new(format, start), path, valid_pages: 0, last_valid: None }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self { headers, path, valid_pages, last_valid } = self;
        headers.feed(bytes, |format, header, page| {
            // A scan that began inside of a header has zeros before it, and finds the magic missing.
            if format.check_page(header, page, path).is_ok() {
                *valid_pages += 1;
                *last_valid = Some(page);
            }
        });
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
