//! Texts and numbers to and from C. Both interfaces give errors the same numbers.

use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) const SUCCESS: c_int = 0;
pub(crate) const FAIL: c_int = -1;
pub(crate) const NOT_INITIALIZED: c_int = 1;
pub(crate) const INVALID_ARG: c_int = 3;
pub(crate) const INVALID_KEY: c_int = 4;
pub(crate) const INVALID_KEY_LENGTH: c_int = 5;
pub(crate) const INVALID_VALUE: c_int = 6;
pub(crate) const INVALID_VALUE_LENGTH: c_int = 7;
pub(crate) const INVALID_LENGTH: c_int = 8;

/// Runs the body of a function that C calls. A panic must not leave it.
pub(crate) fn guard(body: impl FnOnce() -> Result<(), c_int>) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => SUCCESS,
        Ok(Err(code)) => code,
        Err(_) => FAIL,
    }
}

/// A text of the caller's; `wrong` when there is none, or none that we could pass on.
///
/// # Safety
/// Null, or a terminated string that stays as it is while we use it.
pub(crate) unsafe fn text<'a>(from: *const c_char, wrong: c_int) -> Result<&'a str, c_int> {
    if from.is_null() {
        return Err(wrong);
    }
    // SAFETY: the caller promises a terminated string.
    let text = unsafe { CStr::from_ptr(from) };
    text.to_str().map_err(|_| wrong)
}

/// A key that the wire can carry.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn key<'a>(from: *const c_char) -> Result<&'a str, c_int> {
    // SAFETY: promised by the caller.
    let key = unsafe { text(from, INVALID_KEY)? };
    match key {
        _ if key.is_empty() || key.len() >= flurm_pmi::KEY_MAX => Err(INVALID_KEY_LENGTH),
        _ if key.contains([' ', '\n', '=', ';']) => Err(INVALID_KEY),
        _ => Ok(key),
    }
}

/// A value that the wire can carry.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn value<'a>(from: *const c_char) -> Result<&'a str, c_int> {
    // SAFETY: promised by the caller.
    let value = unsafe { text(from, INVALID_VALUE)? };
    match value {
        _ if value.len() >= flurm_pmi::VALUE_MAX => Err(INVALID_VALUE_LENGTH),
        _ if value.contains('\n') => Err(INVALID_VALUE),
        _ => Ok(value),
    }
}

/// Tells a number.
///
/// # Safety
/// Null, or room for one.
pub(crate) unsafe fn tell(to: *mut c_int, number: c_int) -> Result<(), c_int> {
    if to.is_null() {
        return Err(INVALID_ARG);
    }
    // SAFETY: not null, so the caller promises room for a number.
    unsafe { to.write(number) };
    Ok(())
}

/// Copies a text and the zero byte at its end into a buffer of the caller's.
///
/// # Safety
/// Null, or `len` bytes that are the caller's.
pub(crate) unsafe fn copy(text: &str, to: *mut c_char, len: c_int) -> Result<(), c_int> {
    let len = usize::try_from(len).map_err(|_| INVALID_LENGTH)?;
    if to.is_null() {
        return Err(INVALID_ARG);
    }
    if text.len() >= len {
        return Err(INVALID_LENGTH);
    }
    // SAFETY: text and zero byte fit, as just seen, and the text is not in the caller's buffer.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), to, text.len());
        to.add(text.len()).write(0);
    }
    Ok(())
}
