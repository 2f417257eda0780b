//! `flurm top`: an instance at a glance, and those inside it, as it changes.
//!
//! ```text
//! shown --Enter on a job that is an instance--> shown, one level below --q--> shown, one level up --q--> gone
//! ```

mod screen;

use super::jobs::inside::{self, Inside};
use super::jobs::{COLUMNS, Row, View};
use crate::attach::{Raw, window};
use crate::face::Face;
use crate::failure::Failure;
use crate::format::Format;
use crate::out::{Color, Script};
use crate::when;
use flurm_client::{Client, Uri, job};
use flurm_types::{JobId, JobState};
use flurm_wire::job::{List, Queue, QueueAct};
use flurm_wire::{Dest, resource, state};
use screen::{FRAME, Facts, Look};
use std::io::{self, IsTerminal, Read, Write};
use std::rc::Rc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Between two looks at the instance.
const REFRESH: Duration = Duration::from_secs(1);
/// Keys that were typed and not looked at.
const KEYS_MAX: usize = 64;

/// Show the instance and its jobs as they change
///
/// Keys: j k or arrows choose a job, Enter opens one that is an instance, h l choose a queue, d says what became of jobs
/// that are over, q goes back or ends, Ctrl-L draws again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only jobs of this queue, at first
    #[arg(short, long)]
    queue: Option<String>,
    /// Colour jobs by their state
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    color: Color,
    /// The instance: a job that is one (`ID/ID` for one inside), or an address
    target: Option<String>,
}

/// The terminal as ours: raw, another page of it, no cursor. Given back however we end.
struct Page {
    _raw: Raw,
}

impl Page {
    fn enter() -> io::Result<Page> {
        let raw = Raw::enter()?;
        let page = Page { _raw: raw };
        write_all(b"\x1b[?1049h\x1b[?25l\x1b[2J")?;
        Ok(page)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // A terminal that has hung up has no page to go back to.
        let _ = write_all(b"\x1b[0m\x1b[?25h\x1b[?1049l");
    }
}

fn write_all(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// An instance on the way down.
struct Place {
    client: Client,
    path: String,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(Failure::new("top needs a terminal")
                .hint("`flurm jobs` and `flurm resource list` print the same for programs"));
        }
        let colour = self.color.wanted();
        let Args { queue, target, .. } = self;
        face.connected(async |client| {
            let first = match target {
                None => Place { client, path: face.name.to_owned() },
                Some(target) => find(client, &target).await?,
            };
            let mut top = Top {
                stack: vec![first],
                look: Look { colour, queue, ..Look::default() },
                format: Format::parse(screen::FORMAT, COLUMNS)?,
                facts: None,
            };
            // Before the terminal changes: who may not look at the instance is told on the page they are on.
            top.refresh().await?;
            let page = Page::enter().map_err(|e| Failure::new(format!("cannot use the terminal: {e}")))?;
            let ended = top.watch().await;
            drop(page);
            ended
        })
    }
}

/// The instance that a word names: an address, or a path of jobs.
async fn find(client: Client, target: &str) -> Result<Place, Failure> {
    if target.contains("://") {
        let client = Client::connect(&Uri::parse(target)?).await?;
        return Ok(Place { client, path: target.to_owned() });
    }
    let mut place = Place { client, path: String::new() };
    for word in target.split('/').filter(|word| !word.is_empty()) {
        let id: JobId = word.parse()?;
        let listed = job::list(&place.client, &List { ids: vec![id], ..List::default() }).await?;
        let uri = listed.jobs.first().and_then(inside::uri).ok_or_else(|| {
            Failure::new(format!("job {word} is no instance that can be reached"))
                .hint("an instance says where it is once it runs: `flurm jobs -o '{id} {uri}'`")
        })?;
        let path = format!("{}/{}", place.path, Script::of_locale().id(id));
        let path = path.trim_start_matches('/').to_owned();
        place = Place { client: Client::connect(&Uri::parse(uri)?).await?, path };
    }
    Ok(place)
}

/// What a key is for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Key {
    Up,
    Down,
    Left,
    Right,
    Detail,
    Open,
    Back,
    Redraw,
    Quit,
}

/// Reads keys out of what a terminal sends; a sequence may come in pieces.
#[derive(Debug, Default)]
struct Keys {
    /// Of a sequence that has begun.
    begun: Vec<u8>,
}

