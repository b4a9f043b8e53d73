//! Hostile names as values in the small files of a server: kept byte for byte where any text may stand, refused where a
//! number, a position or a path must.

use crate::fuzz_check::seen;
use crate::hostile::NAMES;
use crate::pg::{
    BackupLabel, Lsn, SystemIdentifier, TablespaceMap, TablespaceMapEntry, TimelineHistory, TimelineId, TransactionId,
    WalFileName, append_lines, config_lines, config_value, parse_config,
};

const LABEL: [(&str, &str); 7] = [
    ("START WAL LOCATION", "0/2000028 (file 000000010000000000000002)"),
    ("CHECKPOINT LOCATION", "0/2000060"),
    ("BACKUP METHOD", "streamed"),
    ("BACKUP FROM", "primary"),
    ("START TIME", "2026-11-21 00:00:00 UTC"),
    ("LABEL", "nightly"),
    ("START TIMELINE", "1"),
];

fn label(with: &str, value: &[u8]) -> Vec<u8> {
    let line = |(key, usual): (&str, &str)| {
        let value = if key == with { value } else { usual.as_bytes() };
        [key.as_bytes(), b": ", value, b"\n"].concat()
    };
    LABEL.into_iter().flat_map(line).collect()
}

#[test]
fn fields_of_a_label() {
    BackupLabel::parse(&label("", b"")).unwrap();
    for (name, _) in NAMES {
        for (key, _) in LABEL {
            match (BackupLabel::parse(&label(key, name)), key) {
                (Ok(_), "LABEL" | "START TIME" | "BACKUP METHOD") => {}
                // The last line may be missing, so what stands there may be the end of a label of several lines.
                (Ok(found), "START TIMELINE") if name.contains(&b'\n') => {
                    assert_eq!(found.start_timeline, TimelineId::FIRST);
                }
                (Ok(found), _) => panic!("{key} is \"{}\": {found:?}", name.escape_ascii()),
                (Err(error), _) => seen(&error),
            }
        }
    }
}

#[test]
fn lines_of_a_history() {
    let timeline = TimelineId::new(3).unwrap();
    let honest = TimelineHistory::parse(timeline, "1\t0/3000000\treason\n").unwrap();
    for (name, _) in NAMES {
        let line = |parts: &[&[u8]]| TimelineHistory::decode(timeline, &[&parts.concat(), &b"\n"[..]].concat());
        // A reason may be anything on one line; a line break begins another, which begins with a number or is refused.
        match line(&[b"1\t0/3000000\t", name]) {
            Ok(history) => assert_eq!(history, honest, "{}", name.escape_ascii()),
            Err(error) => {
                assert!(name.contains(&0) || name.contains(&b'\n'), "{}: {error}", name.escape_ascii());
                seen(&error);
            }
        }
        for parts in [[b"1\t", *name, b"\tx"], [name, b"\t0/3000000", b"\tx"], [b"", b"", name]] {
            match line(&parts) {
                Ok(history) => panic!("{}: {history:?}", parts.concat().escape_ascii()),
                Err(error) => seen(&error),
            }
        }
    }
}

#[test]
fn locations_in_a_tablespace_map() {
    for (name, _) in NAMES.iter().filter(|(name, _)| !name.is_empty() && !name.contains(&0)) {
        let map = TablespaceMap::new(vec![TablespaceMapEntry { oid: 16_400, path: name.to_vec() }]).unwrap();
        assert_eq!(TablespaceMap::parse(&map.to_bytes()).unwrap(), map, "{}", name.escape_ascii());
        let as_oid = [&name[..], b" /ts\n"].concat();
        let error = TablespaceMap::parse(&as_oid).expect_err("no number");
        seen(&error);
    }
}

#[test]
fn values_of_a_configuration() {
    for (name, _) in NAMES {
        let Ok(text) = std::str::from_utf8(name) else { continue };
        let line = match config_lines(&[("cluster_name", text)]) {
            Ok(line) => line,
            Err(error) => {
                seen(&error);
                continue;
            }
        };
        let written = append_lines(b"port = 1", &line);
        let entries = parse_config(&written).unwrap();
        assert_eq!(entries.len(), 2, "{text:?}");
        assert_eq!(config_value(&entries, "cluster_name"), Some(*name));
    }
}

#[test]
fn numbers_and_names_of_files() {
    for (name, _) in NAMES {
        let Ok(text) = std::str::from_utf8(name) else { continue };
        assert!(text.parse::<Lsn>().is_err(), "{text:?}");
        assert!(text.parse::<TransactionId>().is_err(), "{text:?}");
        assert!(text.parse::<SystemIdentifier>().is_err(), "{text:?}");
        assert!(TimelineId::parse_decimal(text).is_err() && TimelineId::parse_hex(text).is_err(), "{text:?}");
        assert!(WalFileName::parse(text).is_err(), "{text:?}");
    }
}
