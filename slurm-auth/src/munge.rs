//! libmunge: credentials made and opened by a munged.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;

/// The library by the name that every release of it has had.
const LIBRARY: &CStr = c"libmunge.so.2";

/// `MUNGE_OPT_SOCKET` and `MUNGE_OPT_UID_RESTRICTION` of its interface.
const OPT_SOCKET: c_int = 8;
const OPT_UID_RESTRICTION: c_int = 9;

type Create = unsafe extern "C" fn() -> *mut c_void;
type Destroy = unsafe extern "C" fn(*mut c_void);
type Set = unsafe extern "C" fn(*mut c_void, c_int, ...) -> c_int;
type Strerror = unsafe extern "C" fn(c_int) -> *const c_char;
type Encode = unsafe extern "C" fn(*mut *mut c_char, *mut c_void, *const c_void, c_int) -> c_int;
type Decode = unsafe extern "C" fn(
    *const c_char,
    *mut c_void,
    *mut *mut c_void,
    *mut c_int,
    *mut libc::uid_t,
    *mut libc::gid_t,
) -> c_int;

/// What munged says no with, and what is wrong before it is asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MungeError {
    #[error("cannot open libmunge: {0}")]
    Library(String),
    #[error("munged does not answer: {0}")]
    Unreachable(String),
    #[error("the credential is not one of this munged's key: {0}")]
    Invalid(String),
    #[error("the credential is too old")]
    Expired,
    #[error("the credential is from the future: clocks differ")]
    Rewound,
    #[error("the credential was used before")]
    Replayed,
    #[error("the credential is for somebody else's eyes")]
    Unauthorized,
    #[error("munge failed: {0}")]
    Other(String),
}

impl MungeError {
    /// By the number that the interface gives it.
    fn new(code: c_int, text: String) -> Self {
        match code {
            6 | 7 => Self::Unreachable(text),
            8..=14 => Self::Invalid(text),
            15 => Self::Expired,
            16 => Self::Rewound,
            17 => Self::Replayed,
            18 => Self::Unauthorized,
            _ => Self::Other(text),
        }
    }
}

/// What a credential proves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decoded {
    pub uid: u32,
    pub gid: u32,
    pub payload: Vec<u8>,
}

/// A munged, by its socket.
pub struct Munge {
    /// None: the one that libmunge was built for.
    socket: Option<CString>,
    create: Create,
    destroy: Destroy,
    set: Set,
    strerror: Strerror,
    encode: Encode,
    decode: Decode,
}

impl fmt::Debug for Munge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Munge").field("socket", &self.socket).finish_non_exhaustive()
    }
}

fn dl_error() -> String {
    // SAFETY: the text is good until this thread's next call; it is copied.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "no reason given".to_owned();
    }
    // SAFETY: not null, so a terminated text.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

