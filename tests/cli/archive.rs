//! pgv-archive as archive_command: exit statuses, words, and what it leaves behind.

use std::fs;
use std::path::Path;

use crate::support::{Outcome, SilentFileSystem, SmallFileSystem, TestAccount, TestFolder, peak_kib};
use crate::wal_host::{NEXT, OTHER_CONTROL_FILE, SEGMENT, WalHost, modes, segment, segment_of, set_mode};

/// One line of error, and hints.
#[track_caller]
fn refused(outcome: Outcome, status: i32, says: &str) -> Outcome {
    let outcome = outcome.expect_code(status).expect_stderr(says);
    assert_eq!(outcome.stdout, "", "{outcome}");
    let errors = outcome.stderr.lines().filter(|line| line.starts_with("pgv-archive: error: ")).count();
    assert_eq!(errors, 1, "{outcome}");
    assert!(outcome.stderr.lines().all(|line| line.starts_with("pgv-archive: ")), "{outcome}");
    outcome
}

#[test]
fn what_is_stored_is_private_and_said_nothing_about() {
    let host = WalHost::new("archive");
    host.write(SEGMENT, &segment(SEGMENT, 1));
    host.write("00000002.history", b"1\t0/300000\tno recovery target specified\n");
    for name in [SEGMENT, "00000002.history", SEGMENT] {
        let outcome = host.archive(name).success();
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    }
    // Without %f the name is taken from the path.
    host.write(NEXT, &segment(NEXT, 1));
    host.sh(&format!("ARCHIVE pg_wal/{NEXT}")).success();
    assert!(host.stored(NEXT).exists());
    for (path, mode) in modes(&host.repository) {
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{path:?}");
    }
    assert_eq!(fs::read_dir(host.repository.join(".staging")).unwrap().count(), 0);
    let waiting = fs::read_dir(host.data.join("pg_wal")).unwrap().count();
    assert_eq!(waiting, 3, "something was written to pg_wal or taken from it");
}

/// Content that does not compress, in segments of the usual size and of a larger one, whose file is read as it is stored.
#[test]
fn the_memory_is_bounded_whatever_a_segment_holds() {
    const OF_16_MIB: [&[u8]; 2] =
        [include_bytes!("../data/postgres-15/pg_control"), include_bytes!("../data/postgres-15/wal-first-page")];
    const OF_64_MIB: [&[u8]; 2] =
        [include_bytes!("../data/postgres-14/pg_control"), include_bytes!("../data/postgres-14/wal-first-page")];
    for (mib, [control_file, first_page]) in [(16, OF_16_MIB), (64, OF_64_MIB)] {
        let folder = TestFolder::new("archive-memory");
        let root = folder.join("repository");
        let host = WalHost::of_cluster(control_file, folder, root);
        let mut content = segment_of(control_file, first_page, SEGMENT, 0);
        assert_eq!(content.len(), mib << 20);
        let mut noise: u64 = 1;
        for word in content[first_page.len()..].as_chunks_mut::<8>().0 {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            *word = noise.to_le_bytes();
        }
        host.write(SEGMENT, &content);
        // "exec": the shell becomes the program.
        let peak = peak_kib(&mut host.shell(&format!("exec ARCHIVE pg_wal/{SEGMENT} {SEGMENT}")));
        assert!((4 << 10..64 << 10).contains(&peak), "{peak} KiB with a segment of {mib} MiB");
        let stored = fs::metadata(host.stored(SEGMENT)).unwrap().len();
        assert!(stored > content.len() as u64 / 10 * 9, "it was compressed to {stored} bytes");
    }
}

/// Makes a path that of another account.
fn give_away(path: &Path, uid: u32) {
    std::os::unix::fs::chown(path, Some(uid), None).unwrap();
}

