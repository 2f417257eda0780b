//! How the tasks of a Slurm step find each other without PMI.
//!
//! Rank 0 leaves its address and a fresh key in a file of the user's home, which all nodes share. The others look for
//! the file, call, and show their card in a Noise tunnel; when the last has come, rank 0 answers all. The file goes
//! when all have come or the start has failed, so its key opens nothing that lives on: the instance's own key travels
//! in the tunnel.
//!
//! ```text
//! rank 0      post file ── collect cards ──▶ judge ──▶ answer all ──▶ unlink
//! others      look ──▶ call ──▶ card ──▶ answer
//!               ▲        │ no key, no listener: a file of an earlier use
//!               └────────┘
//! ```

use super::card::{Answer, Card};
use super::{Mistake, NoBoot, Vars, rundir};
use crate::boot::Secret;
use crate::link::half_open::HalfOpen;
use crate::link::noise::{self, Identity, NoiseError, Tunnel};
use flurm_types::{Fsd, Hostlist, Rank};
use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// Pauses between looks at the file: a parallel file system with thousands of lookers wants them long.
const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(500);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Said by rank 0 when some are missing for this long.
const MISSED_AFTER: Duration = Duration::from_secs(5);
/// A broker that cannot start waits this long to tell rank 0, or to hear of the others that cannot either.
const TOLD_MAX: Duration = Duration::from_secs(3);
/// A card is a name, an address and what is wrong.
const CARD_MAX: usize = 1 << 20;
/// The names of all hosts of the largest instance.
const ANSWER_MAX: usize = 64 << 20;
/// Rank 0 after an error of accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Post {
    version: u32,
    address: SocketAddr,
    /// Names this use of the file; both ends of the handshake mix it in.
    nonce: String,
    key: Secret,
}

const VERSION: u32 = 1;

/// Where the step's file is, or shall be.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    dir: OwnedFd,
    file: String,
}

impl Place {
    /// Opens, or makes, `$FLURM_RENDEZVOUS_DIR` or `~/.flurm/rendezvous`; nobody else may be able to look inside.
    ///
    /// # Errors
    /// There is none, it cannot be made, or it is not ours alone.
    pub fn open(vars: &Vars, key: &str) -> Result<Place, Mistake> {
        let hint = "set FLURM_RENDEZVOUS_DIR to a directory of yours that all nodes share";
        let path = match (vars.get("FLURM_RENDEZVOUS_DIR"), vars.get("HOME")) {
            (Some(dir), _) => PathBuf::from(dir),
            (None, Some(home)) => Path::new(home).join(".flurm/rendezvous"),
            (None, None) => return Err(Mistake::new("HOME is not set", hint)),
        };
        let dir = rundir::private(&path)
            .map_err(|error| Mistake::new(format!("{} cannot be used: {error}", path.display()), hint))?;
        Ok(Place { path, dir, file: format!("{key}.json") })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn post(&self, post: &Post) -> io::Result<Posted<'_>> {
        let text = Zeroizing::new(serde_json::to_vec(post)?);
        let fresh = format!("{}.{}", self.file, post.nonce);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file =
            std::fs::File::from(rustix::fs::openat(&self.dir, &fresh, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(&text)?;
        // On a network file system, others may see the name before the text, unless that has arrived.
        file.sync_all()?;
        drop(file);
        // A looker finds the whole of it or nothing; what was left by an earlier use is gone.
        rustix::fs::renameat(&self.dir, &fresh, &self.dir, &self.file)?;
        Ok(Posted { place: self })
    }

    /// The file, if it is there and ours.
    fn look(&self) -> Option<Post> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file =
            std::fs::File::from(rustix::fs::openat(&self.dir, &self.file, flags, Mode::empty()).ok()?);
        let stat = rustix::fs::fstat(&file).ok()?;
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        if kind != rustix::fs::FileType::RegularFile || !rundir::is_ours(&stat) {
            tracing::warn!(file = %self.path.join(&self.file).display(), "not a file of ours alone; ignored");
            return None;
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok().filter(|post: &Post| post.version == VERSION)
    }
}

/// Our file, which goes with this value.
struct Posted<'a> {
    place: &'a Place,
}

impl Drop for Posted<'_> {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = rustix::fs::unlinkat(&self.place.dir, &self.place.file, AtFlags::empty());
    }
}