impl Munge {
    /// With the munged behind that socket; without one, the site's.
    ///
    /// # Errors
    /// When the library is not there.
    pub fn open(socket: Option<&Path>) -> Result<Self, MungeError> {
        let socket = socket.map(|path| CString::new(path.as_os_str().as_bytes())).transpose();
        let socket = socket.map_err(|_| MungeError::Library("a path has no NUL".to_owned()))?;
        // SAFETY: a terminated name. The library has no constructors of note, and is never closed.
        let handle = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(MungeError::Library(dl_error()));
        }
        let find = |symbol: &CStr| {
            // SAFETY: an open library and a terminated name.
            let at = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
            if at.is_null() { Err(MungeError::Library(dl_error())) } else { Ok(at) }
        };
        // SAFETY: each symbol has the type that munge(3) and munge_ctx(3) give it.
        unsafe {
            Ok(Self {
                socket,
                create: std::mem::transmute::<*mut c_void, Create>(find(c"munge_ctx_create")?),
                destroy: std::mem::transmute::<*mut c_void, Destroy>(find(c"munge_ctx_destroy")?),
                set: std::mem::transmute::<*mut c_void, Set>(find(c"munge_ctx_set")?),
                strerror: std::mem::transmute::<*mut c_void, Strerror>(find(c"munge_strerror")?),
                encode: std::mem::transmute::<*mut c_void, Encode>(find(c"munge_encode")?),
                decode: std::mem::transmute::<*mut c_void, Decode>(find(c"munge_decode")?),
            })
        }
    }

    /// A credential of ours that holds these bytes; for the eyes of one user only, if one is named.
    ///
    /// # Errors
    /// When munged is not there.
    pub fn encode(&self, payload: &[u8], reader: Option<u32>) -> Result<String, MungeError> {
        let context = self.context()?;
        if let Some(uid) = reader {
            // SAFETY: the option takes a user id.
            let code = unsafe { (self.set)(context.at, OPT_UID_RESTRICTION, uid) };
            self.checked(code)?;
        }
        let length = c_int::try_from(payload.len())
            .map_err(|_| MungeError::Other("a payload of more than 2 GiB".to_owned()))?;
        let mut text: *mut c_char = null_mut();
        // SAFETY: as many bytes as said; the answer is allocated for us.
        let code = unsafe { (self.encode)(&raw mut text, context.at, payload.as_ptr().cast(), length) };
        let text = Allocated(text.cast());
        self.checked(code)?;
        // SAFETY: with success, a terminated text.
        let text = unsafe { CStr::from_ptr(text.0.cast()) };
        Ok(text.to_string_lossy().into_owned())
    }

    /// Who made it and what it holds, if it is good: of this munged's key, fresh, and not opened before.
    ///
    /// # Errors
    /// When it is not, or munged is not there.
    pub fn decode(&self, credential: &str) -> Result<Decoded, MungeError> {
        let context = self.context()?;
        let text = CString::new(credential).map_err(|_| MungeError::Invalid("a NUL in it".to_owned()))?;
        let mut payload: *mut c_void = null_mut();
        let (mut length, mut uid, mut gid) = (0, libc::uid_t::MAX, libc::gid_t::MAX);
        // SAFETY: a terminated text, and places for the answers; the payload is allocated for us.
        let code = unsafe {
            (self.decode)(
                text.as_ptr(),
                context.at,
                &raw mut payload,
                &raw mut length,
                &raw mut uid,
                &raw mut gid,
            )
        };
        // It is there also with an old or used credential.
        let payload = Allocated(payload);
        self.checked(code)?;
        let bytes = match usize::try_from(length) {
            Ok(length) if length > 0 && !payload.0.is_null() => {
                // SAFETY: so many bytes were allocated for us, and are ours until `payload` goes.
                unsafe { std::slice::from_raw_parts(payload.0.cast::<u8>(), length) }.to_vec()
            }
            _ => Vec::new(),
        };
        Ok(Decoded { uid, gid, payload: bytes })
    }

    /// A context per call: they are not for several threads, and cost nothing beside the call.
    fn context(&self) -> Result<Context<'_>, MungeError> {
        // SAFETY: no arguments.
        let at = unsafe { (self.create)() };
        if at.is_null() {
            return Err(MungeError::Other("out of memory".to_owned()));
        }
        let context = Context { at, munge: self };
        if let Some(socket) = &self.socket {
            // SAFETY: the option takes a terminated text, which is copied.
            let code = unsafe { (self.set)(at, OPT_SOCKET, socket.as_ptr()) };
            self.checked(code)?;
        }
        Ok(context)
    }

    fn checked(&self, code: c_int) -> Result<(), MungeError> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: any number has a text, which is constant.
        let text = unsafe { CStr::from_ptr((self.strerror)(code)) };
        Err(MungeError::new(code, text.to_string_lossy().into_owned()))
    }
}

/// A context of the library, ended with the call that it was made for.
struct Context<'a> {
    at: *mut c_void,
    munge: &'a Munge,
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // SAFETY: it was made by the same library and is used nowhere else.
        unsafe { (self.munge.destroy)(self.at) };
    }
}

/// What the library has allocated for us.
struct Allocated(*mut c_void);

impl Drop for Allocated {
    fn drop(&mut self) {
        // SAFETY: null, or allocated for us to free, once.
        unsafe { libc::free(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_numbers_of_the_interface() {
        let of = |code| MungeError::new(code, "why".to_owned());
        assert_eq!(of(15), MungeError::Expired);
        assert_eq!(of(16), MungeError::Rewound);
        assert_eq!(of(17), MungeError::Replayed);
        assert_eq!(of(18), MungeError::Unauthorized);
        assert_eq!(of(6), MungeError::Unreachable("why".to_owned()));
        assert_eq!(of(14), MungeError::Invalid("why".to_owned()));
        assert_eq!(of(99), MungeError::Other("why".to_owned()));
    }
}
