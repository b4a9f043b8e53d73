//! The settings of every target, and what a rewrite leaves alone.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::pg::{CommandWord, Lsn, TargetBound, TimelineId, TransactionId, command_text, parse_config};

const BEGIN: &str = RECOVERY_MARKS.begin;
const END: &str = RECOVERY_MARKS.end;

fn targeted(target: RecoveryTarget) -> RecoverySettings {
    RecoverySettings {
        mode: RecoveryMode::Targeted,
        restore_command: Some("fetch %f %p".to_owned()),
        recovery_end_command: None,
        archive_cleanup_command: None,
        target,
        target_action: RecoveryTargetAction::Promote,
        target_timeline: RecoveryTargetTimeline::Latest,
        unset_targets: Vec::new(),
        primary_conninfo: None,
        primary_slot_name: None,
        archiving: RestoredArchiving::Unchanged,
        read_ahead: WalReadAhead::Unchanged,
        minimums: Vec::new(),
        harmless: None,
    }
}

fn all_cleared(text: &[u8]) -> Vec<u8> {
    clear_recovery_settings(text, ClearScope::Everything)
}

fn lines(settings: &RecoverySettings) -> String {
    config_lines(&settings.settings().unwrap()).unwrap()
}

#[test]
fn each_target_has_its_setting() {
    use TargetBound::{Exclusive, Inclusive};
    let time = Timestamp::from_microsecond(1_795_000_000_123_456).unwrap();
    let lsn = Lsn::new(0x16_B374_D848).unwrap();
    let xid = TransactionId::new(4_294_967_299).unwrap();
    for (target, wanted) in [
        (RecoveryTarget::Latest, ""),
        (RecoveryTarget::Immediate, "recovery_target = 'immediate'\n"),
        (
            RecoveryTarget::Time(time, Inclusive),
            "recovery_target_time = '2026-11-18 11:06:40.123456+00'\nrecovery_target_inclusive = 'on'\n",
        ),
        (
            RecoveryTarget::Lsn(lsn, Exclusive),
            "recovery_target_lsn = '16/B374D848'\nrecovery_target_inclusive = 'off'\n",
        ),
        (
            RecoveryTarget::TransactionId(xid, Exclusive),
            "recovery_target_xid = '4294967299'\nrecovery_target_inclusive = 'off'\n",
        ),
        (RecoveryTarget::RestorePoint("it's".parse().unwrap()), "recovery_target_name = 'it''s'\n"),
    ] {
        let action = if wanted.is_empty() { "" } else { "recovery_target_action = 'promote'\n" };
        let wanted = format!("restore_command = 'fetch %f %p'\nrecovery_target_timeline = 'latest'\n{wanted}{action}");
        assert_eq!(lines(&targeted(target)), wanted);
    }
}

#[test]
fn a_pause_needs_hot_standby() {
    let mut settings = targeted(RecoveryTarget::Immediate);
    settings.target_action = RecoveryTargetAction::Pause;
    assert!(lines(&settings).ends_with("recovery_target_action = 'pause'\nhot_standby = 'on'\n"));
    settings.target = RecoveryTarget::Latest;
    assert!(!lines(&settings).contains("hot_standby"));
}

#[test]
fn a_standby_has_its_own_signal_and_settings() {
    let mut settings = targeted(RecoveryTarget::Latest);
    settings.mode = RecoveryMode::Standby;
    settings.restore_command = None;
    settings.primary_conninfo = Some("host=/run user='a b' password=\\x".to_owned());
    settings.primary_slot_name = Some("one".to_owned());
    settings.archive_cleanup_command = Some("clean %r".to_owned());
    settings.target_timeline = RecoveryTargetTimeline::Id(TimelineId::new(10).unwrap());
    settings.archiving = RestoredArchiving::Off;
    assert_eq!(
        lines(&settings),
        "archive_cleanup_command = 'clean %r'\nprimary_conninfo = 'host=/run user=''a b'' password=\\\\x'\n\
         primary_slot_name = 'one'\nrecovery_target_timeline = '10'\narchive_mode = 'off'\n"
    );
    assert_eq!(RecoveryMode::Standby.signal_file(), "standby.signal");
    assert_eq!(RecoveryMode::Standby.other_signal_file(), RecoveryMode::Targeted.signal_file());
    assert_eq!(RecoveryMode::Targeted.other_signal_file(), "standby.signal");
}

#[test]
fn refuses_what_the_server_or_the_file_would_not_take() {
    let mut settings = targeted(RecoveryTarget::Latest);
    settings.restore_command = Some("a\nb".to_owned());
    let error = apply_recovery_settings(b"", &settings).unwrap_err();
    assert!(matches!(error, RecoverySettingsError::Value(_)));
    settings.restore_command = None;
    let error = apply_recovery_settings(b"", &settings).unwrap_err();
    assert_eq!((&error, error.class()), (&RecoverySettingsError::NoRestoreCommand, ErrorClass::Usage));
}

