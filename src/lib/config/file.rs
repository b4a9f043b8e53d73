//! pgv.toml as a list of values with their lines; what the values mean is decided elsewhere.
//!
//! INVARIANT: every key in the file is either a setting of the table or an error that names it and its line.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::settings::{Form, Place, Setting, in_place, sections};
use super::value::{Origin, Value, ValueError, cluster_name};
use crate::nearest::nearest;
use crate::repository::ClusterName;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct FileContent {
    /// By the key of the setting.
    pub(super) values: BTreeMap<&'static str, Value>,
    /// The same for each cluster.
    pub(super) clusters: BTreeMap<ClusterName, BTreeMap<&'static str, Value>>,
    /// The same for each node of each cluster.
    pub(super) nodes: BTreeMap<ClusterName, Vec<NodeContent>>,
}

/// What a file says of one node.
#[derive(Debug, Clone)]
pub(super) struct NodeContent {
    /// Where it begins.
    pub(super) origin: Origin,
    /// By the key of the setting.
    pub(super) values: BTreeMap<&'static str, Value>,
}

/// Reads the text of a file.
pub(super) fn parse(path: &Path, text: &str) -> Result<FileContent, ConfigError> {
    let reader = Reader { path, text };
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        origin: reader.origin(error.span().unwrap_or_default().start),
        message: error.message().to_owned(),
    })?;
    let mut content = FileContent::default();
    for (key, value) in table.get_ref() {
        reader.top_level(key, value, &mut content)?;
    }
    Ok(content)
}

