// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server's side of one client, which may ask for exitless calls or not.

use std::fmt::Display;
use std::io::IoSlice;
use std::sync::{Arc, Mutex, OnceLock};

use wormhole_delegate::{Options, Rights};
use wormhole_transport::{Error, Kind, Server, Spare};

use crate::areas::Areas;
use crate::connect::channel;
use crate::desk::Desk;
use crate::greeting::{Grow, Offer, Upgrade};
use crate::workers::{work, MOST, STACK};
use crate::{lock, FIRST_CARRIERS};

/// Gives the reply to a call.
///
/// # Errors
/// [`Error::TooLarge`] if the client would not accept it: another one can be given.
pub type Reply<'a> = dyn FnMut(&[IoSlice<'_>]) -> Result<(), Error> + 'a;

/// What carries out requests.
pub trait Handler: Send + Sync {
    /// Why a client cannot be served any longer.
    type Error: Display + Send;

    /// Whether this call may take long, so that no other request must wait for it.
    fn blocks(&self, request: &[u8]) -> bool;

    /// Carries out a request. `reply` is to be called if it is a [`Kind::Call`]. Calls
    /// that may take long come from several threads at once.
    ///
    /// # Errors
    /// If the client cannot be served any longer.
    fn handle(&self, request: &[u8], kind: Kind, reply: &mut Reply<'_>) -> Result<(), Self::Error>;

    /// Replies to a call that may take long that it is not carried out: too many are
    /// under way.
    ///
    /// # Errors
    /// As for [`handle`](Handler::handle).
    fn refuse(&self, reply: &mut Reply<'_>) -> Result<(), Self::Error>;

    /// A delegated call was the last one: nothing will be carried out any more. May end
    /// the process.
    fn over(&self, why: &dyn Display);
}

/// Why a client is not served any longer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError<E: Display> {
    /// The connection failed.
    #[error(transparent)]
    Transport(#[from] Error),
    /// The client sent something that is no request.
    #[error("{0}")]
    Handler(E),
}

/// Something that delegated calls come to.
trait Called: Send + Sync {
    fn call(&self, operation: u64, argument: u64) -> u64;
}

impl<H: Handler> Called for Desk<H> {
    fn call(&self, operation: u64, argument: u64) -> u64 {
        Desk::call(self, operation, argument)
    }
}

/// Where the delegated calls of this process's one client come to.
static CALLED: OnceLock<Arc<dyn Called>> = OnceLock::new();

extern "C" fn entry(operation: u64, argument: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    match CALLED.get() {
        Some(called) => called.call(operation, argument),
        None => crate::OVER,
    }
}

/// Serves a client until it goes. `spare` is its channel's; without it, or if the client does
/// not ask for exitless calls, all goes by messages. At most `carriers` exitless calls are
/// under way at once, and one process can have one client that makes any.
///
/// # Errors
/// If the connection fails or the client breaks the protocol.
pub fn serve<H: Handler + 'static>(
    mut ring: Box<dyn Server>,
    spare: Option<Spare>,
    handler: H,
    max_message: u32,
    carriers: u32,
) -> Result<(), ServeError<H::Error>> {
    let mut request = Vec::new();
    let Some(kind) = ring.receive(&mut request)? else {
        return Ok(());
    };
    // What is no greeting is a request, good or bad.
    let upgrade = match kind {
        Kind::Call => Upgrade::unpack(&request),
        Kind::Posted => None,
    };
    if let (Some(upgrade), Some(spare)) = (upgrade, spare) {
        let areas = Areas::new(spare)?;
        let desk = Arc::new(Desk::new(areas, handler, upgrade.max_message, max_message));
        return attend(ring, desk, max_message, carriers);
    }
    if upgrade.is_some() {
        answer(&mut *ring, libc::EOPNOTSUPP, max_message)?;
    } else {
        let mut reply = |parts: &[IoSlice<'_>]| ring.reply(parts);
        let handled = handler.handle(&request, kind, &mut reply);
        handled.map_err(ServeError::Handler)?;
    }
    work(ring, handler, MOST)
}

/// Answers a greeting.
fn answer(ring: &mut dyn Server, errno: i32, max_message: u32) -> Result<(), Error> {
    let offer = Offer { errno, max_message };
    ring.reply(&[IoSlice::new(&offer.pack())])
}

/// Serves a client that would like exitless calls.
fn attend<H: Handler + 'static>(
    mut ring: Box<dyn Server>,
    desk: Arc<Desk<H>>,
    max_message: u32,
    carriers: u32,
) -> Result<(), ServeError<H::Error>> {
    let server = open(&desk, carriers.min(FIRST_CARRIERS));
    let errno = server.as_ref().map_or_else(|error| error.errno(), |_| 0);
    answer(&mut *ring, errno, max_message)?;
    let server = Arc::new(Mutex::new(server.ok()));
    let growing = server.clone();
    let grow = move |wanted: u32| match &mut *lock(&growing) {
        Some(server) => server.grow(wanted.min(carriers)),
        None => 0,
    };
    let served = messages(ring, desk, grow);
    // The session ends before this returns, and with it the last delegated call.
    let session = lock(&server).take();
    drop(session);
    served
}

/// Carries out what comes by ring. `grow` makes more carriers, and gives how many there are.
pub(crate) fn messages<H: Handler + 'static>(
    ring: Box<dyn Server>,
    desk: Arc<Desk<H>>,
    grow: impl Fn(u32) -> u32 + Send + Sync + 'static,
) -> Result<(), ServeError<H::Error>> {
    work(ring, ByRing { desk, grow }, MOST).map_err(|error| match error {
        ServeError::Transport(error) | ServeError::Handler(ServeError::Transport(error)) => {
            ServeError::Transport(error)
        }
        ServeError::Handler(ServeError::Handler(error)) => ServeError::Handler(error),
    })
}