/// One number for each cause, never above 125.
#[test]
fn every_cause_has_its_status() {
    type Prepare = fn(&WalHost);
    let mut rows: Vec<(&str, Prepare, &str, i32, &str)> = vec![
        ("not a WAL file", |_| {}, "ARCHIVE pg_wal/x x", 11, "invalid WAL file name \"x\""),
        ("missing", |_| {}, "ARCHIVE pg_wal/NEXT NEXT", 12, "there is no file \"pg_wal/NEXT\" to archive"),
        (
            "cut short",
            |host| host.write(SEGMENT, &segment(SEGMENT, 0)[..1 << 19]),
            "ARCHIVE pg_wal/SEGMENT SEGMENT",
            11,
            "has 524288 bytes where a segment has 1048576",
        ),
        (
            "a history that cannot be",
            |host| host.write("00000001.history", b""),
            "ARCHIVE pg_wal/00000001.history 00000001.history",
            11,
            "the first timeline has no history",
        ),
        (
            "an empty history",
            |host| host.write("00000002.history", b""),
            "ARCHIVE pg_wal/00000002.history 00000002.history",
            11,
            "is not a timeline history file",
        ),
        ("another name", |_| {}, "ARCHIVE pg_wal/SEGMENT NEXT", 11, "is not the WAL segment that its name says"),
        (
            "unknown cluster",
            |_| {},
            "ARCHIVE --cluster other pg_wal/SEGMENT SEGMENT",
            10,
            "hint: \"pgv init --cluster other\" registers it",
        ),
        (
            "another cluster",
            |host| {
                let mut foreign = segment(SEGMENT, 0);
                foreign[24] ^= 1;
                host.write(SEGMENT, &foreign);
            },
            "ARCHIVE pg_wal/SEGMENT SEGMENT",
            13,
            "/pgv.toml --cluster main --upgraded",
        ),
        (
            "another version",
            |host| {
                let mut newer = segment(SEGMENT, 0);
                newer[..2].copy_from_slice(&0xD110_u16.to_le_bytes());
                host.write(SEGMENT, &newer);
            },
            "ARCHIVE pg_wal/SEGMENT SEGMENT",
            13,
            "is WAL of PostgreSQL 15 where cluster \"main\" is registered with 13 in repository",
        ),
        (
            "another segment size",
            |host| {
                let mut larger = segment(SEGMENT, 0);
                larger.resize(2 << 20, 0);
                larger[8..16].copy_from_slice(&(3_u64 * (2 << 20)).to_le_bytes());
                larger[32..36].copy_from_slice(&(2_u32 << 20).to_le_bytes());
                host.write(SEGMENT, &larger);
            },
            "ARCHIVE pg_wal/SEGMENT SEGMENT",
            13,
            "a segment of 2097152 bytes where cluster \"main\" is registered with 1048576 in repository",
        ),
        (
            "a clone",
            |host| host.configure(&host.folder.make("production")),
            "ARCHIVE pg_wal/SEGMENT SEGMENT",
            13,
            "cluster \"main\" has its data directory at",
        ),
        (
            "unmounted",
            |host| fs::rename(&host.repository, host.folder.join("away")).unwrap(),
            "ARCHIVE pg_wal/SEGMENT SEGMENT",
            15,
            "hint: Is its file system mounted?",
        ),
        (
            "an empty mount point",
            |host| {
                fs::rename(&host.repository, host.folder.join("away")).unwrap();
                host.folder.make("repository");
            },
            "ARCHIVE pg_wal/SEGMENT SEGMENT",
            15,
            "there is no repository at",
        ),
        (
            "read by nobody",
            |host| set_mode(&host.repository, 0o000),
            "ARCHIVE pg_wal/SEGMENT SEGMENT",
            18,
            "ermission denied",
        ),
        (
            "written by nobody",
            |host| set_mode(&host.repository.join(".staging"), 0o500),
            "ARCHIVE pg_wal/SEGMENT SEGMENT",
            18,
            "chmod u+rwX",
        ),
        (
            "a named pipe in place of its description",
            |host| {
                fs::remove_file(host.repository.join("repository.json")).unwrap();
                host.sh("/usr/bin/mkfifo ../repository/repository.json").success();
            },
            "ARCHIVE pg_wal/SEGMENT SEGMENT",
            20,
            "is a named pipe where a file should be",
        ),
        (
            "damaged",
            |host| {
                host.archive(SEGMENT).success();
                let bytes = fs::read(host.stored(SEGMENT)).unwrap();
                fs::write(host.stored(SEGMENT), &bytes[..bytes.len() - 1]).unwrap();
            },
            "ARCHIVE pg_wal/SEGMENT SEGMENT",
            20,
            "is damaged",
        ),
        (
            "a flipped bit",
            |host| {
                host.archive(SEGMENT).success();
                let mut bytes = fs::read(host.stored(SEGMENT)).unwrap();
                bytes[1020] ^= 1;
                fs::write(host.stored(SEGMENT), bytes).unwrap();
            },
            "ARCHIVE pg_wal/SEGMENT SEGMENT",
            20,
            "the next try stores this file in its place",
        ),
        (
            "a newer format",
            |host| fs::write(host.repository.join("repository.json"), r#"{"format": 2}"#).unwrap(),
            "ARCHIVE pg_wal/SEGMENT SEGMENT",
            21,
            "hint: Install the version of pgv that wrote it",
        ),
    ];
    if TestAccount::tests_run_as_root() {
        let line = "ARCHIVE pg_wal/SEGMENT SEGMENT";
        rows.push((
            "left over of root",
            |host| give_away(&host.repository.join(".staging"), 0),
            line,
            18,
            "Run as root: chown -R",
        ));
        rows.push(("root's", |host| give_away(&host.repository, 0), line, 18, "If that is this account (user "));
        // Taken from it, its server could not archive any more.
        rows.push((
            "another account's",
            |host| give_away(&host.repository, 1),
            line,
            18,
            "hint: Run it as the owner of ",
        ));
    }
    for (what, prepare, line, status, says) in rows {
        let host = WalHost::new("archive");
        host.write(SEGMENT, &segment(SEGMENT, 0));
        prepare(&host);
        let fill = |text: &str| text.replace("SEGMENT", SEGMENT).replace("NEXT", NEXT);
        let outcome = refused(host.sh(&fill(line)), status, &fill(says));
        if status > 12 {
            let error = outcome.stderr.lines().find(|line| line.contains(": error: ")).unwrap();
            let names = [host.repository.to_str().unwrap(), SEGMENT];
            assert!(names.iter().all(|name| error.contains(name)), "{what}: {outcome}");
        }
        set_mode(
            &[host.repository.clone(), host.folder.join("away")].into_iter().find(|path| path.exists()).unwrap(),
            0o700,
        );
    }
}

#[test]
fn a_repository_that_never_answers_is_given_up_in_time() {
    let host = WalHost::new("archive");
    host.write(SEGMENT, &segment(SEGMENT, 0));
    fs::rename(host.repository.join("main"), host.folder.join("away")).unwrap();
    let _silent = SilentFileSystem::mount(&host.folder, "repository/main");
    let line = format!("ARCHIVE --timeout 300ms pg_wal/{SEGMENT} {SEGMENT}");
    let outcome = refused(host.sh(&line), 19, "hint: The repository does not answer.");
    let repository = host.repository.display();
    outcome.expect_stderr(&format!("\"pg_wal/{SEGMENT}\" was not stored in repository \"{repository}\" within "));
}

#[test]
fn a_conflict_names_both_writers_and_the_way_out() {
    let host = WalHost::new("archive");
    host.write(SEGMENT, &segment(SEGMENT, 1));
    host.archive(SEGMENT).success();
    // The same data directory again, with another content.
    host.write(SEGMENT, &segment(SEGMENT, 2));
    let stored = fs::read(host.stored(SEGMENT)).unwrap();
    let outcome = refused(host.archive(SEGMENT), 14, "is stored in repository");
    outcome
        .expect_stderr("with different content by host")
        .expect_stderr("hint: This directory was restored or rolled back");
    // Another one, which the person insists on.
    let clone = host.folder.make("clone");
    host.folder.make("clone/global");
    host.folder.write("clone/global/pg_control", fs::read(host.data.join("global/pg_control")).unwrap());
    host.folder.make("clone/pg_wal");
    host.folder.write(Path::new("clone/pg_wal").join(SEGMENT), segment(SEGMENT, 3));
    let outcome = host.sh(&format!("cd ../clone && ARCHIVE --cluster main pg_wal/{SEGMENT} {SEGMENT}"));
    let (data, clone, config) = (host.data.display(), clone.display(), host.folder.join("pgv.toml"));
    let config = config.display();
    refused(outcome, 14, "hint: Two servers write under one name")
        .expect_stderr(&format!("directory \"{data}\""))
        .expect_stderr(&format!("directory \"{clone}\""))
        .expect_stderr(&format!("pgv init --config {config} --cluster NEW -D {clone}, then --cluster NEW in its"))
        .expect_stderr("archive_mode = off");
    assert!(fs::read(host.stored(SEGMENT)).unwrap() == stored);
}

#[test]
fn a_clone_is_refused_before_it_can_conflict() {
    let host = WalHost::new("archive");
    host.write(SEGMENT, &segment(SEGMENT, 1));
    let production = host.folder.make("production");
    host.configure(&production);
    let outcome = refused(host.archive(SEGMENT), 13, "cluster \"main\" has its data directory at");
    let config = host.folder.join("pgv.toml");
    let (data, config) = (host.data.display(), config.display());
    outcome
        .expect_stderr("hint: To archive this one under another name: ")
        .expect_stderr(&format!("pgv init --config {config} --cluster NEW -D {data}, then"))
        .expect_stderr(&format!("set pgdata = \"{data}\" in [cluster.main]"));
    // A variable chooses among clusters, and a copy of the server has it, too.
    host.folder.write("pgv.env", "PGV_CLUSTER=main\n");
    let env_file = host.folder.join("pgv.env");
    let by_variable = ["PGV_CLUSTER=main", &format!("PGV_ENV_FILE={}", env_file.display())];
    for variable in by_variable {
        let outcome = host.sh(&format!("export {variable}; ARCHIVE pg_wal/{SEGMENT} {SEGMENT}"));
        refused(outcome, 13, "cluster \"main\" has its data directory at");
    }
    host.register("copy");
    host.configure_both(&production, &host.data);
    let outcome = host.sh(&format!("export PGV_CLUSTER=main; ARCHIVE pg_wal/{SEGMENT} {SEGMENT}"));
    refused(outcome, 13, "cluster \"main\" has its data directory at");
    assert!(!host.stored(SEGMENT).exists());
    host.sh(&format!("ARCHIVE --cluster main pg_wal/{SEGMENT} {SEGMENT}")).success();
    assert!(host.stored(SEGMENT).exists());
}

/// In its own directory, and where none is configured, a variable names the cluster as it always did.
#[test]
fn a_variable_names_the_cluster() {
    let host = WalHost::new("archive");
    host.write(SEGMENT, &segment(SEGMENT, 1));
    let archive = format!("export PGV_CLUSTER=main; ARCHIVE pg_wal/{SEGMENT} {SEGMENT}");
    host.register("copy");
    host.configure_both(&host.data, &host.folder.make("copy"));
    host.sh(&archive).success();
    let repository = host.repository.display();
    host.folder.write("pgv.toml", format!("[[repo]]\nurl = \"{repository}\"\n"));
    host.sh(&archive).success();
    host.sh("export PGV_CLUSTER=other; ARCHIVE pg_wal/000000010000000000000003").expect_code(10);
}

/// A path need not be text.
#[test]
fn a_data_directory_whose_name_is_no_text_is_archived_and_recovered() {
    let host = WalHost::new("archive");
    host.write(SEGMENT, &segment(SEGMENT, 1));
    let elsewhere = r"d=$(printf '../d\377'); [ -d $d ] || /bin/cp -r . $d; cd $d";
    let outcome = host.sh(&format!("{elsewhere}; ARCHIVE pg_wal/{SEGMENT} {SEGMENT}"));
    refused(outcome, 13, "/d\u{FFFD}\"").expect_stderr("pgv-archive --cluster main %p %f");
    host.sh(&format!("{elsewhere}; ARCHIVE --cluster main \"$PWD\"/pg_wal/{SEGMENT}")).success();
    host.sh(&format!("{elsewhere}; FETCH {SEGMENT} \"$PWD\"/$(printf 'pg_wal/R\\377')")).success();
    let outcome = host.sh(&format!("{elsewhere}; ARCHIVE --cluster main $(printf 'pg_wal/\\377')"));
    refused(outcome, 11, "invalid WAL file name \"\u{FFFD}\"");
    refused(host.sh(r"ARCHIVE pg_wal/x $(printf 'x\377')"), 10, "invalid UTF-8");
}

/// Of the text files only the data directory says whose they are.
#[test]
fn a_history_file_of_another_cluster_is_refused() {
    let host = WalHost::new("archive");
    host.write("00000002.history", b"1\t0/300000\tno recovery target specified\n");
    host.folder.write("data/global/pg_control", OTHER_CONTROL_FILE);
    refused(host.archive("00000002.history"), 13, "is registered with system identifier");
}

#[test]
fn a_full_or_read_only_file_system_has_its_status_and_stores_nothing() {
    let folder = TestFolder::new("archive");
    let mounted = SmallFileSystem::mount(&folder, "mounted", 1 << 20);
    let root = mounted.path().join("repository");
    let host = WalHost::with_repository(folder, root);
    // Random bytes do not fit compressed either.
    let mut content = segment(SEGMENT, 0);
    let noise = fs::File::open("/dev/urandom").unwrap();
    std::io::Read::read_exact(&mut { noise }, &mut content[8192..]).unwrap();
    host.write(SEGMENT, &content);
    refused(host.archive(SEGMENT), 16, "hint: \"df -h ").expect_stderr("PostgreSQL keeps the file");
    assert!(!host.stored(SEGMENT).exists());
    assert_eq!(fs::read_dir(host.repository.join(".staging")).unwrap().count(), 0);
    // With room again, it is archived.
    host.write(NEXT, &segment(NEXT, 0));
    mounted.set_read_only(true);
    refused(host.archive(NEXT), 17, "hint: The file system is mounted read-only");
    mounted.set_read_only(false);
    host.archive(NEXT).success();
    // Before the folder that it is mounted in.
    drop(mounted);
}

/// Killed at any moment, it leaves nothing or all of it, and another call finishes the work.
#[test]
fn kill_9_leaves_nothing_or_all_of_it() {
    let host = WalHost::new("archive");
    let whole = |name: &str| {
        host.fetch(name).success();
        assert!(fs::read(host.fetched()).unwrap() == segment(name, 3), "{name}");
    };
    host.write(SEGMENT, &segment(SEGMENT, 3));
    let usual = host.archive(SEGMENT).success().elapsed;
    let (mut cut_short, mut finished) = (0u32, 0u32);
    // Each is killed a little later than the one before, until some have had the time to finish.
    let mut step = 0u32;
    while step < 60 || (finished < 3 && step < 600) {
        step += 1;
        let name = format!("0000000100000000{:08X}", 16 + step);
        host.write(&name, &segment(&name, 3));
        let mut child = host.shell(&format!("exec ARCHIVE pg_wal/{name} {name}")).spawn().unwrap();
        std::thread::park_timeout(usual * step / 50);
        let has_ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        if host.stored(&name).exists() {
            finished += 1;
            whole(&name);
        } else {
            cut_short += 1;
            assert!(!has_ended, "it ended and stored nothing");
        }
        host.archive(&name).success();
        whole(&name);
        let staged = fs::read_dir(host.repository.join(".staging")).unwrap().count();
        assert_eq!(staged, 0, "step {step}: the next writer left what the killed one was writing");
    }
    assert!(cut_short >= 3 && finished >= 3, "{cut_short} cut short and {finished} finished prove little");
}

/// Two data directories of one cluster, as two servers that both believe to be the primary: of each name, whatever its
/// kind, one content is stored, and its server alone is told so.
#[test]
fn of_two_servers_that_race_for_a_name_one_wins() {
    let host = WalHost::new("archive-race");
    for folder in ["other", "other/global", "other/pg_wal", "out"] {
        host.folder.make(folder);
    }
    host.folder.write("other/global/pg_control", fs::read(host.data.join("global/pg_control")).unwrap());
    let mut wins = [0, 0];
    for round in 1..=20u32 {
        let segment_name = format!("0000000100000000{round:08X}");
        let start = format!("START WAL LOCATION: 0/{round:X}00028 (file {segment_name})\nLABEL: ");
        let name = match round % 4 {
            0 => segment_name.clone(),
            1 => format!("{segment_name}.partial"),
            2 => format!("{segment_name}.00000028.backup"),
            _ => format!("{:08X}.history", round + 1),
        };
        let contents = [1, 2].map(|who| match round % 4 {
            // Within the first record: behind the log a partial segment may differ.
            0 | 1 => {
                let mut bytes = segment(&segment_name, who);
                bytes[100] = who;
                bytes
            }
            2 => format!("{start}{who}\n").into_bytes(),
            _ => format!("1\t0/300000\tdecided by {who}\n").into_bytes(),
        });
        let mut racers = [("data", 0), ("other", 1)].map(|(folder, index)| {
            host.folder.write(Path::new(folder).join("pg_wal").join(&name), &contents[index]);
            let line = format!("cd ../{folder} && ARCHIVE --cluster main pg_wal/{name} {name} 2>/dev/null");
            format!("({line}; echo $? >../out/{name}.{index}) &")
        });
        // Each begins first as often as the other, with each kind of name.
        if round / 4 % 2 == 0 {
            racers.reverse();
        }
        host.sh(&format!("{}\nwait", racers.join("\n"))).success();
        let status = |index: usize| fs::read_to_string(host.folder.join(format!("out/{name}.{index}"))).unwrap();
        let winner = match [status(0).trim(), status(1).trim()] {
            ["0", "14"] => 0,
            ["14", "0"] => 1,
            found => panic!("round {round}, {name}: {found:?}"),
        };
        wins[winner] += 1;
        host.sh(&format!("FETCH {name} ../out/{name}")).success();
        let fetched = fs::read(host.folder.join("out").join(&name)).unwrap();
        assert!(fetched == contents[winner], "round {round}, {name}: not the winner's content");
    }
    assert!(wins.iter().all(|wins| *wins > 0), "one always won, which proves little: {wins:?}");
    assert_eq!(fs::read_dir(host.repository.join(".staging")).unwrap().count(), 0);
}

#[test]
fn json_has_the_status_the_class_and_the_hints() {
    let host = WalHost::new("archive");
    host.write(SEGMENT, &segment(SEGMENT, 1));
    host.archive(SEGMENT).success();
    host.write(SEGMENT, &segment(SEGMENT, 2));
    let outcome = host.sh(&format!("ARCHIVE --log-format json pg_wal/{SEGMENT} {SEGMENT}")).expect_code(14);
    let line: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!((line["class"].as_str(), line["exit_status"].as_u64()), (Some("Conflict"), Some(14)));
    assert_eq!(line["hints"].as_array().unwrap().len(), 3);
    assert!(TestAccount::get().uid != 0, "root is refused");
}

#[test]
fn of_two_clusters_of_one_system_the_one_that_runs_here_archives() {
    let host = WalHost::new("archive-two-of-one-system");
    host.register("copy");
    host.configure_both(&host.data, &host.folder.join("copy"));
    host.write(SEGMENT, &segment(SEGMENT, 0));
    host.archive(SEGMENT).success();
    assert!(host.stored(SEGMENT).exists());
    host.configure_both(&host.folder.join("elsewhere"), &host.folder.join("copy"));
    host.archive(SEGMENT).expect_code(10).expect_stderr("which cluster is meant: copy, main?");
}

/// Above 125, as death by SIGXFSZ is, PostgreSQL would end its archiver.
#[test]
fn a_limit_on_the_size_of_files_is_no_room() {
    let host = WalHost::new("archive-ulimit");
    host.write(SEGMENT, &segment(SEGMENT, 0));
    host.sh(&format!("ulimit -f 0; ARCHIVE pg_wal/{SEGMENT} {SEGMENT} 2>/dev/null")).expect_code(16);
}
