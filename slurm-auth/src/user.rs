//! What users are called, wherever the host keeps them: in a file or with a directory service.

use libc::{ERANGE, c_char, getpwuid_r, passwd};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

/// No entry of a user is longer.
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// None if nobody has that number, or whoever knows does not answer.
pub fn user_name(uid: u32) -> Option<String> {
    let mut texts: Vec<c_char> = vec![0; 1 << 10];
    loop {
        let mut entry = MaybeUninit::<passwd>::uninit();
        let mut found: *mut passwd = null_mut();
        // SAFETY: room for an entry and, of the length said, for its texts; both outlive what points into them.
        let code =
            unsafe { getpwuid_r(uid, entry.as_mut_ptr(), texts.as_mut_ptr(), texts.len(), &raw mut found) };
        if code == ERANGE && texts.len() < ENTRY_BYTES_MAX {
            texts.resize(texts.len() * 2, 0);
            continue;
        }
        if code != 0 || found.is_null() {
            return None;
        }
        // SAFETY: found is the entry, which was filled, and its name is a terminated text.
        let name = unsafe { CStr::from_ptr((*found).pw_name) };
        return name.to_str().ok().filter(|name| !name.is_empty()).map(str::to_owned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_and_nobodys_number_has_none() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(4_123_456_789), None);
    }
}
