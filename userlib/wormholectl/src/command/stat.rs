// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `wormholectl stat`

use std::fmt::Write;
use std::path::Path;

use wormhole_window::Name;

use super::{ask_holder, print};
use crate::cli::{Cli, Stat};
use crate::control::{Op, Response};
use crate::error::{Error, Kind};
use crate::kvm_counters;
use crate::size::Size;
use crate::socket::Paths;
use crate::status::{FunctionStatus, Holder, Status, VmStatus};

/// The counters that people see; the JSON has all.
const COUNTERS: [&str; 6] = [
    "exits",
    "io_exits",
    "mmio_exits",
    "halt_exits",
    "irq_exits",
    "irq_injections",
];

pub fn run(cli: &Cli, args: &Stat) -> Result<(), Error> {
    if let Some(name) = args.name {
        let status = ask(cli, name)?;
        return print(cli, &status, &text(&status));
    }
    let mut all = Vec::new();
    for name in Paths::names(&cli.run_dir)? {
        match ask(cli, name) {
            Ok(status) => all.push(status),
            // Left over from a killed holder, or just ended.
            Err(error) if error.kind == Kind::NotThere => log::debug!("{error}"),
            Err(error) => log::warn!("{name}: {error}"),
        }
    }
    let text: String = all.iter().map(text).collect();
    print(cli, &all, &text)
}

fn ask(cli: &Cli, name: Name) -> Result<Status, Error> {
    match ask_holder(&cli.run_dir, name, Op::Stat)? {
        Response::Status(mut status) => {
            for vm in &mut status.vms {
                let root = Path::new(kvm_counters::KVM_DEBUGFS);
                vm.kvm = vm.pid.and_then(|pid| kvm_counters::read(root, pid));
            }
            Ok(*status)
        }
        Response::Error(error) => Err(error),
        Response::Done(_) => Err(Error::failure("an answer to another question")),
    }
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_status(&mut text, status);
    text
}

fn write_status(out: &mut String, status: &Status) -> std::fmt::Result {
    let holder = match status.holder {
        Holder::Serve => "served",
        Holder::Pair => "held",
    };
    write!(
        out,
        "{}: {}, {holder} by pid {} for {} s",
        status.name,
        status.pairing.state.as_str(),
        status.pid,
        status.uptime_s
    )?;
    match &status.pairing.reason {
        Some(reason) => writeln!(out, " ({reason})")?,
        None => writeln!(out)?,
    }
    for vm in &status.vms {
        write_vm(out, vm)?;
    }
    for (key, value) in &status.pairing.statistics {
        writeln!(out, "  kernel     {key} {value}")?;
    }
    if let Some(window) = &status.window {
        writeln!(
            out,
            "  window     {}, {} channels of {}, {} open",
            Size(window.size),
            window.channels,
            Size(window.channel_size),
            window.open.len()
        )?;
        for channel in &window.open {
            writeln!(
                out,
                "  channel {:<3}server {}, client {}, events to server {}, to client {}",
                channel.channel,
                connection(channel.state_server),
                connection(channel.state_client),
                channel.event_server,
                channel.event_client
            )?;
        }
        write_functions(out, &window.functions)?;
    }
    Ok(())
}

fn write_functions(out: &mut String, functions: &[FunctionStatus]) -> std::fmt::Result {
    if functions.is_empty() {
        return Ok(());
    }
    let mut rows = vec![["function", "delegated", "hopped", "posted", "home"].map(str::to_owned)];
    rows.extend(functions.iter().map(|of| {
        let counts = [of.delegated, of.hopped, of.posted, of.home];
        let [delegated, hopped, posted, home] = counts.map(|count| count.to_string());
        [of.title(), delegated, hopped, posted, home]
    }));
    let width = rows.iter().map(|[title, ..]| title.len()).max();
    let width = width.unwrap_or(0);
    writeln!(out, "  as the VMs say, not the host:")?;
    let causes = functions.iter().map(causes);
    let causes = std::iter::once("hops by cause".to_owned()).chain(causes);
    for ([title, delegated, hopped, posted, home], causes) in rows.iter().zip(causes) {
        let line = format!(
            "{title:<width$} {delegated:>10} {hopped:>10} {posted:>10} {home:>10}  {causes}"
        );
        writeln!(out, "    {}", line.trim_end())?;
    }
    Ok(())
}

