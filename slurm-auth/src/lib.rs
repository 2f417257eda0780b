//! Who sends a message of Slurm's protocol, and proof of who we are.
//!
//! A message comes with a MUNGE credential: the node's munged vouches for the user id of whoever asked it for one, and
//! seals into it a hash of the message. [`Gate`] lets a message in if its credential is fresh, was not seen before, is one
//! of the instance's owner, and was made for these very bytes; and it makes credentials for what we send.
//!
//! [`Munge`] speaks to munged through libmunge, opened at run time. libmunge's interface is documented and has kept its
//! version for twenty years; what it says to munged over the socket is nobody's business but theirs and changes. Where Slurm
//! runs with MUNGE the library is there, since Slurm's own plugin needs it; where it is not, flurm runs all the same.
//!
//! [`Munged`] is a munged of the user's own, for sites that have none: with a key that nobody else can read, and a socket that
//! nobody else can reach. [`user_name`] is what the host calls a user.
//!
//! Calls wait for munged, a few tenths of a millisecond as a rule: not for a thread that others wait for.

mod gate;
mod munge;
mod munged;
mod user;

pub use gate::{Caller, Gate, Refusal};
pub use munge::{Decoded, Munge, MungeError};
pub use munged::{Munged, StartError};
pub use user::user_name;
