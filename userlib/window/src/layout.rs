// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the parts of a window lie.

use core::mem::offset_of;

use thiserror::Error;
use wormhole_uapi::{
    wormhole_channel, wormhole_window, WORMHOLE_CHANNELS_MAX, WORMHOLE_CHANNEL_MIN_SIZE,
    WORMHOLE_WINDOW_MAX_SIZE, WORMHOLE_WINDOW_MIN_SIZE,
};

use crate::Role;

const WINDOW_MIN: u64 = WORMHOLE_WINDOW_MIN_SIZE as u64;
const WINDOW_MAX: u64 = WORMHOLE_WINDOW_MAX_SIZE;
const CHANNEL_MIN: u64 = WORMHOLE_CHANNEL_MIN_SIZE as u64;

/// Size of a word of the window that is read and written as one: 4 bytes.
const WORD: u64 = size_of::<u32>() as u64;

/// A window's division into a header slot and channels of equal size.
///
/// # Invariants
/// `size` and `channel_size` are powers of two within the limits of
/// `wormhole_window.h`, and `size / channel_size` is 2 to
/// `WORMHOLE_CHANNELS_MAX + 1`. So every offset handed out below lies, word
/// and all, below `size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    size: u64,
    channel_size: u64,
}

/// Why two sizes make no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    #[error("window size {0} is not a power of two from {WINDOW_MIN} to {WINDOW_MAX}")]
    Size(u64),
    #[error("channel size {0} is not a power of two from {CHANNEL_MIN} up")]
    ChannelSize(u64),
    #[error(
        "a window of {size} bytes holds no channel of {channel_size} bytes: \
         the header takes the place of one"
    )]
    NoChannel { size: u64, channel_size: u64 },
    #[error("{0} channels: a window has at most {WORMHOLE_CHANNELS_MAX}")]
    TooManyChannels(u64),
}

impl Layout {
    /// Divides a window of `size` bytes into channels of `channel_size` bytes.
    pub const fn new(size: u64, channel_size: u64) -> Result<Layout, LayoutError> {
        if !size.is_power_of_two() || size < WINDOW_MIN || size > WINDOW_MAX {
            return Err(LayoutError::Size(size));
        }
        if !channel_size.is_power_of_two() || channel_size < CHANNEL_MIN {
            return Err(LayoutError::ChannelSize(channel_size));
        }
        let slots = size / channel_size;
        if slots < 2 {
            return Err(LayoutError::NoChannel { size, channel_size });
        }
        if slots - 1 > WORMHOLE_CHANNELS_MAX as u64 {
            return Err(LayoutError::TooManyChannels(slots - 1));
        }
        Ok(Layout { size, channel_size })
    }

    /// Bytes of the whole window.
    pub const fn size(self) -> u64 {
        self.size
    }

    /// Bytes of one channel.
    pub const fn channel_size(self) -> u64 {
        self.channel_size
    }

    /// Number of channels.
    pub const fn channels(self) -> u32 {
        // At most WORMHOLE_CHANNELS_MAX.
        (self.size / self.channel_size - 1) as u32
    }

    /// Byte offset of a channel in the window.
    pub const fn channel_offset(self, channel: u32) -> Option<u64> {
        if channel >= self.channels() {
            return None;
        }
        // At most `size - channel_size`.
        Some(self.channel_size * (1 + channel as u64))
    }

    /// Byte offset of a channel's `state[role]` in the window.
    pub const fn state_offset(self, channel: u32, role: Role) -> Option<u64> {
        match self.channel_offset(channel) {
            Some(base) => {
                Some(base + offset_of!(wormhole_channel, state) as u64 + WORD * role.index() as u64)
            }
            None => None,
        }
    }

    /// Byte offset of the word that counts notifications sent to `role`.
    pub const fn event_offset(self, channel: u32, role: Role) -> Option<u64> {
        let field = match role {
            Role::Server => offset_of!(wormhole_channel, event_server),
            Role::Client => offset_of!(wormhole_channel, event_client),
        };
        match self.channel_offset(channel) {
            Some(base) => Some(base + field as u64),
            None => None,
        }
    }

    /// Byte offset of `link[role]` in the window.
    pub const fn link_offset(self, role: Role) -> u64 {
        offset_of!(wormhole_window, link) as u64 + WORD * role.index() as u64
    }
}
