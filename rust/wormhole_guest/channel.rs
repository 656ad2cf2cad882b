// SPDX-License-Identifier: GPL-2.0

//! The life of a channel, as decided by one side: its own record of who holds which channel,
//! and what the shared words mean against it.
//!
//! The shared words are the other VM's to forge, and this VM's processes', since they map them.
//! They decide whether a connection lives; they never decide who holds a channel here.
//!
//! One connection, `state[CLIENT]` and `state[SERVER]` of its channel:
//!
//! | client | server | |
//! |---|---|---|
//! | 0 | 0 | free |
//! | n | 0 | offered (CONNECT waits) |
//! | n | n | open |
//! | 0 | n | the client closed, timed out or died; not free until the server lets go |
//! | n | 0 | the server closed; an offer of this n is never accepted again |
//!
//! Pure: no `kernel::` imports, so that `rustc --test channel.rs` runs the tests below.

/// An offer as the server knows it: the client VM's link word and the connection's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) link: u32,
    pub(crate) number: u32,
}

/// This side's record of one channel.
#[derive(Default)]
pub(crate) struct Channel {
    /// A file of this VM is bound to it or is trying to.
    held: bool,
    /// Server: the last offer taken, so that it is not taken twice.
    last: Option<Offer>,
}

impl Channel {
    /// At probe: whatever a server's channel is offered now was offered to somebody before us,
    /// and may be the remains of a connection. A client that still waits offers anew when it
    /// sees the event that probe sends.
    pub(crate) fn at_probe(offer: Offer) -> Self {
        Self {
            held: false,
            last: (offer.number != 0).then_some(offer),
        }
    }

    /// Gives the channel back.
    pub(crate) fn release(&mut self) {
        self.held = false;
    }

    /// Whether a file of this VM holds it.
    pub(crate) fn held(&self) -> bool {
        self.held
    }
}

/// What a client finds when it looks for a channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// This one is held now.
    Taken(usize),
    /// The server has yet to let go of the ones that nobody holds here.
    Wait,
    /// This VM's files hold them all.
    Full,
}

/// Client: takes a channel that nobody holds here and that the server has let go.
pub(crate) fn pick(channels: &mut [Channel], server_state: impl Fn(usize) -> u32) -> Pick {
    let mut answer = Pick::Full;
    for (index, channel) in channels.iter_mut().enumerate() {
        if channel.held {
            continue;
        }
        if server_state(index) == 0 {
            channel.held = true;
            return Pick::Taken(index);
        }
        answer = Pick::Wait;
    }
    answer
}

/// Client: the number of the next connection. Never 0, never what the server shows now.
pub(crate) fn next_number(previous: u32, server_state: u32) -> u32 {
    let mut number = previous.wrapping_add(1);
    while number == 0 || number == server_state {
        number = number.wrapping_add(1);
    }
    number
}

/// Server: whether any channel has an offer to take.
pub(crate) fn offered(
    channels: &[Channel],
    link: u32,
    client_state: impl Fn(usize) -> u32,
) -> Option<(usize, Offer)> {
    if !link_up(link) {
        return None;
    }
    channels.iter().enumerate().find_map(|(index, channel)| {
        let offer = Offer {
            link,
            number: client_state(index),
        };
        let fresh = offer.number != 0 && !channel.held && channel.last != Some(offer);
        fresh.then_some((index, offer))
    })
}

/// Server: takes an offer. To be released if the client turns out to have withdrawn it.
pub(crate) fn take(channel: &mut Channel, offer: Offer) {
    channel.held = true;
    channel.last = Some(offer);
}

/// Whether a VM is connected, from its word of `link[]`.
pub(crate) fn link_up(link: u32) -> bool {
    link & 1 == 1
}

/// What a client that waits for an answer to its offer sees. To be read in the order of the
/// fields: the server writes its state first and the event after it.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) event: u32,
    pub(crate) server_state: u32,
    pub(crate) link: u32,
}

