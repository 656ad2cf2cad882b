// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The threads that carry out what comes by message.
//!
//! One of them receives, and carries out one request after the other. Before a call that may
//! take long it lets another one receive; so requests behind such a call do not wait for it. All
//! that a thread of the client's gave before it has been carried out by then.

use std::io::IoSlice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;

use wormhole_transport::{Error, Kind, Server, SetAside};

use crate::lock;
use crate::serve::{Handler, ServeError};

/// Stack of one: a vendor's compiler may run there.
pub(crate) const STACK: usize = 8 << 20;
/// Most calls of a client that may take long and are under way by message. Each has a thread.
pub(crate) const MOST: usize = 256;

struct Workers<H: Handler> {
    /// Who has it receives. `None` when that is over.
    server: Mutex<Option<Box<dyn Server>>>,
    handler: H,
    /// Threads that wait for `server`, or are about to.
    idle: AtomicUsize,
    threads: AtomicUsize,
    /// Most threads.
    most: usize,
    ended: mpsc::Sender<Result<(), ServeError<H::Error>>>,
}

/// Carries out what comes until the client goes. Calls may then still be under way; at most
/// `most` that may take long are at once.
pub(crate) fn work<H: Handler + 'static>(
    server: Box<dyn Server>,
    handler: H,
    most: usize,
) -> Result<(), ServeError<H::Error>> {
    let (ended, end) = mpsc::channel();
    let workers = Arc::new(Workers {
        server: Mutex::new(Some(server)),
        handler,
        idle: AtomicUsize::new(0),
        threads: AtomicUsize::new(0),
        most: most + 1,
        ended,
    });
    workers.start().map_err(Error::Io)?;
    drop(workers);
    end.recv().unwrap_or(Ok(()))
}

impl<H: Handler + 'static> Workers<H> {
    fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let workers = self.clone();
        let run = move || {
            if let Some(result) = workers.run().transpose() {
                // Nobody listens after the first.
                let _ = workers.ended.send(result);
            }
        };
        let builder = thread::Builder::new().stack_size(STACK);
        builder.name("worker".into()).spawn(run)?;
        self.threads.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Sees to it that there is a thread to receive. Only who does so asks.
    fn has_another(self: &Arc<Self>) -> bool {
        self.idle.load(Ordering::Relaxed) > 0
            || (self.threads.load(Ordering::Relaxed) < self.most && self.start().is_ok())
    }

    /// `None` if another thread has seen the end.
    fn run(self: &Arc<Self>) -> Result<Option<()>, ServeError<H::Error>> {
        let mut request = Vec::new();
        loop {
            self.idle.fetch_add(1, Ordering::Relaxed);
            let mut receiving = lock(&self.server);
            self.idle.fetch_sub(1, Ordering::Relaxed);
            let Some(server) = &mut *receiving else {
                return Ok(None);
            };
            let next = self.receive(server.as_mut(), &mut request);
            if !matches!(next, Ok(Some(_))) {
                *receiving = None;
            }
            drop(receiving);
            let Some(mut call) = next? else {
                return Ok(Some(()));
            };
            let mut reply = |parts: &[IoSlice<'_>]| call.reply(parts);
            let handled = self.handler.handle(&request, Kind::Call, &mut reply);
            handled.map_err(ServeError::Handler)?;
        }
    }

    /// Carries out what comes up to a call that may take long, for which another thread than the
    /// one that will receive next is needed. `None`: the client has gone.
    fn receive(
        self: &Arc<Self>,
        server: &mut dyn Server,
        request: &mut Vec<u8>,
    ) -> Result<Option<Box<dyn SetAside>>, ServeError<H::Error>> {
        while let Some(kind) = server.receive(request)? {
            let mut reply = |parts: &[IoSlice<'_>]| server.reply(parts);
            let done = match kind == Kind::Call && self.handler.blocks(request) {
                false => self.handler.handle(request, kind, &mut reply),
                true if self.has_another() => return Ok(Some(server.set_aside()?)),
                true => self.handler.refuse(&mut reply),
            };
            done.map_err(ServeError::Handler)?;
        }
        Ok(None)
    }
}