#[test]
fn targets_of_other_files_are_unset_before_ours_is_set() {
    let other = b"recovery_target_time = '2020-01-01'\nRecovery_Target_Name = 'x'\nrecovery_target_xid = '5'\n\
        recovery_target_xid = ''\nrecovery_target_action = 'pause'\n";
    let mut settings = targeted(RecoveryTarget::RestorePoint("a".parse().unwrap()));
    settings.unset_targets = foreign_targets(&parse_config(other).unwrap());
    assert_eq!(settings.unset_targets, ["recovery_target_time", "recovery_target_name"]);
    let text = lines(&settings);
    assert!(text.contains("recovery_target_time = ''\nrecovery_target_timeline"), "{text}");
    assert_eq!(text.matches("recovery_target_name").count(), 1);
}

#[test]
fn a_block_replaces_the_one_before_and_leaves_no_trace() {
    let text =
        b"# Do not edit this file manually!\nport = '5433'\nrecovery_target_time = 'x'\nrestore_command = 'mine'\n";
    let kept = b"# Do not edit this file manually!\nport = '5433'\nrestore_command = 'mine'\n";
    let first = apply_recovery_settings(text, &targeted(RecoveryTarget::Immediate)).unwrap();
    let second = apply_recovery_settings(&first, &targeted(RecoveryTarget::Latest)).unwrap();
    assert_eq!(
        String::from_utf8(second.clone()).unwrap(),
        "# Do not edit this file manually!\nport = '5433'\nrestore_command = 'mine'\n\
         # pgv: begin of recovery settings; \"pgv-recovery-conf --clear\" removes them\n\
         restore_command = 'fetch %f %p'\nrecovery_target_timeline = 'latest'\n\
         # pgv: end of recovery settings\n"
    );
    assert_eq!(all_cleared(&second), kept);
    assert_eq!(all_cleared(kept), kept);
}

#[test]
fn a_copy_stays_without_archiving_when_recovery_ends() {
    let mut settings = targeted(RecoveryTarget::Immediate);
    settings.archiving = RestoredArchiving::Off;
    let text = b"archive_mode = 'on'\n";
    let applied = apply_recovery_settings(text, &settings).unwrap();
    let ended = clear_recovery_settings(&applied, ClearScope::Recovery);
    let entries = parse_config(&ended).unwrap();
    assert_eq!(crate::pg::config_value(&entries, "archive_mode"), Some(&b"off"[..]));
    assert_eq!(entries.len(), 2);
    assert_eq!(clear_recovery_settings(&ended, ClearScope::Recovery), ended);
    assert_eq!(all_cleared(&ended), text);
    assert_eq!(all_cleared(&applied), text);
}

#[test]
fn marks_without_partner_take_no_line_of_the_user_away() {
    let block = targeted(RecoveryTarget::Latest).blocks().unwrap();
    let begin_only = format!("{BEGIN}\nport = 1\n");
    assert_eq!(all_cleared(begin_only.as_bytes()), b"port = 1\n");
    assert_eq!(all_cleared(format!("a = 1\n{END}\nb = 1").as_bytes()), b"a = 1\nb = 1");
    let nested = format!("{begin_only}{block}c = 1\r\n");
    assert_eq!(all_cleared(nested.as_bytes()), b"port = 1\nc = 1\r\n");
    let applied = apply_recovery_settings(begin_only.as_bytes(), &targeted(RecoveryTarget::Latest)).unwrap();
    assert_eq!(all_cleared(&applied), b"port = 1\n");
}

#[test]
fn a_command_reaches_the_server_with_its_percent_signs() {
    let words = [CommandWord::Text("/srv/it's 100%/fetch"), CommandWord::Placeholder('f')];
    let mut settings = targeted(RecoveryTarget::Latest);
    settings.restore_command = Some(command_text(&words));
    let text = lines(&settings);
    assert!(text.starts_with("restore_command = '''/srv/it''\\\\''''s 100%%/fetch'' %f'\n"), "{text}");
}

