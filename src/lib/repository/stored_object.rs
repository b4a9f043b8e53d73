//! From keys back to what lies under them: the rules of `layout` read the other way.

use super::backup::{BackupId, BackupMark};
use super::cluster::{ClusterName, ClusterRef};
use super::layout;
use super::object::ObjectSpec;
use crate::codec::{ObjectKind, WriterId};
use crate::pg::{WalFileName, WalSegmentName};
use crate::store::{ObjectKey, ObjectKeyError};

/// What lies under a key, as far as the key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoredObject {
    /// `repository.json`
    Description,
    /// Who writes.
    Writer { cluster: ClusterName, id: WriterId },
    /// What belongs into a tree.
    Identity(ClusterRef),
    /// A file of the WAL archive.
    Wal { cluster: ClusterRef, name: WalFileName },
    /// An object of a backup.
    Backup { cluster: ClusterRef, backup: BackupId, part: BackupPart },
    /// A pack.
    Pack { cluster: ClusterRef, backup: BackupId, ordinal: u32 },
}

/// Which object of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BackupPart {
    Begin,
    Needs,
    Root,
    Record,
    Document(String),
    /// A mark on the way to its deletion.
    Mark(BackupMark),
    /// Something that keeps it from being deleted.
    Pin(String),
}

impl BackupPart {
    /// The object of that name; nothing when no rule makes it.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            layout::BEGIN => Self::Begin,
            layout::NEEDS => Self::Needs,
            layout::ROOT => Self::Root,
            layout::RECORD => Self::Record,
            _ => match (BackupMark::of_name(name), name.strip_prefix(&layout::pin(""))) {
                (Some(mark), _) => Self::Mark(mark),
                (None, Some(pin)) => Self::Pin(pin.to_owned()),
                (None, None) => Self::Document(name.strip_prefix(&layout::document(""))?.to_owned()),
            },
        })
    }

    /// Its name among the objects of its backup.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Begin => layout::BEGIN.to_owned(),
            Self::Needs => layout::NEEDS.to_owned(),
            Self::Root => layout::ROOT.to_owned(),
            Self::Record => layout::RECORD.to_owned(),
            Self::Document(name) => layout::document(name),
            Self::Mark(mark) => mark.name().to_owned(),
            Self::Pin(name) => layout::pin(name),
        }
    }

    fn kind(&self) -> ObjectKind {
        match self {
            Self::Begin => ObjectKind::Begin,
            Self::Needs => ObjectKind::Needs,
            Self::Root => ObjectKind::Root,
            Self::Record => ObjectKind::Record,
            Self::Document(_) => ObjectKind::Document,
            Self::Mark(mark) => mark.kind(),
            Self::Pin(_) => ObjectKind::Pin,
        }
    }
}

impl StoredObject {
    /// What a key names; `None` when no rule of the layout makes it.
    pub(crate) fn of_key(key: &ObjectKey) -> Option<Self> {
        let found = Self::guess(key.as_str())?;
        // What a key means is said by `layout` alone.
        (found.key().ok().as_ref() == Some(key)).then_some(found)
    }

    fn guess(key: &str) -> Option<Self> {
        if key == layout::DESCRIPTION {
            return Some(Self::Description);
        }
        let (cluster, rest) = key.split_once('/')?;
        let name = ClusterName::parse(cluster).ok()?;
        if let Some(id) = format!("{cluster}/{rest}").strip_prefix(&layout::writers(&name)) {
            return Some(Self::Writer { cluster: name, id: id.parse().ok()? });
        }
        let (system, _) = rest.split_once('/')?;
        let cluster = ClusterRef { name, system_identifier: system.parse().ok()? };
        let tree = layout::tree(&cluster);
        let (folder, below) = match key.strip_prefix(&tree)?.split_once('/') {
            None => return Some(Self::Identity(cluster)),
            Some(parts) => parts,
        };
        let file_name = below.rsplit('/').next()?;
        match folder {
            "wal" | "history" => Some(Self::Wal { cluster, name: WalFileName::parse(file_name).ok()? }),
            "packs" | "backups" => {
                let (backup, object) = below.split_once('/')?;
                let backup = backup.parse().ok()?;
                if folder == "packs" {
                    return Some(Self::Pack { cluster, backup, ordinal: object.parse().ok()? });
                }
                Some(Self::Backup { cluster, backup, part: BackupPart::of_name(object)? })
            }
            _ => None,
        }
    }

