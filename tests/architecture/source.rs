//! A source file as the rules see it: its module, the paths it names, its functions and its length without tests.

use crate::lexer::{Token, tokens};

/// A function and how many lines it takes, signature included.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) line_count: usize,
}

/// A path such as `std::fs::rename`, from an import (flattened) or from the code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedPath {
    pub(crate) parts: Vec<String>,
    pub(crate) line: usize,
}

/// What the rules look at.
pub(crate) struct SourceFile {
    /// Relative to the package, with slashes.
    pub(crate) path: String,
    /// Names of the modules from the crate's root; empty for `lib.rs`, `["bin"]` for a program.
    pub(crate) module: Vec<String>,
    pub(crate) first_line: String,
    /// Lines outside `#[cfg(test)]` items.
    pub(crate) line_count: usize,
    pub(crate) functions: Vec<Function>,
    pub(crate) paths: Vec<NamedPath>,
    /// Macros called, by name.
    pub(crate) macros: Vec<(String, usize)>,
    /// Modules declared in `lib.rs`-like fashion: `mod name;`.
    pub(crate) declared_modules: Vec<String>,
    test_modules: Vec<TestModule>,
}

/// A test module in a file of its own.
#[derive(Debug)]
enum TestModule {
    /// `mod name;`
    Named(String),
    /// `#[path = "file"] mod name;`
    At(String),
}

impl SourceFile {
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let all = tokens(text);
        let (code, tests) = without_tests(&all);
        let test_lines: usize = tests.iter().map(|range| range.last_line - range.first_line + 1).sum();
        Self {
            path: path.to_owned(),
            module: module_of(path),
            first_line: text.lines().next().unwrap_or_default().to_owned(),
            line_count: text.lines().count() - test_lines,
            functions: functions(&code),
            paths: paths(&code),
            macros: macros(&code),
            declared_modules: declared_modules(&code),
            test_modules: tests.into_iter().filter_map(|range| range.declares).collect(),
        }
    }

    /// The files that `#[cfg(test)] mod name;` in this file stands for.
    pub(crate) fn test_module_files(&self) -> Vec<String> {
        let own_folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_root = self.path.ends_with("/mod.rs") || self.path.ends_with("/lib.rs");
        let inner_folder = if is_root { own_folder } else { self.path.trim_end_matches(".rs") };
        let files = |module: &TestModule| match module {
            TestModule::Named(name) => {
                vec![format!("{inner_folder}/{name}.rs"), format!("{inner_folder}/{name}/mod.rs")]
            }
            TestModule::At(file) => vec![format!("{own_folder}/{file}")],
        };
        self.test_modules.iter().flat_map(files).collect()
    }
}

fn module_of(path: &str) -> Vec<String> {
    let Some(inside) = path.strip_prefix("src/lib/") else { return vec!["bin".to_owned()] };
    let inside = inside.trim_end_matches(".rs");
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    if inside == "lib" { Vec::new() } else { inside.split('/').map(str::to_owned).collect() }
}

/// Lines taken by one `#[cfg(test)]` item, and the module it declares when the module lies in a file of its own.
struct TestItem {
    first_line: usize,
    last_line: usize,
    declares: Option<TestModule>,
}

const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
}

fn without_tests(all: &[Token]) -> (Vec<Token>, Vec<TestItem>) {
    let (mut code, mut tests) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < all.len() {
        if !starts_with(&all[at..], &CFG_TEST) {
            code.push(all[at].clone());
            at += 1;
            continue;
        }
        let mut item = at + CFG_TEST.len();
        while starts_with(&all[item..], &["#", "["]) {
            item = closing(all, item + 1) + 1;
        }
        let end = item_end(all, item).min(all.len() - 1);
        let named = declared_modules(&all[item..=end]).pop();
        let path = attribute_path(&all[at..item]);
        let declares = named.map(|name| path.map_or(TestModule::Named(name), TestModule::At));
        tests.push(TestItem { first_line: all[at].line, last_line: all[end].line, declares });
        at = end + 1;
    }
    (code, tests)
}

