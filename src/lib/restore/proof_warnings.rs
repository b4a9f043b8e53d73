//! What a person should know of a proof beside where recovery stops.

use super::proof::Proof;
use super::refusal::time_text;
use crate::pg::TimelineId;
use crate::wal_search::RestorePoint;

/// Clocks that went back, and names that were used more than once.
pub(super) fn proof_warnings(proof: &Proof, timeline: TimelineId) -> Vec<String> {
    clock_warnings(proof).chain(namesakes_warning(proof, timeline)).collect()
}

/// A clock that went back changes which transactions a time includes.
fn clock_warnings(proof: &Proof) -> impl Iterator<Item = String> + '_ {
    proof.clock_steps.iter().map(|step| {
        format!(
            "the server's clock went back at {}, from {} to {}: recovery to a time stops at the first transaction that \
             is later than it, whatever follows",
            step.to.span.lsn, step.from.time, step.to.time
        )
    })
}

/// A name that was used more than once: recovery stops at the first one, whichever was meant.
fn namesakes_warning(proof: &Proof, timeline: TimelineId) -> Option<String> {
    let count = proof.namesake_count?;
    let (first, others) = proof.namesakes.split_first()?;
    let other = |point: &RestorePoint| {
        let (lsn, time) = (point.span.lsn, time_text(point.time));
        format!("at {lsn}, {time}: --target-lsn {lsn} --target-timeline {timeline}")
    };
    let shown: Vec<String> = others.iter().map(other).collect();
    let more = count.saturating_sub(proof.namesakes.len() as u64);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Some(format!(
        "the name \"{}\" was given to {count} restore points; recovery stops at the first, at {}, {}. To stop at \
         another instead of --target-name: {}{more}",
        first.name,
        first.span.lsn,
        time_text(first.time),
        shown.join("; ")
    ))
}
