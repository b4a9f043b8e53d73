//! Where recovery must end, by the proof, and how that compares with where it ended.

use serde::Serialize;

use crate::pg::{Lsn, RecoveryMode, RecoveryTarget};
use crate::restore::RestorePlan;

/// Where recovery must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Exactly behind the last record that the proof says is recovered.
    Exactly(Lsn),
    /// There or later: the end of a backup is where its data is consistent.
    AtLeast(Lsn),
}

impl Expected {
    /// What was proven for this plan; none when nothing was.
    pub fn of(plan: &RestorePlan) -> Option<Self> {
        let proof = plan.proof.as_ref()?;
        Some(match (plan.mode, &plan.target) {
            (RecoveryMode::Standby, _) | (_, RecoveryTarget::Immediate) => Self::AtLeast(plan.record.stop_lsn),
            _ => Self::Exactly(proof.last_record.end_lsn),
        })
    }

    /// The position.
    pub const fn lsn(self) -> Lsn {
        match self {
            Self::Exactly(lsn) | Self::AtLeast(lsn) => lsn,
        }
    }
}

/// How the end of a recovery compares with the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// It ended where it must.
    AsProven,
    /// It ended before; by so many bytes of WAL.
    Short(u64),
    /// It went further; by so many bytes.
    Beyond(u64),
    /// The server said that it stopped at the target, and has left no exact position.
    StoppedAtTarget,
    /// Nothing was proven.
    NothingProven,
    /// It cannot be told how far recovery went.
    Unknown,
}

impl Comparison {
    /// Compares the end of the last replayed record.
    pub fn of(expected: Option<Expected>, replayed: Option<Lsn>) -> Self {
        let (Some(expected), replayed) = (expected, replayed) else { return Self::NothingProven };
        let Some(replayed) = replayed else { return Self::Unknown };
        let lsn = expected.lsn();
        match (lsn.distance_from(replayed), expected) {
            (Some(0), _) => Self::AsProven,
            (Some(missing), _) => Self::Short(missing),
            (None, Expected::AtLeast(_)) => Self::AsProven,
            (None, Expected::Exactly(_)) => Self::Beyond(replayed.distance_from(lsn).unwrap_or_default()),
        }
    }

    /// Compares what a server that stopped left in its control file: it replayed that much at least. Whether it stopped
    /// at its target, or somebody stopped it, says its log.
    pub fn of_stopped(expected: Option<Expected>, at_least: Option<Lsn>, at_target: bool) -> Self {
        match Self::of(expected, at_least) {
            Self::Short(_) | Self::StoppedAtTarget | Self::Unknown if at_target => Self::StoppedAtTarget,
            Self::Short(_) | Self::StoppedAtTarget => Self::Unknown,
            comparison => comparison,
        }
    }

    /// Whether something is not as it was proven.
    pub const fn differs(self) -> bool {
        matches!(self, Self::Short(_) | Self::Beyond(_) | Self::Unknown)
    }
}

/// How far replay is: bytes since its beginning, and of how many.
pub(super) fn done_of(from: Lsn, at: Option<Lsn>, to: Lsn) -> (u64, u64) {
    let total = to.distance_from(from).unwrap_or_default();
    let done = at.and_then(|at| at.distance_from(from)).unwrap_or_default();
    (done.min(total), total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(text: &str) -> Lsn {
        text.parse().unwrap()
    }

    #[test]
    fn the_end_of_recovery_is_compared_to_the_byte() {
        let exactly = Some(Expected::Exactly(lsn("0/5000100")));
        let at_least = Some(Expected::AtLeast(lsn("0/5000100")));
        for (expected, replayed, comparison) in [
            (exactly, Some("0/5000100"), Comparison::AsProven),
            (exactly, Some("0/50000F8"), Comparison::Short(8)),
            (exactly, Some("0/5000108"), Comparison::Beyond(8)),
            (exactly, None, Comparison::Unknown),
            (at_least, Some("0/5000100"), Comparison::AsProven),
            (at_least, Some("0/6000000"), Comparison::AsProven),
            (at_least, Some("0/5000000"), Comparison::Short(256)),
            (None, Some("0/5000100"), Comparison::NothingProven),
            (None, None, Comparison::NothingProven),
        ] {
            let found = Comparison::of(expected, replayed.map(lsn));
            assert_eq!(found, comparison, "{expected:?} {replayed:?}");
        }
        assert!(Comparison::Short(8).differs() && Comparison::Beyond(8).differs() && Comparison::Unknown.differs());
        assert!(!Comparison::AsProven.differs() && !Comparison::NothingProven.differs());
    }

    #[test]
    fn a_server_that_stopped_says_only_how_far_it_was_at_least() {
        let expected = Some(Expected::Exactly(lsn("0/5000100")));
        for (at_least, at_target, comparison) in [
            (Some("0/5000000"), true, Comparison::StoppedAtTarget),
            (Some("0/5000000"), false, Comparison::Unknown),
            (Some("0/5000100"), false, Comparison::AsProven),
            (Some("0/5000110"), true, Comparison::Beyond(16)),
            (None, true, Comparison::StoppedAtTarget),
            (None, false, Comparison::Unknown),
        ] {
            let found = Comparison::of_stopped(expected, at_least.map(lsn), at_target);
            assert_eq!(found, comparison, "{at_least:?} {at_target}");
        }
        assert_eq!(Comparison::of_stopped(None, Some(lsn("0/1")), true), Comparison::NothingProven);
    }

    #[test]
    fn progress_never_runs_out_of_its_bounds() {
        let (from, to) = (lsn("0/2000000"), lsn("0/5000000"));
        assert_eq!(done_of(from, None, to), (0, 0x300_0000));
        assert_eq!(done_of(from, Some(lsn("0/1000000")), to), (0, 0x300_0000));
        assert_eq!(done_of(from, Some(lsn("0/3000000")), to), (0x100_0000, 0x300_0000));
        assert_eq!(done_of(from, Some(lsn("0/9000000")), to), (0x300_0000, 0x300_0000));
        assert_eq!(done_of(to, Some(to), from), (0, 0));
    }
}