/// What both sides need to know of the step.
#[derive(Debug)]
pub struct Meeting<'a> {
    pub place: &'a Place,
    pub size: u32,
    /// By rank, as Slurm says: to name those who do not come.
    pub hosts: &'a [String],
    pub timeout: Duration,
}

impl Meeting<'_> {
    fn identity(&self, rank: Rank, post: &Post) -> Identity {
        Identity {
            rank,
            size: self.size,
            instance_id: format!("rendezvous {}", post.nonce),
            secret: post.key.clone(),
        }
    }

    fn names(&self, missing: &[Rank]) -> String {
        /// Names that a line has room for; above it they are written short.
        const NAMES_MAX: usize = 8;
        let names: Hostlist =
            missing.iter().filter_map(|rank| self.hosts.get(rank.0 as usize).cloned()).collect();
        if names.len() > NAMES_MAX {
            return names.to_string();
        }
        Vec::from_iter(names).join(" ")
    }
}

/// Rank 0: collects the cards of all, and sends everyone what `judge` makes of them.
///
/// # Errors
/// Some did not come in time, a signal came, or the file cannot be written.
pub fn lead(
    meeting: &Meeting<'_>,
    listener: &TcpListener,
    card: Card,
    judge: impl FnOnce(&[Card]) -> Answer,
) -> Result<Answer, NoBoot> {
    let wrong = |error: io::Error| {
        let path = meeting.place.path.display();
        Mistake::new(
            format!("brokers cannot meet in {path}: {error}"),
            "set FLURM_RENDEZVOUS_DIR to a directory of yours that all nodes share",
        )
    };
    let runtime = runtime().map_err(wrong)?;
    let answer = runtime.block_on(async {
        let listener = listener.try_clone().and_then(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        });
        let listener = listener.map_err(wrong)?;
        let post = Post {
            version: VERSION,
            address: listener.local_addr().map_err(wrong)?,
            nonce: super::random_name().map_err(wrong)?,
            key: Secret::draw().map_err(wrong)?,
        };
        let identity = Arc::new(meeting.identity(Rank(0), &post));
        let posted = meeting.place.post(&post).map_err(wrong)?;
        let limit = if card.mistake.is_some() { TOLD_MAX.min(meeting.timeout) } else { meeting.timeout };
        let refused = card.mistake.clone();
        let mut guests = Guests { cards: BTreeMap::from([(Rank(0), (card, None))]) };
        let outcome = tokio::select! {
            all = guests.collect(meeting, limit, listener, identity) => all.map_err(NoBoot::from),
            code = ended_by_signal() => Err(NoBoot::Quiet { code }),
        };
        drop(posted);
        let answer = match (outcome, refused) {
            (Ok(()), _) => Ok(judge(&guests.all())),
            // Whoever is missing, what went wrong here comes first.
            (Err(NoBoot::Mistake(_)), Some(mistake)) | (Err(NoBoot::Mistake(mistake)), None) => {
                Err(NoBoot::Mistake(mistake))
            }
            (Err(NoBoot::Quiet { code }), _) => Err(NoBoot::Quiet { code }),
        };
        guests.tell(answer.as_ref().unwrap_or(&Answer::Refused)).await;
        answer
    });
    // Strangers in the middle of a handshake are not waited for.
    runtime.shutdown_background();
    answer
}

/// Who has come, with the tunnel to each; none to ourselves.
struct Guests {
    cards: BTreeMap<Rank, (Card, Option<Tunnel>)>,
}

impl Guests {
    fn all(&self) -> Vec<Card> {
        self.cards.values().map(|(card, _)| card.clone()).collect()
    }

