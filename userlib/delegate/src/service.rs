// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls by whatever way there is.
//!
//! A client has two channels. Over one it speaks the `ring` transport: there calls go for which
//! there is no better way. The other has the memory that both sides share, and the session of
//! exitless calls.

use std::io::{IoSlice, Write};
use std::path::{self, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use wormhole_transport::{random, Client as RingClient, Config, Kind, Server as RingServer};

use crate::message::{pack, unpack, Offer, Request};
use crate::{CallError, Channel, Client, Entry, Error, Options, Rights, Server};

/// How long the other side may take for its part of the set-up.
const SETUP: Duration = Duration::from_secs(10);
/// How long a client may take to say who it is, on each of its channels.
const INTRODUCTION: Duration = Duration::from_secs(2);

/// The way that calls go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Exitless.
    Vmfunc,
    /// By messages.
    Ring,
}

impl Path {
    pub const fn as_str(self) -> &'static str {
        match self {
            Path::Vmfunc => "vmfunc",
            Path::Ring => "ring",
        }
    }
}

/// One line for the person who wonders why it is slow.
fn log(text: std::fmt::Arguments<'_>) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(std::io::stderr(), "wormhole: {text}");
}

/// Takes in clients, one after the other. While one is being taken in another that connects at
/// that moment may be refused, and can try again.
pub struct Listener {
    inner: wormhole_transport::Listener,
    device: PathBuf,
}

impl Listener {
    /// `device`: the guest driver's, `/dev/wormhole_guestN`.
    pub fn open(device: impl AsRef<path::Path>) -> Result<Self, Error> {
        let device = device.as_ref().to_owned();
        Ok(Listener {
            inner: wormhole_transport::listen(&Config::ring(&device))?,
            device,
        })
    }

    /// Waits for a client. The listener can be dropped or used on after that.
    pub fn accept(&mut self) -> Result<Service, Error> {
        let ring = self.inner.accept()?.serve()?;
        Service::attach(ring, &self.device)
    }
}

/// A server's side of one client.
pub struct Service {
    ring: Box<dyn RingServer>,
    channel: Option<Arc<Channel>>,
}

impl Service {
    fn attach(mut ring: Box<dyn RingServer>, device: &path::Path) -> Result<Self, Error> {
        let mut request = Vec::new();
        // Or one that says nothing would keep all others out.
        ring.set_deadline(Some(Instant::now() + INTRODUCTION))?;
        let received = ring.receive(&mut request)?;
        ring.set_deadline(None)?;
        match (received, Request::unpack(&request)) {
            (Some(Kind::Posted), Some(Request::Attach(cookie))) => Ok(Service {
                ring,
                channel: Some(Arc::new(accept(device, cookie)?)),
            }),
            _ => Err(Error::Protocol("another request than the first")),
        }
    }

    /// Over a connection alone, with no memory.
    pub fn over(ring: Box<dyn RingServer>) -> Self {
        Service {
            ring,
            channel: None,
        }
    }

    /// The memory that is shared with the client, and its size. The client can change it at any
    /// time. It is there while [`Self::run`] runs.
    pub fn memory(&self) -> Option<(NonNull<u8>, usize)> {
        self.channel.as_ref().map(|channel| channel.memory())
    }

    /// Serves the client until it leaves. By messages `entry` is called on this thread, exitless
    /// on others', also at the same time.
    pub fn run(mut self, entry: Entry, options: Options) -> Result<(), Error> {
        let server = self.offer(entry, options);
        let offer = match &server {
            Ok(_) => Offer::Exitless,
            Err(error) => {
                log(format_args!("{error}: calls go by ring"));
                Offer::Ring(error.errno())
            }
        };
        let mut request = Vec::new();
        while let Some(kind) = self.ring.receive(&mut request)? {
            let reply = match (kind, Request::unpack(&request)) {
                (Kind::Call, Some(Request::Begin)) => offer.pack(),
                (Kind::Call, Some(Request::Call([a, b, c, d, e, f]))) => {
                    pack(&[entry(a, b, c, d, e, f)])
                }
                _ => return Err(Error::Protocol("an unknown request")),
            };
            self.ring.reply(&[IoSlice::new(&reply)])?;
        }
        Ok(())
    }

