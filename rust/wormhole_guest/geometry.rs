// SPDX-License-Identifier: GPL-2.0

//! What the window's header says, believed only after it was checked.
//!
//! Pure: no `kernel::` imports, so that `rustc --test geometry.rs` runs the tests below.

use core::fmt;

/// The ASCII bytes "WORMHOLE", little-endian.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"WORMHOLE");
/// The version of `struct wormhole_window` that this driver knows.
pub(crate) const VERSION: u32 = 1;
/// Smallest and largest window, bytes.
pub(crate) const WINDOW_SIZE: core::ops::RangeInclusive<u64> = 1 << 20..=1 << 36;
/// Smallest channel, bytes.
pub(crate) const CHANNEL_SIZE_MIN: u64 = 1 << 18;
/// Most channels in a window.
pub(crate) const CHANNELS_MAX: u32 = 255;

/// This VM's side of the pairing: the device's ivshmem peer ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Server = 0,
    Client = 1,
}

impl Role {
    /// From register IVPosition, which reads as -1 while the device has no peer ID.
    pub(crate) fn from_peer_id(id: u32) -> Option<Self> {
        match id {
            0 => Some(Self::Server),
            1 => Some(Self::Client),
            _ => None,
        }
    }

    /// The other side.
    pub(crate) fn peer(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }

    /// Index into the window's per-role arrays.
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// The fields of `struct wormhole_window` that the driver goes by, copied out of shared memory.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) magic: u64,
    pub(crate) version: u32,
    pub(crate) channels: u32,
    pub(crate) size: u64,
    pub(crate) channel_size: u64,
    /// Any number.
    pub(crate) key: u32,
}

/// Why a window is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    Magic(u64),
    Version(u32),
    SizeMismatch { header: u64, bar: u64 },
    Size(u64),
    ChannelSize(u64),
    Channels { header: u32, actual: u64 },
}

impl HeaderError {
    /// Says in one sentence what is wrong.
    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic(magic) => {
                write!(
                    f,
                    "shared memory is no Wormhole window (magic {magic:#018x})"
                )
            }
            Self::Version(version) => {
                write!(
                    f,
                    "window version is {version}, this driver knows {VERSION}"
                )
            }
            Self::SizeMismatch { header, bar } => {
                write!(f, "header says {header} bytes, BAR2 has {bar}")
            }
            Self::Size(size) => {
                write!(
                    f,
                    "window size {size} is no power of two from 1 MiB to 64 GiB"
                )
            }
            Self::ChannelSize(size) => write!(
                f,
                "channel size {size} is no power of two from 256 KiB to half of the window"
            ),
            Self::Channels { header, actual } => {
                write!(
                    f,
                    "header says {header} channels, its sizes make {actual} (at most 255)"
                )
            }
        }
    }
}

/// A checked layout of a window.
///
/// # Invariants
///
/// `(channels + 1) * channel_size` is the size of the window, which is at most 2^36;
/// `channel_size` is a power of two and at least [`CHANNEL_SIZE_MIN`]; `channels` is at most
/// [`CHANNELS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    channels: u32,
    channel_size: u64,
}

impl Geometry {
    /// Checks a header against the size of the BAR in bytes.
    pub(crate) fn new(header: Header, bar_size: u64) -> Result<Self, HeaderError> {
        let Header {
            magic,
            version,
            channels,
            size,
            channel_size,
            key: _,
        } = header;
        if magic != MAGIC {
            return Err(HeaderError::Magic(magic));
        }
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        if size != bar_size {
            return Err(HeaderError::SizeMismatch {
                header: size,
                bar: bar_size,
            });
        }
        if !size.is_power_of_two() || !WINDOW_SIZE.contains(&size) {
            return Err(HeaderError::Size(size));
        }
        if !channel_size.is_power_of_two()
            || channel_size < CHANNEL_SIZE_MIN
            || channel_size > size / 2
        {
            return Err(HeaderError::ChannelSize(channel_size));
        }
        // At least 1: channel_size is at most half of size, and not 0.
        let actual = (size / channel_size).saturating_sub(1);
        if u64::from(channels) != actual || channels > CHANNELS_MAX {
            return Err(HeaderError::Channels {
                header: channels,
                actual,
            });
        }
        // INVARIANT: Just checked.
        Ok(Self {
            channels,
            channel_size,
        })
    }

    /// Number of channels.
    pub(crate) fn channels(&self) -> u32 {
        self.channels
    }

    /// Bytes per channel.
    pub(crate) fn channel_size(&self) -> u64 {
        self.channel_size
    }

    /// Where a channel starts, bytes from the window's start; `None` if there is no such channel.
    pub(crate) fn channel_offset(&self, channel: u32) -> Option<u64> {
        if channel >= self.channels {
            return None;
        }
        self.channel_size
            .checked_mul(u64::from(channel).checked_add(1)?)
    }