    async fn collect(
        &mut self,
        meeting: &Meeting<'_>,
        limit: Duration,
        listener: tokio::net::TcpListener,
        identity: Arc<Identity>,
    ) -> Result<(), Mistake> {
        let (sender, mut arrivals) = mpsc::channel(64);
        let accepting = tokio::spawn(accept_all(listener, identity, sender));
        let begun = Instant::now();
        let mut said = begun + MISSED_AFTER.min(limit / 2);
        while self.cards.len() < meeting.size as usize {
            let now = Instant::now();
            if now >= begun + limit {
                accepting.abort();
                return Err(self.missed(meeting, limit));
            }
            if now >= said {
                eprintln!("{}", self.waiting(meeting));
                said = begun + limit;
            }
            let pause = said.min(begun + limit).saturating_duration_since(now);
            if let Ok(Some((card, tunnel))) = tokio::time::timeout(pause, arrivals.recv()).await {
                let card: Card = card;
                // One that comes again has lost its first tunnel.
                self.cards.insert(card.rank, (card, Some(tunnel)));
            }
        }
        accepting.abort();
        Ok(())
    }

    fn missing(&self, meeting: &Meeting<'_>) -> Vec<Rank> {
        (0..meeting.size).map(Rank).filter(|rank| !self.cards.contains_key(rank)).collect()
    }

    fn waiting(&self, meeting: &Meeting<'_>) -> String {
        let missing = self.missing(meeting);
        let names = meeting.names(&missing);
        format!("waiting for {} of {} brokers: {names}", missing.len(), meeting.size)
    }

    fn missed(&self, meeting: &Meeting<'_>, limit: Duration) -> Mistake {
        let missing = self.missing(meeting);
        let limit = Fsd::from_secs(limit.as_secs_f64()).unwrap_or_default();
        let names = meeting.names(&missing);
        Mistake::new(
            format!("{} of {} brokers did not come within {limit}: {names}", missing.len(), meeting.size),
            format!(
                "see whether these nodes are up and share {} (else set FLURM_RENDEZVOUS_DIR), or wait longer with -Sbroker.join-timeout=2m",
                meeting.place.path.display()
            ),
        )
    }

    /// Sends the answer to all at once; who has gone meanwhile will be missed later.
    async fn tell(self, answer: &Answer) {
        let mut telling = Vec::new();
        for (rank, (_, tunnel)) in self.cards {
            let Some(mut tunnel) = tunnel else { continue };
            let answer = match answer {
                Answer::Welcome(table) => Answer::Welcome(table.cut_for(rank)),
                Answer::Refused => Answer::Refused,
            };
            telling.push(tokio::spawn(async move {
                let text = Zeroizing::new(serde_json::to_vec(&answer).expect("answers serialize"));
                tokio::time::timeout(CONNECT_MAX, tunnel.say(&text)).await
            }));
        }
        for told in telling {
            let _ = told.await;
        }
    }
}

async fn accept_all(
    listener: tokio::net::TcpListener,
    identity: Arc<Identity>,
    arrivals: mpsc::Sender<(Card, Tunnel)>,
) {
    let mut half_open = HalfOpen::room_for(identity.size);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (identity, arrivals) = (identity.clone(), arrivals.clone());
        let handshake = tokio::spawn(async move {
            match tokio::time::timeout(CONNECT_MAX, receive(stream, &identity)).await {
                // In a task of its own: from here on it is no longer half open.
                Ok(Ok(arrival)) => {
                    // Nobody takes it when the meeting is over.
                    tokio::spawn(async move { drop(arrivals.send(arrival).await) });
                }
                Ok(Err(error)) => tracing::info!(%error, "caller dropped"),
                Err(_) => tracing::info!("silent caller dropped"),
            }
        });
        half_open.admit(handshake.abort_handle());
    }
}

async fn receive(stream: TcpStream, identity: &Identity) -> Result<(Card, Tunnel), NoiseError> {
    let mut tunnel = noise::answer(stream, identity, CONNECT_MAX).await?;
    let text = tunnel.hear(CARD_MAX).await?;
    let card: Card = serde_json::from_slice(&text).map_err(|_| NoiseError::Key)?;
    // The handshake has said who it is.
    if card.rank == tunnel.peer { Ok((card, tunnel)) } else { Err(NoiseError::Key) }
}

