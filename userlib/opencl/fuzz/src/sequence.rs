// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a fuzzer's bytes to a sequence of requests.

use arbitrary::{Result, Unstructured};
use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::frame::Landed;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::ndrange;
use wormhole_opencl_protocol::wire::{Wire, Writer};

use crate::grammar::{Field, Meaning, Message, Sent, Shape, MESSAGES};

/// A request.
#[derive(Debug)]
pub struct Request {
    /// Of its function.
    pub message: &'static Message,
    /// As it is sent.
    pub bytes: Vec<u8>,
    /// Whether it waits for an answer.
    pub answered: bool,
    /// Names of what it makes, should it succeed.
    pub new: Vec<(Kind, Handle)>,
}

/// What a client that keeps to the rules would know, and so one that does not.
#[derive(Default)]
pub struct Names {
    live: Vec<(Kind, Handle)>,
    gone: Vec<Handle>,
    next: u32,
    /// How seldom the rules are broken: once in so many times, or never if 0.
    odds: u8,
}

/// Numbers at which something may change.
const BORDERS: [u64; 12] = [
    0,
    1,
    2,
    3,
    8,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

// Names of queries and the like.
include!(concat!(env!("OUT_DIR"), "/constants.rs"));

fn put<'a>(bytes: &mut Vec<u8>, value: impl Wire<'a>) {
    let mut w = Writer::new();
    value.put(&mut w);
    bytes.extend(w.to_vec());
}

/// A field that was made.
struct Made {
    bytes: Vec<u8>,
    /// Elements, if it is a list or bytes.
    len: u64,
}

impl Names {
    /// Those of a client that has found the platform and its devices. `odds`: one of so many things
    /// that it does is against the rules, or none if 0.
    pub fn new(odds: u8) -> Self {
        let found = [Kind::Platform, Kind::Device, Kind::Device];
        let found = (0..).zip(found);
        Names {
            live: found
                .map(|(index, kind)| (kind, Handle::found(index)))
                .collect(),
            odds,
            ..Names::default()
        }
    }

    /// The objects of a request that has not failed are there.
    pub fn made(&mut self, request: &Request) {
        self.live.extend(&request.new);
    }

    /// The next request of a client that mostly keeps to the rules.
    ///
    /// # Errors
    /// If there are too few bytes.
    pub fn request(&mut self, u: &mut Unstructured<'_>) -> Result<Request> {
        let message = u.choose(&MESSAGES)?;
        self.request_of(message, u)
    }

    /// A request of the function of this name, by the rules if there are no bytes left.
    ///
    /// # Errors
    /// As for [`request`](Names::request).
    pub fn request_named(&mut self, name: &str, u: &mut Unstructured<'_>) -> Result<Request> {
        let message = MESSAGES.iter().find(|message| message.name == name);
        self.request_of(message.expect("a function that travels"), u)
    }

    fn request_of(
        &mut self,
        message: &'static Message,
        u: &mut Unstructured<'_>,
    ) -> Result<Request> {
        let mut new = Vec::new();
        let mut fields = Vec::new();
        // Lists that have one length. Those of which it is not said often have, too.
        let usual = u.int_in_range(0..=3usize).unwrap_or(0);
        let mut lengths = Vec::new();
        for field in message.request {
            if let Meaning::LengthOf(names) = field.meaning {
                let len = u.int_in_range(0..=3usize).unwrap_or(0);
                lengths.extend(names.iter().map(|name| (*name, len)));
            }
        }
        for field in message.request {
            let same = lengths.iter().find(|(name, _)| *name == field.name);
            let usual = matches!(field.shape, Shape::List(_)).then_some(usual);
            let len = field.len.or(same.map(|(_, len)| *len)).or(usual);
            fields.push(self.field(message, field, len, &mut new, u)?);
        }
        for (at, field) in message.request.iter().enumerate() {
            let (Meaning::LengthOf(names), Shape::Number(width)) = (&field.meaning, &field.shape)
            else {
                continue;
            };
            if !self.bad(u) {
                let of = |name: &&str| message.request.iter().position(|f| f.name == *name);
                let longest = names.iter().filter_map(of).map(|of| fields[of].len).max();
                fields[at].bytes = longest.unwrap_or(0).to_le_bytes()[..*width].to_vec();
            }
        }
        for (at, field) in message.request.iter().enumerate() {
            let Some((name, mask)) = field.goes_with.filter(|_| !self.bad(u)) else {
                continue;
            };
            let there = fields[at].bytes.first() == Some(&1);
            let of = message.request.iter().position(|field| field.name == name);
            for (byte, mask) in fields[of.expect("a field")]
                .bytes
                .iter_mut()
                .zip(mask.to_le_bytes())
            {
                match there {
                    true => *byte |= mask,
                    false => *byte &= !mask,
                }
            }
        }
        if !self.bad(u) {
            fit_box(message, &mut fields, u);
        }
        let mut bytes = message.function.to_le_bytes().to_vec();
        bytes.extend([0, 0]);
        fields.iter().for_each(|field| bytes.extend(&field.bytes));
        if self.bad(u) {
            spoil(&mut bytes, u)?;
        }
        let answered = match message.sent {
            Sent::Call => !self.bad(u),
            Sent::Posted | Sent::Release => u.ratio(1u8, 4u8).unwrap_or(false),
            Sent::Either => u.arbitrary().unwrap_or(true),
        };
        Ok(Request {
            message,
            bytes,
            answered,
            new,
        })
    }

