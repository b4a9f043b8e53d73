//! The offsets of `ControlFileData` (`src/include/catalog/pg_control.h`) and the checks of each field.
//!
//! COMPAT: every field read here has the same offset in 13 to 18.

use std::num::NonZeroU32;

use jiff::Timestamp;

use super::{
    ControlCheckpoint, ControlFile, ControlFileError, ControlSettings, DatabaseState, FLOAT_FORMAT, MAX_ALIGN,
    RecoveryPoint, WalLevel,
};
use crate::pg::little_endian::{f64_at, i64_at, u8_at, u32_at, u64_at};
use crate::pg::lsn::Lsn;
use crate::pg::system_identifier::SystemIdentifier;
use crate::pg::timeline::TimelineId;
use crate::pg::version::PgMajorVersion;
use crate::pg::wal_segment::WalSegmentSize;

/// The bytes of a control file, read at the offsets of `ControlFileData`.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn control_file(&self, major: PgMajorVersion) -> Result<ControlFile, ControlFileError> {
        let state = self.u32(16)?;
        let wal_segment_bytes = self.u32(228)?;
        Ok(ControlFile {
            major,
            system_identifier: SystemIdentifier::new(self.u64(0)?)
                .ok_or_else(|| invalid("system_identifier", 0, "a number other than 0"))?,
            control_version: self.u32(8)?,
            catalog_version: self.u32(12)?,
            state: DatabaseState::from_number(state).ok_or_else(|| invalid("state", state, "0 to 6"))?,
            modified: self.time(24, "time")?,
            checkpoint: self.checkpoint()?,
            min_recovery_point: match self.optional_lsn(136)? {
                Some(lsn) => Some(RecoveryPoint { lsn, timeline: self.timeline(144, "minRecoveryPointTLI")? }),
                None => None,
            },
            backup_start_lsn: self.optional_lsn(152)?,
            backup_end_lsn: self.optional_lsn(160)?,
            backup_end_required: self.flag(168, "backupEndRequired")?,
            settings: self.settings()?,
            block_bytes: self.block_bytes(216, "blcksz", 32 << 10, "a power of two from 1024 to 32768")?,
            relation_segment_blocks: match self.u32(220)? {
                0 => return Err(invalid("relseg_size", 0, "1 or more")),
                blocks => blocks,
            },
            wal_block_bytes: self.block_bytes(224, "xlog_blcksz", 64 << 10, "a power of two from 1024 to 65536")?,
            wal_segment_size: WalSegmentSize::new(wal_segment_bytes.into()).map_err(ControlFileError::SegmentSize)?,
            data_checksum_version: NonZeroU32::new(self.u32(252)?),
        })
    }

    fn checkpoint(&self) -> Result<ControlCheckpoint, ControlFileError> {
        Ok(ControlCheckpoint {
            lsn: self.lsn(32, "checkPoint")?,
            redo_lsn: self.lsn(40, "checkPointCopy.redo")?,
            timeline: self.timeline(48, "checkPointCopy.ThisTimeLineID")?,
            previous_timeline: self.timeline(52, "checkPointCopy.PrevTimeLineID")?,
            full_page_writes: self.flag(56, "checkPointCopy.fullPageWrites")?,
            time: self.time(104, "checkPointCopy.time")?,
        })
    }

    fn settings(&self) -> Result<ControlSettings, ControlFileError> {
        let wal_level = self.u32(172)?;
        Ok(ControlSettings {
            wal_level: WalLevel::from_number(wal_level).ok_or_else(|| invalid("wal_level", wal_level, "0 to 2"))?,
            max_connections: self.count(180, "MaxConnections")?,
            max_worker_processes: self.count(184, "max_worker_processes")?,
            max_wal_senders: self.count(188, "max_wal_senders")?,
            max_prepared_xacts: self.count(192, "max_prepared_xacts")?,
            max_locks_per_xact: self.count(196, "max_locks_per_xact")?,
        })
    }

    pub(super) fn check_crc(&self, crc_offset: usize) -> Result<(), ControlFileError> {
        let covered = self.0.get(..crc_offset).ok_or_else(|| self.too_short(crc_offset))?;
        let (found, expected) = (crc32c::crc32c(covered), self.u32(crc_offset)?);
        if found == expected { Ok(()) } else { Err(ControlFileError::Crc { found, expected }) }
    }

    pub(super) fn check_architecture(&self) -> Result<(), ControlFileError> {
        let (max_align, float_format) = (self.u32(204)?, f64_at(self.0, 208).ok_or_else(|| self.too_short(216))?);
        if max_align == MAX_ALIGN && float_format.to_bits() == FLOAT_FORMAT.to_bits() {
            return Ok(());
        }
        Err(ControlFileError::Architecture { max_align, float_format: float_format.to_string() })
    }

    fn too_short(&self, expected_bytes: usize) -> ControlFileError {
        ControlFileError::TooShort { found_bytes: self.0.len(), expected_bytes }
    }

    pub(super) fn u32(&self, offset: usize) -> Result<u32, ControlFileError> {
        u32_at(self.0, offset).ok_or_else(|| self.too_short(offset + 4))
    }

    fn u64(&self, offset: usize) -> Result<u64, ControlFileError> {
        u64_at(self.0, offset).ok_or_else(|| self.too_short(offset + 8))
    }

    fn flag(&self, offset: usize, field: &'static str) -> Result<bool, ControlFileError> {
        match u8_at(self.0, offset).ok_or_else(|| self.too_short(offset + 1))? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(invalid(field, found, "0 or 1")),
        }
    }

    fn count(&self, offset: usize, field: &'static str) -> Result<u32, ControlFileError> {
        let found = self.u32(offset)?;
        if i32::try_from(found).is_ok() { Ok(found) } else { Err(invalid(field, found, "0 to 2147483647")) }
    }

    fn optional_lsn(&self, offset: usize) -> Result<Option<Lsn>, ControlFileError> {
        Ok(Lsn::new(self.u64(offset)?))
    }

    fn lsn(&self, offset: usize, field: &'static str) -> Result<Lsn, ControlFileError> {
        self.optional_lsn(offset)?.ok_or_else(|| invalid(field, 0, "a position after 0/0"))
    }

    fn timeline(&self, offset: usize, field: &'static str) -> Result<TimelineId, ControlFileError> {
        TimelineId::new(self.u32(offset)?).ok_or_else(|| invalid(field, 0, "1 or later"))
    }

    fn time(&self, offset: usize, field: &'static str) -> Result<Timestamp, ControlFileError> {
        let seconds = i64_at(self.0, offset).ok_or_else(|| self.too_short(offset + 8))?;
        Timestamp::from_second(seconds).map_err(|_| invalid(field, seconds, "seconds since 1970 before the year 10000"))
    }

    fn block_bytes(
        &self,
        offset: usize,
        field: &'static str,
        max: u32,
        expected: &'static str,
    ) -> Result<u32, ControlFileError> {
        let found = self.u32(offset)?;
        let valid = found.is_power_of_two() && (1024..=max).contains(&found);
        if valid { Ok(found) } else { Err(invalid(field, found, expected)) }
    }
}

fn invalid(field: &'static str, found: impl Into<i128>, expected: &'static str) -> ControlFileError {
    ControlFileError::InvalidField { field, found: found.into(), expected }
}