/// The file of `#[path = "file"]`, when that is among these attributes.
fn attribute_path(attributes: &[Token]) -> Option<String> {
    let at = attributes.windows(2).position(|pair| pair[0].text == "path" && pair[1].text == "=")?;
    attributes.get(at + 2)?.text.strip_prefix('"').map(str::to_owned)
}

/// Index of the bracket that closes the one at `open`; the last index when none does.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth -= 1;
                if depth == 0 {
                    return index;
                }
            }
            _ => {}
        }
    }
    tokens.len() - 1
}

/// Index of the last token of the item that starts at `start`: its `;` or the end of its body.
fn item_end(tokens: &[Token], start: usize) -> usize {
    // the first `{` of an import is a group, not a body; a visibility such as `pub(crate)` may come first
    let is_import =
        tokens[start..].iter().find(|token| !["pub", "(", "crate", "super", ")"].contains(&token.text.as_str()));
    let is_import = is_import.is_some_and(|token| token.text == "use");
    let mut at = start;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            ";" => return at,
            "{" if !is_import => return closing(tokens, at),
            "(" | "[" | "{" => at = closing(tokens, at),
            _ => {}
        }
        at += 1;
    }
    tokens.len() - 1
}

fn functions(code: &[Token]) -> Vec<Function> {
    let mut found = Vec::new();
    for (index, pair) in code.windows(2).enumerate() {
        if pair[0].text != "fn" || !pair[1].is_word() {
            continue;
        }
        let end = item_end(code, index);
        if code[end].text == "}" {
            let line_count = code[end].line - pair[0].line + 1;
            found.push(Function { name: pair[1].text.clone(), line: pair[0].line, line_count });
        }
    }
    found
}

fn macros(code: &[Token]) -> Vec<(String, usize)> {
    let is_call = |pair: &&[Token]| pair[0].is_word() && pair[1].text == "!";
    code.windows(2).filter(is_call).map(|pair| (pair[0].text.clone(), pair[0].line)).collect()
}

fn declared_modules(code: &[Token]) -> Vec<String> {
    let declares = |three: &&[Token]| three[0].text == "mod" && three[2].text == ";";
    code.windows(3).filter(declares).map(|three| three[1].text.clone()).collect()
}

