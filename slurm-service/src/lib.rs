//! Answers the site's own Slurm commands inside an instance, as if a Slurm cluster were there.
//!
//! One process per rank, a guest of its broker: `flurm slurm-service`. The one beside the leader plays the controller. It
//! is a client like any other: what it knows it has asked for, what it does it has asked others to do, and when it
//! crashes nothing is lost but the questions that were being answered.
//!
//! | module | what it does | touches the world |
//! | --- | --- | --- |
//! | [`door`] | connections, limits, credentials | yes |
//! | [`conf`] | the private `slurm.conf` | no |
//! | [`start`] | what is set up before the first question | yes |
//! | [`context`] | what every handler gets | no |
//! | [`world`] | jobs, resources and queues as last heard of | asks the broker |
//! | [`node`] | what is asked of a node: tasks of steps, and their streams | yes |
//! | [`controller`] | which message is answered by whom | asks the broker |
//! | [`node`] | the node daemon of this rank | asks the broker |
//! | [`translate`] | our nouns to Slurm's and back | no |

pub mod accounting;
pub mod conf;
pub mod context;
pub mod controller;
pub mod door;
pub mod node;
pub mod start;
pub mod translate;
pub mod world;

pub use start::{ServiceArgs, run};
