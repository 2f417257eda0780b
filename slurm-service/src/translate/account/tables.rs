//! The tables behind `sacctmgr show`: one cluster, its owner, the accounts that are in use, and one quality of service.

use super::job::QOS_NORMAL;
use crate::translate::node::SELECT_CONS_TRES;
use flurm_slurm_protocol::structures::{
    ConfigKeyPair, DbAccountCond, DbAccountRec, DbAssocCond, DbAssocRec, DbAssocRecRecord, DbClusterCond,
    DbClusterRec, DbQosCond, DbQosRec, DbRollupStats, DbRollupStatsItemsItem, DbStatsMsg, DbUserCond,
    DbUserRec,
};
use flurm_slurm_protocol::{Bits, Double, INFINITE, NO_VAL, Text, Version};
use std::collections::BTreeSet;

/// The account above all others.
const ROOT: &str = "root";
/// The id of its association.
const ROOT_ID: u32 = 1;
/// An administrator: the owner may do here what can be done.
const ADMIN: u16 = 3;
/// Hours, days and months are summed up, each by itself.
const PERIODS: usize = 3;
/// What older releases have fields for, as bits: an account's associations are wanted with it.
const ACCOUNT_WITH_ASSOCS: u32 = 1 << 1;
/// Only the associations that are somebody's default.
const ASSOC_ONLY_DEFAULTS: u32 = 1 << 5;

/// Whether flags, if there are any, have that bit.
fn flagged(flags: Option<u32>, bit: u32) -> bool {
    flags.is_some_and(|flags| flags != NO_VAL && flags & bit != 0)
}

/// What there is to say.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    pub cluster: &'a str,
    pub user: &'a str,
    pub uid: u32,
    /// In use; the first one is the owner's default. `root` is there without being named.
    pub accounts: &'a [String],
    pub host: &'a str,
    pub port: u16,
    pub nodes: &'a str,
    /// All that there is, as TRES.
    pub tres: &'a str,
}

impl Tables<'_> {
    fn default_account(&self) -> &str {
        self.accounts.first().map_or(ROOT, String::as_str)
    }

    /// As account and, if it is the owner's, user. Below the root account each account, below each account the owner.
    fn pairs(&self) -> Vec<(&str, Option<&str>)> {
        let own = |account| [(account, None), (account, Some(self.user))];
        let named = self.accounts.iter().map(String::as_str).filter(|account| *account != ROOT);
        std::iter::once(ROOT).chain(named).flat_map(own).collect()
    }

    fn pair(&self, at: usize, (account, user): (&str, Option<&str>), place: (u32, u32)) -> DbAssocRec {
        let id = u32::try_from(at).unwrap_or(u32::MAX).saturating_add(ROOT_ID);
        let below_root = account != ROOT && user.is_none();
        let is_def = user.is_some() && account == self.default_account();
        DbAssocRec {
            rec: DbAssocRecRecord {
                acct: account.into(),
                cluster: self.cluster.into(),
                shares_raw: 1,
                grp_jobs: INFINITE,
                grp_jobs_accrue: INFINITE,
                grp_submit_jobs: INFINITE,
                grp_wall: INFINITE,
                id,
                is_def: is_def.into(),
                lft: Some(place.0),
                lineage: lineage(account, user).into(),
                max_jobs: INFINITE,
                max_jobs_accrue: INFINITE,
                min_prio_thresh: INFINITE,
                max_submit_jobs: INFINITE,
                max_wall_pj: INFINITE,
                parent_acct: below_root.then_some(ROOT).into(),
                parent_id: match user {
                    Some(_) => id - 1,
                    None if below_root => ROOT_ID,
                    None => 0,
                },
                priority: INFINITE,
                qos_list: Some(vec![QOS_NORMAL.to_string().into()]),
                rgt: Some(place.1),
                uid: if user.is_some() { self.uid } else { 0 },
                user: user.into(),
                ..DbAssocRecRecord::default()
            },
        }
    }

    /// All associations, in the order of their tree.
    fn tree(&self) -> Vec<DbAssocRec> {
        let pairs = self.pairs();
        let end = u32::try_from(pairs.len() * 2).unwrap_or(u32::MAX);
        let mut next = 1;
        let mut place = |pair: &(&str, Option<&str>)| {
            let left = next;
            // An account holds its user; the root account holds all.
            next += if pair.1.is_none() {
                1
            } else if pair.0 == ROOT {
                2
            } else {
                3
            };
            match pair {
                (ROOT, None) => (left, end),
                (_, None) => (left, left + 3),
                (_, Some(_)) => (left, left + 1),
            }
        };
        let record = |(at, pair): (usize, &(&str, Option<&str>))| self.pair(at, *pair, place(pair));
        pairs.iter().enumerate().map(record).collect()
    }

    fn coordinates(&self, account: &str) -> Vec<DbAssocRec> {
        self.tree().into_iter().filter(|assoc| assoc.rec.acct == *account).collect()
    }
}

