//! The mind's door: everything that may come in and everything that may go out.
//!
//! Both enums are closed on purpose. A new [`Output`] does not compile until the broker and the simulator can
//! perform it, so what is simulated is what runs. Time comes with every step, randomness as a seed.

use crate::site::Site;
use flurm_types::{JobId, R, Rank, Timestamp};
use flurm_wire::fact::Fact;
use flurm_wire::shell::StartInitial;
use flurm_wire::state::LogLine;
use flurm_wire::{ClientId, Message};
use std::collections::BTreeMap;

/// What a broker knows before its mind wakes up: the bootstrap's answer, and nothing that may still change.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    pub rank: Rank,
    pub size: u32,
    /// Host names by rank.
    pub hosts: Vec<String>,
    /// Children per broker in the tree.
    pub fanout: u32,
    pub instance_id: String,
    /// 0 for an instance that is not inside another.
    pub instance_level: u32,
    /// User id of the instance's owner.
    pub owner: u32,
    /// `local:///…` of this broker's socket.
    pub uri: String,
    /// New each time a broker process starts, and rising.
    pub epoch: u64,
    pub starttime: Timestamp,
    /// End of the allocation; zero when there is none.
    pub expiration: Timestamp,
    /// Attributes from the command line and the bootstrap (`tbon.fanout`, `parent-uri`, `statedir`, …).
    pub attributes: BTreeMap<String, String>,
    /// Rank 0 only: what runs once the instance does; its end is the instance's end.
    pub initial_program: Option<StartInitial>,
    pub heartbeat_ms: u64,
    /// Silence after which a neighbour is lost.
    pub lost_ms: u64,
    /// How long a shell lives without its broker.
    pub orphan_ms_max: u64,
    /// Fixed resources of the whole instance (parent's R, configuration); none: they are discovered rank by rank.
    pub resources: Option<R>,
    /// Queues and scheduling.
    pub site: Site,
    pub hold: Hold,
}

/// What is done with answers and duties that rest on facts not yet committed.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Hold {
    /// They wait.
    #[default]
    UntilCommit,
    /// They leave at once. Wrong: with it the simulator shows that it would notice.
    Never,
}

/// At the other end of a link.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Peer {
    /// Parent or child in the tree. The link has proved that it is that rank's broker or at least the owner's.
    Broker(Rank),
    /// A process of the owner on this node.
    Client(ClientId),
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Guest {
    Shell,
    /// Who answers Slurm's commands.
    Slurm,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Role {
    /// This broker decides. Everything committed before has come as [`Input::Committed`].
    Leader {
        term: u64,
    },
    Follower {
        term: u64,
        leader: Option<Rank>,
    },
}

#[derive(Debug)]
pub enum Input {
    Message {
        from: Peer,
        message: Message,
    },
    /// A link can be used (again).
    PeerUp(Peer),
    PeerGone(Peer),
    /// The time asked for with [`Output::WakeAt`] has come, or something close to it.
    Wake,
    /// Links have not been read for a while, because the log is far behind: silence up to now says nothing.
    Unread,
    /// The next record of the log. Own proposals come back in the order they were made.
    Committed {
        index: u64,
        facts: Vec<Fact>,
    },
    Role(Role),
    GuestExited {
        guest: Guest,
        /// Wait status.
        status: i32,
    },
    /// A signal that was sent to the broker process.
    Signal(i32),
    /// What this node has, as one R with our rank; comes once when discovery is done.
    Inventory(R),
    /// What [`Output::ReadSpill`] asked for: fewer bytes at the end of the file, or why it cannot be read.
    SpillRead {
        id: JobId,
        offset: u64,
        bytes: Result<Vec<u8>, String>,
    },
    /// What a fact says that is in the job's file could not be written there.
    SpillFailed {
        id: JobId,
        why: String,
    },
    /// All inputs that were there have been given: propose, schedule.
    BatchEnd,
}

#[derive(Debug)]
pub enum Output {
    Send {
        to: Peer,
        message: Message,
    },
    /// Append these facts as one record; answered by one [`Input::Committed`]. At most one a batch. Before that, what
    /// they have for files of jobs is written there.
    Propose {
        facts: Vec<Fact>,
    },
    /// Read so many bytes of the file in which that job's output is kept, with all that was proposed before in it.
    ReadSpill {
        id: JobId,
        offset: u64,
        len: usize,
    },
    /// Be woken at this monotonic time; replaces what was asked for before.
    WakeAt {
        mono_ms: u64,
    },
    StartGuest(Guest),
    KillGuest {
        guest: Guest,
        signum: i32,
    },
    /// Drop the link or connection.
    Close(Peer),
    /// Connect to that broker, and keep trying until told to `Close` it.
    Dial(Rank),
    /// The broker's work is done; the process ends with this code.
    Exit {
        code: i32,
    },
    Log(LogLine),
}
