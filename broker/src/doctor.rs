//! `flurm doctor`: the checks of a start, without a start.

use crate::bootstrap::net::{Network, Reach};
use crate::bootstrap::{
    Launcher, Mistake, Surroundings, Vars, hostname, random_name, rendezvous, rundir, slurm,
};
use crate::config::Settings;
use crate::hw;
use crate::start::{BrokerArgs, DoctorArgs, vars};
use flurm_types::{Rank, counted};

/// What came of one check.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Good(String),
    Warning(Mistake),
    Error(Mistake),
}

impl Finding {
    fn of(done: Result<String, Mistake>) -> Finding {
        done.map_or_else(Finding::Error, Finding::Good)
    }

    fn print(&self) {
        match self {
            Finding::Good(said) => println!("ok: {said}"),
            Finding::Warning(said) => println!("warning: {}\nhint: {}", said.what, said.hint),
            Finding::Error(said) => println!("error: {}\nhint: {}", said.what, said.hint),
        }
    }
}

/// Prints what each check found; 1 if a start would fail, or would not be what was meant.
pub fn doctor(args: &DoctorArgs) -> i32 {
    let findings = examine(&vars(), args);
    findings.iter().for_each(Finding::print);
    i32::from(!findings.iter().all(|finding| matches!(finding, Finding::Good(_))))
}

fn examine(vars: &Vars, args: &DoctorArgs) -> Vec<Finding> {
    let args = BrokerArgs {
        config_path: args.config_path.clone(),
        setattr: args.setattr.clone(),
        ..BrokerArgs::default()
    };
    let settings = Settings::load(&args);
    let mut findings = vec![Finding::of(settings.as_ref().map_err(Clone::clone).map(configuration))];
    match Surroundings::find(vars, &hostname()) {
        Err(mistake) => findings.push(Finding::Error(mistake)),
        Ok(around) => {
            findings.extend(launcher(vars, &around));
            findings.push(cores(&around));
            let hint = settings.as_ref().ok().and_then(|settings| settings.interface_hint.as_deref());
            findings.push(Finding::of(network(&around, hint)));
        }
    }
    findings.push(Finding::of(run_directory(vars)));
    findings
}

fn configuration(settings: &Settings) -> String {
    format!("configuration: a tree with {} children per broker", settings.fanout)
}

/// Who would start brokers, how many, and whether they would find each other.
fn launcher(vars: &Vars, around: &Surroundings) -> Vec<Finding> {
    let job = around.job.as_ref();
    match &around.launcher {
        Launcher::Slurm(step) => {
            let sound = step.agrees(vars).and_then(|()| step.hosts(job));
            let size =
                |hosts: Vec<String>| format!("launcher: Slurm, {}", counted(hosts.len() as u64, "broker"));
            let mut findings = vec![Finding::of(sound.map(size))];
            if step.size > 1 {
                let place = rendezvous::Place::open(vars, &step.key);
                let met = |place: rendezvous::Place| format!("meeting place: {}", place.path().display());
                findings.push(Finding::of(place.map(met)));
            }
            findings
        }
        Launcher::Pmi(place) => {
            vec![Finding::Good(format!("launcher: PMI-1, {}", counted(place.size.into(), "broker")))]
        }
        Launcher::Single => {
            let alone = match job.and_then(slurm::Job::too_many_nodes) {
                Some(warning) => Finding::Warning(warning),
                None => Finding::Good("launcher: none, 1 broker".into()),
            };
            vec![alone]
        }
    }
}

fn cores(around: &Surroundings) -> Finding {
    let Some(node) = hw::glance() else {
        return Finding::Error(Mistake::new(
            format!("{}: /sys does not describe the cores of this node", around.host),
            "see that /sys and /proc are mounted",
        ));
    };
    match around.job.as_ref().and_then(|job| job.too_few_cores(&around.host, &node)) {
        Some(warning) => Finding::Warning(warning),
        None => Finding::Good(format!("cores: {} of {} visible", node.cores.len(), node.cores_total)),
    }
}

fn network(around: &Surroundings, hint: Option<&str>) -> Result<String, Mistake> {
    let network = Network::discover().map_err(|error| {
        Mistake::new(format!("{}: no list of network interfaces: {error}", around.host), "ask the site")
    })?;
    Ok(format!("network: brokers would listen on {}", network.choose(&around.host, hint, Reach::Network)?))
}

fn run_directory(vars: &Vars) -> Result<String, Mistake> {
    let name = random_name()
        .map_err(|error| Mistake::new(error.to_string(), "see that /dev/urandom can be read"))?;
    let dir = rundir::make(vars, &name, Rank(0))?;
    let top = dir.parent().expect("a run directory is inside of the instance's");
    let said = format!("run directory: {}", top.parent().unwrap_or(top).display());
    // Nothing is in them; if they stay all the same, the next start does not mind.
    let _ = std::fs::remove_dir(&dir).and_then(|()| std::fs::remove_dir(top));
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examined(pairs: &[(&str, &str)], args: &DoctorArgs) -> (Vec<Finding>, bool) {
        let base = tempfile::tempdir().unwrap();
        let mut vars: Vars = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        for name in ["FLURM_RUNDIR_BASE", "HOME"] {
            vars.insert(name.to_owned(), base.path().display().to_string());
        }
        let findings = examine(&vars, args);
        let left = std::fs::read_dir(base.path()).unwrap().flatten();
        let clean = left.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with("flurm-"));
        (findings, clean)
    }

    #[test]
    fn a_healthy_node_is_found_good_and_left_clean() {
        let (findings, clean) = examined(&[], &DoctorArgs::default());
        assert!(findings.iter().all(|finding| matches!(finding, Finding::Good(_))), "{findings:?}");
        assert!(clean);
    }

    #[test]
    fn each_mistake_is_found() {
        let job = [("SLURM_JOB_ID", "123"), ("SLURM_JOB_NUM_NODES", "4"), ("SLURM_JOB_NODELIST", "c[1-4]")];
        let (findings, _) = examined(&job, &DoctorArgs::default());
        let warned = |f: &Finding| matches!(f, Finding::Warning(w) if w.what.contains("4 nodes"));
        assert!(findings.iter().any(warned), "{findings:?}");

        let setattr = vec![("tbon.interface-hint".to_owned(), "no0".to_owned())];
        let (findings, _) = examined(&[], &DoctorArgs { setattr, ..DoctorArgs::default() });
        let named = |f: &Finding| matches!(f, Finding::Error(e) if e.what.contains("no interface no0"));
        assert!(findings.iter().any(named), "{findings:?}");

        let setattr = vec![("size".to_owned(), "9".to_owned())];
        let (findings, _) = examined(&[], &DoctorArgs { setattr, ..DoctorArgs::default() });
        assert!(matches!(findings[0], Finding::Error(_)), "{findings:?}");
    }
}
