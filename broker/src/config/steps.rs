//! A configuration that is put together step by step (`--conf`), for an instance that is still to come.
//!
//! A step is a file, the name of one that the user keeps (`~/.config/flurm/config/NAME.toml`), `KEY=VALUE`, or a text in
//! JSON or TOML. Later ones win, key by key.

use super::{Config, merge};
use crate::bootstrap::{Mistake, Vars};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

const HINT: &str = "--conf takes a file, KEY=VALUE, {JSON}, TOML with a newline in it, or the name of a file in \
                    ~/.config/flurm/config";

/// All steps together, as JSON.
///
/// # Errors
/// A step cannot be read, or all of them together say something that is not known.
pub fn to_json(steps: &[String], vars: &Vars) -> Result<String, Mistake> {
    let mut all = Table::new();
    for step in steps {
        merge(&mut all, one(step, vars)?);
    }
    let text = serde_json::to_string(&all).expect("keys are texts");
    Config::parse_json("--conf", &text)?;
    Ok(text)
}

fn one(step: &str, vars: &Vars) -> Result<Table, Mistake> {
    let wrong = |why: String| Mistake::new(format!("--conf={}: {why}", step.trim()), HINT);
    if step.trim_start().starts_with('{') {
        return serde_json::from_str(step).map_err(|e| wrong(e.to_string()));
    }
    if step.contains('\n') {
        return toml::from_str(step).map_err(|e| wrong(e.message().to_owned()));
    }
    let file = Path::new(step);
    if file.is_file() {
        return read(file).map_err(wrong);
    }
    match step.split_once('=') {
        Some((key, value)) => set(key, value).ok_or_else(|| wrong("a key is words with dots between".into())),
        None => match named(step, vars) {
            Some(file) => read(&file).map_err(wrong),
            None => Err(wrong("there is no such file, and no configuration of this name".into())),
        },
    }
}

fn read(file: &Path) -> Result<Table, String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    if file.extension().is_some_and(|ending| ending == "json") {
        return serde_json::from_str(&text).map_err(|e| e.to_string());
    }
    toml::from_str(&text).map_err(|e| e.message().to_owned())
}

/// One of the user's own files.
fn named(name: &str, vars: &Vars) -> Option<PathBuf> {
    if name.contains('/') {
        return None;
    }
    let var = |name: &str| vars.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = var("XDG_CONFIG_HOME").or_else(|| Some(var("HOME")?.join(".config")))?;
    let dirs = ["flurm", "flux"].map(|dir| base.join(dir).join("config"));
    let files =
        dirs.iter().flat_map(|dir| ["toml", "json"].map(|ending| dir.join(format!("{name}.{ending}"))));
    files.into_iter().find(|file| file.is_file())
}

/// `a.b=VALUE`; the value is TOML where it can be, else it is a text.
fn set(key: &str, value: &str) -> Option<Table> {
    let parsed = toml::from_str::<Table>(&format!("value = {value}")).ok();
    let value = parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| Value::from(value));
    let mut words = key.split('.').rev();
    if key.split('.').any(str::is_empty) {
        return None;
    }
    let last = words.next()?;
    let mut table = Table::from_iter([(last.to_owned(), value)]);
    for word in words {
        table = Table::from_iter([(word.to_owned(), Value::Table(table))]);
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(steps: &[&str], vars: &Vars) -> Result<serde_json::Value, Mistake> {
        let steps: Vec<String> = steps.iter().map(|step| (*step).to_owned()).collect();
        to_json(&steps, vars).map(|text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn steps_add_up_and_later_ones_win() {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join(".config/flurm/config");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("wide.toml"), "[tbon]\nfanout = 64\ninterface-hint = \"ib0\"\n").unwrap();
        let file = home.path().join("x.json");
        std::fs::write(&file, "{\"tbon\": {\"fanout\": 8}}").unwrap();
        let vars: Vars = [("HOME".to_owned(), home.path().display().to_string())].into();
        let steps = ["wide", file.to_str().unwrap(), "tbon.fanout=16", "[sched]\npolicy = \"easy\"\n"];
        let all = json(&steps, &vars).unwrap();
        assert_eq!(
            all,
            serde_json::json!({"tbon": {"fanout": 16, "interface-hint": "ib0"}, "sched": {"policy": "easy"}})
        );
        assert_eq!(json(&["{\"tbon\": {\"fanout\": 2}}"], &vars).unwrap()["tbon"]["fanout"], 2);
        assert_eq!(json(&[], &vars).unwrap(), serde_json::json!({}));
    }

    #[test]
    fn what_is_not_known_is_refused_before_there_is_an_instance() {
        for (step, why) in [
            ("no-such-name", "no such file"),
            ("tbon.fanou=3", "fanou"),
            (".=3", "words with dots"),
            ("{", "--conf={"),
            ("a =\n", "--conf=a ="),
        ] {
            let wrong = json(&[step], &Vars::new()).unwrap_err();
            assert!(wrong.what.contains(why), "{step}: {}", wrong.what);
        }
    }
}
