//! Who is let in: the owner of the instance, with a message that is really theirs.

use crate::munge::{Munge, MungeError};
use flurm_slurm_protocol::Envelope;
use flurm_slurm_protocol::hash::{self, HashError};
use flurm_slurm_protocol::structures::AuthCred;

/// `auth/none` and `auth/munge`, as Slurm numbers its plugins.
const PLUGIN_NONE: u32 = 100;
const PLUGIN_MUNGE: u32 = 101;

/// Who a credential says its sender is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
}

/// Why a message is not let in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("the message has no credential")]
    Missing,
    #[error("the credential is of plugin {0}, which is not the one that is accepted here")]
    Plugin(u32),
    #[error(transparent)]
    Munge(#[from] MungeError),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error("user {0} does not own this instance")]
    Stranger(u32),
}

/// The door of an instance.
#[derive(Debug)]
pub struct Gate {
    /// None: whoever says to be the owner is believed.
    munge: Option<Munge>,
    owner: u32,
}

impl Gate {
    /// For this user only. Root is no exception: it has its own ways in.
    pub fn new(munge: Munge, owner: u32) -> Self {
        Self { munge: Some(munge), owner }
    }

    /// Believes whoever says to be this user (`auth/none`): where nobody else can reach it.
    pub fn trusting(owner: u32) -> Self {
        Self { munge: None, owner }
    }

    /// Checks a message before its body is decoded. A credential can be checked once: it counts as used then.
    ///
    /// # Errors
    /// When the message is not let in.
    pub fn admit(&self, envelope: &Envelope<'_>) -> Result<Caller, Refusal> {
        let auth = envelope.auth.as_ref().ok_or(Refusal::Missing)?;
        let Some(munge) = &self.munge else {
            return self.believe(auth);
        };
        if auth.plugin_id != PLUGIN_MUNGE {
            return Err(Refusal::Plugin(auth.plugin_id));
        }
        let credential = auth.munge_cred.as_str().ok_or(Refusal::Missing)?;
        let decoded = munge.decode(credential)?;
        if decoded.uid != self.owner {
            return Err(Refusal::Stranger(decoded.uid));
        }
        hash::check(&decoded.payload, envelope.header.msg_type, envelope.body_bytes)?;
        Ok(Caller { uid: decoded.uid, gid: decoded.gid })
    }

    fn believe(&self, auth: &AuthCred) -> Result<Caller, Refusal> {
        if auth.plugin_id != PLUGIN_NONE {
            return Err(Refusal::Plugin(auth.plugin_id));
        }
        let (Some(uid), Some(gid)) = (auth.none_uid, auth.none_gid) else { return Err(Refusal::Missing) };
        if uid == self.owner { Ok(Caller { uid, gid }) } else { Err(Refusal::Stranger(uid)) }
    }

    /// A credential for a message of ours, as [`flurm_slurm_protocol::Message::write_sealed`] asks for one. Only the owner can
    /// open it: the port that it goes to may be somebody else's by now.
    ///
    /// # Errors
    /// When munged is not there.
    pub fn seal(&self, message_type: u16, body: &[u8]) -> Result<AuthCred, MungeError> {
        self.sealed(message_type, body, Some(self.owner))
    }

    /// The same for everybody: of a refusal, which strangers get.
    ///
    /// # Errors
    /// When munged is not there.
    pub fn seal_for_all(&self, message_type: u16, body: &[u8]) -> Result<AuthCred, MungeError> {
        self.sealed(message_type, body, None)
    }

    fn sealed(&self, message_type: u16, body: &[u8], reader: Option<u32>) -> Result<AuthCred, MungeError> {
        let Some(munge) = &self.munge else {
            let gid = rustix::process::getegid().as_raw();
            return Ok(AuthCred {
                plugin_id: PLUGIN_NONE,
                none_uid: Some(self.owner),
                none_gid: Some(gid),
                none_hostname: "localhost".into(),
                ..AuthCred::default()
            });
        };
        let credential = munge.encode(&hash::payload(message_type, body), reader)?;
        Ok(AuthCred { plugin_id: PLUGIN_MUNGE, munge_cred: credential.into(), ..AuthCred::default() })
    }
}
