//! What a broker knows before it says its first word: the bootstrap's answer, as a plain value.
//!
//! However an instance is started, it ends in a [`Boot`] for each broker. A copy lies beside the broker's socket as
//! `boot.json`, readable by the owner only, so that a broker that died can take its place again (`--rejoin`).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flurm_core::{CoreConfig, Hold, Site};
use flurm_types::{R, Rank, Timestamp};
use flurm_wire::shell::StartInitial;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use snow::params::HashChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// One broker's place in one instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Boot {
    pub rank: Rank,
    pub size: u32,
    /// Host names by rank.
    pub hosts: Vec<String>,
    /// Where brokers listen, as far as this one may have to dial them; its own address is there if it listens.
    pub peers: BTreeMap<Rank, SocketAddr>,
    /// Who has it belongs to the instance.
    pub secret: Secret,
    pub instance_id: String,
    /// 0 for an instance that is not inside another.
    pub instance_level: u32,
    /// Children per broker in the tree.
    pub fanout: u32,
    /// This broker's private directory, mode 0700: sockets, `boot.json`.
    pub rundir: PathBuf,
    /// Where rank 0 keeps the log; in the run directory when nobody said.
    pub statedir: Option<PathBuf>,
    /// Attributes from the command line and the launcher.
    pub attributes: BTreeMap<String, String>,
    /// End of the allocation; zero when there is none.
    pub expiration: Timestamp,
    /// Fixed resources of the whole instance; none: each broker discovers its own.
    pub resources: Option<R>,
    /// Queues and scheduling.
    #[serde(default)]
    pub site: Site,
    pub heartbeat_ms: u64,
    /// Silence after which a neighbour is lost.
    pub lost_ms: u64,
    /// How long a shell lives without its broker.
    pub orphan_ms_max: u64,
    /// Number of this life of the broker, above that of the one before; 0 before the first.
    #[serde(default)]
    pub epoch: u64,
}

const FILE: &str = "boot.json";

impl Boot {
    /// The socket for clients of this broker.
    pub fn socket(&self) -> PathBuf {
        self.rundir.join("local")
    }

    /// What clients connect to.
    pub fn uri(&self) -> String {
        format!("local://{}", self.socket().display())
    }

    /// Begins a new life of the broker. The clock alone does not make it newer: it may have been set back.
    pub fn begin(&mut self, now: Timestamp) {
        self.epoch = u64::try_from(now.0).unwrap_or(0).max(self.epoch.saturating_add(1));
    }

    /// Where the other brokers reach this one; of a broker that is alone, where only this host does.
    pub fn address(&self) -> IpAddr {
        self.peers.get(&self.rank).map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), SocketAddr::ip)
    }

    /// What the mind needs of all this.
    pub fn core(&self, started: Timestamp, initial_program: Option<StartInitial>) -> CoreConfig {
        let mut attributes = self.attributes.clone();
        let statedir = self.statedir.as_ref().unwrap_or(&self.rundir);
        attributes.extend([
            ("broker.pid".to_owned(), std::process::id().to_string()),
            ("tbon.address".to_owned(), self.address().to_string()),
            ("rundir".to_owned(), self.rundir.display().to_string()),
            ("statedir".to_owned(), statedir.display().to_string()),
        ]);
        CoreConfig {
            rank: self.rank,
            size: self.size,
            hosts: self.hosts.clone(),
            fanout: self.fanout,
            instance_id: self.instance_id.clone(),
            instance_level: self.instance_level,
            owner: rustix::process::geteuid().as_raw(),
            uri: self.uri(),
            epoch: self.epoch,
            starttime: started,
            expiration: self.expiration,
            attributes,
            initial_program,
            heartbeat_ms: self.heartbeat_ms,
            lost_ms: self.lost_ms,
            orphan_ms_max: self.orphan_ms_max,
            resources: self.resources.clone(),
            site: self.site.clone(),
            hold: Hold::UntilCommit,
        }
    }

    /// Writes `boot.json` into the run directory, which must exist.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec_pretty(self)?);
        let path = self.rundir.join(FILE);
        let fresh = self.rundir.join("boot.json.new");
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&text)?;
        // A reader finds the old one or the new one, never a half.
        std::fs::rename(fresh, path)
    }

    /// What a broker that ran in `rundir` wrote there.
    ///
    /// # Errors
    /// No such file, or it is not one of ours.
    pub fn load(rundir: &Path) -> io::Result<Boot> {
        let mut text = Zeroizing::new(String::new());
        std::fs::File::open(rundir.join(FILE))?.read_to_string(&mut text)?;
        let mut boot: Boot = serde_json::from_str(&text)?;
        boot.rundir = rundir.to_owned();
        Ok(boot)
    }
}