    /// The reply to a request of this function, as a server gives it that mostly keeps to the rules,
    /// and has handed over so many transfers so far.
    ///
    /// # Errors
    /// If there are too few bytes for one that does not.
    pub fn reply(
        &mut self,
        message: &Message,
        handed: &mut u64,
        u: &mut Unstructured<'_>,
    ) -> Result<Vec<u8>> {
        let failed = self.bad(u);
        let status = match failed {
            true => u.int_in_range(-80..=3i32)?,
            false => 0,
        };
        let count = u.int_in_range(0..=2u8).unwrap_or(0);
        let mut landed: Vec<Landed<'_>> = Vec::new();
        for _ in 0..count {
            let data: Option<&[u8]> = u.arbitrary().unwrap_or(None);
            landed.push((u.int_in_range(1..=12).unwrap_or(1), data));
        }
        *handed += u64::from(count);
        let said = match self.bad(u) {
            true => u.arbitrary()?,
            false => *handed,
        };
        let mut bytes = Vec::new();
        put(&mut bytes, status);
        put(&mut bytes, said);
        put(&mut bytes, landed);
        if status == 0 {
            for field in message.reply {
                let made = self.field(message, field, field.len, &mut Vec::new(), u)?;
                bytes.extend(made.bytes);
            }
        }
        if self.bad(u) {
            spoil(&mut bytes, u)?;
        }
        Ok(bytes)
    }

    fn field(
        &mut self,
        message: &Message,
        field: &Field,
        len: Option<usize>,
        new: &mut Vec<(Kind, Handle)>,
        u: &mut Unstructured<'_>,
    ) -> Result<Made> {
        let mut bytes = Vec::new();
        let len = match &field.shape {
            Shape::Option(inner) => {
                let some = u.ratio(1u8, 3u8).unwrap_or(false);
                bytes.push(some.into());
                match some {
                    true => self.value(message, (field, inner), len, &mut bytes, new, u)?,
                    false => 0,
                }
            }
            shape => self.value(message, (field, shape), len, &mut bytes, new, u)?,
        };
        Ok(Made { bytes, len })
    }