fn lineage(account: &str, user: Option<&str>) -> String {
    let account = if account == ROOT { String::from("/") } else { format!("/{account}/") };
    user.map_or(account.clone(), |user| format!("{account}0-{user}/"))
}

/// Named, or nothing is.
fn named(list: &Option<Vec<Text>>, name: &str) -> bool {
    list.as_ref().filter(|list| !list.is_empty()).is_none_or(|list| list.iter().any(|text| text == name))
}

/// As [`named`], of a text that may be null, which nobody names.
fn names(list: &Option<Vec<Text>>, name: &Text) -> bool {
    named(list, &name.lossy())
}

fn wanted(cond: &DbAssocCond, assoc: &DbAssocRec) -> bool {
    let rec = &assoc.rec;
    let only_defaults =
        cond.only_defs.is_some_and(|only| only != 0) || flagged(cond.flags, ASSOC_ONLY_DEFAULTS);
    names(&cond.acct_list, &rec.acct)
        && names(&cond.cluster_list, &rec.cluster)
        && names(&cond.user_list, &rec.user)
        && names(&cond.partition_list, &rec.partition)
        && names(&cond.parent_acct_list, &rec.parent_acct)
        && named(&cond.id_list, &rec.id.to_string())
        && (!only_defaults || rec.is_def == 1)
}

/// Associations of that kind.
pub fn assocs(tables: &Tables<'_>, cond: &DbAssocCond) -> Vec<DbAssocRec> {
    tables.tree().into_iter().filter(|assoc| wanted(cond, assoc)).collect()
}

/// The owner, if that is whom they ask for.
pub fn users(tables: &Tables<'_>, cond: &DbUserCond) -> Vec<DbUserRec> {
    let assocs: Vec<DbAssocRec> =
        assocs(tables, &cond.assoc_cond).into_iter().filter(|assoc| !assoc.rec.user.is_null()).collect();
    let default = tables.default_account();
    if assocs.is_empty() || !named(&cond.def_acct_list, default) || !named(&cond.def_wckey_list, "") {
        return Vec::new();
    }
    let assocs = (cond.with_assocs != 0).then_some(assocs);
    vec![DbUserRec {
        admin_level: Some(ADMIN),
        assoc: assocs.clone(),
        assoc_list: assocs,
        default_acct: default.into(),
        default_wckey: "".into(),
        flags: Some(0),
        name: tables.user.into(),
        uid: Some(tables.uid),
        present: Some(true),
        ..DbUserRec::default()
    }]
}