fn target() -> impl Strategy<Value = RecoveryTarget> {
    let bound = prop_oneof![Just(TargetBound::Inclusive), Just(TargetBound::Exclusive)];
    let time = 0i64..4_000_000_000_000_000;
    prop_oneof![
        Just(RecoveryTarget::Latest),
        Just(RecoveryTarget::Immediate),
        (time, bound.clone()).prop_map(|(t, b)| RecoveryTarget::Time(Timestamp::from_microsecond(t).unwrap(), b)),
        (1u64.., bound.clone()).prop_map(|(lsn, b)| RecoveryTarget::Lsn(Lsn::new(lsn).unwrap(), b)),
        (3u32.., bound).prop_map(|(x, b)| RecoveryTarget::TransactionId(TransactionId::new(x.into()).unwrap(), b)),
        "[ -~]{1,20}".prop_map(|name| RecoveryTarget::RestorePoint(name.parse().unwrap())),
    ]
}

proptest! {
    #[test]
    fn clearing_undoes_applying(
        parts in prop::collection::vec(prop_oneof![
            Just(BEGIN.to_owned()), Just(END.to_owned()), Just(ARCHIVING_MARKS.begin.to_owned()),
            Just(ARCHIVING_MARKS.end.to_owned()), Just("recovery_target_lsn = '0/1'".to_owned()),
            Just("port = 1".to_owned()), Just("# comment\r".to_owned()), ".{0,12}",
        ], 0..8),
        ended in any::<bool>(),
        archiving_off in any::<bool>(),
        target in target(),
        command in "[^\n\0]{0,30}",
    ) {
        let mut text = parts.join("\n");
        if ended {
            text.push('\n');
        }
        let mut settings = targeted(target);
        settings.restore_command = Some(command.clone());
        if archiving_off {
            settings.archiving = RestoredArchiving::Off;
        }
        let cleared = all_cleared(text.as_bytes());
        prop_assert_eq!(all_cleared(&cleared), cleared.clone());
        let applied = apply_recovery_settings(text.as_bytes(), &settings).unwrap();
        prop_assert_eq!(all_cleared(&applied), append_lines(&cleared, ""));
        prop_assert_eq!(apply_recovery_settings(&applied, &settings).unwrap(), applied.clone());
        if let Ok(entries) = parse_config(&applied) {
            prop_assert_eq!(crate::pg::config_value(&entries, "restore_command"), Some(command.as_bytes()));
            prop_assert!(foreign_targets(&entries).len() <= 1);
        }
    }
}

#[test]
fn reading_ahead_is_switched_off_only_for_the_recovery() {
    let settings = RecoverySettings { read_ahead: WalReadAhead::Off, ..targeted(RecoveryTarget::Immediate) };
    assert!(lines(&settings).contains("recovery_prefetch = 'off'\n"));
    assert!(!lines(&targeted(RecoveryTarget::Immediate)).contains("recovery_prefetch"));
    let written = apply_recovery_settings(b"work_mem = '4MB'\n", &settings).unwrap();
    assert_eq!(clear_recovery_settings(&written, ClearScope::Recovery), b"work_mem = '4MB'\n");
}

#[test]
fn what_makes_a_copy_harmless_stays_until_it_is_taken_out() {
    let users = "shared_preload_libraries = 'theirs'\nrestore_command = 'theirs'\n";
    let mut settings = targeted(RecoveryTarget::Immediate);
    settings.harmless = Some(vec![("shared_preload_libraries", String::new()), ("restore_command", String::new())]);
    settings.minimums = vec![("max_connections", 200)];
    let value = |text: &[u8], name: &str| {
        let entries = parse_config(text).unwrap();
        crate::pg::config_value(&entries, name).map(|value| String::from_utf8(value.to_vec()).unwrap())
    };
    let seen =
        |text: &[u8]| ["shared_preload_libraries", "restore_command", "max_connections"].map(|name| value(text, name));
    let of = |values: [Option<&str>; 3]| values.map(|value| value.map(str::to_owned));

    let written = apply_recovery_settings(users.as_bytes(), &settings).unwrap();
    assert_eq!(seen(&written), of([Some(""), Some("fetch %f %p"), Some("200")]));
    // The end of recovery leaves it, and so does another target.
    let ended = clear_recovery_settings(&written, ClearScope::Recovery);
    assert_eq!(seen(&ended), of([Some(""), Some(""), None]));
    settings.harmless = None;
    let later = apply_recovery_settings(&written, &settings).unwrap();
    assert_eq!(seen(&later), of([Some(""), Some("fetch %f %p"), Some("200")]));
    // Alone it goes during a recovery, too.
    let trusted = clear_recovery_settings(&later, ClearScope::Harmlessness);
    assert_eq!(seen(&trusted), of([Some("theirs"), Some("fetch %f %p"), Some("200")]));
    assert_eq!(all_cleared(&later), users.as_bytes());
    settings.harmless = Some(Vec::new());
    settings.minimums = Vec::new();
    let nothing = apply_recovery_settings(&later, &settings).unwrap();
    assert_eq!(seen(&nothing), of([Some("theirs"), Some("fetch %f %p"), None]));
}
