use super::*;
use crate::clock::FixedClock;
use crate::error::{Classified as _, ErrorClass};
use crate::init::FactSource;
use crate::init::server_state::ServerState;
use crate::pg::{ControlFile, SystemIdentifier};

struct Scene {
    temp: tempfile::TempDir,
    facts: ClusterFacts,
    clock: FixedClock,
}

impl Scene {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let pgdata = temp.path().join("data");
        std::fs::create_dir(&pgdata).unwrap();
        let control = ControlFile::decode(include_bytes!("../../../../tests/data/postgres-15/pg_control")).unwrap();
        let facts = ClusterFacts {
            source: FactSource::ControlFile,
            system_identifier: control.system_identifier,
            wal_segment_size: control.wal_segment_size,
            state: ServerState::of_control_file(&control, &pgdata),
            is_local: true,
            local_data_directory: Some(pgdata),
        };
        Self { temp, facts, clock: FixedClock("2026-11-21T00:00:00Z".parse().unwrap()) }
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("repo")
    }

    fn other_system(&self) -> ClusterFacts {
        let system_identifier = SystemIdentifier::new(42).unwrap();
        ClusterFacts { system_identifier, ..self.facts.clone() }
    }

    fn run(&self, name: &str, facts: &ClusterFacts, upgraded: bool) -> Result<Registration, InitError> {
        self.run_with(&self.root(), None, name, facts, upgraded)
    }

    fn run_with(
        &self,
        root: &Path,
        pinned: Option<RepositoryId>,
        name: &str,
        facts: &ClusterFacts,
        upgraded: bool,
    ) -> Result<Registration, InitError> {
        let name = ClusterName::parse(name).unwrap();
        let (host, clock, name_given) = ("host-one", &self.clock, name.as_str() == "copy");
        register(&RegistrationOptions { root, pinned, name: &name, name_given, facts, upgraded, host, clock })
    }
}

#[test]
fn the_first_run_creates_and_registers_and_the_second_says_so() {
    let scene = Scene::new();
    let first = scene.run("main", &scene.facts, false).unwrap();
    assert!(first.created && first.registered == Registered::Now && first.probe.available_bytes > 0);
    let second = scene.run("main", &scene.facts, false).unwrap();
    assert!(!second.created && second.registered == Registered::Before);
    assert_eq!(first.repository.id(), second.repository.id());
    let name = ClusterName::parse("main").unwrap();
    assert_eq!(second.repository.identities(&name).unwrap().len(), 1);
    let writers = second.repository.writers(&name).unwrap();
    assert_eq!(writers[0].1.directory, scene.temp.path().join("data"));
}

#[test]
fn another_system_under_the_same_name_needs_upgraded() {
    let scene = Scene::new();
    scene.run("main", &scene.facts, false).unwrap();
    let other = scene.other_system();
    let error = scene.run("main", &other, false).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused);
    let message = error.to_string();
    assert!(message.contains(&scene.facts.system_identifier.to_string()) && message.contains("not 42"), "{message}");
    assert_eq!(scene.run("main", &other, true).unwrap().registered, Registered::Upgraded);
    // Both are known now, and either needs no option.
    assert_eq!(scene.run("main", &scene.facts, false).unwrap().registered, Registered::Before);
    assert_eq!(scene.run("main", &other, false).unwrap().registered, Registered::Before);
}

#[test]
fn one_cluster_has_one_name_unless_a_second_is_asked_for() {
    let scene = Scene::new();
    scene.run("main", &scene.facts, false).unwrap();
    for upgraded in [false, true] {
        let error = scene.run("other", &scene.facts, upgraded).unwrap_err();
        assert!(matches!(error, InitError::OtherName { .. }), "{error}");
    }
    assert_eq!(scene.run("other", &scene.other_system(), false).unwrap().registered, Registered::Now);
    // Somebody asked for it.
    let copy = scene.run("copy", &scene.facts, false).unwrap();
    assert_eq!((copy.registered, copy.other_names), (Registered::Now, vec![ClusterName::parse("main").unwrap()]));
}

#[test]
fn a_directory_with_anything_else_in_it_is_refused_and_left_alone() {
    let scene = Scene::new();
    std::fs::create_dir(scene.root()).unwrap();
    std::fs::write(scene.root().join("letter.txt"), "").unwrap();
    let error = scene.run("main", &scene.facts, false).unwrap_err();
    assert!(matches!(error, InitError::NotEmpty { .. }), "{error}");
    assert_eq!(std::fs::read_dir(scene.root()).unwrap().count(), 1);
    // An empty mount point is fine, and so is what a killed run left.
    std::fs::remove_file(scene.root().join("letter.txt")).unwrap();
    for name in ["lost+found", ".staging"] {
        std::fs::create_dir(scene.root().join(name)).unwrap();
    }
    assert!(scene.run("main", &scene.facts, false).unwrap().created);
}