/// Accounts of that kind.
pub fn accounts(tables: &Tables<'_>, cond: &DbAccountCond) -> Vec<DbAccountRec> {
    let with_assocs =
        cond.with_assocs.is_some_and(|with| with != 0) || flagged(cond.flags, ACCOUNT_WITH_ASSOCS);
    let of = assocs(tables, &cond.assoc_cond);
    let names: BTreeSet<_> = of.iter().map(|assoc| assoc.rec.acct.lossy().into_owned()).collect();
    let record = |name: &String| {
        let assocs = with_assocs.then(|| tables.coordinates(name));
        let description = if name == ROOT { "default root account" } else { name };
        DbAccountRec {
            assoc: assocs.clone(),
            assoc_list: assocs,
            description: description.into(),
            name: name.as_str().into(),
            organization: name.as_str().into(),
            ..DbAccountRec::default()
        }
    };
    let matches = |account: &DbAccountRec| {
        self::names(&cond.description_list, &account.description)
            && self::names(&cond.organization_list, &account.organization)
    };
    names.iter().map(record).filter(matches).collect()
}

/// The instance.
pub fn clusters(tables: &Tables<'_>, cond: &DbClusterCond, version: Version) -> Vec<DbClusterRec> {
    if !named(&cond.cluster_list, tables.cluster) || !named(&cond.federation_list, "") {
        return Vec::new();
    }
    vec![DbClusterRec {
        classification: Some(0),
        control_host: tables.host.into(),
        control_port: Some(tables.port.into()),
        dimensions: Some(1),
        fed_name: "".into(),
        fed_id: Some(0),
        fed_state: Some(0),
        flags: Some(0),
        name: tables.cluster.into(),
        nodes: tables.nodes.into(),
        // Clients up to 22.05 speak to no cluster whose plugin they do not know.
        plugin_id_select: Some(SELECT_CONS_TRES),
        root_assoc: tables.tree().into_iter().next().map(Box::new),
        rpc_version: Some(version.to_wire()),
        tres_str: tables.tres.into(),
        present: Some(true),
        id: Some(1),
        ..DbClusterRec::default()
    }]
}

/// `normal`, which limits nothing.
pub fn qos(cond: &DbQosCond) -> Vec<DbQosRec> {
    let normal = DbQosRec {
        description: "Normal QOS default".into(),
        id: QOS_NORMAL,
        grp_jobs: INFINITE,
        grp_jobs_accrue: INFINITE,
        grp_submit_jobs: INFINITE,
        grp_wall: INFINITE,
        max_jobs_pa: INFINITE,
        max_jobs_pu: INFINITE,
        max_jobs_accrue_pa: INFINITE,
        max_jobs_accrue_pu: INFINITE,
        min_prio_thresh: INFINITE,
        max_submit_jobs_pa: INFINITE,
        max_submit_jobs_pu: INFINITE,
        max_wall_pj: INFINITE,
        name: "normal".into(),
        preempt_bitstr: Bits::NULL,
        preempt_exempt_time: INFINITE,
        usage_factor: Double::new(1.0),
        usage_thres: Double::new(INFINITE.into()),
        limit_factor: Double::new(INFINITE.into()),
        ..DbQosRec::default()
    };
    let wanted = names(&cond.name_list, &normal.name)
        && names(&cond.description_list, &normal.description)
        && named(&cond.id_list, &normal.id.to_string());
    if wanted { vec![normal] } else { Vec::new() }
}

/// What `sacctmgr show stats` prints: nothing is summed up, so nothing was. Its lists must not be null.
pub fn stats(cluster: &str, since: i64) -> DbStatsMsg {
    let never = |cluster_name| DbRollupStats {
        cluster_name,
        rollup_count: PERIODS.try_into().unwrap_or_default(),
        items: vec![DbRollupStatsItemsItem::default(); PERIODS],
    };
    DbStatsMsg {
        dbd_rollup_stats: never(Text::NULL),
        rollup_stats: Some(vec![never(cluster.into())]),
        rpc_list: Some(Vec::new()),
        time_start: since,
        user_list: Some(Vec::new()),
    }
}

