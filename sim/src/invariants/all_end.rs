//! Once faults have stopped, every job becomes INACTIVE and every request is answered, within a deadline.

use super::held::Held;
use super::{Broken, broken};
use crate::user::User;

pub fn reached(users: &[User], held: &Held) -> bool {
    users.iter().all(User::done) && held.jobs().all(|id| held.is_over(id))
}

/// The deadline has come.
pub fn check(users: &[User], held: &Held) -> Result<(), Broken> {
    if let Some(id) = held.jobs().find(|id| !held.is_over(*id)) {
        return broken("all_end", format!("{id} is still active"));
    }
    match users.iter().find(|user| !user.done()) {
        Some(user) => broken("all_end", user.waits()),
        None => Ok(()),
    }
}
