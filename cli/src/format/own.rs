//! Formats that people keep by name, as Flux does: `flux/flux-jobs.toml` (or `.json`, `.yaml`) in a folder of XDG's.
//!
//! ```toml
//! [formats.short]
//! description = "ids and names"
//! format = "{id.f58:>12} {name}"
//! ```
//!
//! A tool with sub-commands has a table for each: `[list.formats.short]` in `flux-resource.toml`.

use crate::failure::Failure;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the formats of a listing are.
#[derive(Debug)]
pub struct Files {
    /// `jobs`, `resource`.
    tool: String,
    /// The sub-command, if the tool has some.
    table: Option<String>,
}

/// What the files say, the nearest first.
#[derive(Debug)]
pub struct Own {
    pub formats: BTreeMap<String, Entry>,
    table: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    pub format: String,
    #[serde(default)]
    pub description: String,
}

#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    formats: BTreeMap<String, Entry>,
}

impl Files {
    /// Of the listing whose default is in this variable: `FLUX_RESOURCE_LIST_FORMAT_DEFAULT` is `resource list`.
    pub fn of(variable: &str) -> Files {
        let words = variable.trim_start_matches("FLUX_").trim_end_matches("_FORMAT_DEFAULT").to_lowercase();
        let (tool, table) =
            words.split_once('_').map_or((&*words, None), |(tool, table)| (tool, Some(table)));
        Files { tool: tool.to_owned(), table: table.map(str::to_owned) }
    }

    pub fn read(&self) -> Result<Own, Failure> {
        let mut formats = BTreeMap::new();
        for folder in folders() {
            for of in ["flurm", "flux"] {
                for kind in ["toml", "json", "yaml"] {
                    let path = folder.join(of).join(format!("{of}-{}.{kind}", self.tool));
                    for (name, entry) in self.read_file(&path)? {
                        formats.entry(name).or_insert(entry);
                    }
                }
            }
        }
        Ok(Own { formats, table: self.table.clone() })
    }

    /// The formats in a file; none if there is no file.
    fn read_file(&self, path: &Path) -> Result<BTreeMap<String, Entry>, Failure> {
        let Ok(text) = std::fs::read_to_string(path) else { return Ok(BTreeMap::new()) };
        self.parse(path, &text).map_err(|rule| {
            let first = rule.lines().next().unwrap_or_default();
            Failure::usage(format!("{}: {first}", path.display()))
                .hint("a format is a table: [formats.NAME] with format = \"…\"")
        })
    }

    fn parse(&self, path: &Path, text: &str) -> Result<BTreeMap<String, Entry>, String> {
        let mut all: serde_json::Value = match path.extension().and_then(|e| e.to_str()) {
            Some("toml") => toml::from_str(text).map_err(|e| e.message().to_owned())?,
            Some("json") => serde_json::from_str(text).map_err(|e| e.to_string())?,
            _ => serde_saphyr::from_str(text).map_err(|e| e.to_string())?,
        };
        let config = match &self.table {
            None => all,
            Some(table) => all.get_mut(table).map(serde_json::Value::take).unwrap_or_default(),
        };
        // A file may have nothing for us.
        let config: Option<Config> = serde_json::from_value(config).map_err(|e| e.to_string())?;
        Ok(config.unwrap_or_default().formats)
    }
}

/// Folders of XDG's base directory specification, the user's own first.
fn folders() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = set("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&set("HOME")?).join(".config")));
    let all = set("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".into());
    home.into_iter().chain(std::env::split_paths(&all)).filter(|folder| folder.is_absolute()).collect()
}

impl Own {
    /// A format as a TOML file has it.
    pub fn snippet(&self, name: &str, about: &str, text: &str) -> String {
        let table = self.table.as_ref().map_or_else(String::new, |table| format!("{table}."));
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let about =
            if about.is_empty() { String::new() } else { format!("description = {}\n", quoted(about)) };
        format!("[{table}formats.{name}]\n{about}format = {}\n", quoted(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_has_its_part_of_a_file_whatever_it_is_written_in() {
        let jobs = Files::of("FLUX_JOBS_FORMAT_DEFAULT");
        let list = Files::of("FLUX_RESOURCE_LIST_FORMAT_DEFAULT");
        assert_eq!((&*list.tool, list.table.as_deref()), ("resource", Some("list")));
        for (files, path, text, found) in [
            (&jobs, "x.toml", "[formats.a]\nformat = '{id}'\ndescription = 'ids'", Some("{id}")),
            (&jobs, "x.json", r#"{ "formats": { "a": { "format": "{id}" } }, "other": 1 }"#, Some("{id}")),
            (&jobs, "x.yaml", "formats:\n  a:\n    format: '{id}'\n", Some("{id}")),
            (
                &list,
                "x.toml",
                "[list.formats.a]\nformat = '{state}'\n[formats.a]\nformat = ''",
                Some("{state}"),
            ),
            (&list, "x.toml", "[formats.a]\nformat = '{state}'", None),
        ] {
            let read = files.parse(Path::new(path), text).unwrap();
            assert_eq!(read.get("a").map(|entry| &*entry.format), found, "{text}");
        }
        assert!(jobs.parse(Path::new("x.toml"), "[formats.a]\ndescription = 'x'").is_err());
        assert!(jobs.parse(Path::new("x.yaml"), "formats: [").is_err());
    }

    #[test]
    fn a_format_is_printed_as_a_file_has_it() {
        let own = Own { formats: BTreeMap::new(), table: Some("list".into()) };
        let text = own.snippet("a", "with \"signs\"", "{state!d:%b%d %R}");
        let files = Files::of("FLUX_RESOURCE_LIST_FORMAT_DEFAULT");
        let read = files.parse(Path::new("x.toml"), &text).unwrap();
        assert_eq!(read["a"].format, "{state!d:%b%d %R}");
        assert_eq!(read["a"].description, "with \"signs\"");
    }
}
