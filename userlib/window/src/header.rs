// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The header at offset 0 of a window.

use core::mem::offset_of;

use thiserror::Error;
use wormhole_uapi::{
    wormhole_window, WORMHOLE_NAME_LEN, WORMHOLE_WINDOW_MAGIC, WORMHOLE_WINDOW_VERSION,
};

use crate::{Layout, LayoutError, Link, Name, NameError, Role};

/// Bytes of a window's header.
pub const HEADER_SIZE: usize = size_of::<wormhole_window>();

const NAME_LEN: usize = WORMHOLE_NAME_LEN as usize;

/// A window's header, read and found good. `link[]` changes all the time and
/// is read from the window itself, at [`Layout::link_offset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub layout: Layout,
    pub name: Name,
    /// Any number.
    pub key: u32,
}

/// Why bytes are no header of a window that we can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    #[error("{0} bytes are less than a window's header ({HEADER_SIZE})")]
    Short(usize),
    #[error("not a Wormhole window (magic {0:#018x})")]
    Magic(u64),
    #[error("window version {0}, this program knows {WORMHOLE_WINDOW_VERSION}")]
    Version(u32),
    #[error("the header says {header} bytes, the window has {actual}")]
    SizeMismatch { header: u64, actual: u64 },
    #[error("the header says {header} channels, its sizes make {actual}")]
    ChannelsMismatch { header: u32, actual: u32 },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("the window's name is bad: {0}")]
    Name(#[from] NameError),
}

impl Header {
    /// Reads a header from bytes copied out of the window's start (more than
    /// a header is fine), for a window of `bar_size` bytes.
    pub fn parse(bytes: &[u8], bar_size: u64) -> Result<Header, HeaderError> {
        let bytes: &[u8; HEADER_SIZE] =
            bytes.first_chunk().ok_or(HeaderError::Short(bytes.len()))?;
        let magic = get_u64(bytes, offset_of!(wormhole_window, magic));
        if magic != WORMHOLE_WINDOW_MAGIC {
            return Err(HeaderError::Magic(magic));
        }
        let version = get_u32(bytes, offset_of!(wormhole_window, version));
        if version != WORMHOLE_WINDOW_VERSION {
            return Err(HeaderError::Version(version));
        }
        let size = get_u64(bytes, offset_of!(wormhole_window, size));
        if size != bar_size {
            return Err(HeaderError::SizeMismatch {
                header: size,
                actual: bar_size,
            });
        }
        let layout = Layout::new(
            size,
            get_u64(bytes, offset_of!(wormhole_window, channel_size)),
        )?;
        let channels = get_u32(bytes, offset_of!(wormhole_window, channels));
        if channels != layout.channels() {
            return Err(HeaderError::ChannelsMismatch {
                header: channels,
                actual: layout.channels(),
            });
        }
        let name: [u8; NAME_LEN] = get(bytes, offset_of!(wormhole_window, name));
        Ok(Header {
            layout,
            name: Name::from_field(&name)?,
            key: get_u32(bytes, offset_of!(wormhole_window, key)),
        })
    }

    /// The header's bytes, with nobody connected.
    pub fn format(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        let mut put = |offset: usize, value: &[u8]| {
            bytes[offset..offset + value.len()].copy_from_slice(value);
        };
        put(
            offset_of!(wormhole_window, magic),
            &WORMHOLE_WINDOW_MAGIC.to_le_bytes(),
        );
        put(
            offset_of!(wormhole_window, version),
            &WORMHOLE_WINDOW_VERSION.to_le_bytes(),
        );
        put(
            offset_of!(wormhole_window, channels),
            &self.layout.channels().to_le_bytes(),
        );
        put(
            offset_of!(wormhole_window, size),
            &self.layout.size().to_le_bytes(),
        );
        put(
            offset_of!(wormhole_window, channel_size),
            &self.layout.channel_size().to_le_bytes(),
        );
        put(offset_of!(wormhole_window, name), self.name.as_field());
        put(offset_of!(wormhole_window, key), &self.key.to_le_bytes());
        bytes
    }
}

impl Layout {
    /// Reads and validates a copied header; see [`Header::parse`].
    pub fn parse(bytes: &[u8], bar_size: u64) -> Result<Layout, HeaderError> {
        Header::parse(bytes, bar_size).map(|header| header.layout)
    }
}

impl Link {
    /// `link[role]` of a copied header.
    pub fn from_header(bytes: &[u8; HEADER_SIZE], role: Role) -> Link {
        let base = offset_of!(wormhole_window, link);
        Link(get_u32(bytes, base + role.index() * size_of::<u32>()))
    }
}

fn get<const N: usize>(bytes: &[u8; HEADER_SIZE], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[offset..offset + N]);
    field
}

fn get_u32(bytes: &[u8; HEADER_SIZE], offset: usize) -> u32 {
    u32::from_le_bytes(get(bytes, offset))
}

fn get_u64(bytes: &[u8; HEADER_SIZE], offset: usize) -> u64 {
    u64::from_le_bytes(get(bytes, offset))
}
