//! Enumerations and numeric constants of Slurm's interface. Where releases disagree, the plain name is the newest one's.

include!(concat!(env!("OUT_DIR"), "/constants.rs"));