/// What comes by ring where there are exitless calls.
struct ByRing<H, G> {
    desk: Arc<Desk<H>>,
    grow: G,
}

impl<H, G> Handler for ByRing<H, G>
where
    H: Handler,
    G: Fn(u32) -> u32 + Send + Sync,
{
    type Error = ServeError<H::Error>;

    fn blocks(&self, request: &[u8]) -> bool {
        self.desk.handler().blocks(request)
    }

    fn handle(&self, request: &[u8], kind: Kind, reply: &mut Reply<'_>) -> Result<(), Self::Error> {
        if let (Kind::Call, Some(wanted)) = (kind, Grow::unpack(request)) {
            let carriers = (self.grow)(wanted.carriers).to_le_bytes();
            return Ok(reply(&[IoSlice::new(&carriers)])?);
        }
        let handled = self.desk.message(request, kind, reply);
        handled.map_err(ServeError::Handler)
    }

    fn refuse(&self, reply: &mut Reply<'_>) -> Result<(), Self::Error> {
        let refused = self.desk.handler().refuse(reply);
        refused.map_err(ServeError::Handler)
    }

    fn over(&self, why: &dyn Display) {
        self.desk.handler().over(why);
    }
}

/// Opens the session of exitless calls.
fn open<H: Handler + 'static>(
    desk: &Arc<Desk<H>>,
    carriers: u32,
) -> Result<wormhole_delegate::Server, wormhole_delegate::Error> {
    let channel = channel(desk.areas())?;
    let called: Arc<dyn Called> = desk.clone();
    if CALLED.set(called).is_err() {
        return Err(wormhole_delegate::Error::Unsupported(
            "this process has a client already",
        ));
    }
    let options = Options {
        carriers,
        stack: STACK,
        present: true,
        ..Options::default()
    };
    let server = wormhole_delegate::Server::new(&channel, entry, options)?;
    server.register(desk.areas().addresses(), Rights::READ_WRITE)?;
    Ok(server)
}
