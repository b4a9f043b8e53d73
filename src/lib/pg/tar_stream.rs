//! Reads the tar archives of `BASE_BACKUP` as they arrive (`src/backend/backup/basebackup.c`).
//!
//! INVARIANT: every byte of the archive is accounted for: it is a checked header, a file's data handed to the sink
//! exactly once, zero padding, or the end mark. Holds one block, whatever the size of the archive.

use super::tar_header::{BLOCK_BYTES, TarEntry, TarEntryKind, TarProblem, decode_header, is_zero};
use crate::error::{Classified, ErrorClass};

/// An archive that PostgreSQL would not have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed tar archive at byte {offset}")]
pub struct TarError {
    /// Where: the first byte of the block, or of the data, that is wrong.
    pub offset: u64,
    /// What is wrong there.
    #[source]
    pub problem: TarProblem,
}

impl Classified for TarError {
    fn class(&self) -> ErrorClass {
        match self.problem {
            TarProblem::FailedBefore => ErrorClass::Internal,
            _ => ErrorClass::InvalidInput,
        }
    }
}

/// Where the entries of an archive go.
///
/// For each entry `begin`, then for a file `data` until its size is reached, then `end`. That no name comes twice,
/// and which entries are allowed in which archive, is the sink's to check.
pub trait TarSink {
    /// What a sink may fail with; it takes the reader's own errors in, so that there is one error to handle.
    type Error: From<TarError>;

    /// A new entry.
    fn begin(&mut self, entry: TarEntry) -> Result<(), Self::Error>;

    /// The next bytes of the file that has begun; never empty.
    fn data(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// The entry is complete.
    fn end(&mut self) -> Result<(), Self::Error>;
}

/// How an archive ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarEnding {
    /// With two zero blocks. COMPAT: every archive of a server of version 15 or later.
    Marked,
    /// After an entry, without a mark. COMPAT: every archive of a server of version 14 or earlier, whose clients add
    /// the mark themselves. From a later server it means that the archive is cut short.
    Unmarked,
}

/// An incremental reader of one archive.
#[derive(Debug)]
pub struct TarReader {
    state: State,
    /// Bytes taken so far.
    offset: u64,
    /// The header that is being collected, and how much of it is there.
    block: [u8; BLOCK_BYTES],
    filled: usize,
    /// The block before this one was the first zero block.
    after_zero_block: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Data { left: u64, padding: usize },
    Padding { left: usize },
    Ended,
    Failed,
}

impl Default for TarReader {
    fn default() -> Self {
        Self::new()
    }
}

impl TarReader {
    /// A reader at the beginning of an archive.
    pub fn new() -> Self {
        Self { state: State::Header, offset: 0, block: [0; BLOCK_BYTES], filled: 0, after_zero_block: false }
    }

    /// How many bytes of the archive have been taken.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next bytes of the archive, in pieces of any size.
    ///
    /// After an error, of the archive or of the sink, the reader refuses to go on.
    pub fn push<S: TarSink + ?Sized>(&mut self, input: &[u8], sink: &mut S) -> Result<(), S::Error> {
        let result = self.push_all(input, sink);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    /// Says how the archive ended, once all of it was pushed.
    pub fn finish(self) -> Result<TarEnding, TarError> {
        match self.state {
            State::Ended => Ok(TarEnding::Marked),
            State::Header if self.filled == 0 && !self.after_zero_block => Ok(TarEnding::Unmarked),
            State::Failed => Err(self.error(TarProblem::FailedBefore)),
            _ => Err(self.error(TarProblem::Truncated)),
        }
    }

    fn push_all<S: TarSink + ?Sized>(&mut self, mut input: &[u8], sink: &mut S) -> Result<(), S::Error> {
        while !input.is_empty() {
            let used = match self.state {
                State::Header => self.take_header(input, sink)?,
                State::Data { left, padding } => self.take_data(input, left, padding, sink)?,
                State::Padding { left } => self.take_padding(input, left)?,
                State::Ended => return Err(self.error(TarProblem::AfterEnd).into()),
                State::Failed => return Err(self.error(TarProblem::FailedBefore).into()),
            };
            self.offset = self.offset.saturating_add(u64::try_from(used).unwrap_or(u64::MAX));
            input = input.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    fn take_header<S: TarSink + ?Sized>(&mut self, input: &[u8], sink: &mut S) -> Result<usize, S::Error> {
        let room = self.block.get_mut(self.filled..).unwrap_or_default();
        let used = room.len().min(input.len());
        for (to, from) in room.iter_mut().zip(input) {
            *to = *from;
        }
        self.filled = self.filled.saturating_add(used);
        if self.filled == BLOCK_BYTES {
            self.filled = 0;
            self.handle_block(used, sink)?;
        }
        Ok(used)
    }

    fn handle_block<S: TarSink + ?Sized>(&mut self, used: usize, sink: &mut S) -> Result<(), S::Error> {
        // Errors name the block's first byte, part of which may have come with earlier calls.
        let before = u64::try_from(BLOCK_BYTES.saturating_sub(used)).unwrap_or(0);
        let block_error = |problem| TarError { offset: self.offset.saturating_sub(before), problem };
        if is_zero(&self.block) {
            self.state = if self.after_zero_block { State::Ended } else { State::Header };
            self.after_zero_block = true;
            return Ok(());
        }
        if self.after_zero_block {
            return Err(block_error(TarProblem::LoneZeroBlock).into());
        }
        let entry = decode_header(&self.block).map_err(block_error)?;
        let size_bytes = match entry.kind {
            TarEntryKind::File { size_bytes } => size_bytes,
            TarEntryKind::Directory | TarEntryKind::TablespaceLink { .. } => 0,
        };
        sink.begin(entry)?;
        if size_bytes == 0 {
            return sink.end();
        }
        self.state = State::Data { left: size_bytes, padding: padding_of(size_bytes) };
        Ok(())
    }

    fn take_data<S: TarSink + ?Sized>(
        &mut self,
        input: &[u8],
        left: u64,
        padding: usize,
        sink: &mut S,
    ) -> Result<usize, S::Error> {
        let used = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        sink.data(input.get(..used).unwrap_or_default())?;
        let left = left.saturating_sub(u64::try_from(used).unwrap_or(u64::MAX));
        if left > 0 {
            self.state = State::Data { left, padding };
        } else {
            sink.end()?;
            self.state = if padding > 0 { State::Padding { left: padding } } else { State::Header };
        }
        Ok(used)
    }

    fn take_padding(&mut self, input: &[u8], left: usize) -> Result<usize, TarError> {
        let used = left.min(input.len());
        if let Some(at) = input.iter().take(used).position(|&byte| byte != 0) {
            let offset = self.offset.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
            return Err(TarError { offset, problem: TarProblem::Padding });
        }
        self.state = if left > used { State::Padding { left: left.saturating_sub(used) } } else { State::Header };
        Ok(used)
    }

    fn error(&self, problem: TarProblem) -> TarError {
        TarError { offset: self.offset, problem }
    }
}

/// How many bytes are missing from `size_bytes` to a multiple of a block.
fn padding_of(size_bytes: u64) -> usize {
    const BLOCK: u64 = 512;
    usize::try_from(size_bytes.next_multiple_of(BLOCK) - size_bytes).unwrap_or(0)
}

#[cfg(test)]
#[path = "tar_stream_tests.rs"]
mod tests;
