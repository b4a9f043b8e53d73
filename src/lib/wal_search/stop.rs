//! Where recovery to a target stops: PostgreSQL's own rule (`recoveryStopsBefore`, `recoveryStopsAfter` in
//! `src/backend/access/transam/xlogrecovery.c`), applied to records in the order of the log.
//!
//! INVARIANT: the records of a log cut into parts, each searched on its own and the findings merged in order, give what
//! one search gives.

use super::late::{LATE_BYTES_MAX, LateCommits, includes, is_step_back};
use super::{CommitCount, Ending, EndingKind, OnTheWay, RecordSpan, RestorePoint, Search};
use crate::nearest::{edit_distance, slip_limit};
use crate::pg::{Lsn, RecoveryTarget, TargetBound, TransactionId, WalRecord};

/// LIMIT: restore points and steps of the clock that are kept to be shown.
const SHOWN_MAX: usize = 20;
/// LIMIT: restore points whose names differ little from the one that is looked for.
const ALIKE_MAX: usize = 5;
/// LIMIT: bytes of WAL behind the restore point that was found in which others of its name are looked for: a month of WAL
/// behind it must not keep anybody waiting.
const NAMESAKE_BYTES_MAX: u64 = 64 << 30;

/// The record that ends recovery.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Stop {
    /// Whether recovery stops before the record, or after it.
    pub side: StopSide,
    /// Where the record lies.
    #[serde(flatten)]
    pub span: RecordSpan,
    /// What it is, when the target speaks of it.
    pub what: StopRecord,
}

/// Whether the stop record itself is recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StopSide {
    /// It is not.
    Before,
    /// It is.
    After,
}

/// What the stop record is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopRecord {
    /// The end of a transaction.
    Ending(Ending),
    /// A restore point.
    RestorePoint(RestorePoint),
    /// Any record: an LSN was the target.
    Any,
}

/// The clock of the server went back between two transactions.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ClockStep {
    /// The latest transaction until then.
    pub from: Ending,
    /// The one with an earlier time.
    pub to: Ending,
}

/// What a search for a target finds.
#[derive(Debug, Clone)]
pub struct StopSearch {
    target: RecoveryTarget,
    /// Where recovery stops.
    pub stop: Option<Stop>,
    /// The last commit that is recovered; of the whole log while there is no stop.
    pub commit_before: Option<Ending>,
    /// The first commit that is not.
    pub commit_after: Option<Ending>,
    /// The last record that is recovered.
    pub last_record: Option<RecordSpan>,
    /// Ends of transactions with a number near the one that is looked for.
    pub nearest: NearestTransactions,
    /// The last restore points that were seen, whatever their name.
    pub restore_points: Vec<RestorePoint>,
    /// Those whose names differ little from the one that is looked for, the most alike first.
    pub alike: Vec<RestorePoint>,
    /// The first restore points of the name that is looked for, also behind the stop.
    pub namesakes: Vec<RestorePoint>,
    /// How many there are.
    pub namesake_count: u64,
    /// Where the clock went back.
    pub clock_steps: Vec<ClockStep>,
    /// Behind a stop at a time: the commits whose time the target includes.
    late: LateCommits,
    /// The same, of all that was seen.
    included: LateCommits,
    /// What else is recovered.
    pub on_the_way: OnTheWay,
    /// The commits that are recovered from behind a position, when they are counted.
    pub gained: Option<CommitCount>,
    /// The first commit that is recovered.
    first_commit: Option<Ending>,
    latest: Option<Ending>,
    earliest: Option<Ending>,
    /// The end of the last record that was seen.
    seen_until: Option<Lsn>,
}

/// The ends of the transactions whose numbers are next to the one that is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NearestTransactions {
    /// The next lower number.
    pub below: Option<Ending>,
    /// The next higher number.
    pub above: Option<Ending>,
}

impl StopSearch {
    /// Looks for that target.
    pub fn new(target: RecoveryTarget) -> Self {
        Self {
            target,
            stop: None,
            commit_before: None,
            commit_after: None,
            last_record: None,
            nearest: NearestTransactions::default(),
            restore_points: Vec::new(),
            alike: Vec::new(),
            namesakes: Vec::new(),
            namesake_count: 0,
            clock_steps: Vec::new(),
            late: LateCommits::default(),
            included: LateCommits::default(),
            on_the_way: OnTheWay::default(),
            gained: None,
            first_commit: None,
            latest: None,
            earliest: None,
            seen_until: None,
        }
    }

    /// The same, which counts the commits that are recovered from behind a position.
    pub fn counting_behind(self, position: Option<Lsn>) -> Self {
        Self { gained: position.map(|position| CommitCount::new(position, None)), ..self }
    }

