//! Nodes by name and by feature: `-w`, `-x` and `-C` as a constraint.

use super::refusal::Refusal;
use super::site::Site;
use flurm_slurm_protocol::errors;
use flurm_slurm_protocol::structures::JobDescMsg;
use flurm_types::{Constraint, Hostlist, Idset};

/// What is asked of nodes by name, and how many are named that all have to be there.
pub fn constraint(desc: &JobDescMsg, site: &Site) -> Result<(Constraint, u32), Refusal> {
    let mut constraint = Constraint::True;
    let mut named = 0;
    if let Some(hosts) = hosts("--nodelist", desc.req_nodes.as_str(), site)? {
        named = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        constraint = constraint.and(Constraint::Ranks(hosts));
    }
    if let Some(hosts) = hosts("--exclude", desc.exc_nodes.as_str(), site)? {
        constraint = constraint.and(Constraint::Not(vec![Constraint::Ranks(hosts)]));
    }
    if let Some(text) = desc.features.as_str().filter(|text| !text.is_empty()) {
        constraint = constraint.and(features(text, site)?);
    }
    if let Some(text) = desc.batch_features.as_str().filter(|text| !text.is_empty())
        && !site.nodes.iter().filter(|node| node.fits(&constraint)).all(|node| node.has(text))
    {
        let why = format!("--batch={text}: the first node of a job is not chosen by itself");
        return Err(Refusal::new(errors::ESLURM_BATCH_CONSTRAINT, why));
    }
    Ok((constraint, named))
}

/// Ranks of nodes by their names in `slurm.conf`, which tell several ranks of a host apart.
fn hosts(option: &str, list: Option<&str>, site: &Site) -> Result<Option<Idset>, Refusal> {
    let Some(list) = list.filter(|list| !list.is_empty()) else { return Ok(None) };
    let bad = |why: String| Refusal::new(errors::ESLURM_INVALID_NODE_NAME, format!("{option}={list}: {why}"));
    let hosts: Hostlist = list.parse().map_err(|error: flurm_types::SyntaxError| bad(error.to_string()))?;
    let mut ranks = Idset::new();
    for host in hosts.iter() {
        let node = site.nodes.iter().find(|node| node.name == *host);
        ranks.insert(node.ok_or_else(|| bad(format!("there is no node `{host}`")))?.rank);
    }
    Ok(Some(ranks))
}

/// `a&b|c`, `(a|b)&c`, `!a`. Features are properties.
fn features(text: &str, site: &Site) -> Result<Constraint, Refusal> {
    let bad = |why: &str| Refusal::new(errors::ESLURM_INVALID_FEATURE, format!("--constraint={text}: {why}"));
    if text.contains(['[', '*', '{']) {
        return Err(bad("nodes counted by feature, or all of the same of several, cannot be asked for"));
    }
    // A comma is an old `&`.
    let query = text.replace(',', "&").replace('!', "-");
    let constraint = Constraint::parse_query(&query).map_err(|error| bad(&error.to_string()))?;
    let unknown =
        constraint.property_names().into_iter().find(|name| !site.nodes.iter().any(|node| node.has(name)));
    match unknown {
        Some(name) => Err(bad(&format!("no node has the feature `{name}`"))),
        None => Ok(constraint),
    }
}
