use std::sync::Barrier;

use super::super::ArchiveOptions;
use super::scene::Scene;
use crate::error::{Classified, ErrorClass};
use crate::pg::testing::wal_segment;
use crate::repository::Stored;

const ROUNDS: u32 = 200;

/// Two servers that both believe to be the primary, with different content for one name.
#[test]
fn of_two_archivers_racing_for_one_name_exactly_one_wins() {
    let scene = Scene::new();
    let mut wins = [0, 0];
    for round in 1..=ROUNDS {
        // Every tenth round is about a history file, of which no byte but the reason differs.
        let is_history = round % 10 == 0;
        let name = if is_history { format!("{round:08X}.history") } else { format!("0000000100000000{round:08X}") };
        let contents = [1u8, 2].map(|who| match is_history {
            true => format!("1\t0/3000000\tdecided by {who}\n").into_bytes(),
            false => wal_segment(&name, who),
        });
        let barrier = Barrier::new(2);
        let results: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..2)
                .map(|who| {
                    let path = scene.path(&format!("{name}-{who}"));
                    std::fs::write(&path, &contents[who]).unwrap();
                    let options = ArchiveOptions { path, host: format!("host-{who}"), ..scene.options(&name) };
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        super::super::run(options)
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let winner = results.iter().position(Result::is_ok).unwrap_or_else(|| panic!("round {round}: {results:?}"));
        let loser = 1 - winner;
        wins[winner] += 1;
        assert_eq!(results[winner].as_ref().unwrap().stored, Some(Stored::Created), "round {round}");
        let refused = results[loser].as_ref().unwrap_err();
        assert_eq!(refused.class(), ErrorClass::Conflict, "round {round}: {refused:?}");
        let cause = std::error::Error::source(refused).unwrap().to_string();
        assert!(cause.contains(&format!("by host \"host-{winner}\"")), "round {round}: {cause}");
        assert!(scene.archived(&name) == contents[winner], "round {round}: not the winner's content");
    }
    assert_eq!(wins[0] + wins[1], ROUNDS);
    assert_eq!(scene.files_in_staging(), [""; 0]);
}
