//! What the tasks of a rank are bound to: cores of their own or all of the job's, and the GPUs nearest to them. Pure.

use crate::cpu::{self, Cores, Mask};
use crate::options::{Options, Spread};
use flurm_types::{Idset, RNode, Socket};

/// By local number of the task, where it matters.
#[derive(Debug, Clone, Default)]
pub struct Binding {
    cpus: Cpus,
    /// Cores that the job has here.
    cores: Idset,
    /// None: what the submitter saw.
    gpus: Option<Vec<Idset>>,
    /// GPUs that a map of the user's names and that are not here, of each task.
    missing_gpus: Vec<Idset>,
    dry_run: bool,
    gpus_dry_run: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Cpus {
    /// As the shell itself.
    #[default]
    Free,
    /// On all cores of the job.
    Shared,
    Own(Vec<Idset>),
    /// Numbers of CPUs, given by the user; the list begins again when it is over.
    Given(Vec<Idset>),
}

impl Binding {
    /// `sockets` is what R knows of this node; `placed` jobs have said where their cores should be.
    pub fn of(options: &Options, node: &RNode, sockets: &[Socket], ntasks: usize, placed: bool) -> Binding {
        let even = ntasks > 0 && node.cores.len().is_multiple_of(ntasks);
        let cores_of: Vec<Idset> = sockets.iter().map(|socket| socket.cores.clone()).collect();
        let cpus = match &options.cpus.how {
            // Cores of their own if there is an equal number for each, or the job cares where they are.
            None if even || placed => Cpus::Own(cpu::deal(&node.cores, &cores_of, ntasks)),
            None | Some(Spread::All) => Cpus::Shared,
            Some(Spread::Off) => Cpus::Free,
            Some(Spread::PerTask) => Cpus::Own(cpu::deal(&node.cores, &cores_of, ntasks)),
            Some(Spread::Map(sets)) => Cpus::Given(sets.clone()),
        };
        let all = |set: &Idset| vec![set.clone(); ntasks];
        let gpus = match &options.gpus.how {
            Some(Spread::Off) => None,
            Some(Spread::PerTask) if !node.gpus.is_empty() && node.gpus.len() >= ntasks => {
                let cores = match &cpus {
                    Cpus::Own(own) => own.clone(),
                    Cpus::Free | Cpus::Shared | Cpus::Given(_) => all(&node.cores),
                };
                Some(deal_gpus(&node.gpus, &cores, sockets))
            }
            None | Some(Spread::All | Spread::PerTask) => Some(all(&node.gpus)),
            Some(Spread::Map(sets)) => Some(sets.iter().cycle().take(ntasks).cloned().collect()),
        };
        // A node of which R knows no GPU at all may have some.
        let known = sockets.iter().fold(node.gpus.clone(), |all, socket| all.union(&socket.gpus));
        let missing_gpus = match &options.gpus.how {
            Some(Spread::Map(sets)) if !known.is_empty() => {
                sets.iter().cycle().take(ntasks).map(|set| set.difference(&known)).collect()
            }
            _ => Vec::new(),
        };
        Binding {
            cpus,
            missing_gpus,
            cores: node.cores.clone(),
            gpus,
            dry_run: options.cpus.dry_run,
            gpus_dry_run: options.gpus.dry_run,
        }
    }

    /// The CPUs of one task; none: as the shell itself.
    pub fn mask(&self, local: usize, cores: &Cores) -> Option<Mask> {
        if self.dry_run {
            return None;
        }
        match &self.cpus {
            Cpus::Free => None,
            Cpus::Shared => cores.mask(&self.cores),
            Cpus::Own(own) => cores.mask(&own[local]),
            Cpus::Given(sets) => Mask::of(&sets[local % sets.len()]),
        }
    }

    /// The GPUs that one task is shown; none: those of the submitter.
    pub fn gpus(&self, local: usize) -> Option<&Idset> {
        self.gpus.as_ref().filter(|_| !self.gpus_dry_run).map(|gpus| &gpus[local])
    }

