//! Hints about nodes and the choice among them.

use std::error::Error;

use crate::cli::typed::Typed;
use crate::standby::{NodeError, StandbyError, Trouble};

pub(super) fn hint(error: &(dyn Error + 'static), _: &Typed) -> Vec<String> {
    if let Some(NodeError::None) = super::find::<NodeError>(error) {
        return vec![
            "Name them with [[cluster.NAME.node]] in pgv.toml, with --node NAME=CONNINFO, or with -d 'host=A,B'."
                .to_owned(),
        ];
    }
    let hint = match super::find::<StandbyError>(error) {
        Some(StandbyError::Trouble { trouble: Trouble::TwoPrimaries { .. } }) => {
            "One of them was promoted while the other went on: writes go to both, and nothing brings them together."
        }
        Some(StandbyError::Trouble { trouble: Trouble::OldPrimary { .. } }) => {
            "A standby was promoted since, and the new primary does not answer or is none of the nodes: the one that \
             answers is the old one. Or a node follows a server of another history: take it out of the list."
        }
        Some(StandbyError::Trouble { trouble: Trouble::SeveralClusters { .. } }) => {
            "Say which one is meant: system_identifier in [cluster.NAME] of pgv.toml."
        }
        Some(StandbyError::Trouble { trouble: Trouble::NoPrimary }) => {
            "Without --require-primary, lag is measured against the highest position that any node has received."
        }
        _ => return Vec::new(),
    };
    vec![hint.to_owned()]
}