/// What a client that waits has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Accepted,
    /// The server's VM went, be it that another came since.
    LinkLost,
    /// The server said something, and it was not this: offer again under a new number, as its
    /// driver may have been loaded since.
    OfferAgain,
    Wait,
}

/// Client: weighs an answer against the offer, the server's link word when the channel was taken
/// and the event word when the offer was made.
pub(crate) fn next(offer: Offer, event: u32, answer: Answer) -> Next {
    if answer.link != offer.link || !link_up(answer.link) {
        Next::LinkLost
    } else if answer.server_state == offer.number {
        Next::Accepted
    } else if answer.event != event {
        Next::OfferAgain
    } else {
        Next::Wait
    }
}

/// An open connection: the peer's link word when it was opened, and its number.
pub(crate) type Connection = Offer;

/// How an open connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) peer_closed: bool,
    pub(crate) link_down: bool,
}

impl Standing {
    pub(crate) const OPEN: Self = Self {
        peer_closed: false,
        link_down: false,
    };

    /// From the peer's state word and link word of now. A peer that went and came back shows
    /// another link word: it is not the peer of this connection.
    pub(crate) fn of(connection: Connection, peer_state: u32, link: u32) -> Self {
        Self {
            peer_closed: peer_state != connection.number,
            link_down: link != connection.link || !link_up(link),
        }
    }