type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;
type Node<'a> = Spanned<DeValue<'a>>;

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Origin::File { path: self.path.to_path_buf(), line }
    }

    fn top_level(&self, key: &Key<'_>, value: &Node<'_>, content: &mut FileContent) -> Result<(), ConfigError> {
        match key.get_ref().as_ref() {
            "repo" => self.repositories(key, value, content),
            "cluster" => self.clusters(key, value, content),
            name => match sections().into_iter().find(|section| *section == name) {
                Some(section) => {
                    let table = self.table(key, name, value)?;
                    self.settings(Place::Section(section), &format!("{section}."), table, &mut content.values)
                }
                None => {
                    let known =
                        in_place(Place::Top).map(Setting::short_key).chain(["repo", "cluster"]).chain(sections());
                    let setting = in_place(Place::Top).find(|setting| setting.short_key() == name);
                    let setting = setting.ok_or_else(|| self.unknown(key, name, "", known))?;
                    content.values.insert(setting.key, self.value(setting, name, value)?);
                    Ok(())
                }
            },
        }
    }

    /// `[[repo]]`: exactly one for now.
    fn repositories(&self, key: &Key<'_>, value: &Node<'_>, content: &mut FileContent) -> Result<(), ConfigError> {
        let DeValue::Array(array) = value.get_ref() else {
            return Err(self.wrong_type(key.span().start, "repo", "a table written [[repo]]", value));
        };
        let mut tables = array.iter();
        if let Some(first) = tables.next() {
            let table = self.table(key, "repo", first)?;
            self.settings(Place::Repo, "repo.", table, &mut content.values)?;
        }
        match tables.next() {
            None => Ok(()),
            Some(second) => Err(ConfigError::NotSupportedYet {
                origin: self.origin(second.span().start),
                what: "more than one [[repo]]",
            }),
        }
    }

    /// `[cluster.NAME]`
    fn clusters(&self, key: &Key<'_>, value: &Node<'_>, content: &mut FileContent) -> Result<(), ConfigError> {
        for (name, value) in self.table(key, "cluster", value)? {
            let text = name.get_ref().as_ref();
            let invalid = |source: ValueError| ConfigError::InvalidValue {
                origin: self.origin(name.span().start),
                key: "cluster".to_owned(),
                text: text.to_owned(),
                source: Box::new(source),
            };
            // [cluster] pgdata = ...: the name was forgotten.
            if !matches!(value.get_ref(), DeValue::Table(_)) {
                let key = format!("cluster.{text}");
                return Err(self.wrong_type(name.span().start, &key, "a table written [cluster.NAME]", value));
            }
            let cluster_name = cluster_name(text).map_err(invalid)?;
            let prefix = format!("cluster.{text}.");
            let values = content.clusters.entry(cluster_name.clone()).or_default();
            for (key, value) in self.table(name, &format!("cluster.{text}"), value)? {
                if key.get_ref() == "node" {
                    content.nodes.insert(cluster_name.clone(), self.nodes(key, &format!("{prefix}node"), value)?);
                } else {
                    self.setting(Place::Cluster, &prefix, (key, value), values)?;
                }
            }
        }
        Ok(())
    }

    /// `[[cluster.NAME.node]]`
    fn nodes(&self, key: &Key<'_>, name: &str, value: &Node<'_>) -> Result<Vec<NodeContent>, ConfigError> {
        const EXPECTED: &str = "a table written [[cluster.NAME.node]]";
        let DeValue::Array(array) = value.get_ref() else {
            return Err(self.wrong_type(key.span().start, name, EXPECTED, value));
        };
        array
            .iter()
            .map(|node| {
                let start = node.span().start;
                let DeValue::Table(table) = node.get_ref() else {
                    return Err(self.wrong_type(start, name, EXPECTED, node));
                };
                let mut values = BTreeMap::new();
                self.settings(Place::Node, &format!("{name}."), table, &mut values)?;
                Ok(NodeContent { origin: self.origin(start), values })
            })
            .collect()
    }

    /// The settings of one table.
    fn settings(
        &self,
        place: Place,
        prefix: &str,
        table: &DeTable<'_>,
        into: &mut BTreeMap<&'static str, Value>,
    ) -> Result<(), ConfigError> {
        table.iter().try_for_each(|entry| self.setting(place, prefix, entry, into))
    }

    fn setting(
        &self,
        place: Place,
        prefix: &str,
        (key, value): (&Key<'_>, &Node<'_>),
        into: &mut BTreeMap<&'static str, Value>,
    ) -> Result<(), ConfigError> {
        let name = key.get_ref().as_ref();
        let setting = in_place(place).find(|setting| setting.short_key() == name);
        let known = in_place(place).map(Setting::short_key).chain((place == Place::Cluster).then_some("node"));
        let setting = setting.ok_or_else(|| self.unknown(key, name, prefix, known))?;
        into.insert(setting.key, self.value(setting, &format!("{prefix}{name}"), value)?);
        Ok(())
    }

    fn value(&self, setting: &Setting, key: &str, value: &Node<'_>) -> Result<Value, ConfigError> {
        let origin = self.origin(value.span().start);
        let text = match (value.get_ref(), setting.form) {
            (DeValue::String(text), _) => text.clone().into_owned(),
            (DeValue::Integer(number), Form::Number) if number.radix() == 10 => number.as_str().to_owned(),
            (_, form) => {
                let expected = if form == Form::Text { "a quoted text" } else { "a number" };
                return Err(self.wrong_type(value.span().start, key, expected, value));
            }
        };
        Ok(Value { text, origin })
    }

    fn table<'t, 'i>(&self, key: &Key<'_>, name: &str, value: &'t Node<'i>) -> Result<&'t DeTable<'i>, ConfigError> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.wrong_type(key.span().start, name, "a table", value)),
        }
    }

    fn wrong_type(&self, offset: usize, key: &str, expected: &'static str, value: &Node<'_>) -> ConfigError {
        let found = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        ConfigError::WrongType { origin: self.origin(offset), key: key.to_owned(), expected, found }
    }

    fn unknown<'k>(
        &self,
        key: &Key<'_>,
        name: &str,
        prefix: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> ConfigError {
        ConfigError::UnknownKey {
            origin: self.origin(key.span().start),
            key: format!("{prefix}{name}"),
            nearest: nearest(name, known).map(|near| format!("{prefix}{near}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<FileContent, ConfigError> {
        parse(Path::new("/etc/pgv/pgv.toml"), text)
    }

    fn message(text: &str) -> String {
        parsed(text).unwrap_err().to_string()
    }

    #[test]
    fn values_keep_their_line() {
        let text =
            "# comment\n[[repo]]\nurl = \"/srv/pgv\"\n\n[cluster.main]\nsystem_identifier = 18446744073709551615\n";
        let content = parsed(text).unwrap();
        let url = &content.values["repo.url"];
        assert_eq!(
            (url.text.as_str(), url.origin.to_string()),
            ("/srv/pgv", "\"/etc/pgv/pgv.toml\" line 3".to_owned())
        );
        let cluster = &content.clusters[&ClusterName::parse("main").unwrap()];
        assert_eq!(cluster["cluster.NAME.system_identifier"].text, "18446744073709551615");
    }

    #[test]
    fn an_unknown_key_names_itself_its_line_and_the_nearest() {
        for (text, line, unknown, near) in [
            ("\n[archive]\ntimeuot = \"1s\"\n", 3, "archive.timeuot", Some("archive.timeout")),
            ("[cluster.main]\npg_data = \"/x\"", 2, "cluster.main.pg_data", Some("cluster.main.pgdata")),
            ("[[repo]]\nurl = \"/x\"\npath = \"/x\"", 3, "repo.path", None),
            ("[achive]\n", 1, "achive", Some("archive")),
            ("envfile = \"/x\"\n", 1, "envfile", Some("env_file")),
            ("[log]\nlevel.x = 1\n", 2, "", None),
        ] {
            match parsed(text).unwrap_err() {
                ConfigError::UnknownKey { origin: Origin::File { line: found, .. }, key, nearest } => {
                    assert_eq!((found, key.as_str(), nearest.as_deref()), (line, unknown, near), "{text}");
                }
                ConfigError::WrongType { .. } if unknown.is_empty() => {}
                error => panic!("{text}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        for (text, expected) in [
            ("[repo]\nurl = \"/x\"", "line 1: \"repo\" is a table, expected a table written [[repo]]"),
            ("[[repo]]\nurl = \"/a\"\n[[repo]]\nurl = \"/b\"", "line 3: not supported yet: more than one [[repo]]"),
            (
                "[cluster]\npgdata = \"/x\"",
                "line 2: \"cluster.pgdata\" is a text, expected a table written [cluster.NAME]",
            ),
            ("[cluster.\"a b\"]\n", "line 1: invalid value \"a b\" for \"cluster\""),
            ("[cluster.keys]\n", "line 1: invalid value \"keys\" for \"cluster\""),
            ("[archive]\ntimeout = 50", "line 2: \"archive.timeout\" is a number, expected a quoted text"),
            (
                "[archive]\ncompression_level = true",
                "line 2: \"archive.compression_level\" is true or false, expected a number",
            ),
            ("archive = 1", "line 1: \"archive\" is a number, expected a table"),
        ] {
            assert_eq!(message(text), format!("\"/etc/pgv/pgv.toml\" {expected}"), "{text}");
        }
        assert!(message("[archive\n").starts_with("\"/etc/pgv/pgv.toml\" line 1: "));
        assert!(message("a = 1\na = 2\n").starts_with("\"/etc/pgv/pgv.toml\" line 2: "));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,60}|[\\[\\]a-z.=\"\n# ]{0,60}") {
            let _ = parsed(&text);
        }
    }
}
