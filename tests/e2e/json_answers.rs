//! docs/json.md against what the programs answer: every field of an answer stands in its section, and every field of the
//! section's first table is in an answer.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::{Outcome, PgVersion, Site, TestFolder};

/// Their fields are named by the server.
const NAMED_BY_THE_SERVER: [&str; 2] = ["settings", "libraries"];

fn document(name: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The words between backquotes.
fn words(text: &str) -> BTreeSet<&str> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.flat_map(|span| span.split(|c: char| !c.is_alphanumeric() && c != '_')).collect()
}

/// The text of each section by its title.
fn sections(text: &str) -> BTreeMap<&str, &str> {
    text.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect()
}

/// The names in the first column of the first table.
fn first_column(section: &str) -> BTreeSet<&str> {
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).flat_map(|row| words(row.split('|').nth(1).unwrap())).collect()
}

/// The names of all fields.
fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
        Value::Object(object) => {
            for (name, inner) in object {
                found.insert(name.clone());
                if !NAMED_BY_THE_SERVER.contains(&name.as_str()) {
                    fields(inner, found);
                }
            }
        }
        _ => {}
    }
}

#[derive(Default)]
struct Answers(BTreeMap<&'static str, Vec<Value>>);

impl Answers {
    #[track_caller]
    fn add(&mut self, section: &'static str, outcome: &Outcome) -> Value {
        let answer: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"));
        assert_eq!(answer["schema_version"], 1, "{outcome}");
        self.0.entry(section).or_default().push(answer.clone());
        answer
    }

    fn compare(&self) {
        let (text, format) = (document("json.md"), document("repository-format.md"));
        let sections = sections(&text);
        assert_eq!(sections.keys().collect::<Vec<_>>(), self.0.keys().collect::<Vec<_>>(), "sections of docs/json.md");
        let mut problems = Vec::new();
        for (title, answers) in &self.0 {
            let section = sections[title];
            let mut told = words(section);
            told.insert("schema_version");
            for (other, text) in &sections {
                if section.contains(&format!("(#{})", other.replace(' ', "-"))) {
                    told.extend(words(text));
                }
            }
            if section.contains("(repository-format.md)") {
                told.extend(words(&format));
            }
            let mut found = BTreeSet::new();
            answers.iter().for_each(|answer| fields(answer, &mut found));
            let untold = found.iter().filter(|name| !told.contains(name.as_str()));
            problems.extend(untold.map(|name| format!("{title}: {name} is not told")));
            let top: BTreeSet<&str> =
                answers.iter().flat_map(|answer| answer.as_object().unwrap().keys().map(String::as_str)).collect();
            let column = first_column(section);
            problems.extend(column.difference(&top).map(|name| format!("{title}: no answer has {name}")));
        }
        assert!(problems.is_empty(), "docs/json.md: {problems:#?}");
    }
}

#[test]
fn every_field_of_an_answer_is_documented() {
    const JSON: [&str; 2] = ["--output", "json"];
    let folder = TestFolder::in_memory("json");
    let site = Site::new(PgVersion::V15, &folder);
    let mut answers = Answers::default();
    let run = |name: &str, options: &[&str]| site.pgv.run(name, &[options, &JSON].concat());
    answers.add("pgv init", &site.init(&JSON).success());
    site.primary.create_tablespace(&folder, "apart");
    let (_, middle) = site.with_history();
    site.primary.query("CREATE TABLE lost AS SELECT 1 AS id");
    site.primary.query("DROP TABLE lost");
    site.primary.archive_all();
    let answer = answers.add("pgv-basebackup", &site.backup(&JSON).success());
    let id = answer["backup"]["id"].as_str().unwrap().to_owned();
    site.pgv.run("pgv", &["pin", &id, "--reason", "a test"]).success();
    let first = site.backups()[0].clone();
    site.primary.archive_all();

    answers.add("pgv info", &run("pgv", &["info"]).success());
    answers.add("pgv check", &run("pgv", &["check"]));
    answers.add("pgv verify", &run("pgv", &["verify", "--quick"]).success());
    answers.add("pgv expire", &run("pgv", &["expire", "--keep", "1"]).success());
    for options in [&["--target-time", &middle.text][..], &["--around", &middle.text], &["--drops"]] {
        answers.add("pgv target", &run("pgv", &[&["target"], options].concat()).success());
    }
    let copy = folder.join("copy").display().to_string();
    let apart = folder.make("apart").display().to_string();
    let restore = ["-D", &copy, "--tablespace-dir", &apart, "--target-time", &middle.text];
    answers.add("pgv-restore", &run("pgv-restore", &[&restore[..], &["--dry-run"]].concat()).success());
    let done = run("pgv-restore", &[&restore[..], &["--start", "--target-action", "shutdown"]].concat());
    answers.add("pgv-restore", &done.success());
    answers.add("pgv-recovery-conf", &run("pgv-recovery-conf", &["--target-immediate"]).success());
    // As after the end of its recovery.
    std::fs::remove_file(folder.join("copy/recovery.signal")).unwrap();
    answers.add("pgv-recovery-conf", &run("pgv-recovery-conf", &["--clear", "-D", &copy, "--dry-run"]).success());
    answers.add("pgv-standby", &run("pgv-standby", &["-d", &site.primary.conninfo()]).success());

    // What only a repository with faults says.
    std::fs::write(site.archived_segments().last().unwrap(), "damaged").unwrap();
    answers.add("pgv target", &run("pgv", &["target", "--drops"]).expect_code(5));
    std::fs::rename(&site.archived_segments()[1], folder.join("lost")).unwrap();
    folder.write("repository/stray", "");
    std::fs::write(site.tree().join("backups").join(first).join("record"), "damaged").unwrap();
    answers.add("pgv info", &run("pgv", &["info"]).expect_code(5));
    answers.add("pgv verify", &run("pgv", &["verify", "--quick"]).expect_code(5));
    answers.compare();
}
