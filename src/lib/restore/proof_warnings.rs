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
            step.to.span.lsn,
            time_text(step.from.time),
            time_text(step.to.time)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Lsn;
    use crate::wal_search::{ClockStep, Ending, EndingKind, OnTheWay, RecordSpan};

    fn commit(at: u64, time: &str) -> Ending {
        let span = RecordSpan { lsn: Lsn::new(at).unwrap(), end_lsn: Lsn::new(at + 8).unwrap() };
        Ending {
            kind: EndingKind::Commit,
            span,
            timeline: TimelineId::FIRST,
            xid: Some(700),
            time: time.parse().unwrap(),
            prepared: false,
            removed_files: 0,
        }
    }

    #[test]
    fn a_clock_that_went_back_is_told_with_both_times() {
        let (from, to) = (commit(0x500, "2026-11-20T12:00:00Z"), commit(0x600, "2026-11-20T11:58:30Z"));
        let proof = Proof {
            stop: None,
            last_record: to.span,
            commit_before: Some(to.clone()),
            commit_after: None,
            namesakes: Vec::new(),
            namesake_count: None,
            clock_steps: vec![ClockStep { from, to }],
            on_the_way: OnTheWay::default(),
            records: 2,
            ends_in_trouble: false,
            gain: None,
        };
        let warnings = proof_warnings(&proof, TimelineId::FIRST);
        let [words] = warnings.as_slice() else { panic!("{warnings:?}") };
        let begin = "the server's clock went back at 0/600, from 2026-11-20 12:00:00.000000+00 to 2026-11-20 \
                     11:58:30.000000+00: recovery to a time stops at the first transaction";
        assert!(words.starts_with(begin), "{words}");
    }
}