/// The instance's key: 32 random bytes, wiped when dropped, never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; Secret::LEN]>);

impl Secret {
    pub const LEN: usize = 32;

    /// A new one, from the kernel.
    ///
    /// # Errors
    /// The kernel's random device cannot be read.
    pub fn draw() -> io::Result<Secret> {
        let mut bytes = Zeroizing::new([0; Secret::LEN]);
        std::fs::File::open("/dev/urandom")?.read_exact(&mut *bytes)?;
        Ok(Secret(bytes))
    }

    pub fn from_bytes(bytes: [u8; Secret::LEN]) -> Secret {
        Secret(Zeroizing::new(bytes))
    }

    pub fn as_bytes(&self) -> &[u8; Secret::LEN] {
        &self.0
    }

    /// A key of its own for one purpose: all brokers derive the same one, and nobody finds this one by it.
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 2 * Secret::LEN]> {
        let hash = DefaultResolver.resolve_hash(&HashChoice::SHA256);
        let mut hash = hash.expect("links could not be made without SHA-256");
        let mut derived = Zeroizing::new([0; 2 * Secret::LEN]);
        for (half, number) in derived.chunks_mut(Secret::LEN).zip(0_u8..) {
            let mut input = purpose.as_bytes().to_vec();
            input.push(number);
            hash.hmac(&*self.0, &input, half);
        }
        derived
    }

    /// As `boot.json` and the launchers carry it.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(*self.0))
    }

    /// None unless it is base64 of the right number of bytes.
    pub fn from_base64(text: &str) -> Option<Secret> {
        let mut decoded = BASE64_STANDARD.decode(text).ok()?;
        let bytes = <[u8; Secret::LEN]>::try_from(decoded.as_slice()).ok();
        decoded.zeroize();
        bytes.map(Secret::from_bytes)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Secret::from_base64(&text).ok_or_else(|| D::Error::custom("the secret is 32 bytes in base64"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;

    /// An instance of `size` on this host, with its run directory below `dir`.
    pub(crate) fn boot(dir: &Path, rank: u32, size: u32) -> Boot {
        Boot {
            rank: Rank(rank),
            size,
            hosts: (0..size).map(|r| format!("node{r}")).collect(),
            peers: BTreeMap::new(),
            secret: Secret::from_bytes([7; Secret::LEN]),
            instance_id: "test".into(),
            instance_level: 0,
            fanout: 2,
            rundir: dir.to_owned(),
            statedir: None,
            attributes: BTreeMap::new(),
            expiration: Timestamp::ZERO,
            resources: None,
            site: Site::default(),
            heartbeat_ms: 1000,
            lost_ms: 3000,
            orphan_ms_max: 5000,
            epoch: 0,
        }
    }

    #[test]
    fn the_next_life_is_newer_although_the_clock_was_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = boot(dir.path(), 1, 3);
        first.begin(Timestamp(5000));
        assert_eq!(first.epoch, 5000);
        first.save().unwrap();
        let mut second = Boot::load(dir.path()).unwrap();
        second.begin(Timestamp(100));
        assert_eq!(second.core(Timestamp(100), None).epoch, 5001);
    }

    #[test]
    fn a_boot_value_comes_back_from_a_file_that_only_the_owner_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut boot = boot(dir.path(), 1, 3);
        boot.peers.insert(Rank(0), "127.0.0.1:4711".parse().unwrap());
        boot.secret = Secret::draw().unwrap();
        boot.save().unwrap();
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let back = Boot::load(dir.path()).unwrap();
        assert_eq!(back.secret.as_bytes(), boot.secret.as_bytes());
        assert_eq!(format!("{back:?}"), format!("{boot:?}"));
        assert!(!format!("{boot:?}").contains(&*boot.secret.to_base64()), "printing does not show the key");
    }

    #[test]
    fn a_derived_key_is_the_same_everywhere_and_for_its_purpose_alone() {
        let of = |byte, purpose| Secret::from_bytes([byte; Secret::LEN]).derive(purpose).to_vec();
        assert_eq!(of(7, "a"), of(7, "a"));
        let all: BTreeSet<Vec<u8>> = [of(7, "a"), of(7, "b"), of(8, "a")]
            .iter()
            .flat_map(|key| key.chunks(Secret::LEN))
            .map(<[u8]>::to_vec)
            .collect();
        assert_eq!(all.len(), 6);
        // HMAC-SHA256 of "a\0" with that key.
        assert!(of(7, "a").starts_with(&[0xe0, 0x50, 0xb8, 0x2b]));
    }

    #[test]
    fn a_secret_of_another_length_is_refused() {
        assert!(Secret::from_base64("c2hvcnQ=").is_none());
        assert!(Secret::from_base64("not base64!").is_none());
    }
}