    fn offer(&self, entry: Entry, options: Options) -> Result<Server, Error> {
        let channel = self
            .channel
            .as_ref()
            .ok_or(Error::Unsupported("no channel"))?;
        let server = Server::new(channel, entry, options)?;
        let (start, length) = channel.memory();
        let start = start.as_ptr().addr();
        server.register(start..start + length, Rights::READ_WRITE)?;
        Ok(server)
    }
}

/// The channel of the client that writes this word there.
fn accept(device: &path::Path, cookie: u64) -> Result<Channel, Error> {
    let what = |errno| Error::system("cannot take in the client's memory", errno);
    let deadline = Instant::now() + SETUP;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(what(Errno::TIMEDOUT));
        }
        let channel = Channel::accept(device, left)?;
        let introduction = Instant::now() + INTRODUCTION;
        let mut seen = channel.look().map_err(what)?;
        loop {
            match channel.cookie() {
                0 if !seen.closed => {}
                its if its == cookie => return Ok(channel),
                // Somebody else's.
                _ => break,
            }
            let left = introduction.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match channel.wait(seen.event, left) {
                Ok(wake) => seen = wake,
                Err(Errno::INTR | Errno::TIMEDOUT) => {}
                Err(errno) => return Err(what(errno)),
            }
        }
    }
}

/// A client's side of a service. Exitless calls of several threads run at the same time; the server
/// carries out messages one after the other.
pub struct Caller {
    ring: Box<dyn RingClient>,
    channel: Option<Arc<Channel>>,
    client: Option<Client>,
    refused: AtomicBool,
}

impl Caller {
    /// `device`: the guest driver's, `/dev/wormhole_guestN`.
    pub fn connect(device: impl AsRef<path::Path>) -> Result<Self, Error> {
        let device = device.as_ref();
        let ring = wormhole_transport::connect(&Config::ring(device))?;
        let cookie = random()?;
        ring.post(&[IoSlice::new(&Request::Attach(cookie).pack())])?;
        ring.flush()?;
        let channel = Channel::connect(device, SETUP)?;
        channel.set_cookie(cookie);
        channel
            .notify()
            .map_err(|errno| Error::system("cannot notify the server", errno))?;
        Self::begin(ring, Some(Arc::new(channel)))
    }

    /// Over a connection alone, with no memory.
    pub fn over(ring: Box<dyn RingClient>) -> Result<Self, Error> {
        Self::begin(ring, None)
    }

    fn begin(ring: Box<dyn RingClient>, channel: Option<Arc<Channel>>) -> Result<Self, Error> {
        let mut reply = Vec::new();
        ring.call(&[IoSlice::new(&Request::Begin.pack())], &mut reply)?;
        let offer = Offer::unpack(&reply).ok_or(Error::Protocol("no offer"))?;
        let client = match (offer, &channel) {
            (Offer::Exitless, Some(channel)) => Client::bind(channel),
            (Offer::Exitless, None) => Err(Error::Protocol("an offer without a channel")),
            (Offer::Ring(errno), _) => Err(match errno {
                libc::EOPNOTSUPP => Error::Unsupported("the server has no VMFUNC"),
                errno => Error::system(
                    "the server cannot serve exitless calls",
                    Errno::from_raw_os_error(errno),
                ),
            }),
        };
        let client = match client {
            Ok(client) => Some(client),
            Err(error) => {
                log(format_args!("{error}: calls go by ring"));
                None
            }
        };
        Ok(Caller {
            ring,
            channel,
            client,
            refused: AtomicBool::new(false),
        })
    }

    /// The memory that is shared with the server, and its size. The server can change it at any
    /// time. It is there as long as this object.
    pub fn memory(&self) -> Option<(NonNull<u8>, usize)> {
        self.channel.as_ref().map(|channel| channel.memory())
    }

