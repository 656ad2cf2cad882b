// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `wormholectl list`

use serde::Serialize;

use super::{ask_holder, print};
use crate::cli::Cli;
use crate::control::{Op, Response};
use crate::error::Error;
use crate::socket::Paths;
use crate::status::{Holder, PairingState, Status};

#[derive(Serialize)]
struct Entry {
    name: String,
    /// `None` where nobody answers: left over from a killed holder.
    #[serde(flatten)]
    held: Option<Held>,
    error: Option<Error>,
}

#[derive(Serialize)]
struct Held {
    holder: Holder,
    pid: u32,
    pairing: PairingState,
    server_pid: Option<i32>,
    client_pid: Option<i32>,
}

pub fn run(cli: &Cli) -> Result<(), Error> {
    let mut entries = Vec::new();
    for name in Paths::names(&cli.run_dir)? {
        let (held, error) = match ask_holder(&cli.run_dir, name, Op::Stat) {
            Ok(Response::Status(status)) => (Some(held(&status)), None),
            Ok(_) => (None, Some(Error::failure("an answer to another question"))),
            Err(error) => (None, Some(error)),
        };
        entries.push(Entry {
            name: name.to_string(),
            held,
            error,
        });
    }
    let text: String = entries.iter().map(line).collect();
    print(cli, &entries, &text)
}

fn held(status: &Status) -> Held {
    let pid = |role: &str| {
        let vm = status.vms.iter().find(|vm| vm.role == role);
        vm.and_then(|vm| vm.pid)
    };
    Held {
        holder: status.holder,
        pid: status.pid,
        pairing: status.pairing.state,
        server_pid: pid("server"),
        client_pid: pid("client"),
    }
}

fn line(entry: &Entry) -> String {
    let name = &entry.name;
    match (&entry.held, &entry.error) {
        (Some(held), _) => {
            let pid = |pid: Option<i32>| pid.map_or("-".into(), |pid| pid.to_string());
            format!(
                "{name}  {}  holder {}  server {}  client {}\n",
                held.pairing.as_str(),
                held.pid,
                pid(held.server_pid),
                pid(held.client_pid)
            )
        }
        (None, Some(error)) => format!("{name}  {error}\n"),
        (None, None) => format!("{name}\n"),
    }
}
