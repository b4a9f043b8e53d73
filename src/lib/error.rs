//! What kind of failure an error is: the one thing retry, log level and exit status are decided by.
//!
//! Every error enum of this crate answers [`Classified::class`]. Its `Display` shows its own level only, `source()`
//! the next one; the printer in `cli` joins the chain. Hints for people come from `cli::hints`, never from here.

/// The kind of a failure, the same for every module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Wrong options, arguments or configuration.
    Usage,
    /// What was handed to us (a WAL file, a manifest, a label) is not what it claims to be.
    InvalidInput,
    /// Proven absent: a successful answer said that it does not exist.
    NotFound,
    /// Possible but not done: it would overwrite, belongs to another cluster, or is unsafe.
    Refused,
    /// Another content is stored under this name already.
    Conflict,
    /// May work later: no connection, an input/output error, a server that is not ready.
    Unavailable,
    /// A file system or quota is full.
    NoSpace,
    /// A file system is mounted read-only.
    ReadOnly,
    /// Owner or mode does not allow it.
    PermissionDenied,
    /// Not done before its deadline.
    TimedOut,
    /// Stored or sent data does not match its digest, size or format.
    Corrupt,
    /// A newer format or an unknown server version.
    Unsupported,
    /// Ended by a signal.
    Interrupted,
    /// A defect of pgv itself.
    Internal,
}

/// An error that knows what kind of failure it is.
pub trait Classified: std::error::Error {
    /// The kind of this failure.
    fn class(&self) -> ErrorClass;
}

/// An error and its causes on one line, each after a colon.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl ErrorClass {
    /// The class of an error of the operating system.
    ///
    /// A file that is not where it was expected is *unavailable*, not proven absent: its file system may have gone.
    /// Only a caller that has made sure may say [`Self::NotFound`]. A limit of pgv's own has no number of the system's:
    /// what exceeds it, or is no file, does not become one by waiting.
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::PermissionDenied => Self::PermissionDenied,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::NoSpace,
            ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::FileTooLarge if error.raw_os_error().is_some() => Self::NoSpace,
            ErrorKind::FileTooLarge | ErrorKind::InvalidData | ErrorKind::IsADirectory => Self::InvalidInput,
            _ => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Level(&'static str, #[source] Option<Box<Level>>);

    #[test]
    fn what_no_waiting_mends_is_told_from_what_may_pass() {
        use std::io::{Error, ErrorKind};
        for (error, class) in [
            (Error::from(ErrorKind::FileTooLarge), ErrorClass::InvalidInput),
            (Error::from_raw_os_error(27), ErrorClass::NoSpace), // EFBIG
            (Error::from(ErrorKind::InvalidData), ErrorClass::InvalidInput),
            (Error::from_raw_os_error(21), ErrorClass::InvalidInput), // EISDIR
            (Error::from_raw_os_error(5), ErrorClass::Unavailable),   // EIO
            (Error::from_raw_os_error(2), ErrorClass::Unavailable),   // ENOENT
        ] {
            assert_eq!(ErrorClass::of_io(&error), class, "{error}");
        }
    }

    #[test]
    fn a_chain_names_every_cause_once() {
        let cause = Level("no such file", None);
        assert_eq!(chain(&cause), "no such file");
        let middle = Level("could not open it", Some(Box::new(cause)));
        let error = Level("no restore", Some(Box::new(middle)));
        assert_eq!(chain(&error), "no restore: could not open it: no such file");
    }
}