    /// Whether `length` bytes (not 0) from `offset` lie within one channel.
    pub(crate) fn holds(&self, offset: u64, length: u64) -> bool {
        length != 0
            && offset
                .checked_add(length)
                .is_some_and(|end| end <= self.channel_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Header = Header {
        magic: MAGIC,
        version: VERSION,
        channels: 15,
        size: 64 << 20,
        channel_size: 4 << 20,
        key: 0,
    };

    fn check(change: impl FnOnce(&mut Header)) -> Result<Geometry, HeaderError> {
        let mut header = GOOD;
        change(&mut header);
        Geometry::new(header, 64 << 20)
    }

    #[test]
    fn good_header() {
        let geometry = check(|_| ()).unwrap();
        assert_eq!(
            (geometry.channels(), geometry.channel_size()),
            (15, 4 << 20)
        );
        assert_eq!(geometry.channel_offset(0), Some(4 << 20));
        assert_eq!(geometry.channel_offset(14), Some(60 << 20));
        assert_eq!(geometry.channel_offset(15), None);
        assert_eq!(geometry.channel_offset(u32::MAX), None);
    }

    #[test]
    fn magic_is_ascii() {
        assert_eq!(MAGIC, 0x454c_4f48_4d52_4f57);
    }

    #[test]
    fn each_refusal() {
        use HeaderError::*;
        assert_eq!(check(|h| h.magic ^= 1), Err(Magic(MAGIC ^ 1)));
        assert_eq!(check(|h| h.version = 2), Err(Version(2)));
        assert_eq!(
            check(|h| h.size = 32 << 20),
            Err(SizeMismatch {
                header: 32 << 20,
                bar: 64 << 20
            })
        );
        for bad in [0, 3, (1 << 18) - 1, 1 << 17, 64 << 20, u64::MAX, 1 << 63] {
            assert_eq!(check(|h| h.channel_size = bad), Err(ChannelSize(bad)));
        }
        for bad in [0, 14, 16, u32::MAX] {
            assert_eq!(
                check(|h| h.channels = bad),
                Err(Channels {
                    header: bad,
                    actual: 15
                })
            );
        }
    }

    #[test]
    fn window_sizes() {
        for bad in [0, 1 << 19, (1 << 20) + 4096, 1 << 37, u64::MAX] {
            let header = Header { size: bad, ..GOOD };
            assert_eq!(Geometry::new(header, bad), Err(HeaderError::Size(bad)));
        }
        let most = Header {
            size: 1 << 26,
            channel_size: 1 << 18,
            channels: 255,
            ..GOOD
        };
        assert!(Geometry::new(most, 1 << 26).is_ok());
        let too_many = Header {
            size: 1 << 27,
            channel_size: 1 << 18,
            channels: 511,
            ..GOOD
        };
        assert_eq!(
            Geometry::new(too_many, 1 << 27),
            Err(HeaderError::Channels {
                header: 511,
                actual: 511
            })
        );
        let largest = Header {
            size: 1 << 36,
            channel_size: 1 << 35,
            channels: 1,
            ..GOOD
        };
        assert_eq!(
            Geometry::new(largest, 1 << 36).unwrap().channel_offset(0),
            Some(1 << 35)
        );
    }

    #[test]
    fn map_bounds() {
        let geometry = check(|_| ()).unwrap();
        let size = geometry.channel_size();
        assert!(geometry.holds(0, size));
        assert!(geometry.holds(size - 4096, 4096));
        assert!(!geometry.holds(0, 0));
        assert!(!geometry.holds(0, size + 1));
        assert!(!geometry.holds(4096, size));
        assert!(!geometry.holds(u64::MAX - 4095, 4096));
        assert!(!geometry.holds(u64::MAX, u64::MAX));
    }

    #[test]
    fn roles() {
        assert_eq!(Role::from_peer_id(0), Some(Role::Server));
        assert_eq!(Role::from_peer_id(1), Some(Role::Client));
        assert_eq!(Role::from_peer_id(2), None);
        assert_eq!(Role::from_peer_id(u32::MAX), None);
        assert_eq!(Role::Server.peer(), Role::Client);
        assert_eq!(Role::Client.peer().index(), 0);
    }

    #[test]
    fn errors_read_well() {
        struct Show(HeaderError);
        impl fmt::Display for Show {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.describe(f)
            }
        }
        assert_eq!(
            Show(HeaderError::SizeMismatch { header: 1, bar: 2 }).to_string(),
            "header says 1 bytes, BAR2 has 2"
        );
        assert!(Show(HeaderError::Magic(7))
            .to_string()
            .contains("0x0000000000000007"));
    }
}
