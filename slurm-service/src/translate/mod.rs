//! Our nouns to Slurm's and back: values in, values out, nothing asked and nobody told.

pub mod account;
pub mod allocation;
pub mod array;
pub mod config;
pub mod dependency;
pub mod environment;
pub mod feature;
pub mod gather;
pub mod job;
pub mod name;
pub mod node;
pub mod number;
pub mod options;
pub mod part;
pub mod partition;
pub mod pattern;
pub mod refusal;
pub mod refused;
pub mod room;
pub mod site;
pub mod size;
pub mod state;
pub mod stats;
pub mod step;
pub mod submit;
pub mod update;
