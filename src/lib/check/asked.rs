//! What a check asks of a repository, which may hang in a file system that does not answer.
//!
//! INVARIANT: a thread asks. It is left behind when nothing has moved for too long, or when a signal comes; the process
//! ends before long. What did not answer is not asked again.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::facts::{FolderFacts, RepositoryFacts, TreeFacts, Trial};
use super::finding::Cause;
use super::folders::{folders_below, repository_facts};
use super::probe::{CheckError, cause};
use super::tree::tree;
use crate::clock::{Deadline, Stopwatch, wait};
use crate::pg::{SystemIdentifier, TimelineId, WalFileName, WalSegmentName};
use crate::report::{Activity, ActivityState, Cancel};
use crate::repository::{ClusterSelection, Repository, RepositoryError, SelectedCluster, WalArchive};
use crate::watchdog::watched;

/// How often it is looked whether something arrived, or whether a signal came.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often, at least, within the time that nothing may move.
const LOOKS: u32 = 10;

/// Opens a repository.
pub type OpenRepository = Box<dyn FnOnce() -> Result<Repository, RepositoryError> + Send>;

/// Work was left behind.
#[derive(Debug, thiserror::Error)]
#[error("nothing moved for {limit:?} while {doing}")]
pub(super) struct Stalled {
    limit: Duration,
    doing: String,
}

/// Nothing comes back from a repository.
#[derive(Debug, thiserror::Error)]
#[error("the repository does not answer: {0}")]
pub(crate) struct SilentRepository(Stalled);

/// A repository, and the cluster in it that is looked at.
pub(super) struct Selected {
    repository: Repository,
    pub(super) cluster: SelectedCluster,
}

/// What is known of a repository that was opened.
pub(super) struct Opened {
    pub(super) facts: Result<RepositoryFacts, Cause>,
    pub(super) selected: Result<Arc<Selected>, Cause>,
}

/// For how long nothing may move of what may hang, and what ends it before.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    pub(super) limit: Duration,
    pub(super) cancel: &'a Cancel,
}

/// A repository that may hang.
pub(super) struct AskedRepository<'a> {
    patience: Patience<'a>,
    /// Of all that is asked: the repository tells it there from its opening on.
    activity: Activity,
    silent: OnceCell<Cause>,
}

impl<'a> AskedRepository<'a> {
    pub(super) fn new(patience: Patience<'a>) -> Self {
        Self { patience, activity: Activity::default(), silent: OnceCell::new() }
    }

    /// Opens it, and tells what its directory is, and which cluster is meant.
    pub(super) fn open(
        &self,
        open: OpenRepository,
        path: PathBuf,
        selection: ClusterSelection,
        system_identifier: Option<SystemIdentifier>,
    ) -> Result<Result<Opened, Cause>, CheckError> {
        self.ask(move |activity| {
            activity.begin(format!("opening repository \"{}\"", path.display()));
            let repository = open().map_err(cause)?.watched(activity);
            let facts = repository_facts(&path);
            let selected = repository.select_cluster(&selection, system_identifier).map_err(cause);
            Ok(Opened { facts, selected: selected.map(|cluster| Arc::new(Selected { repository, cluster })) })
        })
    }

    /// Waits for a segment to arrive.
    pub(super) fn wait_for(
        &self,
        selected: &Arc<Selected>,
        segment: WalSegmentName,
        limit: Duration,
    ) -> Result<Trial, CheckError> {
        let (selected, every) = (Arc::clone(selected), self.patience.every());
        let trial = self.ask(move |_| {
            let archive = WalArchive::new(&selected.repository, &selected.cluster.cluster);
            let (watch, deadline) = (Stopwatch::start(), Deadline::after(limit));
            loop {
                if archive.look_up(&WalFileName::Segment(segment)).map_err(cause)?.is_some() {
                    return Ok(Trial::Arrived { segment, took: watch.elapsed() });
                }
                if deadline.has_passed() {
                    return Ok(Trial::Missing { segment, waited: limit });
                }
                wait(every);
            }
        });
        Ok(trial?.unwrap_or_else(Trial::Failed))
    }

    /// What it holds of the cluster.
    pub(super) fn tree(
        &self,
        selected: Arc<Selected>,
        of_server: Option<TimelineId>,
    ) -> Result<Result<TreeFacts, Cause>, CheckError> {
        self.ask(move |_| tree(&selected.repository, &selected.cluster, of_server).map_err(cause))
    }

    /// What its folders are that the cluster needs.
    pub(super) fn folders_below(
        &self,
        path: PathBuf,
        selected: Arc<Selected>,
    ) -> Result<Result<Vec<FolderFacts>, Cause>, CheckError> {
        self.ask(move |activity| Ok(folders_below(&path, &selected.cluster.cluster, &activity)))
    }

    /// The answer, or why there is none.
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(Activity) -> Result<T, Cause> + Send + 'static,
    ) -> Result<Result<T, Cause>, CheckError> {
        if let Some(silent) = self.silent.get() {
            return Ok(Err(silent.clone()));
        }
        let answer = self.patience.watch("repository", &self.activity, work)?;
        Ok(answer.unwrap_or_else(|silent| {
            let silent = cause(SilentRepository(silent));
            Err(self.silent.get_or_init(|| silent).clone())
        }))
    }
}

impl Patience<'_> {
    /// Has a thread of this name look at something, which is left behind when nothing moves for too long.
    pub(super) fn watch<T: Send + 'static>(
        &self,
        name: &str,
        activity: &Activity,
        work: impl FnOnce(Activity) -> T + Send + 'static,
    ) -> Result<Result<T, Stalled>, CheckError> {
        let give_up = |seen: &ActivityState, still: Duration| {
            if self.cancel.is_cancelled() {
                return Some(Err(CheckError::Interrupted));
            }
            (still >= self.limit).then(|| Ok(Stalled { limit: self.limit, doing: seen.doing.clone() }))
        };
        let own = activity.clone();
        match watched(name, activity, self.every(), give_up, move || work(own)).map_err(CheckError::Thread)? {
            Ok(answer) => Ok(Ok(answer)),
            Err(given_up) => given_up.map(Err),
        }
    }

    fn every(&self) -> Duration {
        LOOK_EVERY.min(self.limit / LOOKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::testing;
    use crate::store::{Around, LocalStore, StoreCall, StoreFuture, WrappedStore};

    /// Takes its time for each answer.
    struct Slow;

    const EACH: Duration = Duration::from_millis(300);

    impl Around for Slow {
        fn around<'a, T: Send + 'a>(&'a self, _: StoreCall<'a>, answer: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
            wait(EACH);
            answer
        }
    }

    #[test]
    fn what_is_slow_is_left_its_time_in_each_question() {
        let test = testing::with_real_cluster_in_memory();
        let root = test.root();
        let (limit, cancel) = (EACH * 3, Cancel::new());
        let asked = AskedRepository::new(Patience { limit, cancel: &cancel });
        let (store, selection) = (root.clone(), ClusterSelection::Named(test.cluster.name.clone()));
        let open =
            move || Repository::open(Arc::new(WrappedStore::new(Arc::new(LocalStore::open(&store)?), Slow)), None);
        let opened = asked.open(Box::new(open), root, selection, None).unwrap().unwrap();
        let selected = opened.selected.unwrap();
        let taken = Stopwatch::start();
        asked.tree(selected, None).unwrap().unwrap();
        assert!(taken.elapsed() > limit, "{:?} proves nothing", taken.elapsed());
    }
}