/// What `sacctmgr show config` lists of the daemon.
pub fn config(tables: &Tables<'_>, port: u16) -> Vec<ConfigKeyPair> {
    let pairs = [
        ("AuthType", "auth/munge".to_owned()),
        ("DbdHost", tables.host.to_owned()),
        ("DbdPort", port.to_string()),
        ("SlurmUser", format!("{}({})", tables.user, tables.uid)),
        ("StorageType", "accounting_storage/flurm".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| ConfigKeyPair { name: name.into(), value: value.into() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Option<Vec<Text>> {
        Some(list.iter().map(|text| Text::from(*text)).collect())
    }

    fn with(body: impl FnOnce(&Tables<'_>)) {
        let accounts = ["physics".to_owned(), "maths".to_owned()];
        body(&Tables {
            cluster: "flurm",
            user: "ann",
            uid: 1000,
            accounts: &accounts,
            host: "c1",
            port: 4711,
            nodes: "c[1-3]",
            tres: "1=12,4=3",
        });
    }

    #[test]
    fn the_owner_is_in_every_account_and_all_accounts_are_below_root() {
        with(|tables| {
            let all = assocs(tables, &DbAssocCond::default());
            let shown: Vec<_> = all
                .iter()
                .map(|assoc| {
                    let rec = &assoc.rec;
                    let user = rec.user.lossy().into_owned();
                    (rec.id, rec.parent_id, rec.acct.lossy().into_owned(), user, rec.is_def, rec.lft, rec.rgt)
                })
                .collect();
            let row = |id, parent, account: &str, user: &str, is_def, lft, rgt| {
                (id, parent, account.to_owned(), user.to_owned(), is_def, Some(lft), Some(rgt))
            };
            assert_eq!(
                shown,
                [
                    row(1, 0, "root", "", 0, 1, 12),
                    row(2, 1, "root", "ann", 0, 2, 3),
                    row(3, 1, "physics", "", 0, 4, 7),
                    row(4, 3, "physics", "ann", 1, 5, 6),
                    row(5, 1, "maths", "", 0, 8, 11),
                    row(6, 5, "maths", "ann", 0, 9, 10),
                ]
            );
        });
    }

    #[test]
    fn only_what_is_named_is_shown() {
        with(|tables| {
            let count = |cond: DbAssocCond| assocs(tables, &cond).len();
            assert_eq!(count(DbAssocCond { user_list: texts(&["ann"]), ..DbAssocCond::default() }), 3);
            assert_eq!(count(DbAssocCond { user_list: texts(&["bob"]), ..DbAssocCond::default() }), 0);
            assert_eq!(count(DbAssocCond { acct_list: texts(&["maths"]), ..DbAssocCond::default() }), 2);
            assert_eq!(count(DbAssocCond { only_defs: Some(1), ..DbAssocCond::default() }), 1);
            assert_eq!(count(DbAssocCond { cluster_list: texts(&["lab"]), ..DbAssocCond::default() }), 0);
            let cond = DbUserCond { with_assocs: 1, ..DbUserCond::default() };
            let [user] = &users(tables, &cond)[..] else { panic!("one user") };
            assert_eq!(user.default_acct.as_str(), Some("physics"));
            assert_eq!(user.assoc.as_ref().map(Vec::len), Some(3));
            let names: Vec<_> = accounts(tables, &DbAccountCond::default())
                .iter()
                .map(|account| account.name.lossy().into_owned())
                .collect();
            assert_eq!(names, ["maths", "physics", "root"]);
            let other = DbClusterCond { cluster_list: texts(&["lab"]), ..DbClusterCond::default() };
            assert!(clusters(tables, &other, Version::FIRST).is_empty());
            assert_eq!(
                clusters(tables, &DbClusterCond::default(), Version::FIRST)[0].control_port,
                Some(4711)
            );
            assert!(qos(&DbQosCond { name_list: texts(&["high"]), ..DbQosCond::default() }).is_empty());
            assert_eq!(qos(&DbQosCond::default())[0].id, QOS_NORMAL);
        });
    }
}
