// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connecting by the best way there is.

use std::io::{self, IoSlice};
use std::sync::Arc;

use wormhole_delegate::{Channel, Client as DelegateClient};
use wormhole_transport::{Client, Config, Counts, DataArea, Endpoint, Error};
use wormhole_window::Count;

use crate::areas::Areas;
use crate::client::{Refused, VmfuncClient};
use crate::function_of;
use crate::greeting::{Offer, Upgrade};

/// The client's end of a connection, for all its threads.
pub struct Connection {
    way: Way,
    data: Option<DataArea>,
}

enum Way {
    Messages {
        client: Box<dyn Client>,
        /// If it has a channel.
        counts: Option<Counts>,
    },
    Vmfunc(Arc<VmfuncClient<DelegateClient>>),
}

impl Connection {
    /// The memory that the server's end has, too, if there is any.
    pub fn data(&self) -> Option<&DataArea> {
        self.data.as_ref()
    }

    /// As [`Client::post`].
    ///
    /// # Errors
    /// As there.
    pub fn post(&self, request: &[IoSlice<'_>]) -> Result<(), Error> {
        match &self.way {
            Way::Messages { client, counts } => {
                count_home(counts.as_ref(), request);
                client.post(request)
            }
            Way::Vmfunc(client) => client.post(request),
        }
    }

    /// As [`Client::call`]. If it may take long, `blocking`, other threads' calls do not
    /// wait for it where they would for others.
    ///
    /// # Errors
    /// As there.
    pub fn call(
        &self,
        request: &[IoSlice<'_>],
        reply: &mut Vec<u8>,
        blocking: bool,
    ) -> Result<(), Error> {
        match &self.way {
            Way::Messages { client, counts } => {
                count_home(counts.as_ref(), request);
                client.call(request, reply)
            }
            Way::Vmfunc(client) => client.call(request, reply, blocking),
        }
    }

    /// As [`Client::call`], by message in any case: it waits in the server for something
    /// to happen.
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self, request: &[IoSlice<'_>], reply: &mut Vec<u8>) -> Result<(), Error> {
        match &self.way {
            Way::Messages { client, counts } => {
                count_home(counts.as_ref(), request);
                client.call(request, reply)
            }
            Way::Vmfunc(client) => client.wait(request, reply),
        }
    }

    /// As [`Client::flush`].
    ///
    /// # Errors
    /// As there.
    pub fn flush(&self) -> Result<(), Error> {
        match &self.way {
            Way::Messages { client, .. } => client.flush(),
            Way::Vmfunc(client) => client.flush(),
        }
    }

    /// As [`flush`](Connection::flush), unless another thread is sending.
    ///
    /// # Errors
    /// As there.
    pub fn try_flush(&self) -> Result<(), Error> {
        match &self.way {
            Way::Messages { client, .. } => client.try_flush(),
            Way::Vmfunc(client) => client.try_flush(),
        }
    }

    /// Has no thread of this connection's run any more, before this code is unloaded.
    pub fn end(&self) {
        match &self.way {
            Way::Messages { .. } => {}
            Way::Vmfunc(client) => client.end(),
        }
    }

    /// Name of the transport.
    pub fn transport(&self) -> &'static str {
        match &self.way {
            Way::Messages { client, .. } => client.transport(),
            Way::Vmfunc(client) => client.transport(),
        }
    }

    /// How its requests went, if it has a channel: the host reads that, too.
    pub fn counts(&self) -> Option<&Counts> {
        match &self.way {
            Way::Messages { counts, .. } => counts.as_ref(),
            Way::Vmfunc(client) => Some(client.counts()),
        }
    }
}

fn count_home(counts: Option<&Counts>, request: &[IoSlice<'_>]) {
    if let Some(counts) = counts {
        counts.add_shared(function_of(request), Count::Home);
    }
}

/// What [`connect`] gives.
pub struct Connected {
    /// The connection.
    pub connection: Connection,
    /// Why it is not exitless, where that was to be tried.
    pub why: Option<wormhole_delegate::Error>,
}

/// Connects to the server that `config` names.
///
/// # Errors
/// Also if exitless calls were asked for by name, and cannot be.
pub fn connect(config: &Config) -> Result<Connected, Error> {
    let refused = match config.endpoint {
        Endpoint::Auto(_) => Refused::GoByRing,
        Endpoint::Vmfunc(_) => Refused::Fail,
        _ => {
            let (client, spare) = wormhole_transport::connect_spare(config)?;
            let parts = spare.map(|spare| (spare.data().clone(), spare.counts().clone()));
            let (data, counts) = parts.unzip();
            return Ok(Connected {
                connection: Connection {
                    way: Way::Messages { client, counts },
                    data,
                },
                why: None,
            });
        }
    };
    let (ring, spare) = wormhole_transport::connect_spare(config)?;
    let areas = spare
        .ok_or(Error::Protocol("a ring without a channel"))
        .and_then(Areas::new)?;
    let data = Some(areas.data().clone());
    let max_message = config.limits.max_message;
    let offer = ask(ring.as_ref(), max_message)?;
    match bind(&areas, offer) {
        Ok(delegate) => {
            let limits = (max_message, offer.max_message);
            let client = VmfuncClient::new(ring, delegate, areas, refused, limits);
            let way = Way::Vmfunc(client);
            Ok(Connected {
                connection: Connection { way, data },
                why: None,
            })
        }
        Err(error) if refused == Refused::Fail => Err(Error::Setup {
            what: "cannot connect by vmfunc".into(),
            source: io::Error::other(error),
        }),
        Err(error) => Ok(Connected {
            connection: Connection {
                way: Way::Messages {
                    client: ring,
                    counts: Some(areas.counts().clone()),
                },
                data,
            },
            why: Some(error),
        }),
    }
}

/// Asks the server for exitless calls.
pub(crate) fn ask(ring: &dyn Client, max_message: u32) -> Result<Offer, Error> {
    let mut reply = Vec::new();
    let request = Upgrade { max_message }.pack();
    ring.call(&[IoSlice::new(&request)], &mut reply)?;
    Offer::unpack(&reply).ok_or(Error::Protocol("no answer to a greeting"))
}

fn bind(areas: &Areas, offer: Offer) -> Result<DelegateClient, wormhole_delegate::Error> {
    match offer.errno {
        0 => {}
        libc::EOPNOTSUPP => {
            return Err(wormhole_delegate::Error::Unsupported(
                "the server has no VMFUNC",
            ))
        }
        errno => {
            return Err(wormhole_delegate::Error::System {
                what: "the server cannot serve exitless calls".into(),
                source: io::Error::from_raw_os_error(errno),
            })
        }
    }
    DelegateClient::bind(&channel(areas)?)
}

/// The channel that the areas belong to, as exitless calls want it.
pub(crate) fn channel(areas: &Areas) -> Result<Arc<Channel>, wormhole_delegate::Error> {
    let file = areas
        .file()
        .ok_or(wormhole_delegate::Error::Unsupported(
            "not a channel of the guest driver",
        ))?
        .try_clone_to_owned()
        .map_err(|source| wormhole_delegate::Error::System {
            what: "no file descriptor for exitless calls".into(),
            source,
        })?;
    Channel::from_fd(file).map(Arc::new)
}
