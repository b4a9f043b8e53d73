//! Where recovery ends, and what becomes of the server then: options that restore and recovery-conf share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::pg::Lsn;

/// The recovery target; none of them means the latest.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Recovery target (none: the latest)")]
pub(crate) struct TargetArgs {
    /// Stop at this time, with an offset or a region: '2026-11-20 14:30:00+00'
    #[arg(long, value_name = "TIME", group = "target")]
    pub(crate) target_time: Option<String>,

    /// Stop at this WAL location
    #[arg(long, value_name = "LSN", group = "target")]
    pub(crate) target_lsn: Option<Lsn>,

    /// Stop at the commit or abort of this transaction
    #[arg(long, value_name = "XID", group = "target")]
    pub(crate) target_xid: Option<u64>,

    /// Stop at this restore point (pg_create_restore_point)
    #[arg(long, value_name = "NAME", group = "target")]
    pub(crate) target_name: Option<String>,

    /// Stop as soon as the backup is consistent
    #[arg(long, group = "target")]
    pub(crate) target_immediate: bool,

    /// Timeline to follow: a number, latest or current
    #[arg(long, value_name = "TLI")]
    pub(crate) target_timeline: Option<String>,

    /// Stop just before the target instead of just after it
    #[arg(long)]
    pub(crate) target_exclusive: bool,

    /// What the server does at the target [default: pause for an explicit target, promote for the latest]
    #[arg(long, value_name = "ACTION")]
    pub(crate) target_action: Option<TargetActionChoice>,
}

/// What the server does once it has reached the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetActionChoice {
    /// Wait, open for reading
    Pause,
    /// Become a primary on a new timeline
    Promote,
    /// Stop
    Shutdown,
}

/// Options for a standby instead of a recovery that ends.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Standby")]
pub(crate) struct StandbyArgs {
    /// Make it a standby, which follows the archive and, if named, the primary
    #[arg(long, conflicts_with_all = ["target", "target_exclusive", "target_action"])]
    pub(crate) standby: bool,

    /// Connection string of the primary that the standby streams from
    #[arg(long, value_name = "CONNINFO", requires = "standby")]
    pub(crate) primary_conninfo: Option<String>,

    /// Replication slot that the standby uses on the primary
    #[arg(long, value_name = "SLOT", requires = "primary_conninfo")]
    pub(crate) primary_slot_name: Option<String>,
}

/// A tablespace directory and where it goes instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TablespaceMapping {
    pub(crate) old: PathBuf,
    pub(crate) new: PathBuf,
}

impl TablespaceMapping {
    /// Parses `OLD=NEW`; an equals sign in a name is written `\=`, as for pg_basebackup.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut sides, mut escaped) = (vec![String::new()], false);
        for c in text.chars() {
            match c {
                '=' if !escaped => sides.push(String::new()),
                _ => {
                    if let Some(side) = sides.last_mut() {
                        if c == '=' {
                            side.pop();
                        }
                        side.push(c);
                    }
                }
            }
            escaped = c == '\\';
        }
        let [old, new] = sides.as_slice() else {
            return Err("expected OLD=NEW with one equals sign".to_owned());
        };
        let mapping = Self { old: PathBuf::from(old), new: PathBuf::from(new) };
        for (side, path) in [("old", &mapping.old), ("new", &mapping.new)] {
            if !path.is_absolute() {
                return Err(format!("the {side} directory \"{}\" is not an absolute path", path.display()));
            }
        }
        Ok(mapping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tablespace_mappings_split_at_the_one_plain_equals_sign() {
        let mapping = |text| TablespaceMapping::parse(text).map(|m| (m.old, m.new));
        assert_eq!(mapping("/a=/b").unwrap(), (PathBuf::from("/a"), PathBuf::from("/b")));
        assert_eq!(mapping(r"/a\=1=/b\=2").unwrap(), (PathBuf::from("/a=1"), PathBuf::from("/b=2")));
        assert_eq!(mapping(r"/a\b=/c").unwrap(), (PathBuf::from(r"/a\b"), PathBuf::from("/c")));
    }

    #[test]
    fn tablespace_mappings_refuse_what_pg_basebackup_refuses() {
        for text in ["", "/a", "=/b", "/a=", "/a=/b=/c", "a=/b", "/a=b", r"/a\=/b"] {
            assert!(TablespaceMapping::parse(text).is_err(), "{text}");
        }
    }
}