fn paths(code: &[Token]) -> Vec<NamedPath> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < code.len() {
        // `use<'a>` in a return type says what it captures
        let is_import = code[at].text == "use" && code.get(at + 1).is_none_or(|next| next.text != "<");
        if is_import {
            at = use_tree(code, at + 1, &[], &mut found);
        } else if code[at].is_word() {
            at = plain_path(code, at, &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path outside imports; returns the index after it.
fn plain_path(code: &[Token], start: usize, found: &mut Vec<NamedPath>) -> usize {
    let mut parts = vec![code[start].text.clone()];
    let mut at = start + 1;
    while at + 1 < code.len() && code[at].text == "::" && code[at + 1].is_word() {
        parts.push(code[at + 1].text.clone());
        at += 2;
    }
    let is_member = start > 0 && code[start - 1].text == ".";
    if !is_member {
        found.push(NamedPath { parts, line: code[start].line });
    }
    at
}

/// Reads one branch of an import, with `prefix` before it; returns the index after the branch.
fn use_tree(code: &[Token], start: usize, prefix: &[String], found: &mut Vec<NamedPath>) -> usize {
    let mut parts = prefix.to_vec();
    let line = code.get(start).map_or(0, |token| token.line);
    let mut at = start;
    while at < code.len() {
        match code[at].text.as_str() {
            "::" => at += 1,
            "{" => {
                let end = closing(code, at);
                at += 1;
                while at < end {
                    // whatever ends a branch is passed over, so that each turn comes nearer to the end
                    at = use_tree(code, at, &parts, found) + 1;
                }
                return end + 1;
            }
            "as" => at += 2,
            "self" if !parts.is_empty() => at += 1,
            "," | ";" | "}" => break,
            text => {
                parts.push(text.to_owned());
                at += 1;
            }
        }
    }
    found.push(NamedPath { parts, line });
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile::parse("src/lib/archive/put.rs", text)
    }

    fn path_texts(text: &str) -> Vec<String> {
        file(text).paths.iter().map(|path| path.parts.join("::")).filter(|path| path.contains("::")).collect()
    }

    #[test]
    fn modules_follow_from_the_path() {
        assert_eq!(module_of("src/lib/lib.rs"), Vec::<String>::new());
        assert_eq!(module_of("src/lib/pg/mod.rs"), ["pg"]);
        assert_eq!(module_of("src/lib/pg/lsn.rs"), ["pg", "lsn"]);
        assert_eq!(module_of("src/bin/pgv.rs"), ["bin"]);
    }

    #[test]
    fn imports_are_flattened() {
        assert_eq!(
            path_texts("pub(crate) use std::{env, fs::{self, File as F}, io::*};"),
            ["std::env", "std::fs", "std::fs::File", "std::io::*"]
        );
        assert_eq!(
            path_texts("use crate::store::Store; fn f() { crate::pg::Lsn::parse(x) }"),
            ["crate::store::Store", "crate::pg::Lsn::parse"]
        );
    }

    #[test]
    fn what_a_return_type_captures_is_no_import() {
        let text = "fn f<'a>(x: &'a u8) -> impl Iterator<Item = u8> + use<'a> { g(); crate::pg::h(); }\nfn b() {}\n";
        assert_eq!(path_texts(text), ["crate::pg::h"]);
        assert_eq!(file(text).functions.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["f", "b"]);
        // no compiler takes this one, and the parser still comes to an end
        assert_eq!(path_texts("use a::{b; c};"), ["a::b", "a::c"]);
    }

    #[test]
    fn methods_are_not_paths() {
        assert_eq!(file("fn f() { child.stdout(x) }").paths.iter().filter(|path| path.parts == ["stdout"]).count(), 0);
    }

    #[test]
    fn test_code_is_left_out() {
        let text =
            "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    use std::env::var;\n    fn b() {}\n}\nfn c() {}\n";
        let file = file(text);
        assert_eq!(file.functions.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(file.line_count, 2);
        assert!(path_texts(text).is_empty());
        assert_eq!(path_texts("#[cfg(test)]\nuse std::{env, fs};\nuse std::io::Read;"), ["std::io::Read"]);
        assert_eq!(path_texts("#[cfg(not(test))]\nuse std::env::var;"), ["std::env::var"]);
    }

    #[test]
    fn test_modules_in_files_are_known() {
        let names = file("#[cfg(test)]\nmod checks;\nmod other;\n").test_module_files();
        assert_eq!(names, ["src/lib/archive/put/checks.rs", "src/lib/archive/put/checks/mod.rs"]);
        let elsewhere = file("#[cfg(test)]\n#[path = \"put_tests.rs\"]\nmod tests;\n").test_module_files();
        assert_eq!(elsewhere, ["src/lib/archive/put_tests.rs"]);
        let root = SourceFile::parse("src/lib/pg/mod.rs", "#[cfg(test)] mod tests;");
        assert_eq!(root.test_module_files().first().map(String::as_str), Some("src/lib/pg/tests.rs"));
    }

    #[test]
    fn functions_are_measured() {
        let text = "impl X {\n    fn long<T>(a: [u8; 4]) -> Option<T>\n    where\n        T: A,\n    {\n        let s = \"}\";\n    }\n    fn signature();\n    f: fn(u8) -> u8,\n}\n";
        assert_eq!(file(text).functions, [Function { name: "long".to_owned(), line: 2, line_count: 6 }]);
    }
}