/// Any other rank: shows its card to rank 0, and returns the answer.
///
/// # Errors
/// Rank 0 did not come, or not with an answer. One broker says so; the others leave quietly.
pub fn join(meeting: &Meeting<'_>, card: &Card) -> Result<Answer, NoBoot> {
    let quiet = NoBoot::Quiet { code: 1 };
    let Ok(runtime) = runtime() else { return Err(quiet) };
    let limit = if card.mistake.is_some() { TOLD_MAX.min(meeting.timeout) } else { meeting.timeout };
    let answer = runtime.block_on(join_until(meeting, card, Instant::now() + limit));
    runtime.shutdown_background();
    match (answer, &card.mistake) {
        (Some(answer), _) => Ok(answer),
        (None, Some(mistake)) => Err(mistake.clone().into()),
        (None, None) if card.rank == Rank(1) => {
            let limit = Fsd::from_secs(limit.as_secs_f64()).unwrap_or_default();
            let (path, leader) = (meeting.place.path.display(), meeting.names(&[Rank(0)]));
            let what = format!("{} heard nothing from {leader} (rank 0) within {limit}", card.host);
            let hint = format!(
                "{path} must be on a file system that all nodes share; else set FLURM_RENDEZVOUS_DIR"
            );
            Err(Mistake::new(what, hint).into())
        }
        (None, None) => Err(quiet),
    }
}

async fn join_until(meeting: &Meeting<'_>, card: &Card, deadline: Instant) -> Option<Answer> {
    let mut pause = LOOK_MIN;
    loop {
        if let Some(post) = meeting.place.look() {
            match show(meeting, card, &post).await {
                Ok(answer) => return Some(answer),
                Err(error) => tracing::debug!(%error, "rank 0 is not where its file says; looking again"),
            }
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_MAX);
    }
}