    /// Whether the connection is at its end.
    pub(crate) fn ended(self) -> bool {
        self.peer_closed || self.link_down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(count: usize) -> Vec<Channel> {
        (0..count).map(|_| Channel::default()).collect()
    }

    #[test]
    fn pick_takes_each_once_and_then_says_full() {
        let mut all = channels(3);
        for index in 0..3 {
            assert_eq!(pick(&mut all, |_| 0), Pick::Taken(index));
        }
        assert_eq!(pick(&mut all, |_| 0), Pick::Full);
        all[1].release();
        assert_eq!(pick(&mut all, |_| 0), Pick::Taken(1));
    }

    #[test]
    fn pick_waits_for_the_server_to_let_go() {
        let mut all = channels(2);
        assert_eq!(pick(&mut all, |_| 9), Pick::Wait);
        assert_eq!(
            pick(&mut all, |index| if index == 0 { 9 } else { 0 }),
            Pick::Taken(1)
        );
        assert_eq!(
            pick(&mut all, |index| if index == 0 { 9 } else { 0 }),
            Pick::Wait
        );
        assert!(!all[0].held() && all[1].held());
    }

    #[test]
    fn hostile_state_cannot_steal_a_held_channel() {
        let mut all = channels(1);
        assert_eq!(pick(&mut all, |_| 0), Pick::Taken(0));
        for state in [0, 1, u32::MAX] {
            assert_eq!(pick(&mut all, |_| state), Pick::Full);
            assert_eq!(offered(&all, 1, |_| state), None);
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(next_number(0, 0), 1);
        assert_eq!(next_number(u32::MAX, 0), 1);
        assert_eq!(next_number(u32::MAX, 1), 2);
        assert_eq!(next_number(4, 5), 6);
        assert_eq!(next_number(u32::MAX - 1, u32::MAX), 1);
    }

    #[test]
    fn an_offer_is_taken_once() {
        let mut all = channels(2);
        let state = |index| if index == 1 { 7 } else { 0 };
        let (index, offer) = offered(&all, 1, state).unwrap();
        assert_eq!((index, offer), (1, Offer { link: 1, number: 7 }));
        take(&mut all[1], offer);
        assert_eq!(offered(&all, 1, state), None);
        all[1].release();
        assert_eq!(offered(&all, 1, state), None);
        // Another number, or the same from a VM that was connected anew, is another offer.
        assert!(offered(&all, 1, |_| 8).is_some());
        assert_eq!(
            offered(&all, 3, state),
            Some((1, Offer { link: 3, number: 7 }))
        );
    }

    #[test]
    fn nothing_is_taken_from_a_vm_that_is_not_there() {
        assert_eq!(offered(&channels(1), 0, |_| 7), None);
        assert_eq!(offered(&channels(1), 2, |_| 7), None);
    }

    #[test]
    fn what_was_offered_before_probe_is_stale() {
        let all = [Channel::at_probe(Offer { link: 1, number: 7 })];
        assert_eq!(offered(&all, 1, |_| 7), None);
        assert!(offered(&all, 1, |_| 8).is_some());
        let none = [Channel::at_probe(Offer { link: 1, number: 0 })];
        assert!(offered(&none, 1, |_| 1).is_some());
    }

    #[test]
    fn answers() {
        let offer = Offer { link: 1, number: 7 };
        let answer = |event, server_state, link| Answer {
            event,
            server_state,
            link,
        };
        assert_eq!(next(offer, 3, answer(3, 0, 1)), Next::Wait);
        assert_eq!(next(offer, 3, answer(4, 7, 1)), Next::Accepted);
        assert_eq!(next(offer, 3, answer(3, 7, 1)), Next::Accepted);
        assert_eq!(next(offer, 3, answer(4, 0, 1)), Next::OfferAgain);
        assert_eq!(next(offer, 3, answer(3, 0, 2)), Next::LinkLost);
        assert_eq!(next(offer, 3, answer(4, 7, 3)), Next::LinkLost);
    }

    #[test]
    fn standing() {
        let open = Connection { link: 1, number: 7 };
        assert!(!Standing::of(open, 7, 1).ended());
        assert_eq!(
            Standing::of(open, 0, 1),
            Standing {
                peer_closed: true,
                link_down: false
            }
        );
        assert!(Standing::of(open, 8, 1).peer_closed);
        assert!(Standing::of(open, 7, 2).link_down);
        assert!(Standing::of(open, 7, 3).link_down);
        let bad = Connection { link: 0, number: 7 };
        assert!(Standing::of(bad, 7, 0).link_down);
    }

    /// A model of the two drivers on one channel, each step of theirs in any order: never is the
    /// client told of an acceptance that the server did not make, and never do both hold the
    /// channel for different connections while each believes its own to be open.
    #[test]
    fn every_interleaving_of_withdraw_and_accept() {
        // The client's steps: withdraw offer 7 (write 0), look at the server's state, and only
        // if that is 0 offer 8. The server's: read the offer, write it, read again, undo if it
        // changed.
        fn run(order: u32) -> (u32, u32, Option<u32>, bool) {
            let (mut client, mut server) = (7u32, 0u32);
            let (mut seen, mut bound) = (0u32, None);
            let (mut at_client, mut at_server) = (0, 0);
            let mut reoffered = false;
            for step in 0..7 {
                let client_turn = (order >> step) & 1 == 0;
                if (client_turn && at_client < 3) || at_server == 4 {
                    match at_client {
                        0 => client = 0,
                        1 => reoffered = server == 0,
                        _ if reoffered => client = 8,
                        _ => (),
                    }
                    at_client += 1;
                } else {
                    match at_server {
                        0 => seen = client,
                        1 if seen != 0 => server = seen,
                        2 if seen != 0 => bound = (client == seen).then_some(seen),
                        3 if seen != 0 && bound.is_none() => server = 0,
                        _ => (),
                    }
                    at_server += 1;
                }
            }
            (client, server, bound, reoffered)
        }
        for order in 0..1 << 7 {
            let (client, server, bound, reoffered) = run(order);
            // A channel that is offered again has no server bound to the old offer.
            if reoffered && client == 8 {
                assert_ne!(bound, Some(7), "order {order:07b}");
            }
            // Whoever is bound shows it; whoever is not, does not.
            assert_eq!(bound.unwrap_or(0), server, "order {order:07b}");
        }
    }
}
