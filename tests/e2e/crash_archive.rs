//! The programs that PostgreSQL calls, and `pgv init`, killed at each of their steps: what is there afterwards is nothing
//! or the whole, the same command succeeds, another one is not held up, and what was begun goes away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::crash::{Step, fail_at, file_calls_of, kill_before, put_back, steps_of, tree_of};
use crate::support::{Ledger, Outcome, PgVersion, Pgv, Site, TestCluster, TestFolder, program, run, unpacked};

const VERSION: PgVersion = PgVersion::V15;

/// A primary with segments that were never archived, and a repository of it.
struct Scene {
    site: Site,
    /// Segments, oldest first.
    segments: Vec<String>,
    /// The repository as it is put back before every kill.
    pristine: PathBuf,
    folder: TestFolder,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = TestFolder::in_memory(name);
        let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1").line("wal_keep_size = '64MB'");
        let mut site = Site::of(builder, &folder);
        site.primary.configure(&["archive_command = 'false'"]);
        site.primary.reload();
        let mut ledger = Ledger::create(&site.primary);
        let segments = [(); 3].map(|()| {
            ledger.commit_many(&site.primary, 2);
            site.primary.switch_wal()
        });
        site.primary.kill();
        let scene = Self { site, segments: segments.to_vec(), pristine: folder.join("pristine"), folder };
        scene.keep();
        scene
    }

    /// Keeps the repository as it is now.
    fn keep(&self) {
        put_back(&self.site.pgv.repository, &self.pristine);
    }

    fn wal(&self, name: &str) -> PathBuf {
        self.site.primary.data.join("pg_wal").join(name)
    }

    /// As archive_command calls it.
    fn archive(&self, name: &str) -> Command {
        let mut command = self.site.pgv.command("pgv-archive", &[&format!("pg_wal/{name}"), name]);
        command.current_dir(&self.site.primary.data);
        command
    }

    fn stored(&self, name: &str) -> PathBuf {
        let mut trees = fs::read_dir(self.site.pgv.repository.join("main")).unwrap().map(|tree| tree.unwrap().path());
        let tree = trees.find(|path| path.join("identity").exists()).unwrap();
        match name.strip_suffix(".history") {
            Some(timeline) => tree.join("history").join(format!("{timeline}.history")),
            None => tree.join("wal").join(&name[..8]).join(&name[..16]).join(name),
        }
    }

    /// Nothing in the repository is cut off: whatever has its name decompresses, and the file is the one in pg_wal.
    fn check(&self, name: &str, must_be_there: bool, what: &str) {
        let stored = self.stored(name);
        assert!(stored.exists() || !must_be_there, "{what}: not stored");
        if stored.exists() {
            assert!(unpacked(&stored) == fs::read(self.wal(name)).unwrap(), "{what}: other bytes");
        }
        let is_object = |path: &Path| path.starts_with("main") && self.site.pgv.repository.join(path).is_file();
        for path in tree_of(&self.site.pgv.repository).into_keys().filter(|path| is_object(path)) {
            unpacked(&self.site.pgv.repository.join(path));
        }
    }

    fn staged(&self) -> Vec<PathBuf> {
        staged_in(&self.site.pgv.repository.join(".staging"))
    }

    /// Every step of archiving `name`, from the repository that was kept; `other` is archived beside it.
    fn every_step(&self, name: &str, other: &str) {
        put_back(&self.pristine, &self.site.pgv.repository);
        let command = self.archive(name);
        let steps = steps_of(&self.folder, &command);
        self.check(name, true, "not killed");
        for step in &steps {
            put_back(&self.pristine, &self.site.pgv.repository);
            let ended = kill_before(step, &command);
            assert!(ended.is_none(), "not {step}\n{}", ended.unwrap());
            self.check(name, step.call == "exit_group", &step.to_string());
            let second = quick(self.archive(other), step);
            self.check(other, true, &step.to_string());
            assert_eq!(self.staged(), [""; 0].map(PathBuf::from), "{step}: left behind\n{second}");
            quick(self.archive(name), step);
            self.check(name, true, &step.to_string());
            quick(self.archive(name), step);
        }
        let kinds: Vec<&str> = steps.iter().map(|step| step.call.as_str()).collect();
        for kind in ["openat", "write", "fsync", "linkat", "unlink"] {
            assert!(kinds.contains(&kind), "no {kind} in {kinds:?}");
        }
    }
}

fn staged_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(".pgv-staged-")).collect()
}

