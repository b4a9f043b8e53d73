//! Replacing the whole content of a small file that others read meanwhile.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::directory::parent_of;
use super::regular::kind_of;
use super::{FileError, StagedFile};

/// Puts a file with this content in the place of `path`, atomically and durably: whoever reads it, also after a crash,
/// finds all of the old content or all of the new. Where there is no file yet, it is created with `mode`.
///
/// Mode, owner and group stay those of the file that was there; a new one belongs to the owner of its directory. Only
/// root can write for another account, and gives a new file the directory's group, too: that may be none of ours, as of
/// a directory that root has made. A link is replaced, not followed. What is no regular file, a device above all, is not
/// replaced, nor is a link to it.
pub fn replace_file(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    replace(path, content, mode, 0o777)
}

/// Like [`replace_file`], for content that nobody but the owner may read, whoever could read what was there.
pub fn replace_private_file(path: &Path, content: &[u8]) -> Result<(), FileError> {
    replace(path, content, super::PRIVATE_FILE_MODE, 0o700)
}

/// Of the mode of the old file the bits in `kept` stay.
fn replace(path: &Path, content: &[u8], mode: u32, kept: u32) -> Result<(), FileError> {
    let failed = |error| FileError::new("look at", path, error);
    let directory = std::fs::metadata(parent_of(path)).map_err(failed)?;
    let new_group = Some(directory.gid()).filter(|_| rustix::process::geteuid().is_root());
    let (owner, group, mode) = match std::fs::metadata(path) {
        // Whatever a link leads to: /dev/stdout is meant to be written to, not to be replaced.
        Ok(old) if !old.is_file() => {
            let reason = std::io::Error::other(format!("it is {}", kind_of(&old)));
            return Err(FileError::new("replace", path, reason));
        }
        Ok(old) => (old.uid(), Some(old.gid()), old.permissions().mode() & kept),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (directory.uid(), new_group, mode),
        Err(error) => return Err(failed(error)),
    };
    let mut staged = StagedFile::create_beside(path, super::PRIVATE_FILE_MODE & mode)?;
    staged.write_all(content)?;
    staged.change(|file| {
        let ours = file.metadata()?;
        let (owner, group) = (Some(owner).filter(|uid| *uid != ours.uid()), group.filter(|gid| *gid != ours.gid()));
        if owner.is_some() || group.is_some() {
            std::os::unix::fs::fchown(file, owner, group)?;
        }
        // The umask took bits away that readers of the old file had.
        file.set_permissions(std::fs::Permissions::from_mode(mode))
    })?;
    staged.replace(path)
}

/// Whether two paths lead to one and the same file or directory, by whatever names.
pub fn is_same(one: &Path, other: &Path) -> Result<bool, FileError> {
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).map_err(|error| FileError::new("look at", path, error))?;
        Ok::<_, FileError>((metadata.dev(), metadata.ino()))
    };
    Ok(identity(one)? == identity(other)?)
}

impl StagedFile {
    /// Changes what the system keeps about the file, before it is shown.
    fn change(&self, change: impl FnOnce(&File) -> std::io::Result<()>) -> Result<(), FileError> {
        change(self.file()).map_err(|error| FileError::new("set owner and mode of", self.path(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_mode_stays_whatever_the_umask_and_a_new_file_has_the_one_asked_for() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        replace_file(&path, b"one", 0o600).unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), mode_of(&path)), (b"one".to_vec(), 0o600));
        for mode in [0o600, 0o640, 0o644, 0o666, 0o400] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            replace_file(&path, b"two", 0o600).unwrap();
            assert_eq!((std::fs::read(&path).unwrap(), mode_of(&path)), (b"two".to_vec(), mode));
        }
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1, "staged files stay behind");
    }

    /// Root alone can give a file to others; who cannot keeps it as its own.
    #[test]
    fn owner_and_group_stay_and_a_new_file_has_those_of_its_directory() {
        use std::os::unix::fs::chown;
        let temp = tempfile::tempdir().unwrap();
        let owner_of = |path: &Path| std::fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
        let (old, new) = (temp.path().join("old"), temp.path().join("new"));
        std::fs::write(&old, "one").unwrap();
        let ours = owner_of(&old);
        let (directory, file) = match rustix::process::geteuid().is_root() {
            true => ((1, 2), (3, 4)),
            false => (ours, ours),
        };
        chown(temp.path(), Some(directory.0), Some(directory.1)).unwrap();
        chown(&old, Some(file.0), Some(file.1)).unwrap();
        replace_file(&old, b"two", 0o600).unwrap();
        replace_file(&new, b"two", 0o600).unwrap();
        assert_eq!((owner_of(&old), owner_of(&new)), (file, directory));
        // Also where only the group is another one.
        chown(&old, Some(ours.0), Some(file.1)).unwrap();
        replace_private_file(&old, b"three").unwrap();
        assert_eq!(owner_of(&old), (ours.0, file.1));
    }

    #[test]
    fn only_files_are_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).unwrap();
        std::os::unix::fs::symlink("/dev/null", at("link")).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        for (name, kind) in [("pipe", "a named pipe"), ("link", "a device"), ("directory", "a directory")] {
            let before = std::fs::symlink_metadata(at(name)).unwrap().ino();
            let error = replace_file(&at(name), b"new", 0o600).unwrap_err();
            assert!(error.source.to_string().contains(kind), "{error}: {}", error.source);
            assert_eq!(std::fs::symlink_metadata(at(name)).unwrap().ino(), before);
        }
    }

    #[test]
    fn private_content_is_for_its_owner_alone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        replace_private_file(&path, b"one").unwrap();
        for (before, after) in [(0o600, 0o600), (0o644, 0o600), (0o640, 0o600), (0o400, 0o400)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(before)).unwrap();
            replace_private_file(&path, b"two").unwrap();
            assert_eq!((std::fs::read(&path).unwrap(), mode_of(&path)), (b"two".to_vec(), after));
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("directory");
        std::fs::create_dir(&path).unwrap();
        let error = replace_file(&path, b"x", 0o600).unwrap_err();
        assert_eq!((error.action, error.path.as_path()), ("replace", path.as_path()));
        assert!(replace_file(&temp.path().join("absent/file"), b"x", 0o600).unwrap_err().is_not_found());
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1, "staged files stay behind");
    }

    #[test]
    fn one_directory_has_many_names() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir(at("a")).unwrap();
        std::fs::create_dir(at("b")).unwrap();
        std::os::unix::fs::symlink("a", at("link")).unwrap();
        assert!(is_same(&at("a"), &at("link")).unwrap() && is_same(&at("a"), &at("b/../a")).unwrap());
        assert!(!is_same(&at("a"), &at("b")).unwrap());
        assert!(is_same(&at("a"), &at("c")).unwrap_err().is_not_found());
    }
}
