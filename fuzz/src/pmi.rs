//! Readers of `flurm-pmi`: any bytes are requests, or refused; and a server answers whatever it is asked.

use flurm_pmi::one::Request;
use flurm_pmi::two::{self, Frame};
use flurm_pmi::{Effect, Job, Piece, Server, Splitter};
use std::collections::BTreeMap;

type Body = fn(&[u8]);

/// Name, body, and texts to start from.
pub const TARGETS: &[(&str, Body, &[&str])] = &[(
    "pmi",
    pmi,
    &[
        "cmd=init pmi_version=1 pmi_subversion=1\ncmd=get_maxes\ncmd=put kvsname=kvs key=a value=b c=d\n\
         cmd=barrier_in\ncmd=get kvsname=kvs key=a\nmcmd=spawn\nnprocs=1\nendcmd\ncmd=finalize\n",
        "cmd=init pmi_version=2 pmi_subversion=0\n    13cmd=fullinit;    36cmd=kvs-put;key=a;value=b;;;thrid=1;    18cmd=kvs-get;key=a;    14cmd=kvs-fence;\
         \x20   37cmd=info-getnodeattr;key=a;wait=TRUE;    35cmd=info-putnodeattr;key=a;value=b;",
        "cmd=response_to_init rc=0 pmi_version=2\n    50cmd=fullinit-response;rank=0;size=2;appnum=0;rc=0;",
    ],
)];

/// A stream of requests, at a node with all tasks of a job and at one with some of them.
pub fn pmi(bytes: &[u8]) {
    for size in [1, 3] {
        let known = BTreeMap::from([("PMI_process_mapping".to_owned(), "(vector,(0,1,3))".to_owned())]);
        let mut server = Server::new(Job { name: "kvs".into(), size, ranks: vec![0], known });
        let mut splitter = Splitter::new(4096);
        for chunk in bytes.chunks(7) {
            splitter.feed(chunk);
            while let Ok(Some(piece)) = splitter.piece() {
                texts(&piece);
                let mut effects = Vec::new();
                if server.request(0, &piece, &mut effects).is_err() {
                    return;
                }
                for effect in effects {
                    if let Effect::Fence(puts) = effect {
                        server.fenced(Ok(puts), &mut Vec::new());
                    }
                }
            }
        }
    }
}

/// What is understood is written and read again as the same.
fn texts(piece: &Piece) {
    match piece {
        Piece::Line(line) => {
            if let Ok(request) = Request::parse(line) {
                assert_eq!(Request::parse(&request.to_string()), Ok(request));
            }
        }
        Piece::Frame(body) => {
            let Ok(frame) = Frame::parse(body) else { return };
            let written = frame.to_bytes().expect("no longer than a request may be");
            let read = std::str::from_utf8(&written[two::HEAD_LEN..]).expect("made of text");
            assert_eq!(Frame::parse(read).as_ref(), Ok(&frame));
            if let Ok(request) = two::Request::of(&frame) {
                assert_eq!(two::Request::of(&request.frame()), Ok(request));
            }
        }
    }
}