/// Succeeds without having waited for anything.
#[track_caller]
fn quick(command: Command, step: &Step) -> Outcome {
    let outcome = run(command);
    assert!(outcome.status.success() && outcome.elapsed < Duration::from_secs(5), "{step}\n{outcome}");
    outcome
}

#[test]
fn a_segment_is_archived_wholly_or_not_at_every_step() {
    let scene = Scene::new("kill-archive");
    let [first, second, third] = scene.segments.as_slice() else { panic!("{:?}", scene.segments) };
    // The first one ever, with every directory, and one among others.
    scene.every_step(first, second);
    scene.keep();
    scene.every_step(third, second);
}

#[test]
fn a_history_file_is_archived_wholly_or_not_at_every_step() {
    let scene = Scene::new("kill-history");
    let text = format!("1\t0/{:X}\tno recovery target specified\n", 3 << 20);
    scene.folder.write("primary/pg_wal/00000002.history", text);
    scene.every_step("00000002.history", &scene.segments[0]);
}

/// PostgreSQL itself tries again what was killed, and marks as archived what is.
#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_server_archives_everything_although_each_segment_is_killed_once() {
    let mut scene = Scene::new("kill-server");
    run(scene.archive(&scene.segments[0])).success();
    let steps = steps_of(&scene.folder, &scene.archive(&scene.segments[1]));
    put_back(&scene.pristine, &scene.site.pgv.repository);
    // Its first try of each file dies before the next step in line. A status of 137 would end the archiver, too, which
    // comes back after ten seconds only.
    let lines: Vec<String> =
        steps.iter().map(|step| format!("{}:signal=KILL:when={}", step.call, step.number)).collect();
    let (lines, tried) = (scene.folder.write("lines", lines.join("\n") + "\n"), scene.folder.make("tried"));
    let plain = format!("{} --config {}", program("pgv-archive").display(), scene.site.pgv.config.display());
    let script = format!(
        "#!/bin/sh\nif mkdir {tried}/$2 2>/dev/null; then\n  n=$(ls {tried} | wc -l)\n  \
         inject=$(sed -n \"${{n}}p\" {lines})\n  [ -z \"$inject\" ] || \
         strace -f -qq -o /dev/null -e trace=${{inject%%:*}} -e inject=$inject -- {plain} \"$1\" \"$2\" || exit 1\nfi\n\
         exec {plain} \"$1\" \"$2\"\n",
        tried = tried.display(),
        lines = lines.display(),
    );
    let script = scene.folder.write("archive.sh", script);
    scene.site.primary.configure(&[&format!("archive_command = 'sh {} %p %f'", script.display())]);
    scene.site.primary.start();
    let mut segments = scene.segments.clone();
    for _ in 0..steps.len() {
        scene.site.primary.query("SELECT pg_create_restore_point('next')");
        segments.push(scene.site.primary.switch_wal());
    }
    let last = segments.last().unwrap();
    let archived = format!("SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver");
    let limit = Duration::from_secs(300);
    crate::support::wait_until("all is archived", limit, || scene.site.primary.query(&archived) == "t");
    let failed: usize = scene.site.primary.query("SELECT failed_count FROM pg_stat_archiver").parse().unwrap();
    assert!(failed >= steps.len() - 2, "{failed} of {}", steps.len());
    for segment in &segments {
        assert!(scene.stored(segment).exists(), "{segment}");
    }
    scene.site.primary.kill();
    segments.iter().filter(|name| scene.wal(name).exists()).for_each(|name| scene.check(name, true, name));
    assert!(scene.staged().is_empty());
}

#[test]
fn a_segment_is_delivered_wholly_or_not_at_every_step() {
    let scene = Scene::new("kill-fetch");
    let name = &scene.segments[0];
    run(scene.archive(name)).success();
    // As the server has it while it recovers.
    let data = scene.folder.make("recovering");
    let wal = scene.folder.make("recovering/pg_wal");
    scene.folder.write("recovering/recovery.signal", "");
    let target = wal.join("RECOVERYXLOG");
    let mut command = scene.site.pgv.command("pgv-fetch", &[name, "pg_wal/RECOVERYXLOG"]);
    command.current_dir(&data);
    let whole = fs::read(scene.wal(name)).unwrap();
    let again = || {
        let mut again = scene.site.pgv.command("pgv-fetch", &[name, "pg_wal/RECOVERYXLOG"]);
        again.current_dir(&data);
        again
    };
    // What the server left there from the last one, too.
    for before in [None, Some(b"of another segment".as_slice())] {
        let prepare = || match before {
            Some(bytes) => drop(scene.folder.write("recovering/pg_wal/RECOVERYXLOG", bytes)),
            None => drop(fs::remove_file(&target)),
        };
        prepare();
        let steps = steps_of(&scene.folder, &command);
        assert!(fs::read(&target).unwrap() == whole);
        for step in &steps {
            prepare();
            assert!(kill_before(step, &command).is_none(), "not {step}");
            let found = fs::read(&target).ok();
            assert!(found.as_deref() == before || found.as_ref() == Some(&whole), "{step}: cut off");
            assert!(step.call != "exit_group" || found.as_ref() == Some(&whole), "{step}: not delivered");
            quick(again(), step);
            assert!(fs::read(&target).unwrap() == whole, "{step}: other bytes");
            assert_eq!(fs::read_dir(&wal).unwrap().count(), 1, "{step}: left behind: {:?}", staged_in(&wal));
        }
    }
}