    /// Where it lies.
    pub(crate) fn key(&self) -> Result<ObjectKey, ObjectKeyError> {
        match self {
            Self::Description => layout::description(),
            Self::Writer { cluster, id } => layout::writer(cluster, id),
            Self::Identity(cluster) => layout::identity(cluster),
            Self::Wal { cluster, name } => layout::wal(cluster, name),
            Self::Backup { cluster, backup, part } => layout::backup_object(cluster, backup, &part.name()),
            Self::Pack { cluster, backup, ordinal } => layout::pack(cluster, backup, *ordinal),
        }
    }

    /// What its header must say; `None` of what has no header that this version knows.
    pub(crate) fn spec(&self) -> Option<ObjectSpec> {
        let of_tree = |kind, cluster: &ClusterRef, name| ObjectSpec {
            kind,
            system_identifier: Some(cluster.system_identifier),
            name,
        };
        Some(match self {
            Self::Description => return None,
            Self::Writer { id, .. } => {
                ObjectSpec { kind: ObjectKind::Writer, system_identifier: None, name: layout::writer_name(id) }
            }
            Self::Identity(cluster) => of_tree(ObjectKind::Identity, cluster, layout::identity_name(cluster)),
            Self::Wal { cluster, name } => of_tree(layout::wal_kind(name), cluster, layout::wal_name(name)),
            Self::Backup { cluster, backup, part } => {
                of_tree(part.kind(), cluster, layout::backup_object_name(backup, &part.name()))
            }
            Self::Pack { cluster, backup, ordinal } => {
                of_tree(ObjectKind::Pack, cluster, layout::pack_name(backup, *ordinal))
            }
        })
    }

    /// The tree that it belongs to.
    pub(crate) fn cluster(&self) -> Option<&ClusterRef> {
        match self {
            Self::Description | Self::Writer { .. } => None,
            Self::Identity(cluster)
            | Self::Wal { cluster, .. }
            | Self::Backup { cluster, .. }
            | Self::Pack { cluster, .. } => Some(cluster),
        }
    }

    /// The segment that it is.
    pub(crate) fn segment(&self) -> Option<WalSegmentName> {
        match self {
            Self::Wal { name: WalFileName::Segment(segment), .. } => Some(*segment),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<StoredObject> {
        StoredObject::of_key(&ObjectKey::parse(text).unwrap())
    }

    #[test]
    fn every_rule_of_the_layout_is_read_back() {
        let tree = "main/7000000000000000001";
        for key in [
            "repository.json".to_owned(),
            "main/writers/7caf9bc3502e0934ad4bfd7b067fa86c".to_owned(),
            format!("{tree}/identity"),
            format!("{tree}/wal/00000001/0000000100000000/000000010000000000000003"),
            format!("{tree}/wal/00000001/0000000100000001/000000010000000100000001.partial"),
            format!("{tree}/wal/00000001/0000000100000000/000000010000000000000003.00000028.backup"),
            format!("{tree}/history/00000002.history"),
            format!("{tree}/packs/20261121T143000Z-00000001/00000002"),
            format!("{tree}/backups/20261121T143000Z-00000001/begin"),
            format!("{tree}/backups/20261121T143000Z-00000001/documents/backup_label"),
            format!("{tree}/backups/20261121T143000Z-00000001/gone"),
            format!("{tree}/backups/20261121T143000Z-00000001/pins/1a2b3c4d"),
        ] {
            let found = of(&key).unwrap_or_else(|| panic!("{key}"));
            assert_eq!(found.key().unwrap().as_str(), key);
        }
    }

    #[test]
    fn what_lies_elsewhere_is_nothing_of_ours() {
        let tree = "main/7000000000000000001";
        for key in [
            "notes.txt".to_owned(),
            "main/identity".to_owned(),
            "keys/7000000000000000001/identity".to_owned(),
            "main/07/identity".to_owned(),
            format!("{tree}/identity.old"),
            format!("{tree}/other/identity"),
            format!("{tree}/wal/000000010000000000000003"),
            format!("{tree}/wal/00000001/0000000100000001/000000010000000000000003"),
            format!("{tree}/wal/00000002/0000000100000000/000000010000000000000003"),
            format!("{tree}/history/2.history"),
            format!("{tree}/packs/20261121T143000Z-00000001/2"),
            format!("{tree}/backups/20261121T143000Z-00000001/records"),
            format!("{tree}/backups/2026/begin"),
        ] {
            assert_eq!(of(&key), None, "{key}");
        }
    }
}