fn causes(function: &FunctionStatus) -> String {
    let causes = function.causes.iter().filter(|(_, count)| **count > 0);
    let causes: Vec<_> = causes
        .map(|(cause, count)| format!("{cause} {count}"))
        .collect();
    causes.join(", ")
}

fn write_vm(out: &mut String, vm: &VmStatus) -> std::fmt::Result {
    write!(out, "  {} VM  {}", vm.role, vm.state.as_str())?;
    if let Some(pid) = vm.pid {
        write!(out, ", pid {pid}")?;
    }
    if let Some(seconds) = vm.connected_s {
        write!(out, ", for {seconds} s")?;
    }
    if let Some(link) = vm.link {
        write!(out, ", link {link}")?;
    }
    for name in COUNTERS {
        if let Some(value) = vm.kvm.as_ref().and_then(|counters| counters.get(name)) {
            write!(out, ", {name} {value}")?;
        }
    }
    writeln!(out)
}

fn connection(state: u32) -> String {
    match state {
        0 => "closed".into(),
        number => format!("connection {number:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::status::*;
    use wormhole_window::{Count, FunctionCounts, COUNTED_FUNCTIONS};

    #[test]
    fn for_people() {
        let vm = |role: &str| VmStatus {
            role: role.into(),
            state: VmState::Connected,
            pid: Some(7),
            connected_s: Some(3),
            link: Some(1),
            kvm: Some([("exits".to_owned(), 9), ("other".to_owned(), 1)].into()),
        };
        let mut functions = vec![FunctionCounts::default(); COUNTED_FUNCTIONS + 1];
        functions[0] = FunctionCounts::read(|count| match count {
            Count::Delegated => 120,
            Count::Hopped | Count::Memory | Count::SystemCall => 1,
            _ => 0,
        });
        functions[COUNTED_FUNCTIONS - 1] = FunctionCounts::read(|count| match count {
            Count::Posted => u64::MAX,
            _ => 0,
        });
        functions[COUNTED_FUNCTIONS] = FunctionCounts::read(|count| (count == Count::Home).into());
        let status = Status {
            name: "gpu0".into(),
            holder: Holder::Serve,
            pid: 5,
            uptime_s: 60,
            pairing: PairingStatus {
                state: PairingState::Paired,
                reason: None,
                statistics: [("calls".to_owned(), "12".to_owned())].into(),
            },
            vms: vec![vm("server"), vm("client")],
            window: Some(WindowStatus {
                size: 64 << 20,
                channel_size: 4 << 20,
                channels: 15,
                open: vec![ChannelStatus {
                    channel: 0,
                    state_server: 0,
                    state_client: 16,
                    event_server: 1,
                    event_client: 2,
                }],
                functions: FunctionStatus::used(&functions),
            }),
        };
        assert_eq!(
            text(&status),
            "gpu0: paired, served by pid 5 for 60 s\n\
             \x20 server VM  connected, pid 7, for 3 s, link 1, exits 9\n\
             \x20 client VM  connected, pid 7, for 3 s, link 1, exits 9\n\
             \x20 kernel     calls 12\n\
             \x20 window     64M, 15 channels of 4M, 1 open\n\
             \x20 channel 0  server closed, client connection 0x10, events to server 1, to client 2\n\
             \x20 as the VMs say, not the host:\n\
             \x20   function          delegated     hopped     posted       home  hops by cause\n\
             \x20   clGetPlatformIDs        120          1          0          0  memory 1, system-call 1\n\
             \x20   function 225              0          0 18446744073709551615          0\n\
             \x20   others                    0          0          0          1\n"
        );
    }
}
