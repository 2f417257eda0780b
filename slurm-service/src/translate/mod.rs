//! Our nouns to Slurm's and back: values in, values out, nothing asked and nobody told.

pub mod node;
pub mod partition;
