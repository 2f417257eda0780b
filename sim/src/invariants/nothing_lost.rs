//! What was acknowledged is there at the end, whatever has happened in between.

use super::held::Held;
use super::{Broken, broken};
use crate::user::User;
use std::collections::BTreeMap;

/// `listed`: the jobs that the leader tells of.
pub fn check(users: &[User], held: &Held, listed: &[flurm_types::JobId]) -> Result<(), Broken> {
    for user in users {
        for id in &user.jobs {
            if !held.has_submitted(*id) || !listed.contains(id) {
                return broken(
                    "nothing_lost",
                    format!("{id}, acknowledged to user {}, is gone", user.number),
                );
            }
        }
        let last: BTreeMap<&String, u64> = user.puts.iter().map(|(key, value)| (key, *value)).collect();
        for (key, value) in last {
            if held.last_value(key).and_then(serde_json::Value::as_u64) < Some(value) {
                return broken("nothing_lost", format!("{key}={value}, acknowledged, is gone"));
            }
        }
    }
    Ok(())
}
