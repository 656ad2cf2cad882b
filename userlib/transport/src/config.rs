// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which transport to use, from the environment or by hand.

use std::env;
use std::path::{Path, PathBuf};

use crate::{Error, Limits, VsockAddress};

/// Device of the first window of this VM.
pub const DEFAULT_DEVICE: &str = "/dev/wormhole_guest0";

/// Where the peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// The other VM of a window, the guest driver's device: by exitless calls if
    /// they work, else by messages.
    Auto(PathBuf),
    /// The same, by exitless calls.
    Vmfunc(PathBuf),
    /// The same, by messages.
    Ring(PathBuf),
    /// A process anywhere: `host:port`.
    Tcp(String),
    /// A process of the host, or of one of its VMs.
    Vsock(VsockAddress),
    /// A process of this machine, by the code of `ring` over a memfd: the Unix
    /// socket at which the server listens. For tests.
    Memfd(PathBuf),
}

/// How to reach, or be reached by, the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the peer is.
    pub endpoint: Endpoint,
    /// Bounds of this end.
    pub limits: Limits,
}

impl Config {
    /// A configuration with the default limits.
    pub fn new(endpoint: Endpoint) -> Self {
        Config {
            endpoint,
            limits: Limits::default(),
        }
    }

    /// `ring` through the device at `path`.
    pub fn ring(path: impl Into<PathBuf>) -> Self {
        Config::new(Endpoint::Ring(path.into()))
    }

    /// `tcp` at `host:port`.
    pub fn tcp(address: impl Into<String>) -> Self {
        Config::new(Endpoint::Tcp(address.into()))
    }

    /// `vsock` at `address`.
    pub fn vsock(address: VsockAddress) -> Self {
        Config::new(Endpoint::Vsock(address))
    }

    /// `memfd` at the Unix socket `path`.
    pub fn memfd(path: impl Into<PathBuf>) -> Self {
        Config::new(Endpoint::Memfd(path.into()))
    }

    /// What the environment asks for:
    ///
    /// | variable | |
    /// |---|---|
    /// | `WORMHOLE_TRANSPORT` | `auto` (`vmfunc` or else `ring`), `vmfunc`, `ring`, `tcp`, `vsock` or `memfd`; without it `auto` if the device is there, else `tcp` if its address is given |
    /// | `WORMHOLE_DEVICE` | device for `vmfunc` and `ring`; [`DEFAULT_DEVICE`] if not set |
    /// | `WORMHOLE_TCP` | `host:port` for `tcp` |
    /// | `WORMHOLE_VSOCK` | `cid:port` for `vsock`; the CID can also be `host` or `local` |
    /// | `WORMHOLE_MEMFD` | Unix socket for `memfd` |
    /// | `WORMHOLE_SPINS` | [`Limits::spins`] |
    ///
    /// A variable that is empty counts as not set.
    ///
    /// # Errors
    /// [`Error::Config`] if it names no transport, an unknown one, or one
    /// without its address, or an address or a number that is none.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(
            |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()),
            Path::exists,
        )
    }

    fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
        exists: impl Fn(&Path) -> bool,
    ) -> Result<Self, Error> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let needed =
            |name| variable(name).ok_or_else(|| Error::Config(format!("{name} is not set")));
        let device = || variable("WORMHOLE_DEVICE").unwrap_or_else(|| DEFAULT_DEVICE.into());
        let mut config = match variable("WORMHOLE_TRANSPORT").as_deref() {
            Some("auto") => Config::new(Endpoint::Auto(device().into())),
            Some("vmfunc") => Config::new(Endpoint::Vmfunc(device().into())),
            Some("ring") => Config::ring(device()),
            Some("tcp") => Config::tcp(needed("WORMHOLE_TCP")?),
            Some("vsock") => Config::vsock(vsock_peer(&needed("WORMHOLE_VSOCK")?)?),
            Some("memfd") => Config::memfd(needed("WORMHOLE_MEMFD")?),
            Some(other) => {
                return Err(Error::Config(format!(
                    "WORMHOLE_TRANSPORT is \"{other}\", which is none of auto, vmfunc, ring, tcp, vsock, memfd"
                )))
            }
            None if exists(Path::new(&device())) => {
                Config::new(Endpoint::Auto(device().into()))
            }
            None => match variable("WORMHOLE_TCP") {
                Some(address) => Config::tcp(address),
                None => {
                    return Err(Error::Config(format!(
                        "{} does not exist, and neither WORMHOLE_TRANSPORT nor WORMHOLE_TCP is set",
                        device()
                    )))
                }
            },
        };
        if let Some(spins) = variable("WORMHOLE_SPINS") {
            config.limits.spins = spins.parse().map_err(|_| {
                Error::Config(format!("WORMHOLE_SPINS is \"{spins}\", which is no number"))
            })?;
        }
        Ok(config)
    }
}