async fn show(meeting: &Meeting<'_>, card: &Card, post: &Post) -> Result<Answer, NoiseError> {
    let late = |_| NoiseError::TimedOut;
    let stream =
        tokio::time::timeout(CONNECT_MAX, TcpStream::connect(post.address)).await.map_err(late)??;
    let mut tunnel = noise::call(stream, &meeting.identity(card.rank, post), Rank(0), CONNECT_MAX).await?;
    tunnel.say(&serde_json::to_vec(card).expect("cards serialize")).await?;
    // Rank 0 began before us and gives up by itself; this is for the case that its node goes.
    let patience = meeting.timeout + CONNECT_MAX;
    let text = Zeroizing::new(tokio::time::timeout(patience, tunnel.hear(ANSWER_MAX)).await.map_err(late)??);
    serde_json::from_slice(&text).map_err(|_| NoiseError::Key)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The exit code of a process that was told to end: the file must not outlive it.
async fn ended_by_signal() -> i32 {
    let wait = async |kind: SignalKind| {
        match signal(kind) {
            Ok(mut signals) => drop(signals.recv().await),
            // Without a handler the signal ends us by itself.
            Err(_) => std::future::pending().await,
        }
        128 + kind.as_raw_value()
    };
    tokio::select! {
        code = wait(SignalKind::terminate()) => code,
        code = wait(SignalKind::interrupt()) => code,
        code = wait(SignalKind::hangup()) => code,
    }
}

#[cfg(test)]
mod tests {
    use super::super::card::Table;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn place(home: &Path) -> Place {
        let vars = Vars::from([("HOME".to_owned(), home.display().to_string())]);
        Place::open(&vars, "stb-1.0-host-1").unwrap()
    }

    fn card(rank: u32, mistake: Option<Mistake>) -> Card {
        let address = Some(format!("10.0.0.{rank}:1").parse().unwrap());
        Card { rank: Rank(rank), host: format!("c{rank}"), address, warnings: Vec::new(), mistake }
    }

    fn judge(cards: &[Card]) -> Answer {
        if cards.iter().any(|card| card.mistake.is_some()) {
            return Answer::Refused;
        }
        Answer::Welcome(Table::of(cards, "id".into(), Secret::from_bytes([9; 32]), 2))
    }

    fn names(size: u32) -> Vec<String> {
        (0..size).map(|rank| format!("c{rank}")).collect()
    }

    /// All ranks but `absent`, each in a thread; what came of them by rank.
    fn meet(home: &Path, size: u32, timeout: Duration, absent: &[u32], wrong: &[u32]) -> Vec<Outcome> {
        let one = |rank: u32| {
            let (home, wrong) = (home.to_owned(), wrong.contains(&rank));
            std::thread::spawn(move || {
                let (place, hosts) = (place(&home), names(size));
                let meeting = Meeting { place: &place, size, hosts: &hosts, timeout };
                let card = card(rank, wrong.then(|| Mistake::new(format!("c{rank} is wrong"), "mend it")));
                if rank > 0 {
                    return join(&meeting, &card);
                }
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                lead(&meeting, &listener, card, judge)
            })
        };
        let threads: Vec<_> = (0..size).filter(|rank| !absent.contains(rank)).map(one).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }

    type Outcome = Result<Answer, NoBoot>;

    fn left(home: &Path) -> usize {
        std::fs::read_dir(home.join(".flurm/rendezvous")).unwrap().count()
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn all_meet_over_a_stale_file_and_leave_none() {
        let home = tempfile::tempdir().unwrap();
        // An address where nobody of this step listens.
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let post = Post {
            version: VERSION,
            address: other.local_addr().unwrap(),
            nonce: "old".into(),
            key: Secret::from_bytes([1; 32]),
        };
        let stale = place(home.path());
        std::mem::forget(stale.post(&post).unwrap());
        drop(other);
        for outcome in meet(home.path(), 5, LONG, &[], &[]) {
            let Ok(Answer::Welcome(table)) = outcome else { panic!("{outcome:?}") };
            assert_eq!((table.hosts.to_string(), table.secret.as_bytes()), ("c[0-4]".into(), &[9; 32]));
        }
        assert_eq!(left(home.path()), 0);
    }

    #[test]
    fn those_who_do_not_come_are_named() {
        let home = tempfile::tempdir().unwrap();
        let outcomes = meet(home.path(), 4, Duration::from_millis(500), &[1, 3], &[]);
        let Err(NoBoot::Mistake(mistake)) = &outcomes[0] else { panic!("{outcomes:?}") };
        assert_eq!(mistake.what, "2 of 4 brokers did not come within 500ms: c1 c3");
        assert!(matches!(outcomes[1], Ok(Answer::Refused)), "{outcomes:?}");
        assert_eq!(left(home.path()), 0);
    }

    #[test]
    fn a_broker_without_rank_0_says_so_once() {
        let home = tempfile::tempdir().unwrap();
        let outcomes = meet(home.path(), 3, Duration::from_millis(200), &[0], &[]);
        let Err(NoBoot::Mistake(mistake)) = &outcomes[0] else { panic!("{outcomes:?}") };
        assert_eq!(mistake.what, "c1 heard nothing from c0 (rank 0) within 200ms");
        assert_eq!(outcomes[1].as_ref().unwrap_err(), &NoBoot::Quiet { code: 1 });
    }

    #[test]
    fn a_mistake_anywhere_refuses_all() {
        for wrong in [0, 2] {
            let home = tempfile::tempdir().unwrap();
            let outcomes = meet(home.path(), 3, LONG, &[], &[wrong]);
            assert!(outcomes.iter().all(|o| matches!(o, Ok(Answer::Refused))), "{outcomes:?}");
        }
    }

    #[test]
    fn a_directory_or_file_open_to_others_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("shared");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        let vars = |dir: &Path| Vars::from([("FLURM_RENDEZVOUS_DIR".to_owned(), dir.display().to_string())]);
        let wrong = Place::open(&vars(&dir), "k").unwrap_err();
        assert!(wrong.what.contains("chmod 700"), "{wrong}");
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        let place = Place::open(&vars(&dir), "k").unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        assert!(Place::open(&vars(&link), "k").is_err(), "a symbolic link");

        let post = Post {
            version: VERSION,
            address: "127.0.0.1:1".parse().unwrap(),
            nonce: "n".into(),
            key: Secret::from_bytes([1; 32]),
        };
        let _posted = place.post(&post).unwrap();
        assert!(place.look().is_some());
        let file = dir.join("k.json");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(place.look().is_none(), "readable by others");
        std::fs::rename(&file, dir.join("x")).unwrap();
        std::os::unix::fs::symlink("x", &file).unwrap();
        assert!(place.look().is_none(), "a symbolic link");
    }
}
