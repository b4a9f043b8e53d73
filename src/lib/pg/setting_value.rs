//! What the values of a few settings mean for archiving and recovery, as `SHOW` or a configuration file has them.

/// As the server reads a boolean: any unambiguous beginning of the words (`parse_bool`, `src/backend/utils/adt/bool.c`).
pub fn is_on(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    let begins = |word: &str| !text.is_empty() && word.starts_with(&text);
    text == "on" || text == "1" || begins("true") || begins("yes")
}

/// Of `archive_mode`: whether anything is archived.
pub fn is_archiving(text: &str) -> bool {
    text.eq_ignore_ascii_case("always") || is_on(text)
}

/// Of `wal_level`: whether recovery can cross the WAL.
pub fn is_enough_wal(text: &str) -> bool {
    !text.eq_ignore_ascii_case("minimal")
}

/// A number above zero, whatever its unit.
pub fn is_positive(text: &str) -> bool {
    let digits: String = text.trim().chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    digits.chars().any(|c| ('1'..='9').contains(&c))
}

/// Of `archive_command`: whether it runs our program.
pub fn runs_pgv_archive(command: &str) -> bool {
    (command.contains("pgv-archive") || command.contains("pgv archive")) && command.contains("%p")
}
