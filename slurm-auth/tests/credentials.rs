//! Credentials of a real munged, one of our own: what is let in, and what is not.
//!
//! A machine without munged is told that these tests are skipped; CI installs it.

use flurm_slurm_auth::{Gate, Munge, MungeError, Munged, Refusal, StartError};
use flurm_slurm_protocol::hash::HashError;
use flurm_slurm_protocol::structures::AuthCred;
use flurm_slurm_protocol::{Body, Envelope, Limits, Message, Version};
use std::os::unix::fs::PermissionsExt;
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
    let frame = request().write_sealed(|number, body| gate.seal(number, body)).expect("munged answers");
    let other = Gate::new(world.munge(), me() + 1);
    assert_eq!(admitted(&other, &frame), Err(Refusal::Stranger(me())));
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
fn a_private_munged_is_private_is_taken_over_and_ends_with_who_started_it() {
    let Some(world) = world() else { return };
    let folder = world.folder.path().join("munge");
    let mode = |name: &str| {
        let file = folder.join(name);
        std::fs::metadata(file).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("key")), (0o700, 0o600));
    let munge = world.munge();
    drop(Munged::start(&folder).expect("it runs there"));
    munge.encode(b"", None).expect("who only found it does not end it");
    drop(world.munged);
    assert!(matches!(munge.encode(b"", None), Err(MungeError::Unreachable(_))));
    assert!(!folder.join("socket").exists());
}

#[test]
fn a_directory_that_others_may_enter_is_refused() {
    let Some(world) = world() else { return };
    let open = world.folder.path().join("open");
    std::fs::create_dir(&open).expect("a directory");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).expect("ours");
    assert!(matches!(Munged::start(&open), Err(StartError::Exposed(_))));
}
