//! Why no node was chosen.

use super::{Choice, Survey, Trouble};
use crate::error::{Classified, ErrorClass};

/// Why no node was chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StandbyError {
    /// None of those that answered will do.
    #[error("no node qualifies: {}", reasons.join("; "))]
    NoneQualifies {
        /// Each node and why.
        reasons: Vec<String>,
    },
    /// Nobody answered.
    #[error("no node answers: {}", reasons.join("; "))]
    NothingReachable {
        /// Each node and why.
        reasons: Vec<String>,
    },
    /// Nothing can be chosen whatever the nodes are like.
    #[error("{trouble}")]
    Trouble {
        /// What is wrong.
        trouble: Trouble,
    },
}

impl StandbyError {
    /// Of a choice that chose nothing.
    pub fn of(survey: &Survey, choice: &Choice) -> Self {
        let told = survey.probes.iter().zip(&choice.verdicts).map(|(probe, verdict)| {
            let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
            let reasons = if reasons.is_empty() { "was not asked for".to_owned() } else { reasons.join(", ") };
            format!("\"{}\": {reasons}", probe.node.name)
        });
        match &choice.trouble {
            None => Self::NoneQualifies { reasons: told.collect() },
            Some(Trouble::NothingReachable) => Self::NothingReachable { reasons: told.collect() },
            Some(trouble) => Self::Trouble { trouble: trouble.clone() },
        }
    }

    /// Whether asking again later may help.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Trouble { trouble: Trouble::TwoPrimaries { .. } | Trouble::SeveralClusters { .. } })
    }
}

impl Classified for StandbyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoneQualifies { .. } => ErrorClass::NotFound,
            Self::NothingReachable { .. } => ErrorClass::Unavailable,
            Self::Trouble { .. } => ErrorClass::Refused,
        }
    }
}