    /// The way that calls go.
    pub fn path(&self) -> Path {
        match &self.client {
            Some(_) if !self.refused.load(Ordering::Relaxed) => Path::Vmfunc,
            _ => Path::Ring,
        }
    }

    /// Exitless calls that hopped home so far.
    pub fn hops(&self) -> u64 {
        self.client.as_ref().map_or(0, Client::hops)
    }

    /// Calls the server's function.
    ///
    /// # Safety
    /// As for [`Client::call`].
    pub unsafe fn call(&self, arguments: [u64; 6]) -> Result<u64, CallError> {
        let [a, b, c, d, e, f] = arguments;
        match &self.client {
            Some(client) if !self.refused.load(Ordering::Relaxed) => {
                // SAFETY: the caller vouches for it.
                match unsafe { client.call(a, b, c, d, e, f) } {
                    Err(error @ CallError::Refused(_)) => {
                        if !self.refused.swap(true, Ordering::Relaxed) {
                            log(format_args!("{error}: calls go by ring"));
                        }
                    }
                    other => return other,
                }
            }
            _ => {}
        }
        self.call_by_ring(arguments)
    }

    fn call_by_ring(&self, arguments: [u64; 6]) -> Result<u64, CallError> {
        let request = Request::Call(arguments).pack();
        let mut reply = Vec::with_capacity(8);
        let called = self.ring.call(&[IoSlice::new(&request)], &mut reply);
        called.map_err(|error| match error {
            wormhole_transport::Error::PeerGone => CallError::Gone,
            error => CallError::Failed(Error::from(error).errno()),
        })?;
        match unpack(&reply) {
            Some([result]) => Ok(result),
            None => Err(CallError::Failed(libc::EPROTO)),
        }
    }
}

#[cfg(test)]
mod tests {
    use wormhole_transport::Limits;

    use super::*;

    extern "C" fn six(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> u64 {
        ((((a * 10 + b) * 10 + c) * 10 + d) * 10 + e) * 10 + f
    }

    #[test]
    fn calls_go_by_ring_where_there_is_nothing_better() {
        let (client, server) = wormhole_transport::pair(&Limits::default()).unwrap();
        let service = std::thread::spawn(|| Service::over(server).run(six, Options::default()));
        let caller = Caller::over(client).unwrap();
        assert_eq!((caller.path(), caller.hops()), (Path::Ring, 0));
        assert!(caller.memory().is_none());
        for _ in 0..100 {
            // SAFETY: `six` takes any numbers.
            assert_eq!(unsafe { caller.call([1, 2, 3, 4, 5, 6]) }, Ok(123_456));
        }
        drop(caller);
        service.join().unwrap().unwrap();
    }

    #[test]
    fn a_server_that_talks_rubbish_is_an_error() {
        let (client, mut server) = wormhole_transport::pair(&Limits::default()).unwrap();
        let server = std::thread::spawn(move || {
            let mut request = Vec::new();
            server.receive(&mut request).unwrap();
            server.reply(&[IoSlice::new(&[1, 2, 3])]).unwrap();
        });
        assert!(matches!(Caller::over(client), Err(Error::Protocol(_))));
        server.join().unwrap();
    }

    #[test]
    fn a_client_that_says_nothing_does_not_keep_the_others_waiting() {
        let (client, server) = wormhole_transport::pair(&Limits::default()).unwrap();
        let attached = Service::attach(server, path::Path::new("/dev/null"));
        assert!(matches!(
            attached,
            Err(Error::Transport(wormhole_transport::Error::TimedOut))
        ));
        drop(client);
    }

    #[test]
    fn a_client_that_talks_rubbish_ends_the_service() {
        let (client, server) = wormhole_transport::pair(&Limits::default()).unwrap();
        let service = std::thread::spawn(|| Service::over(server).run(six, Options::default()));
        let mut reply = Vec::new();
        assert!(client
            .call(&[IoSlice::new(b"rubbish")], &mut reply)
            .is_err());
        assert!(matches!(service.join().unwrap(), Err(Error::Protocol(_))));
    }
}