/// Where `WORMHOLE_VSOCK` says that the server is: that of one machine.
fn vsock_peer(text: &str) -> Result<VsockAddress, Error> {
    match text.parse() {
        Ok(address @ VsockAddress { cid, .. }) if cid != VsockAddress::ANY_CID => Ok(address),
        _ => Err(Error::Config(format!(
            "WORMHOLE_VSOCK is \"{text}\", which is no CID:PORT"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)], device: bool) -> Result<Endpoint, String> {
        Config::from_variables(
            |name| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| value.to_string())
            },
            |_| device,
        )
        .map(|config| config.endpoint)
        .map_err(|error| error.to_string())
    }

    fn with_vsock(address: &str) -> [(&str, &str); 2] {
        [("WORMHOLE_TRANSPORT", "vsock"), ("WORMHOLE_VSOCK", address)]
    }

    #[test]
    fn the_device_is_the_default() {
        let auto = Endpoint::Auto(DEFAULT_DEVICE.into());
        assert_eq!(config(&[], true), Ok(auto.clone()));
        assert_eq!(config(&[("WORMHOLE_TCP", "h:1")], true), Ok(auto.clone()));
        assert_eq!(config(&[("WORMHOLE_TRANSPORT", "")], true), Ok(auto));
        assert_eq!(
            config(&[("WORMHOLE_DEVICE", "/dev/x")], true),
            Ok(Endpoint::Auto("/dev/x".into()))
        );
    }

    #[test]
    fn what_is_named_is_taken() {
        for (name, endpoint) in [
            ("auto", Endpoint::Auto as fn(PathBuf) -> Endpoint),
            ("vmfunc", Endpoint::Vmfunc),
            ("ring", Endpoint::Ring),
        ] {
            assert_eq!(
                config(&[("WORMHOLE_TRANSPORT", name)], false),
                Ok(endpoint(DEFAULT_DEVICE.into()))
            );
        }
        let tcp = Ok(Endpoint::Tcp("h:1".into()));
        let address = ("WORMHOLE_TCP", "h:1");
        assert_eq!(config(&[("WORMHOLE_TRANSPORT", "tcp"), address], true), tcp);
        assert_eq!(config(&[address], false), tcp);
        let address = ("WORMHOLE_VSOCK", "host:7117");
        assert_eq!(
            config(&[("WORMHOLE_TRANSPORT", "vsock"), address], true),
            Ok(Endpoint::Vsock(VsockAddress { cid: 2, port: 7117 }))
        );
        assert_eq!(
            config(
                &[("WORMHOLE_TRANSPORT", "memfd"), ("WORMHOLE_MEMFD", "/s")],
                true
            ),
            Ok(Endpoint::Memfd("/s".into()))
        );
    }

    #[test]
    fn vsock_is_taken_only_by_name() {
        let address = ("WORMHOLE_VSOCK", "2:1");
        assert!(config(&[address], false).is_err());
        for transport in ["", "auto"] {
            assert_eq!(
                config(&[("WORMHOLE_TRANSPORT", transport), address], true),
                Ok(Endpoint::Auto(DEFAULT_DEVICE.into()))
            );
        }
    }

    #[test]
    fn errors_name_the_variable() {
        for (variables, word) in [
            (&[("WORMHOLE_TRANSPORT", "pigeon")][..], "pigeon"),
            (&[("WORMHOLE_TRANSPORT", "tcp")][..], "WORMHOLE_TCP"),
            (&[("WORMHOLE_TRANSPORT", "memfd")][..], "WORMHOLE_MEMFD"),
            (&[("WORMHOLE_TRANSPORT", "vsock")][..], "WORMHOLE_VSOCK"),
            (&with_vsock("7117")[..], "WORMHOLE_VSOCK is \"7117\""),
            (&with_vsock("4294967295:1")[..], "WORMHOLE_VSOCK"),
            (&with_vsock("host")[..], "WORMHOLE_VSOCK is \"host\""),
            (
                &[("WORMHOLE_TCP", "h:1"), ("WORMHOLE_SPINS", "-1")][..],
                "WORMHOLE_SPINS",
            ),
            (&[][..], DEFAULT_DEVICE),
        ] {
            let error = config(variables, false).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