/// postgresql.auto.conf is the old one or the new one, a signal file never stands beside the old one.
#[test]
fn recovery_settings_are_whole_at_every_step() {
    let folder = TestFolder::in_memory("kill-conf");
    let cluster = TestCluster::builder(VERSION, &folder).create();
    let pgv = Pgv::new(&folder);
    folder.write("pgv.toml", format!("[[repo]]\nurl = \"{}\"\n", folder.make("repository").display()));
    let (data, auto) = (cluster.data.display().to_string(), cluster.data.join("postgresql.auto.conf"));
    let signal = cluster.data.join("recovery.signal");
    let written = pgv.command("pgv-recovery-conf", &["-D", &data, "--write", "--target-immediate"]);
    let cleared = pgv.command("pgv-recovery-conf", &["-D", &data, "--clear"]);
    let old = fs::read(&auto).unwrap();
    let put = |content: &[u8], has_signal: bool| {
        folder.write("primary/postgresql.auto.conf", content);
        let _ = fs::remove_file(&signal);
        if has_signal {
            folder.write("primary/recovery.signal", "");
        }
    };
    let server_says = || {
        let mut postgres = cluster.tool("postgres");
        postgres.args(["-D", &data, "-C", "recovery_target"]);
        run(postgres).success().stdout.trim().to_owned()
    };
    for (command, before, is_write) in [(&written, old.clone(), true), (&cleared, Vec::new(), false)] {
        // What is cleared is what was written before, after the server has removed its signal file.
        let before = if is_write { before } else { fs::read(&auto).unwrap() };
        put(&before, false);
        let steps = steps_of(&folder, command);
        let after = fs::read(&auto).unwrap();
        assert_ne!(before, after);
        let files = fs::read_dir(&cluster.data).unwrap().count();
        for step in &steps {
            put(&before, false);
            assert!(kill_before(step, command).is_none(), "not {step}");
            let found = fs::read(&auto).unwrap();
            assert!(found == before || found == after, "{step}:\n{}", String::from_utf8_lossy(&found));
            assert!(!signal.exists() || (is_write && found == after), "{step}: a signal without its settings");
            assert_eq!(server_says(), if (found == after) == is_write { "immediate" } else { "" }, "{step}");
            quick(again(&pgv, command), step);
            assert_eq!(fs::read(&auto).unwrap(), after, "{step}");
            assert_eq!(signal.exists(), is_write, "{step}");
            assert_eq!(fs::read_dir(&cluster.data).unwrap().count(), files, "{step}: {:?}", staged_in(&cluster.data));
        }
        put(&after, is_write);
    }
}

/// The same command once more.
fn again(pgv: &Pgv, command: &Command) -> Command {
    let arguments: Vec<&str> = command.get_args().skip(2).map(|argument| argument.to_str().unwrap()).collect();
    pgv.command(Path::new(command.get_program()).file_name().unwrap().to_str().unwrap(), &arguments)
}

