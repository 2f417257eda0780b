//! Why a message did not leave, and what is said instead of one that is too long: whoever waits for it hears why it
//! does not come. A frame that the other side refuses to read would end the connection with all that is on it.

use flurm_wire::{Address, ErrorCode, Kind, Message, WireError, frame};

#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Unsent {
    #[error("the peer does not keep up; its connection has been closed")]
    Behind,
    #[error("send a frame of {len} bytes: the limit is {limit}", limit = frame::LEN_MAX)]
    TooLong { len: usize },
}

/// Refuses to make a frame that nobody reads.
pub(crate) fn check(len: usize) -> Result<(), Unsent> {
    if len > frame::LEN_MAX { Err(Unsent::TooLong { len }) } else { Ok(()) }
}

/// What is said instead.
#[derive(Debug)]
pub(crate) enum Instead {
    /// The asker gets no answer from there: this one comes back.
    Back(Message),
    /// The asker gets this for an answer.
    Onward(Message),
    Nothing,
}

impl Instead {
    pub(crate) fn of(message: &Message, me: Address, len: usize) -> Instead {
        let limit = frame::LEN_MAX;
        match message.kind {
            Kind::Request => {
                let text = format!("a request of {len} bytes ({}): the limit is {limit}", message.topic);
                Instead::Back(message.refuse(me, WireError::new(ErrorCode::TooBig, text)))
            }
            Kind::Response => {
                let text = format!("an answer of {len} bytes ({}): the limit is {limit}", message.topic);
                let error = Some(WireError::new(ErrorCode::TooBig, text));
                let (topic, src, dst) = (message.topic.clone(), message.src, message.dst);
                let (v, kind, tag) = (message.v, message.kind, message.tag);
                Instead::Onward(Message { v, kind, topic, src, dst, tag, more: false, error, payload: None })
            }
            Kind::Cancel => Instead::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::Rank;
    use flurm_wire::overlay::Ping;
    use flurm_wire::{ClientId, Dest};

    #[test]
    fn the_asker_hears_of_a_request_or_an_answer_that_is_too_long() {
        let asker = Address { rank: Rank(1), client: ClientId(7) };
        let me = Address { rank: Rank(0), client: ClientId(0) };
        let ping = Ping { seq: 1, pad: String::new() };
        let request = Message::request(asker, Dest::Leader, 9, &ping);
        let answer = request.respond(me, &ping, true);
        for message in [Instead::of(&request, me, 5), Instead::of(&answer, me, 5)] {
            let (Instead::Back(told) | Instead::Onward(told)) = message else { panic!("nobody is told") };
            assert_eq!((told.kind, told.dst, told.tag), (Kind::Response, Dest::Client(asker), 9));
            assert_eq!((told.src, told.more, told.payload.is_none()), (me, false, true));
            assert_eq!(told.error.unwrap().code, ErrorCode::TooBig);
        }
    }
}
