//! The name that a person most likely meant.

/// The nearest of the known names, if one is near enough to be a slip of the fingers.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = slip_limit(name);
    let distances = known.into_iter().map(|candidate| (edit_distance(name, candidate), candidate));
    distances.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// How many characters a slip of the fingers changes in such a name, at most.
pub(crate) fn slip_limit(name: &str) -> usize {
    (name.chars().count() / 3).clamp(1, 3)
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour.
pub(crate) fn edit_distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&last, j) + usize::from(a != b)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if i > 0 && j > 0 && Some(a) == to.get(j - 1) && from.get(i - 1) == Some(b) {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let known = ["pgdata", "conninfo", "timeout", "compression_level"];
        for (name, meant) in [
            ("pgdat", Some("pgdata")),
            ("pg_data", Some("pgdata")),
            ("timeuot", Some("timeout")),
            ("compresion_levl", Some("compression_level")),
            ("port", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
    }

    proptest! {
        #[test]
        fn distance_is_a_distance(a in ".{0,12}", b in ".{0,12}") {
            prop_assert_eq!(edit_distance(&a, &b), edit_distance(&b, &a));
            prop_assert_eq!(edit_distance(&a, &b) == 0, a == b);
            prop_assert!(edit_distance(&a, &b) <= a.chars().count().max(b.chars().count()));
        }
    }
}
