// SPDX-License-Identifier: GPL-2.0

//! What is told of a pairing, and how it is written: fdinfo, and debugfs.

use crate::{
    kvm::Exits,
    name::Name,
    pairing::{Pairing, State},
    switch::Counts,
};
use kernel::{debugfs::ScopedDir, fmt, seq_file::SeqFile, seq_print, sync::Arc};

/// One VM of a pairing.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    /// Of the thread that created the VM, in the initial PID namespace.
    pub(crate) pid: i32,
    /// Up to now, or to the end of the pairing.
    pub(crate) exits: Exits,
}

/// By `WORMHOLE_HOP_*`.
const HOP_CAUSES: [&str; 5] = [
    "exception",
    "system-call",
    "memory",
    "instruction",
    "client",
];

/// A pairing at one moment.
pub(crate) struct Statistics {
    pub(crate) id: u64,
    pub(crate) name: Name,
    pub(crate) state: State,
    /// Seconds since the VMs were paired.
    pub(crate) age_s: i64,
    pub(crate) client: Side,
    pub(crate) server: Side,
    pub(crate) counts: Counts,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Paired => "paired",
            Self::ClientGone => "client-gone",
            Self::ServerGone => "server-gone",
            Self::Closed => "closed",
        }
    }
}

impl Statistics {
    /// One "wormhole-KEY: value" line each.
    pub(crate) fn write_fdinfo(&self, m: &SeqFile) {
        seq_print!(m, "wormhole-id: {}\n", self.id);
        seq_print!(m, "wormhole-name: {}\n", self.name.as_str());
        seq_print!(m, "wormhole-state: {}\n", self.state.as_str());
        seq_print!(m, "wormhole-age-seconds: {}\n", self.age_s);
        seq_print!(m, "wormhole-client-pid: {}\n", self.client.pid);
        seq_print!(m, "wormhole-client-exits: {}\n", self.client.exits.all);
        seq_print!(
            m,
            "wormhole-client-interrupt-exits: {}\n",
            self.client.exits.interrupts
        );
        seq_print!(m, "wormhole-server-pid: {}\n", self.server.pid);
        seq_print!(m, "wormhole-server-exits: {}\n", self.server.exits.all);
        seq_print!(
            m,
            "wormhole-server-interrupt-exits: {}\n",
            self.server.exits.interrupts
        );
        let counts = &self.counts;
        seq_print!(m, "wormhole-calls: {}\n", counts.calls);
        seq_print!(m, "wormhole-stops: {}\n", counts.stops);
        seq_print!(m, "wormhole-resumes: {}\n", counts.resumes);
        seq_print!(m, "wormhole-refusals: {}\n", counts.refusals);
        for (cause, hops) in HOP_CAUSES.iter().zip(counts.hops) {
            seq_print!(m, "wormhole-hops-{}: {}\n", cause, hops);
        }
        seq_print!(m, "wormhole-table-bytes: {}\n", counts.table_bytes);
    }

    /// A line of the table, the name last since it may be empty.
    pub(crate) fn write_table_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} {} {} {} {} {} {} {} {} {}",
            self.id,
            self.state.as_str(),
            self.age_s,
            self.client.pid,
            self.client.exits.all,
            self.client.exits.interrupts,
            self.server.pid,
            self.server.exits.all,
            self.server.exits.interrupts,
            self.name.as_str(),
        )
    }
}

/// The table's first line.
pub(crate) fn write_table_head(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(
        "id state age-seconds client-pid client-exits client-interrupt-exits \
         server-pid server-exits server-interrupt-exits name\n",
    )
}

/// Fills a pairing's directory in debugfs: one value, one file.
pub(crate) fn populate<'data>(pairing: &'data Arc<Pairing>, dir: &ScopedDir<'data, '_>) {
    macro_rules! file {
        ($name:literal, $($value:tt)+) => {
            dir.read_callback_file($name, pairing, &|pairing: &Arc<Pairing>, f: &mut fmt::Formatter<'_>| {
                writeln!(f, "{}", pairing.statistics().$($value)+)
            });
        };
    }

    file!(c"name", name.as_str());
    file!(c"state", state.as_str());
    file!(c"age_seconds", age_s);
    file!(c"client_pid", client.pid);
    file!(c"client_exits", client.exits.all);
    file!(c"client_interrupt_exits", client.exits.interrupts);
    file!(c"server_pid", server.pid);
    file!(c"server_exits", server.exits.all);
    file!(c"server_interrupt_exits", server.exits.interrupts);
    file!(c"calls", counts.calls);
    file!(c"stops", counts.stops);
    file!(c"resumes", counts.resumes);
    file!(c"refusals", counts.refusals);
    file!(c"hops_exception", counts.hops[0]);
    file!(c"hops_system_call", counts.hops[1]);
    file!(c"hops_memory", counts.hops[2]);
    file!(c"hops_instruction", counts.hops[3]);
    file!(c"hops_client", counts.hops[4]);
    file!(c"table_bytes", counts.table_bytes);
}