impl Keys {
    fn take(&mut self, byte: u8) -> Option<Key> {
        match (self.begun.as_slice(), byte) {
            ([], 0x1b) | ([0x1b], b'[' | b'O') => {
                self.begun.push(byte);
                return None;
            }
            ([0x1b, _], _) => {
                self.begun.clear();
                return match byte {
                    b'A' => Some(Key::Up),
                    b'B' => Some(Key::Down),
                    b'C' => Some(Key::Right),
                    b'D' => Some(Key::Left),
                    _ => None,
                };
            }
            _ => self.begun.clear(),
        }
        match byte {
            b'k' => Some(Key::Up),
            b'j' => Some(Key::Down),
            b'h' => Some(Key::Left),
            b'l' => Some(Key::Right),
            b'd' => Some(Key::Detail),
            b'\r' | b'\n' => Some(Key::Open),
            b'q' => Some(Key::Back),
            0x0c => Some(Key::Redraw),
            0x03 => Some(Key::Quit),
            _ => None,
        }
    }
}

struct Top {
    /// The last one is looked at.
    stack: Vec<Place>,
    look: Look,
    format: Format<Row>,
    /// As of the last refresh.
    facts: Option<Facts>,
}

impl Top {
    async fn watch(&mut self) -> Result<u8, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::new(format!("cannot listen for signals: {e}")));
        let mut resized = listen(SignalKind::window_change())?;
        let mut ended = listen(SignalKind::terminate())?;
        let mut hung_up = listen(SignalKind::hangup())?;
        let mut interrupted = listen(SignalKind::interrupt())?;
        let mut keys = Keys::default();
        let mut typed = typed();
        let mut tick = tokio::time::interval(REFRESH);
        loop {
            self.draw()?;
            tokio::select! {
                _ = tick.tick() => self.refresh_or_leave().await?,
                _ = resized.recv() => write_all(b"\x1b[2J")?,
                _ = ended.recv() => return Ok(128 + libc::SIGTERM as u8),
                _ = hung_up.recv() => return Ok(128 + libc::SIGHUP as u8),
                _ = interrupted.recv() => return Ok(128 + libc::SIGINT as u8),
                byte = typed.recv() => {
                    let Some(byte) = byte else { return Ok(0) };
                    self.look.message = None;
                    if let Some(key) = keys.take(byte)
                        && self.press(key).await? {
                            return Ok(0);
                        }
                }
            }
        }
    }

    /// True when it is the end.
    async fn press(&mut self, key: Key) -> Result<bool, Failure> {
        match key {
            Key::Up => self.select(-1),
            Key::Down => self.select(1),
            Key::Left => self.turn(-1).await?,
            Key::Right => self.turn(1).await?,
            Key::Detail => self.look.detail = !self.look.detail,
            Key::Open => self.open().await?,
            Key::Redraw => {
                write_all(b"\x1b[2J")?;
                self.refresh_or_leave().await?;
            }
            Key::Back if self.stack.len() > 1 => self.back().await?,
            Key::Back | Key::Quit => return Ok(true),
        }
        Ok(false)
    }

    fn place(&self) -> &Place {
        self.stack.last().expect("the first instance is never left")
    }

    fn select(&mut self, step: isize) {
        let Some(facts) = &self.facts else { return };
        let at = facts.rows.iter().position(|row| Some(row.job.id) == self.look.selected);
        let last = facts.rows.len().saturating_sub(1);
        let at = at.map_or(0, |at| at.saturating_add_signed(step).min(last));
        self.look.selected = facts.rows.get(at).map(|row| row.job.id);
    }

    /// To the next queue; before the first one, and behind the last, are all of them.
    async fn turn(&mut self, step: isize) -> Result<(), Failure> {
        let status = self.place().client.call(Dest::Leader, &Queue::from(QueueAct::Status)).await?;
        let mut names: Vec<Option<String>> = vec![None];
        names.extend(
            status.queues.into_iter().map(|queue| queue.name).filter(|name| !name.is_empty()).map(Some),
        );
        if names.len() == 1 {
            self.look.message = Some("this instance has no named queues".to_owned());
            return Ok(());
        }
        let at = names.iter().position(|name| *name == self.look.queue).unwrap_or(0);
        let at = (at + names.len()).saturating_add_signed(step) % names.len();
        self.look.queue = names.swap_remove(at);
        self.refresh().await
    }

    async fn open(&mut self) -> Result<(), Failure> {
        let rows = self.facts.iter().flat_map(|facts| &facts.rows);
        let Some(row) = rows.into_iter().find(|row| Some(row.job.id) == self.look.selected) else {
            self.look.message = Some("choose a job with j and k first".to_owned());
            return Ok(());
        };
        let id = row.view.script.id(row.job.id);
        let Some(uri) = inside::uri(&row.job) else {
            self.look.message = Some(format!("{id} is no instance"));
            return Ok(());
        };
        let client = match Uri::parse(uri) {
            Ok(uri) => Client::connect(&uri).await,
            Err(error) => Err(error),
        };
        match client {
            Ok(client) => {
                let path = format!("{}/{id}", self.place().path);
                self.stack.push(Place { client, path });
                (self.look.selected, self.look.queue) = (None, None);
                self.refresh_or_leave().await?;
            }
            Err(error) => self.look.message = Some(format!("cannot reach {id}: {error}")),
        }
        Ok(())
    }

    async fn back(&mut self) -> Result<(), Failure> {
        self.stack.pop();
        (self.look.selected, self.look.queue) = (None, None);
        self.refresh().await
    }

    /// An instance below may end while it is looked at.
    async fn refresh_or_leave(&mut self) -> Result<(), Failure> {
        while let Err(failure) = self.refresh().await {
            if self.stack.len() == 1 {
                return Err(failure);
            }
            let gone = self.stack.pop();
            (self.look.selected, self.look.queue) = (None, None);
            self.look.message = gone.map(|place| format!("{} has ended", place.path));
        }
        Ok(())
    }

    async fn refresh(&mut self) -> Result<(), Failure> {
        self.size();
        let Place { client, path } = self.place();
        // All are asked at once.
        let room = self.look.rows.saturating_sub(FRAME).max(1);
        let queues: Vec<String> = self.look.queue.iter().cloned().collect();
        let list = |states: &[JobState]| List {
            states: states.to_vec(),
            queues: queues.clone(),
            max_entries: room + 1,
            ..List::default()
        };
        let running = list(&[JobState::Run, JobState::Cleanup]);
        let waiting = list(&[JobState::Depend, JobState::Priority, JobState::Sched]);
        let info = client.ask(Dest::Leader, &state::Get {}).await?;
        let status = client.ask(Dest::Leader, &resource::Status {}).await?;
        let running = client.ask(Dest::Leader, &running).await?;
        let waiting = client.ask(Dest::Leader, &waiting).await?;
        let (info, status) = (info.answer().await?, status.answer().await?);
        let (running, waiting) = (running.answer().await?, waiting.answer().await?);
        let view = Rc::new(View::new(when::now(), Script::of_locale()));
        let mut jobs = running.jobs;
        let mut next = waiting.jobs;
        // Who is served first is above the others.
        next.sort_by_key(|job| (std::cmp::Reverse(job.priority), job.id));
        jobs.extend(next);
        let more = running.more || waiting.more;
        let row = |job| Row { job, view: view.clone(), inside: None };
        let facts = Facts {
            path: path.clone(),
            info,
            inside: Inside::of(&status, running.stats),
            rows: jobs.into_iter().map(row).collect(),
            more,
        };
        self.facts = Some(facts);
        Ok(())
    }

    fn size(&mut self) {
        let size = window();
        (self.look.rows, self.look.cols) =
            size.map_or((24, 80), |size| (usize::from(size.rows), usize::from(size.cols)));
    }

    fn draw(&mut self) -> io::Result<()> {
        self.size();
        let Some(facts) = &self.facts else { return Ok(()) };
        let mut page = String::from("\x1b[H");
        let lines = screen::draw(facts, &self.look, &self.format);
        for (at, line) in lines.iter().enumerate() {
            // The rest of the line is of an earlier picture. No newline after the last one: the page would scroll.
            let end = if at + 1 == lines.len() { "" } else { "\r\n" };
            page.push_str(&format!("{line}\x1b[K{end}"));
        }
        write_all(page.as_bytes())
    }
}

/// Bytes that are typed. The thread ends with the process.
fn typed() -> mpsc::Receiver<u8> {
    let (to, typed) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        let mut buffer = [0; KEYS_MAX];
        while let Ok(len @ 1..) = io::stdin().lock().read(&mut buffer) {
            for byte in &buffer[..len] {
                if to.blocking_send(*byte).is_err() {
                    return;
                }
            }
        }
    });
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_letters_and_arrows() {
        let read = |text: &str| {
            let mut keys = Keys::default();
            text.bytes().filter_map(|byte| keys.take(byte)).collect::<Vec<_>>()
        };
        assert_eq!(read("jk"), [Key::Down, Key::Up]);
        assert_eq!(read("\x1b[A\x1bOB\x1b[Dq"), [Key::Up, Key::Down, Key::Left, Key::Back]);
        // An escape alone, then a letter.
        assert_eq!(read("\x1bq"), [Key::Back]);
        assert_eq!(read("\x1b[5~x\x0c\r"), [Key::Redraw, Key::Open]);
    }
}