    /// Adds a value; gives how many elements it has.
    fn value(
        &mut self,
        message: &Message,
        (field, shape): (&Field, &Shape),
        len: Option<usize>,
        bytes: &mut Vec<u8>,
        new: &mut Vec<(Kind, Handle)>,
        u: &mut Unstructured<'_>,
    ) -> Result<u64> {
        let odds = self.odds;
        let len = |u: &mut Unstructured<'_>, most: usize| match len {
            Some(len) if !bad(odds, u) => len,
            _ => u.int_in_range(0..=most).unwrap_or(0),
        };
        match shape {
            Shape::Number(width) => {
                bytes.extend(&number(field.name, u).to_le_bytes()[..*width]);
                Ok(0)
            }
            Shape::Handle => {
                let handle = self.handle(message, field, new, u)?;
                put(bytes, handle);
                Ok(0)
            }
            Shape::ArgKind => {
                bytes.push(u.int_in_range(0..=4).unwrap_or(0));
                Ok(0)
            }
            Shape::NdRange => {
                let dimensions = if self.bad(u) {
                    u.int_in_range(0..=3)
                } else {
                    Ok(1)
                };
                let given = u.int_in_range(0..=3u8).unwrap_or(0);
                let dimensions = dimensions.unwrap_or(1);
                let flag = |bit: u8, flag| if given & bit != 0 { flag } else { 0 };
                bytes.push(dimensions | flag(1, ndrange::OFFSET) | flag(2, ndrange::LOCAL));
                for _ in 0..u32::from(dimensions) * (1 + given.count_ones()) {
                    bytes.extend(number(field.name, u).to_le_bytes());
                }
                Ok(0)
            }
            Shape::Data if u.ratio(1u8, 8u8).unwrap_or(false) => {
                bytes.push(1);
                bytes.extend(number(field.name, u).to_le_bytes());
                bytes.extend(number(field.name, u).to_le_bytes());
                Ok(0)
            }
            Shape::Data => {
                bytes.push(0);
                self.value(message, (field, &Shape::Bytes), None, bytes, new, u)
            }
            Shape::Bytes => {
                let most = if self.bad(u) { 3000 } else { 20 };
                let len = len(u, most);
                put(bytes, len as u32);
                let given = u.bytes(len.min(u.len()))?;
                match field.meaning {
                    Meaning::Text if !self.bad(u) => {
                        bytes.extend(given.iter().map(|byte| byte | 32));
                    }
                    _ => bytes.extend(given),
                }
                bytes.extend(std::iter::repeat_n(b'x', len - given.len()));
                Ok(len as u64)
            }
            Shape::List(inner) => {
                let len = len(u, 3);
                put(bytes, len as u32);
                for _ in 0..len {
                    self.value(message, (field, inner), None, bytes, new, u)?;
                }
                Ok(len as u64)
            }
            Shape::Array(inner, len) => {
                for _ in 0..*len {
                    self.value(message, (field, inner), None, bytes, new, u)?;
                }
                Ok(0)
            }
            Shape::Option(inner) => {
                bytes.push(1);
                self.value(message, (field, inner), None, bytes, new, u)
            }
            Shape::Fields(fields) => {
                for inner in *fields {
                    self.value(message, (field, inner), None, bytes, new, u)?;
                }
                Ok(0)
            }
        }
    }

    fn handle(
        &mut self,
        message: &Message,
        field: &Field,
        new: &mut Vec<(Kind, Handle)>,
        u: &mut Unstructured<'_>,
    ) -> Result<Handle> {
        if self.bad(u) {
            return self.bad_handle(u);
        }
        let kind = match field.meaning {
            Meaning::New(kind) => {
                // Events are wanted or not.
                if field.name != "new" && u.arbitrary().unwrap_or(false) {
                    return Ok(Handle::NULL);
                }
                let handle = Handle::made(self.next, 1);
                self.next += 1;
                new.push((kind, handle));
                return Ok(handle);
            }
            Meaning::Object(kind) => Some(kind),
            _ if u.arbitrary().unwrap_or(false) => return Ok(Handle::NULL),
            _ => None,
        };
        let good: Vec<usize> = (0..self.live.len())
            .filter(|at| kind.is_none_or(|kind| self.live[*at].0 == kind))
            .collect();
        let Ok(at) = u.choose(&good) else {
            return Ok(Handle::NULL);
        };
        let (_, handle) = self.live[*at];
        if message.sent == Sent::Release {
            self.live.swap_remove(*at);
            self.gone.push(handle);
        }
        Ok(handle)
    }

    fn bad(&self, u: &mut Unstructured<'_>) -> bool {
        bad(self.odds, u)
    }

    /// A name of nothing, of something else, or of something that was.
    fn bad_handle(&mut self, u: &mut Unstructured<'_>) -> Result<Handle> {
        Ok(match u.int_in_range(0..=5)? {
            0 => Handle::NULL,
            1 if !self.gone.is_empty() => *u.choose(&self.gone)?,
            2 if !self.live.is_empty() => u.choose(&self.live)?.1,
            3 => Handle::found(u.arbitrary()?),
            4 => Handle::made(u.int_in_range(0..=20)?, u.int_in_range(0..=3)?),
            _ => Handle::from_bits(u.arbitrary()?),
        })
    }
}

/// Makes a box that is written small, and the data as long as it: 4 bytes for an image's element.
fn fit_box(message: &Message, fields: &mut [Made], u: &mut Unstructured<'_>) {
    let at = |name| message.request.iter().position(|field| field.name == name);
    let (Some(region), Some(data)) = (at("region"), at("data")) else {
        return;
    };
    let mut len = match message.name.ends_with("Image") {
        true => 4,
        false => 1,
    };
    fields[region].bytes.clear();
    for _ in 0..3 {
        let side = u.int_in_range(1..=3u64).unwrap_or(1);
        fields[region].bytes.extend(side.to_le_bytes());
        len *= side as usize;
    }
    fields[data].bytes.clear();
    put(&mut fields[data].bytes, vec![b'x'; len].as_slice());
}

/// Whether to break the rules now; never if there are no bytes left.
fn bad(odds: u8, u: &mut Unstructured<'_>) -> bool {
    odds > 0 && !u.is_empty() && u.ratio(1, odds).unwrap_or(false)
}

fn number(name: &str, u: &mut Unstructured<'_>) -> u64 {
    let number = match u.int_in_range(0..=5u8).unwrap_or(0) {
        0..=3 if name == "param_name" => u.choose(CONSTANTS).copied(),
        0 | 1 => u.int_in_range(0..=8),
        2 => u.choose(&BORDERS).copied(),
        3 => u.choose(CONSTANTS).copied(),
        4 => u.int_in_range(0..=5000),
        _ => u.arbitrary(),
    };
    number.unwrap_or(0)
}

/// Changes a message so that it most likely is none.
fn spoil(bytes: &mut Vec<u8>, u: &mut Unstructured<'_>) -> Result<()> {
    let last = bytes.len() - 1;
    match u.int_in_range(0..=4)? {
        0 => bytes.truncate(u.int_in_range(0..=last)?),
        1 => bytes.extend(u.arbitrary::<[u8; 3]>()?),
        2 => bytes[u.int_in_range(0..=last)?] = u.arbitrary()?,
        // A length or number that is huge.
        3 => {
            let at = u.int_in_range(0..=last)?;
            bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff);
        }
        _ => {
            let at = u.int_in_range(0..=last)?;
            bytes[at] ^= 1 << u.int_in_range(0..=7u8)?;
        }
    }
    Ok(())
}