#[test]
fn the_directory_above_must_exist() {
    let scene = Scene::new();
    let root = scene.temp.path().join("a/b");
    let error = scene.run_with(&root, None, "main", &scene.facts, false).unwrap_err();
    assert!(matches!(error, InitError::Store(crate::store::StoreError::File { .. })), "{error}");
    assert!(!scene.temp.path().join("a").exists());
}

#[test]
fn repository_and_data_directory_never_lie_in_each_other() {
    let scene = Scene::new();
    let data = scene.temp.path().join("data");
    for root in [data.join("repo"), data.clone(), scene.temp.path().to_owned()] {
        let error = scene.run_with(&root, None, "main", &scene.facts, false).unwrap_err();
        assert!(matches!(error, InitError::InsideDataDirectory { .. }), "{error}");
    }
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
}

#[test]
fn a_repository_that_the_configuration_remembers_is_never_created_anew() {
    let scene = Scene::new();
    let id = scene.run("main", &scene.facts, false).unwrap().repository.id();
    let unmounted = scene.temp.path().join("mount-point");
    std::fs::create_dir(&unmounted).unwrap();
    let error = scene.run_with(&unmounted, Some(id), "main", &scene.facts, false).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable);
    assert_eq!(std::fs::read_dir(&unmounted).unwrap().count(), 0);
    let other = RepositoryId::from_bytes([7; 16]);
    let error = scene.run_with(&scene.root(), Some(other), "main", &scene.facts, false).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused);
}

#[test]
fn a_description_that_was_lost_is_written_anew_as_the_other_objects_say() {
    let scene = Scene::new();
    let id = scene.run("main", &scene.facts, false).unwrap().repository.id();
    let path = scene.root().join("repository.json");
    for pinned in [None, Some(id)] {
        std::fs::remove_file(&path).unwrap();
        let again = scene.run_with(&scene.root(), pinned, "main", &scene.facts, false).unwrap();
        assert!(again.rebuilt && !again.created && again.registered == Registered::Before);
        assert_eq!(again.repository.id(), id);
        assert!(!scene.run("main", &scene.facts, false).unwrap().rebuilt);
    }
    std::fs::remove_file(&path).unwrap();
    let other = RepositoryId::from_bytes([7; 16]);
    let error = scene.run_with(&scene.root(), Some(other), "main", &scene.facts, false).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused);
    assert!(error.to_string().contains(&id.to_string()) && error.to_string().contains(&other.to_string()), "{error}");
    // Of two repositories, nobody can say which one it was.
    let second = Scene::new();
    second.run("other", &second.other_system(), false).unwrap();
    std::fs::rename(second.root().join("other"), scene.root().join("other")).unwrap();
    let error = scene.run("main", &scene.facts, false).unwrap_err();
    assert!(matches!(error, InitError::SeveralRepositories { .. }), "{error}");
    assert!(!path.exists());
}

#[test]
fn an_identity_that_was_lost_is_written_anew_unless_what_is_stored_says_otherwise() {
    use crate::codec::CompressionLevel;
    use crate::pg::testing as real;
    use crate::pg::{WalFileName, WalSegmentSize};
    use crate::repository::testing::with_real_cluster;
    use crate::repository::{WalArchive, WalFileContent};
    let test = with_real_cluster();
    let segment = "000000010000000000000003";
    let content = real::wal_segment(segment, 0);
    WalArchive::new(&test.repository, &test.cluster)
        .store(
            &WalFileName::parse(segment).unwrap(),
            WalFileContent::Whole(&content),
            CompressionLevel::DEFAULT,
            &test.writer,
        )
        .unwrap();
    let sound = test.repository.identity(&test.cluster).unwrap().unwrap();
    let path = test.root().join(format!("main/{}/identity", test.cluster.system_identifier));
    let (control, scene) = (real::control_file(), Scene::new());
    let facts = ClusterFacts {
        system_identifier: control.system_identifier,
        wal_segment_size: control.wal_segment_size,
        state: ServerState::of_control_file(&control, scene.temp.path()),
        ..scene.facts.clone()
    };
    let run = |facts: &ClusterFacts| scene.run_with(&test.root(), None, "main", facts, false);
    std::fs::remove_file(&path).unwrap();
    let other_version = ClusterFacts { state: scene.facts.state.clone(), ..facts.clone() };
    let other_size = ClusterFacts { wal_segment_size: WalSegmentSize::new(64 << 20).unwrap(), ..facts.clone() };
    for (other, value) in [(other_version, "PostgreSQL 15"), (other_size, "67108864")] {
        let error = run(&other).unwrap_err();
        assert!(matches!(error, InitError::OtherCluster { .. }), "{error}");
        for text in ["PostgreSQL 13", "1048576", value, segment] {
            assert!(error.to_string().contains(text), "{text}: {error}");
        }
        assert!(!path.exists());
    }
    assert_eq!(run(&facts).unwrap().registered, Registered::Rebuilt);
    let rebuilt = test.repository.identity(&test.cluster).unwrap().unwrap();
    assert_eq!(ClusterIdentity { since: sound.since, ..rebuilt }, sound);
    assert_eq!(run(&facts).unwrap().registered, Registered::Before);
}