    /// CPUs that a map of the user's names and that are not here. Where not even R's cores are here, everything is
    /// made up, and nothing is missing.
    pub fn missing_cpus(&self, local: usize, cores: &Cores) -> Option<Idset> {
        let Cpus::Given(sets) = &self.cpus else { return None };
        cores.mask(&self.cores)?;
        let missing = sets[local % sets.len()].difference(&cores.cpus());
        (!missing.is_empty()).then_some(missing)
    }

    /// As for CPUs.
    pub fn missing_gpus(&self, local: usize) -> Option<&Idset> {
        self.missing_gpus.get(local).filter(|missing| !missing.is_empty())
    }

    /// For people: cores, CPUs, GPUs.
    pub fn describe(&self, local: usize, cores: &Cores) -> String {
        let of_cores = |set: &Idset| match cores.cpus_of(set) {
            Some(cpus) => format!("cores {set}, CPUs {cpus}"),
            None => format!("cores {set}, which are not on this machine"),
        };
        let mut text = match &self.cpus {
            Cpus::Free => "not bound".to_owned(),
            Cpus::Shared => of_cores(&self.cores),
            Cpus::Own(own) => of_cores(&own[local]),
            Cpus::Given(sets) => format!("CPUs {}", sets[local % sets.len()]),
        };
        match &self.gpus {
            Some(gpus) if gpus[local].is_empty() => {}
            Some(gpus) => text.push_str(&format!(", GPUs {}", gpus[local])),
            None => text.push_str(", GPUs not chosen"),
        }
        text
    }
}

/// The GPUs of each task, of which it has its `cores`: as many for each (nearly), those on the sockets of its cores
/// first.
fn deal_gpus(gpus: &Idset, cores: &[Idset], sockets: &[Socket]) -> Vec<Idset> {
    let n = cores.len();
    let wanted = |task: usize| (task + 1) * gpus.len() / n - task * gpus.len() / n;
    let mut left = gpus.clone();
    let mut dealt = vec![Idset::new(); n];
    for near in [true, false] {
        for (task, (own, cores)) in dealt.iter_mut().zip(cores).enumerate() {
            let mut choice = left.clone();
            if near {
                let here = sockets.iter().filter(|socket| !socket.cores.is_disjoint(cores));
                let mut reach = Idset::new();
                here.for_each(|socket| reach.union_with(&socket.gpus));
                choice = left.intersection(&reach);
            }
            let taken = choice.take(wanted(task) - own.len());
            left = left.difference(&taken);
            own.union_with(&taken);
        }
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Idset {
        text.parse().unwrap()
    }

    #[test]
    fn a_task_gets_the_gpus_of_its_own_socket_first() {
        let socket = |cores, gpus| Socket { cores: set(cores), gpus: set(gpus), memory_gib: None };
        let crossed = [socket("0-3", "2-3"), socket("4-7", "0-1")];
        for (gpus, tasks, wanted) in [
            ("0-3", &["0-3", "4-7"][..], "2-3 0-1"),
            ("0-3", &["0-1", "2-3", "4-5", "6-7"], "2 3 0 1"),
            ("0-1", &["0-3", "4-7"], "1 0"),
            // Nothing near is left for some.
            ("0-1", &["0-1", "2-3"], "0 1"),
            ("1-3", &["0-1", "4-5"], "2 1,3"),
            ("0,2", &["0-7", "0-7"], "0 2"),
        ] {
            let tasks: Vec<Idset> = tasks.iter().map(|cores| set(cores)).collect();
            let dealt = deal_gpus(&set(gpus), &tasks, &crossed);
            let text: Vec<String> = dealt.iter().map(ToString::to_string).collect();
            assert_eq!(text.join(" "), wanted, "{gpus} for {tasks:?}");
        }
        assert_eq!(deal_gpus(&set("0-3"), &[set("0"), set("1")], &[]), [set("0-1"), set("2-3")]);
    }
}