    /// Whether recovery stops at this record, and on which side of it.
    fn side_at(&self, span: RecordSpan, ending: Option<&Ending>, point: Option<&RestorePoint>) -> Option<StopSide> {
        match (&self.target, ending, point) {
            (RecoveryTarget::Lsn(lsn, bound), _, _) => (span.lsn >= *lsn).then_some(match bound {
                TargetBound::Inclusive => StopSide::After,
                TargetBound::Exclusive => StopSide::Before,
            }),
            (RecoveryTarget::Time(time, bound), Some(ending), _) => {
                (!includes(*time, *bound, ending)).then_some(StopSide::Before)
            }
            (RecoveryTarget::TransactionId(xid, bound), Some(ending), _) => (ending.xid == Some(compared_xid(*xid)))
                .then_some(match bound {
                    TargetBound::Inclusive => StopSide::After,
                    TargetBound::Exclusive => StopSide::Before,
                }),
            (RecoveryTarget::RestorePoint(name), _, Some(point)) => {
                (point.name == name.as_str()).then_some(StopSide::After)
            }
            _ => None,
        }
    }

    /// The commits behind the stop whose time the target includes, when the clock went back there; `None` when it did not.
    pub fn late_commits(&self) -> Option<&LateCommits> {
        let Some(Stop { what: StopRecord::Ending(stop), .. }) = &self.stop else { return None };
        self.late.are_behind_a_step(stop).then_some(&self.late)
    }

    /// Takes commits that were found farther behind the stop.
    pub fn add_late(&mut self, farther: &LateCommits) {
        self.late.merge(farther);
    }

    /// Takes a commit that may be one that the target includes.
    fn watch_included(&mut self, ending: &Ending) {
        let RecoveryTarget::Time(time, bound) = &self.target else { return };
        // One without a number changed no row.
        if ending.xid.is_some() && includes(*time, *bound, ending) {
            self.included.see(ending);
            if self.stop.is_some() {
                self.late.see(ending);
            }
        }
    }

    fn watch_clock(&mut self, ending: &Ending) {
        if let Some(latest) = self.latest.as_ref().filter(|latest| is_step_back(latest.time, ending.time))
            && self.clock_steps.len() < SHOWN_MAX
        {
            self.clock_steps.push(ClockStep { from: latest.clone(), to: ending.clone() });
            // What comes now is measured against the new time, so that one step is told once.
            self.latest = Some(ending.clone());
        }
        if self.latest.as_ref().is_none_or(|latest| ending.time > latest.time) {
            self.latest = Some(ending.clone());
        }
        if self.earliest.as_ref().is_none_or(|earliest| ending.time < earliest.time) {
            self.earliest = Some(ending.clone());
        }
    }

    /// The first commit that was seen.
    fn first_seen(self) -> Option<Ending> {
        self.first_commit.or(self.commit_after)
    }

    fn see_point(&mut self, point: RestorePoint) {
        if matches!(&self.target, RecoveryTarget::RestorePoint(name) if point.name == name.as_str()) {
            self.add_namesakes(1, std::slice::from_ref(&point));
        }
        if slips_to(&self.target, &point).is_some() {
            self.alike.push(point.clone());
            keep_most_alike(&self.target, &mut self.alike, |point| point);
        }
        self.restore_points.push(point);
        self.keep_restore_points();
    }

    fn add_namesakes(&mut self, count: u64, first: &[RestorePoint]) {
        self.namesake_count += count;
        let room = SHOWN_MAX.saturating_sub(self.namesakes.len());
        self.namesakes.extend(first.iter().take(room).cloned());
    }

    fn keep_restore_points(&mut self) {
        let surplus = self.restore_points.len().saturating_sub(SHOWN_MAX);
        self.restore_points.drain(..surplus);
    }
}

impl Search for StopSearch {
    fn see(&mut self, record: &WalRecord) {
        let span = RecordSpan::of(record);
        self.seen_until = Some(span.end_lsn);
        let (ending, point) = (Ending::of(record), RestorePoint::of(record));
        let side = if self.stop.is_none() { self.side_at(span, ending.as_ref(), point.as_ref()) } else { None };
        let is_recovered = match (&self.stop, side) {
            (None, None | Some(StopSide::After)) => true,
            (Some(_), _) | (None, Some(StopSide::Before)) => false,
        };
        if let Some(side) = side {
            let what = match (&ending, &point) {
                (Some(ending), _) => StopRecord::Ending(ending.clone()),
                (None, Some(point)) => StopRecord::RestorePoint(point.clone()),
                (None, None) => StopRecord::Any,
            };
            self.stop = Some(Stop { side, span, what });
        }
        if is_recovered {
            self.last_record = Some(span);
            self.on_the_way.see(record);
            if let Some(gained) = &mut self.gained {
                gained.see(record);
            }
        }
        if let Some(point) = point {
            self.see_point(point);
        }
        let Some(ending) = ending else { return };
        self.nearest.see(&self.target, &ending);
        if is_recovered || side.is_some() {
            self.watch_clock(&ending);
        }
        if ending.kind == EndingKind::Commit {
            self.watch_included(&ending);
        }
        match (ending.kind, is_recovered) {
            (EndingKind::Abort, _) => {}
            (EndingKind::Commit, true) => {
                self.first_commit.get_or_insert_with(|| ending.clone());
                self.commit_before = Some(ending);
            }
            (EndingKind::Commit, false) => drop(self.commit_after.get_or_insert(ending)),
        }
    }

