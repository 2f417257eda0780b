//! What an instance adds to a job that it takes: the defaults of a queue, and what the queue is made of.

use crate::Jobspec;
use crate::cosched::Cosched;
use crate::placement::Placement;
use flurm_types::Constraint;
use serde_json::{Map, Value};

/// What is said for a job. What the job says itself wins, but for the constraint, which is added to its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Amendment {
    pub queue: Option<String>,
    /// Seconds, for a job without limit.
    pub duration: Option<f64>,
    pub constraint: Constraint,
    /// For a job that asks neither for a placement nor for a partner.
    pub placement: Option<Placement>,
    /// Instead of a placement; a class that the job gives stays.
    pub cosched: Option<Cosched>,
    /// For the job's shell, one by one.
    pub shell_options: Map<String, Value>,
}

impl Jobspec {
    /// The job as it is taken. That it wants no limit is not said any more: it has none.
    #[must_use]
    pub fn amended(mut self, with: Amendment) -> Jobspec {
        let own = &mut self.attributes;
        own.queue = own.queue.take().or(with.queue);
        let says = own.duration != 0.0 || std::mem::take(&mut own.unlimited);
        if let Some(duration) = with.duration.filter(|_| !says) {
            own.duration = duration;
        }
        let said = match &own.constraints {
            Constraint::And(list) => list.contains(&with.constraint),
            only => *only == with.constraint,
        };
        if !said {
            own.constraints = std::mem::take(&mut own.constraints).and(with.constraint);
        }
        match (&mut own.cosched, with.cosched) {
            (Some(own), Some(with)) => own.class = own.class.take().or(with.class),
            (Some(_), None) => {}
            (None, with) if own.placement.is_none() && with.is_some() => own.cosched = with,
            (None, _) => own.placement = own.placement.or(with.placement),
        }
        for (name, value) in with.shell_options {
            own.shell_options.entry(name).or_insert(value);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Builder;

    #[test]
    fn what_a_job_says_itself_wins() {
        let job = || Builder::new(vec!["true".to_owned()]);
        let with = Amendment {
            queue: Some("batch".to_owned()),
            duration: Some(60.0),
            constraint: Constraint::parse_query("thin").unwrap(),
            placement: Some(Placement::High),
            cosched: None,
            shell_options: [("prolog".to_owned(), "/p".into())].into_iter().collect(),
        };
        let plain = job().build().unwrap().amended(with.clone());
        assert_eq!(Jobspec::parse(&plain.to_json()), Ok(plain.clone()));
        let a = plain.attributes();
        assert_eq!((a.queue.as_deref(), a.duration), (Some("batch"), 60.0));
        assert_eq!((a.placement, &a.constraints), (Some(Placement::High), &with.constraint));
        assert_eq!(a.shell_options["prolog"], "/p");
        let endless = job().duration(f64::INFINITY).build().unwrap();
        assert_eq!(Jobspec::parse(&endless.to_json()), Ok(endless.clone()));
        let endless = endless.amended(with.clone());
        assert_eq!(endless.attributes().duration, 0.0);
        assert_eq!(Jobspec::parse(&endless.to_json()), Ok(endless));
        let own = job().queue("debug").duration(5.0).setattr("system.placement", &"spread".into());
        let own = own
            .shell_option("prolog", "none".into())
            .constraint(Constraint::parse_query("host:n1").unwrap())
            .build()
            .unwrap()
            .amended(with);
        let a = own.attributes();
        assert_eq!((a.queue.as_deref(), a.duration), (Some("debug"), 5.0));
        assert_eq!(a.placement.map(|p| p.to_string()).as_deref(), Some("spread"));
        assert!(matches!(&a.constraints, Constraint::And(both) if both.len() == 2));
        assert_eq!(a.shell_options["prolog"], "none");
    }

    #[test]
    fn a_willing_job_without_a_class_gets_that_of_its_queue() {
        let class = |name: &str| Some(Cosched { class: Some(name.to_owned()), ..Cosched::default() });
        let with = Amendment { cosched: class("memory"), ..Amendment::default() };
        let job = || Builder::new(vec!["true".to_owned()]);
        let io = serde_json::json!({ "class": "io" });
        for (job, cosched) in [
            (job(), class("memory")),
            (job().setattr("system.cosched", &true.into()), class("memory")),
            (job().setattr("system.cosched", &io), class("io")),
            (job().setattr("system.placement", &"low".into()), None),
        ] {
            assert_eq!(job.build().unwrap().amended(with.clone()).attributes().cosched, cosched);
        }
    }
}
