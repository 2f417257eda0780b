//! Processes beside brokers, shells and users, and their connections.

use super::*;

impl World {
    pub(super) fn open_conn(&mut self, rank: Rank, who: Who) -> Option<u64> {
        self.number += 1;
        let id = self.number;
        let broker = &mut self.brokers[rank.0 as usize];
        broker.core.as_ref()?;
        let client = ClientId(id);
        broker.conns.insert(client, id);
        let last_ms = [self.now_ms; 2];
        self.conns.insert(id, Conn { rank, client, who, open: true, last_ms });
        self.input(rank, Input::PeerUp(Peer::Client(client)));
        Some(id)
    }

    pub(super) fn send_broker(&mut self, conn: u64, message: Message) {
        let ms = self.rng.range(0, 2);
        let Some(known) = self.conns.get_mut(&conn) else { return };
        known.last_ms[0] = known.last_ms[0].max(self.now_ms + ms);
        let at = known.last_ms[0];
        self.at(at, Event::FromGuest { conn, message });
    }

    pub(super) fn send_guest(&mut self, rank: Rank, client: ClientId, message: Message) {
        let ms = self.rng.range(0, 2);
        let Some(conn) = self.brokers[rank.0 as usize].conns.get(&client).copied() else { return };
        let known = self.conns.get_mut(&conn).expect("brokers know connections that there are");
        known.last_ms[1] = known.last_ms[1].max(self.now_ms + ms);
        let at = known.last_ms[1];
        self.at(at, Event::ToGuest { conn, message });
    }

    /// The broker's side is closed; what it said before is still read.
    pub(super) fn hang_up(&mut self, conn: u64) {
        let known = self.conns.get_mut(&conn).expect("brokers know connections that there are");
        known.open = false;
        let at = known.last_ms[1].max(self.now_ms) + 1;
        self.at(at, Event::HungUp { conn });
    }

    /// The process beside it is gone; the broker hears of it.
    pub(super) fn guest_gone(&mut self, conn: u64) {
        let Some(known) = self.conns.remove(&conn) else { return };
        if known.open && self.brokers[known.rank.0 as usize].conns.remove(&known.client).is_some() {
            self.input(known.rank, Input::PeerGone(Peer::Client(known.client)));
        }
    }

    pub(super) fn guest_receives(&mut self, conn: u64, message: &Message) -> Checked {
        let Some(who) = self.conns.get(&conn).map(|c| c.who) else { return Ok(()) };
        match who {
            Who::Shell(rank, life) => {
                let mut acts = Vec::new();
                if let Some(shell) = self.shells[rank.0 as usize].as_mut().filter(|s| s.life == life) {
                    shell.receive(message, &mut acts);
                    once::check(shell)?;
                    alive::check(shell)?;
                }
                self.shell_acts(rank, acts);
            }
            Who::User(user) => {
                let mut acts = Vec::new();
                let received = self.users[user].receive(message, &mut self.rng, &mut acts);
                received.map_err(|text| Broken { invariant: "answers", text })?;
                self.user_acts(user, acts);
            }
        }
        Ok(())
    }

    pub(super) fn guest_hung_up(&mut self, conn: u64) {
        let Some(known) = self.conns.remove(&conn) else { return };
        match known.who {
            Who::Shell(rank, life) => {
                let now = self.now_ms;
                if let Some(shell) = self.shells[rank.0 as usize].as_mut().filter(|s| s.life == life) {
                    shell.cut_off(now);
                    self.after(50, Event::ShellConnects(rank, life));
                }
            }
            Who::User(user) => {
                self.users[user].cut_off();
                let ms = self.rng.range(50, 500);
                self.after(ms, Event::UserConnects(user));
            }
        }
    }

    pub(super) fn user_connects(&mut self, user: usize) {
        let rank = Rank(self.rng.range(0, u64::from(self.size)) as u32);
        match self.open_conn(rank, Who::User(user)) {
            Some(conn) => {
                let mut acts = Vec::new();
                self.users[user].connected(conn, &mut acts);
                self.user_acts(user, acts);
            }
            None if !self.ending => self.after(200, Event::UserConnects(user)),
            None => {}
        }
    }

    pub(super) fn user_acts(&mut self, user: usize, acts: Vec<user::Act>) {
        for act in acts {
            match (act, self.users[user].conn) {
                (user::Act::Send(message), Some(conn)) => self.send_broker(conn, message),
                (user::Act::Send(_), None) => {}
                (user::Act::Later(ms), _) => self.after(ms, Event::UserGoesOn(user)),
            }
        }
    }

    // Shells

    pub(super) fn start_shell(&mut self, rank: Rank) {
        // One that is there is found, not started again.
        if self.shells[rank.0 as usize].is_some() || self.brokers[rank.0 as usize].core.is_none() {
            return;
        }
        self.lives += 1;
        let life = self.lives;
        self.shells[rank.0 as usize] = Some(Shell::new(rank, life));
        self.after(2, Event::ShellConnects(rank, life));
    }

    pub(super) fn shell_connects(&mut self, rank: Rank, life: u64) {
        let Some(shell) = &self.shells[rank.0 as usize] else { return };
        if shell.life != life || shell.conn.is_some() {
            return;
        }
        let alone_since = shell.alone_since;
        if let Some(conn) = self.open_conn(rank, Who::Shell(rank, life)) {
            let mut acts = Vec::new();
            if let Some(shell) = &mut self.shells[rank.0 as usize] {
                shell.connected(conn, &mut acts);
            }
            self.shell_acts(rank, acts);
        } else if alone_since.is_some_and(|since| self.now_ms - since > 5_000) {
            self.note(|| format!("the shell of {rank} ends as an orphan"));
            self.shells[rank.0 as usize] = None;
        } else {
            self.after(100, Event::ShellConnects(rank, life));
        }
    }

    pub(super) fn shell_acts(&mut self, rank: Rank, acts: Vec<shell::Act>) {
        for act in acts {
            let Some(shell) = &self.shells[rank.0 as usize] else { return };
            let (life, conn) = (shell.life, shell.conn);
            match act {
                shell::Act::Send(message) => {
                    if let Some(conn) = conn {
                        self.send_broker(conn, message);
                    }
                }
                shell::Act::Later { ms, step } => self.after(ms, Event::ShellStep(rank, life, step)),
                shell::Act::Exit { ms } => self.after(ms, Event::ShellExits(rank, life, 0)),
            }
        }
    }

    pub(super) fn shell_exits(&mut self, rank: Rank, life: u64, status: i32) -> Checked {
        let Some(shell) = self.shells[rank.0 as usize].take_if(|s| s.life == life) else { return Ok(()) };
        if let Some(conn) = shell.conn {
            self.guest_gone(conn);
        }
        self.input(rank, Input::GuestExited { guest: Guest::Shell, status });
        once::check(&shell)
    }

    // Faults
}