    fn merge(&mut self, later: Self) {
        self.restore_points.extend_from_slice(&later.restore_points);
        self.keep_restore_points();
        self.alike.extend_from_slice(&later.alike);
        keep_most_alike(&self.target, &mut self.alike, |point| point);
        self.seen_until = later.seen_until.or(self.seen_until);
        self.add_namesakes(later.namesake_count, &later.namesakes);
        self.nearest.merge(&self.target, &later.nearest);
        self.late.merge(if self.stop.is_some() { &later.included } else { &later.late });
        self.included.merge(&later.included);
        if self.stop.is_some() {
            // Of what is behind the stop, the first commit alone matters, wherever it stands there.
            self.commit_after = self.commit_after.take().or(later.first_seen());
            return;
        }
        let is_told = |ending: &Ending| later.clock_steps.iter().any(|step| step.to.span == ending.span);
        if let (Some(latest), Some(earliest)) = (&self.latest, &later.earliest)
            && is_step_back(latest.time, earliest.time)
            && !is_told(earliest)
        {
            self.clock_steps.push(ClockStep { from: latest.clone(), to: earliest.clone() });
        }
        self.on_the_way.merge(later.on_the_way);
        self.clock_steps.extend(later.clock_steps);
        self.clock_steps.truncate(SHOWN_MAX);
        if let (Some(gained), Some(later)) = (&mut self.gained, later.gained) {
            gained.merge(later);
        }
        self.stop = later.stop;
        self.commit_before = later.commit_before.or(self.commit_before.take());
        self.first_commit = self.first_commit.take().or(later.first_commit);
        self.commit_after = later.commit_after;
        self.last_record = later.last_record.or(self.last_record);
        self.latest = later.latest.or(self.latest.take());
        self.earliest = self.earliest.take().or(later.earliest);
    }

    /// A name may be used again behind, and a clock set back.
    fn is_decided(&self) -> bool {
        let Some(stop) = &self.stop else { return false };
        let read_behind = self.seen_until.and_then(|until| until.distance_from(stop.span.end_lsn));
        let is_read = |limit| read_behind.is_some_and(|bytes| bytes > limit);
        match &self.target {
            RecoveryTarget::RestorePoint(_) => is_read(NAMESAKE_BYTES_MAX),
            RecoveryTarget::Time(..) => self.commit_after.is_some() && is_read(LATE_BYTES_MAX),
            _ => self.commit_after.is_some(),
        }
    }

    fn found_to(&self) -> Option<Lsn> {
        // Recovery reads the record at which it stops, also when it stops before it.
        self.stop.as_ref().map(|stop| stop.span.end_lsn)
    }
}

impl NearestTransactions {
    fn see(&mut self, target: &RecoveryTarget, ending: &Ending) {
        let (RecoveryTarget::TransactionId(target, _), Some(xid)) = (target, ending.xid) else { return };
        let target = compared_xid(*target);
        let (is_nearer_below, is_nearer_above) = (self.is_nearer_below(target, xid), self.is_nearer_above(target, xid));
        // Numbers go round: the half of the circle before the target is below it.
        match target.wrapping_sub(xid) {
            0 => {}
            1..=0x7FFF_FFFF if is_nearer_below => self.below = Some(ending.clone()),
            0x8000_0000.. if is_nearer_above => self.above = Some(ending.clone()),
            _ => {}
        }
    }

    fn is_nearer_below(&self, target: u32, xid: u32) -> bool {
        let known = self.below.as_ref().and_then(|ending| ending.xid);
        known.is_none_or(|known| target.wrapping_sub(xid) <= target.wrapping_sub(known))
    }

    fn is_nearer_above(&self, target: u32, xid: u32) -> bool {
        let known = self.above.as_ref().and_then(|ending| ending.xid);
        known.is_none_or(|known| xid.wrapping_sub(target) < known.wrapping_sub(target))
    }

    fn merge(&mut self, target: &RecoveryTarget, later: &Self) {
        for ending in later.below.iter().chain(&later.above) {
            self.see(target, ending);
        }
    }
}

/// What PostgreSQL compares of a transaction's number: its lower half.
pub(crate) fn compared_xid(xid: TransactionId) -> u32 {
    u32::try_from(xid.get() & u64::from(u32::MAX)).unwrap_or_default()
}

/// How many characters the name of a restore point differs from the target's, when a slip of the fingers may be why.
fn slips_to(target: &RecoveryTarget, point: &RestorePoint) -> Option<usize> {
    let RecoveryTarget::RestorePoint(name) = target else { return None };
    let distance = edit_distance(name.as_str(), &point.name);
    (1..=slip_limit(name.as_str())).contains(&distance).then_some(distance)
}

/// Keeps the restore points whose names are most like the target's: the first ones of the log where they are equally so.
pub(crate) fn keep_most_alike<T>(target: &RecoveryTarget, points: &mut Vec<T>, point: impl Fn(&T) -> &RestorePoint) {
    points.sort_by_key(|one| {
        let point = point(one);
        (slips_to(target, point), point.span.lsn, point.timeline)
    });
    points.truncate(ALIKE_MAX);
}

#[cfg(test)]
#[path = "stop_tests.rs"]
mod tests;
