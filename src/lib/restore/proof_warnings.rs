//! What a person should know of a proof beside where recovery stops.

use super::proof::Proof;
use super::refusal::time_text;
use crate::pg::TimelineId;
use crate::wal_search::RestorePoint;

/// Clocks that went back, and names that were used more than once.
pub(super) fn proof_warnings(proof: &Proof, timeline: TimelineId) -> Vec<String> {
    clock_warnings(proof).chain(late_warning(proof, timeline)).chain(namesakes_warning(proof, timeline)).collect()
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

/// A clock that went back behind the stop gave commits a time that the target includes, and recovery ends before them.
fn late_warning(proof: &Proof, timeline: TimelineId) -> Option<String> {
    let late = proof.late_commits.as_ref()?;
    let (first, last) = (late.first.as_ref()?, late.last.as_ref()?);
    let (has, commits, them) = match late.count {
        1 => ("has", "1 commit".to_owned(), "it"),
        count => ("have", format!("{count} commits"), "them"),
    };
    let which = if late.count == 1 { "" } else { ", the first" };
    Some(format!(
        "the server's clock went back behind the point at which recovery stops: {commits} behind it {has} a time that the \
         target includes{which} at {}, {}. To recover {them}, too, with all that lies before: --target-xid {} \
         --target-timeline {timeline} instead of the time",
        first.span.lsn,
        time_text(first.time),
        last.xid?,
    ))
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
    use crate::wal_search::{ClockStep, Ending, EndingKind, LateCommits, OnTheWay, RecordSpan};

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

    fn proof(from: &Ending, to: &Ending) -> Proof {
        Proof {
            stop: None,
            last_record: to.span,
            commit_before: Some(to.clone()),
            commit_after: None,
            namesakes: Vec::new(),
            namesake_count: None,
            clock_steps: vec![ClockStep { from: from.clone(), to: to.clone() }],
            late_commits: None,
            on_the_way: OnTheWay::default(),
            records: 2,
            ends_in_trouble: false,
            gain: None,
        }
    }

    #[test]
    fn a_clock_that_went_back_is_told_with_both_times() {
        let (from, to) = (commit(0x500, "2026-11-20T12:00:00Z"), commit(0x600, "2026-11-20T11:58:30Z"));
        let warnings = proof_warnings(&proof(&from, &to), TimelineId::FIRST);
        let [words] = warnings.as_slice() else { panic!("{warnings:?}") };
        let begin = "the server's clock went back at 0/600, from 2026-11-20 12:00:00.000000+00 to 2026-11-20 \
                     11:58:30.000000+00: recovery to a time stops at the first transaction";
        assert!(words.starts_with(begin), "{words}");
    }

    #[test]
    fn commits_that_are_lost_by_the_clock_are_told_with_the_way_to_them() {
        let (first, last) = (commit(0x500, "2026-11-20T12:00:00Z"), commit(0x600, "2026-11-20T11:58:30Z"));
        let last = Ending { xid: Some(701), ..last };
        for (commits, words) in [
            (vec![&first, &last], "2 commits behind it have a time that the target includes, the first at 0/500, 2026"),
            (vec![&last], "1 commit behind it has a time that the target includes at 0/600, 2026"),
        ] {
            let mut late = LateCommits::default();
            commits.into_iter().for_each(|commit| late.see(commit));
            let proof = Proof { clock_steps: Vec::new(), late_commits: Some(late), ..proof(&first, &last) };
            let warnings = proof_warnings(&proof, TimelineId::FIRST);
            let [found] = warnings.as_slice() else { panic!("{warnings:?}") };
            assert!(found.contains(words) && found.contains("--target-xid 701 --target-timeline 1 "), "{found}");
        }
    }
}
