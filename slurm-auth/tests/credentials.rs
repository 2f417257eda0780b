//! Credentials of a real munged, one of our own: what is let in, and what is not.
//!
//! A machine without munged is told that these tests are skipped; CI installs it.

use flurm_slurm_auth::{Gate, Munge, MungeError, Munged, Refusal, StartError};
use flurm_slurm_protocol::hash::HashError;
use flurm_slurm_protocol::structures::AuthCred;
use flurm_slurm_protocol::{Body, Envelope, Limits, Message, Version};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct World {
    folder: TempDir,
    munged: Munged,
}

/// A munged with its own key; none if this machine has no munged.
fn world() -> Option<World> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    match Munged::start(&folder.path().join("munge")) {
        Ok(munged) => Some(World { folder, munged }),
        Err(StartError::NotInstalled) => {
            eprintln!("skipped: munged is not installed here");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

impl World {
    fn munge(&self) -> Munge {
        Munge::open(Some(self.munged.socket())).expect("libmunge comes with munged")
    }

    fn gate(&self) -> Gate {
        Gate::new(self.munge(), me())
    }
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn request() -> Message {
    Message::new(Version::LAST, Body::RequestJobReady(Box::default()))
}

fn admitted(gate: &Gate, frame: &[u8]) -> Result<u32, Refusal> {
    let envelope = Envelope::read(frame, &Limits::default()).expect("a frame made here");
    gate.admit(&envelope).map(|caller| caller.uid)
}

#[test]
fn the_owner_is_let_in_once() {
    let Some(world) = world() else { return };
    let gate = world.gate();
    let frame = request().write_sealed(|number, body| gate.seal(number, body)).expect("munged answers");
    assert_eq!(admitted(&gate, &frame), Ok(me()));
    assert_eq!(admitted(&gate, &frame), Err(Refusal::Munge(MungeError::Replayed)));
}

#[test]
fn a_changed_message_is_refused() {
    let Some(world) = world() else { return };
    let gate = world.gate();
    let sealed = || request().write_sealed(|number, body| gate.seal(number, body)).expect("munged answers");
    let mut body = sealed();
    *body.last_mut().expect("a body") ^= 1;
    assert_eq!(admitted(&gate, &body), Err(Refusal::Hash(HashError::Differs)));
    // Another type, to be had with the same body. It stands behind version and flags.
    let mut number = sealed();
    number[5] ^= 1;
    assert_eq!(admitted(&gate, &number), Err(Refusal::Hash(HashError::Differs)));
    // Bytes of the credential itself.
    let mut credential = sealed();
    let at = credential.windows(6).position(|bytes| bytes == b"MUNGE:").expect("it begins so");
    credential[at + 40] = if credential[at + 40] == b'A' { b'B' } else { b'A' };
    assert!(matches!(admitted(&gate, &credential), Err(Refusal::Munge(MungeError::Invalid(_)))));
}

#[test]
fn a_stranger_is_refused_with_good_credentials() {
    let Some(world) = world() else { return };
    let gate = world.gate();
    let frame =
        request().write_sealed(|number, body| gate.seal_for_all(number, body)).expect("munged answers");
    let other = Gate::new(world.munge(), me() + 1);
    assert_eq!(admitted(&other, &frame), Err(Refusal::Stranger(me())));
}

#[test]
fn what_we_send_only_the_owner_opens() {
    let Some(world) = world() else { return };
    // Of an instance of somebody else's, and we have its port.
    let other = Gate::new(world.munge(), me() + 1);
    let frame = request().write_sealed(|number, body| other.seal(number, body)).expect("munged answers");
    assert_eq!(admitted(&world.gate(), &frame), Err(Refusal::Munge(MungeError::Unauthorized)));
}

#[test]
fn another_key_proves_nothing() {
    let (Some(ours), Some(theirs)) = (world(), world()) else { return };
    let frame =
        request().write_sealed(|number, body| theirs.gate().seal(number, body)).expect("munged answers");
    assert!(matches!(admitted(&ours.gate(), &frame), Err(Refusal::Munge(MungeError::Invalid(_)))));
}

#[test]
fn without_a_munge_credential_nobody_comes_in() {
    let Some(world) = world() else { return };
    let gate = world.gate();
    assert_eq!(admitted(&gate, &request().write().expect("it fits")), Err(Refusal::Missing));
    // What `auth/none` sends: whoever one claims to be.
    let none = AuthCred { plugin_id: 100, none_uid: Some(me()), none_gid: Some(0), ..AuthCred::default() };
    let claimed = Message { auth: Some(none), ..request() };
    assert_eq!(admitted(&gate, &claimed.write().expect("it fits")), Err(Refusal::Plugin(100)));
    // A credential that holds no hash, which Slurm would let pass.
    let bare = world.munge().encode(&[], None).expect("munged answers");
    let auth = AuthCred { plugin_id: 101, munge_cred: bare.into(), ..AuthCred::default() };
    let bare = Message { auth: Some(auth), ..request() };
    assert_eq!(admitted(&gate, &bare.write().expect("it fits")), Err(Refusal::Hash(HashError::Missing)));
}

#[test]
fn a_credential_for_other_eyes_cannot_be_opened() {
    let Some(world) = world() else { return };
    let munge = world.munge();
    let theirs = munge.encode(b"x", Some(me() + 1)).expect("munged answers");
    assert_eq!(munge.decode(&theirs), Err(MungeError::Unauthorized));
    let ours = munge.encode(b"x", Some(me())).expect("munged answers");
    assert_eq!(munge.decode(&ours).map(|decoded| decoded.payload), Ok(b"x".to_vec()));
}

#[test]
fn a_private_munged_is_private_follows_another_and_ends_with_who_started_it() {
    let Some(world) = world() else { return };
    let folder = world.folder.path().join("munge");
    let mode = |name: &str| {
        let file = folder.join(name);
        std::fs::metadata(file).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("key")), (0o700, 0o600));
    let munge = world.munge();
    // Of a service that was killed one may be there still, on its way out: it is gone before the next one comes.
    let first = pid(&folder);
    let mut next = Munged::start(&folder).expect("the first one makes room");
    assert_ne!(pid(&folder), first);
    drop(world.munged);
    munge.encode(b"", None).expect("the first one's end is nothing to the next");
    assert!(!next.revive().expect("it runs"));
    drop(next);
    assert!(matches!(munge.encode(b"", None), Err(MungeError::Unreachable(_))));
    assert!(!folder.join("socket").exists());
}

fn pid(folder: &std::path::Path) -> i32 {
    let text = std::fs::read_to_string(folder.join("munged.pid")).expect("it says its number");
    text.trim().parse().expect("a number")
}

#[test]
fn a_private_munged_that_dies_is_started_again() {
    let Some(mut world) = world() else { return };
    let munge = world.munge();
    let it = Pid::from_raw(pid(&world.folder.path().join("munge"))).expect("not 0");
    kill_process(it, Signal::KILL).expect("it is ours");
    let until = Instant::now() + Duration::from_secs(30);
    while !world.munged.revive().expect("it is installed") {
        assert!(Instant::now() < until, "it was killed");
        std::thread::yield_now();
    }
    while munge.encode(b"", None).is_err() {
        assert!(Instant::now() < until, "it was started");
        std::thread::yield_now();
    }
}

#[test]
fn a_directory_that_others_may_enter_is_refused() {
    let Some(world) = world() else { return };
    let open = world.folder.path().join("open");
    std::fs::create_dir(&open).expect("a directory");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).expect("ours");
    assert!(matches!(Munged::start(&open), Err(StartError::Exposed(_))));
}