/// Wherever it was killed, the same `pgv init` makes of it what one run makes, and archiving begins.
#[test]
fn init_can_be_repeated_at_every_step() {
    let mut scene = Scene::new("kill-init");
    scene.site.primary.start();
    let (repository, config) = (scene.site.pgv.repository.clone(), scene.site.pgv.config.clone());
    let conninfo = scene.site.primary.conninfo();
    let repository_name = repository.display().to_string();
    let init = ["init", "--repo", &repository_name, "--cluster", "main", "-d", &conninfo];
    let clear = || {
        fs::remove_dir_all(&repository).unwrap();
        fs::remove_file(&config).unwrap_or_default();
    };
    clear();
    let command = scene.site.pgv.command("pgv", &init);
    let steps = steps_of(&scene.folder, &command);
    // Each repository has an identifier of its own.
    let read = || {
        let text = fs::read_to_string(&config).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.starts_with("id = ")).map(|line| format!("{line}\n"));
        lines.collect::<String>()
    };
    let text = read();
    let names = |path: &Path| -> Vec<PathBuf> { tree_of(path).into_keys().collect() };
    let expected = names(&repository).len();
    let beside = fs::read_dir(scene.folder.path()).unwrap().count();
    for step in &steps {
        fs::remove_dir_all(&repository).unwrap_or_default();
        fs::remove_file(&config).unwrap_or_default();
        assert!(kill_before(step, &command).is_none(), "not {step}");
        assert!(read().is_empty() || read() == text, "{step}: half a configuration file");
        run(scene.site.pgv.command("pgv", &init)).success();
        assert_eq!(read(), text, "{step}");
        quick(scene.archive(&scene.segments[0]), step);
        scene.check(&scene.segments[0], true, &step.to_string());
        let found = names(&repository);
        assert!(staged_in(&repository.join(".staging")).is_empty(), "{step}: {found:?}");
        assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), beside, "{step}: something stays behind");
        assert!(found.len() >= expected, "{step}: {found:?}");
    }
}

/// A call that fails is never taken for success, and never for a status at which PostgreSQL's archiver gives up.
fn errors_of_archive(every: usize) {
    let scene = Scene::new("fail-archive");
    let name = &scene.segments[0];
    let command = scene.archive(name);
    let calls = file_calls_of(&scene.folder, &command);
    let mut failed = 0;
    for (number, call) in calls.iter().enumerate().skip(every / 2).step_by(every) {
        let error = ["EIO", "ENOSPC", "EACCES"][number % 3];
        put_back(&scene.pristine, &scene.site.pgv.repository);
        let outcome = fail_at(call, error, &command);
        let what = format!("{error}, {call}\n{outcome}");
        // 127 is that of a program whose libraries cannot be loaded.
        let is_loader = outcome.status.code() == Some(127) && outcome.stderr.contains("loading shared libraries");
        let status = outcome.status.code().unwrap_or(255);
        assert!(status <= 125 || is_loader, "{what}");
        scene.check(name, status == 0, &what);
        failed += usize::from(status != 0);
        quick(scene.archive(name), call);
        scene.check(name, true, &what);
        assert_eq!(scene.staged(), [""; 0].map(PathBuf::from), "{what}");
    }
    assert!(failed > 40 / every, "{failed} of {}", calls.len());
}

#[test]
fn an_error_at_a_call_of_archive_is_no_success() {
    errors_of_archive(4);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn an_error_at_any_call_of_archive_is_no_success() {
    errors_of_archive(1);
}

/// Only what the store proves to be absent is 1: an error at whatever call ends a recovery, or does no harm.
fn errors_of_fetch(every: usize) {
    let scene = Scene::new("fail-fetch");
    let name = &scene.segments[0];
    run(scene.archive(name)).success();
    let text = fs::read_to_string(&scene.site.pgv.config).unwrap();
    scene.folder.write("pgv.toml", text + "\n[fetch]\ntimeout = \"50ms\"\n");
    let data = scene.folder.make("recovering");
    let target = scene.folder.make("recovering/pg_wal").join("RECOVERYXLOG");
    scene.folder.write("recovering/recovery.signal", "");
    let whole = fs::read(scene.wal(name)).unwrap();
    let mut command = scene.site.pgv.command("pgv-fetch", &[name, "pg_wal/RECOVERYXLOG"]);
    command.current_dir(&data);
    let calls = file_calls_of(&scene.folder, &command);
    let mut failed = 0;
    for (number, call) in calls.iter().enumerate().skip(every / 2).step_by(every) {
        let error = ["EIO", "EACCES", "ESTALE"][number % 3];
        fs::remove_file(&target).unwrap_or_default();
        let outcome = fail_at(call, error, &command);
        let what = format!("{error}, {call}\n{outcome}");
        let status = outcome.status.code().unwrap_or(255);
        assert!(status == 0 || status > 125, "{what}");
        let found = fs::read(&target).ok();
        assert!(found.is_none() || found.as_ref() == Some(&whole), "{what}: other bytes");
        assert!(status != 0 || found.is_some(), "{what}: nothing was delivered");
        failed += usize::from(status != 0);
    }
    // What fails once may be tried again.
    assert!(failed > 20 / every, "{failed} of {}", calls.len());
}

#[test]
fn an_error_at_a_call_of_fetch_ends_recovery_or_does_no_harm() {
    errors_of_fetch(2);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn an_error_at_any_call_of_fetch_ends_recovery_or_does_no_harm() {
    errors_of_fetch(1);
}
