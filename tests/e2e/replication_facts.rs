//! What servers say of their part in replication, in every version: as a superuser, as `pg_monitor`, as anybody.

use std::time::Duration;

use pgv::server::{
    ConflictLimit, ConnectionOptions, ConnectionSettings, ConnectionSources, ReplayPause, ReplicationFacts,
    ReplicationRole, SqlClient, StandbyFacts, WalSource,
};

use crate::support::{PgVersion, TestAccount, TestCluster, TestFolder, run, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the server says to that role.
fn asked(server: &TestCluster, role: &str) -> ReplicationFacts {
    let conninfo = format!("{} user={role}", server.conninfo());
    let options = ConnectionOptions::default();
    let settings = ConnectionSettings::resolve(&ConnectionSources {
        options: &options,
        conninfo: Some(&conninfo),
        variable: &|_| None,
        os_user: None,
        home: None,
        application_name: "pgv-standby",
    })
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = SqlClient::connect(&settings).await.unwrap();
        let facts = client.replication_facts().await.unwrap();
        let position = client.primary_position().await.unwrap();
        assert_eq!(position.is_some(), facts.is_primary());
        client.close().await;
        facts
    })
}

fn standby_of(facts: &ReplicationFacts) -> &StandbyFacts {
    facts.standby().unwrap_or_else(|| panic!("no standby: {facts:?}"))
}

fn current(facts: &ReplicationFacts) -> pgv::pg::Lsn {
    match facts.role {
        ReplicationRole::Primary { current } => current,
        ReplicationRole::Standby(_) => panic!("no primary: {facts:?}"),
    }
}

fn says(version: PgVersion) {
    let folder = TestFolder::in_memory(&format!("facts-{}", version.number()));
    let mut primary = TestCluster::builder(version, &folder).line("hot_standby_feedback = on").start();
    primary.query("CREATE ROLE monitor LOGIN IN ROLE pg_monitor");
    primary.query("CREATE ROLE anybody LOGIN");
    primary.query("SELECT pg_create_physical_replication_slot('first')");
    primary.stop();
    let data = folder.join("standby");
    let mut copy = TestAccount::get().command("cp");
    copy.arg("-a").arg(&primary.data).arg(&data);
    run(copy).success();
    folder.write("standby/standby.signal", "");
    let mut standby = TestCluster::at(version, &folder, "standby-server", &data);
    primary.start();
    let follow = format!("primary_conninfo={} application_name=one", primary.conninfo());
    standby.start_with(&[&follow, "primary_slot_name=first", "max_standby_streaming_delay=-1"]);
    primary.query("CREATE TABLE written AS SELECT generate_series(1, 1000) AS i");
    wait_until("it has replayed all", PATIENCE, || {
        standby_of(&asked(&standby, "postgres")).replayed >= Some(current(&asked(&primary, "postgres")))
    });

    let identifier = primary.query("SELECT system_identifier FROM pg_control_system()");
    for role in ["postgres", "monitor", "anybody"] {
        let sees_details = role != "anybody";
        for server in [&primary, &standby] {
            let facts = asked(server, role);
            assert_eq!(facts.system_identifier.unwrap().to_string(), identifier, "{version:?} {role}");
            assert_eq!(facts.version_num.unwrap() / 10_000, version.number());
            assert_eq!(facts.timeline.map(|timeline| timeline.get()), Some(1));
            assert_eq!(facts.settings.full_page_writes, Some(true));
            assert_eq!(facts.settings.hot_standby_feedback, Some(true));
            assert_eq!(facts.settings.archive_conflicts, Some(ConflictLimit::After(Duration::from_secs(30))));
            assert!(facts.connections_left.is_some_and(|left| (20..30).contains(&left)), "{facts:?}");
        }
        let facts = asked(&primary, role);
        assert_eq!(facts.senders_left, Some(9));
        let [follower] = facts.followers.as_slice() else { panic!("{facts:?}") };
        assert_eq!(follower.slot.as_deref(), Some("first"));
        assert_eq!(follower.application_name.as_deref(), Some("one"), "{version:?} {role}");
        assert_eq!(follower.sync_state.as_deref(), sees_details.then_some("async"));

        let facts = asked(&standby, role);
        let replayed = standby_of(&facts);
        assert_eq!(replayed.pause, Some(ReplayPause::NotPaused));
        assert_eq!(replayed.apply_delay, Some(Duration::ZERO));
        assert!(replayed.last_commit.is_some() && replayed.flushed.is_some(), "{replayed:?}");
        assert_eq!(facts.settings.streaming_conflicts, Some(ConflictLimit::Never));
        let receiver = replayed.receiver().unwrap_or_else(|| panic!("no receiver: {replayed:?}"));
        assert_eq!(receiver.is_streaming, sees_details.then_some(true), "{version:?} {role}");
        assert_eq!(receiver.slot.as_deref(), sees_details.then_some("first"));
        assert_eq!(receiver.application_name.as_deref(), sees_details.then_some("one"));
    }
    held_back(&primary, &mut standby);
}

/// Paused, delayed, without a receiver, and with the functions of the control file out of reach.
fn held_back(primary: &TestCluster, standby: &mut TestCluster) {
    standby.query("SELECT pg_wal_replay_pause()");
    wait_until("it is paused", PATIENCE, || {
        standby_of(&asked(standby, "anybody")).pause.is_some_and(|pause| pause != ReplayPause::NotPaused)
    });
    standby.query("SELECT pg_wal_replay_resume()");
    for function in ["pg_control_system()", "pg_control_checkpoint()", "pg_control_recovery()"] {
        primary.query(&format!("REVOKE EXECUTE ON FUNCTION {function} FROM public"));
    }
    wait_until("the rights are replayed", PATIENCE, || asked(standby, "anybody").system_identifier.is_none());
    let facts = asked(standby, "anybody");
    assert_eq!((facts.timeline, facts.settings.full_page_writes), (None, None));
    // Who may see the receiver knows its timeline all the same.
    assert_eq!(asked(standby, "monitor").timeline.map(|timeline| timeline.get()), Some(1));
    standby.stop();
    standby.start_with(&["recovery_min_apply_delay=1h", "primary_conninfo="]);
    let facts = asked(standby, "anybody");
    assert_eq!(standby_of(&facts).apply_delay, Some(Duration::from_secs(3600)));
    assert_eq!(standby_of(&facts).source, Some(WalSource::Nothing));
    standby.stop();
    standby.start_with(&["restore_command=false"]);
    assert_eq!(standby_of(&asked(standby, "anybody")).source, Some(WalSource::Archive));
}

#[test]
fn the_oldest_and_the_newest_version_say_how_far_they_are() {
    says(PgVersion::V13);
    says(PgVersion::V18);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn every_version_says_how_far_it_is() {
    PgVersion::ALL.into_iter().for_each(says);
}
