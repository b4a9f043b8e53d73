//! Durable files: the only code that creates, renames, links, removes and syncs.
//!
//! DURABILITY: a name becomes visible only after its data was synced without error, and counts only after its
//! directory was synced. After a failed sync a staged file is thrown away, never synced again.

mod abandoned;
mod below;
mod directory;
mod error;
mod held;
mod holders;
mod inspect;
mod live;
mod lock;
mod read;
mod regular;
mod replace;
mod sorter;
mod spill;
mod staged;
mod tree;

pub use abandoned::{remove_abandoned_beside, staged_name};
pub use directory::{
    DirectoryEntry, FileSystemRoom, available_bytes, check_absent, create_directory, create_directory_chain,
    is_directory, remove_empty_directory, remove_file, room_at, sorted_entries, sync_directory, sync_directory_chain,
};
pub use error::FileError;
pub use held::HeldDirectory;
pub use holders::{LockHolder, lock_holders};
pub use inspect::{PathFacts, PathKind, RoomBelow, link_target, look_at, rename_aside, room_below};
pub use live::{Links, LiveDirectory, LiveFacts, LiveFile};
pub use lock::{DirectoryLock, Lock, LockKind, lock_directory};
pub use read::{
    bytes_of, file_bytes, is_present, modified, open_for_reading, read_at_most, read_into, read_range, read_range_of,
    real_path,
};
pub use regular::{RegularFileError, open_regular, regular_facts};
pub use replace::{is_same, replace_file, replace_private_file};
pub use sorter::{SORT_RUN_BYTES, Sorted, Sorter};
pub use spill::SpillFile;
pub use staged::{Published, StagedFile, has_hard_links};
pub use tree::Tree;

/// Mode of every file that pgv creates for itself: what it holds is as confidential as the database.
pub const PRIVATE_FILE_MODE: u32 = 0o600;
/// Mode of every directory that pgv creates for itself.
pub const PRIVATE_DIRECTORY_MODE: u32 = 0o700;
