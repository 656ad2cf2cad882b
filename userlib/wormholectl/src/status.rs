// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `wormholectl stat --json` prints and the control socket answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wormhole_opencl_protocol::api::FUNCTION_NAMES;
use wormhole_window::{Count, FunctionCounts, COUNTED_FUNCTIONS};

/// One pairing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub name: String,
    /// Who holds it: `serve` or `pair`.
    pub holder: Holder,
    /// The holder's process.
    pub pid: u32,
    pub uptime_s: u64,
    pub pairing: PairingStatus,
    pub vms: Vec<VmStatus>,
    /// Only where the holder is `serve`.
    pub window: Option<WindowStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    Serve,
    Pair,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingStatus {
    pub state: PairingState,
    /// Why it is not paired, if that needs saying.
    pub reason: Option<String>,
    /// The kernel's statistics (`wormhole-KEY` in fdinfo, by KEY).
    pub statistics: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairingState {
    /// `--no-pair`
    Off,
    /// A VM is missing.
    Waiting,
    /// Both VMs are there; trying again soon.
    Retrying,
    /// Both VMs are there; will not work until something changes.
    Failed,
    Paired,
    /// `wormholectl unpair`, until `wormholectl pair NAME`.
    Held,
}

impl PairingState {
    /// The state as the JSON names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            PairingState::Off => "off",
            PairingState::Waiting => "waiting",
            PairingState::Retrying => "retrying",
            PairingState::Failed => "failed",
            PairingState::Paired => "paired",
            PairingState::Held => "held",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmStatus {
    /// `server` or `client`
    pub role: String,
    pub state: VmState,
    /// QEMU's process; 0 if it lives in another pid namespace.
    pub pid: Option<i32>,
    pub connected_s: Option<u64>,
    /// `link[]` of the window: odd while connected.
    pub link: Option<u32>,
    /// KVM's counters of this VM, from debugfs, where readable.
    #[serde(default)]
    pub kvm: Option<BTreeMap<String, u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VmState {
    Absent,
    /// Connected to the socket, has no KVM VM yet.
    Starting,
    Connected,
}

impl VmState {
    /// The state as the JSON names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            VmState::Absent => "absent",
            VmState::Starting => "starting",
            VmState::Connected => "connected",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowStatus {
    /// Bytes.
    pub size: u64,
    /// Bytes.
    pub channel_size: u64,
    pub channels: u32,
    /// The channels that are not closed on both sides.
    pub open: Vec<ChannelStatus>,
    /// The functions that were used by the open channels' connections, and by the last one of each
    /// closed channel.
    #[serde(default)]
    pub functions: Vec<FunctionStatus>,
}

/// A channel's words, as the VMs wrote them: not to be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    pub channel: u32,
    /// 0 = closed, otherwise the connection's number.
    pub state_server: u32,
    pub state_client: u32,
    /// Notifications sent to the server.
    pub event_server: u32,
    /// Notifications sent to the client.
    pub event_client: u32,
}

/// How the requests of a function went, as the VMs count them: not to be relied on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionStatus {
    /// None: those whose numbers are too large to be counted apart.
    pub number: Option<usize>,
    /// None: OpenCL has no function of that number.
    pub name: Option<String>,
    /// The client VM's: exitless, of these hopped home, posted into batches, by ring.
    pub delegated: u64,
    pub hopped: u64,
    pub posted: u64,
    pub home: u64,
    /// The server VM's: requests during which the call hopped home, by cause.
    pub causes: BTreeMap<String, u64>,
}

impl FunctionStatus {
    /// Those of which anything was counted. `counts`: by number, the last those of all others.
    pub fn used(counts: &[FunctionCounts]) -> Vec<FunctionStatus> {
        let used = counts.iter().enumerate().filter(|(_, of)| !of.is_zero());
        used.map(|(row, of)| {
            let name = FUNCTION_NAMES.get(row).map(|name| (*name).to_owned());
            let causes = Count::CAUSES.map(|cause| (cause.as_str().to_owned(), of.get(cause)));
            FunctionStatus {
                number: (row < COUNTED_FUNCTIONS).then_some(row),
                name,
                delegated: of.get(Count::Delegated),
                hopped: of.get(Count::Hopped),
                posted: of.get(Count::Posted),
                home: of.get(Count::Home),
                causes: causes.into(),
            }
        })
        .collect()
    }

    /// What people call it.
    pub fn title(&self) -> String {
        match (&self.name, self.number) {
            (Some(name), _) => name.clone(),
            (None, Some(number)) => format!("function {number}"),
            (None, None) => "others".to_owned(),
        }
    }
}
