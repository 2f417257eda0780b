//! PMIx for the tasks of a job, as Open MPI needs it.
//!
//! The server is libpmix, the site's own, in **a process of its own for each job and rank** (`flurm pmix-server`). A library
//! of half a million lines with threads of its own has no place in the process on which all jobs of a node
//! depend: what it breaks is one job, what it leaks goes with that job, and a shell that serves no MPI stays as small as it is.
//! A start costs some ten milliseconds, beside some hundred that Open MPI itself takes, and only jobs that may need it pay
//! ([`crate::offer`]).
//!
//! ```text
//! shell                                   flurm pmix-server
//!   |------------- Order::Setup ----------->| opens libpmix, registers the job
//!   |<------------ Word::Ready -------------| the tasks are started with these variables
//!   |<---- Connected, Fence, Abort, … ------| callbacks of libpmix, handed on
//!   |------------- Fenced, … -------------->|
//!   `------------- end of input ----------->| clears up after the tasks, exits; its own files go with the job's directory
//! ```
//!
//! Both directions are lines of JSON over pipes.

mod door;
mod facts;
pub mod server;
mod shell;
mod sys;

use serde::{Deserialize, Serialize};

pub(crate) use shell::Pmix;

/// Names of collectives begin so.
pub(crate) const COLLECTIVE: &str = "pmix/";

/// The library as the loader finds it by itself.
pub const LIBRARY: &str = "libpmix.so.2";

/// A user or a site that knows better names it here.
pub const LIBRARY_VARIABLE: &str = "FLURM_PMIX_LIBRARY";

/// Shell to server, a line each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The first one.
    Setup(Setup),
    /// Answer to [`Word::Fence`]: what all shells gave to it.
    Fenced { id: u64, data: Option<String> },
    /// Another rank wants what our task has put.
    Get { id: u64, task: u32 },
    /// Answer to [`Word::Want`].
    Got { id: u64, data: Option<String> },
}

/// Server to shell, a line each. Data is base64.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// What tasks need in their environment, `PMIX_RANK` aside.
    Ready {
        version: String,
        environment: Vec<(String, String)>,
    },
    /// No server will be.
    Failed {
        note: String,
    },
    Connected {
        task: u32,
    },
    /// Another user of the node had connected to the server, and was cut off.
    Stranger {
        uid: u32,
    },
    /// It will take part in nothing any more.
    Finalized {
        task: u32,
    },
    Abort {
        task: u32,
        status: i32,
        text: String,
    },
    /// All tasks here have come to a fence over these tasks; none: over all of the job.
    Fence {
        id: u64,
        tasks: Option<String>,
        data: String,
    },
    /// Something that a task elsewhere has put is wanted here.
    Want {
        id: u64,
        task: u32,
    },
    /// Answer to [`Order::Get`].
    Has {
        id: u64,
        data: Option<String>,
    },
    /// A task has asked for what is not done here.
    Refused {
        what: String,
    },
}

/// What a server must know of its job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// Files to try as libpmix, the first that opens is taken.
    pub library: Vec<String>,
    pub nspace: String,
    pub job: String,
    /// Nodes with tasks, in the order of R.
    pub nodes: Vec<Node>,
    /// Ours among them.
    pub node: usize,
    /// The job's own directory.
    pub tmpdir: String,
    /// Nodes and tasks as PMI-1 has them.
    pub mapping: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    pub host: String,
    pub tasks: flurm_types::Idset,
}
