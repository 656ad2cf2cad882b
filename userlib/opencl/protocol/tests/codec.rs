// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every message comes out of the codec as it went in, and bytes that are no
//! message are refused without harm.

use proptest::collection::vec;
use proptest::prelude::*;

use wormhole_opencl_protocol::api::*;
use wormhole_opencl_protocol::argument::{ArgKind, KernelArg};
use wormhole_opencl_protocol::data::Data;
use wormhole_opencl_protocol::for_each_message;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::ndrange::{NdRange, Room, DIMENSIONS};
use wormhole_opencl_protocol::token;
use wormhole_opencl_protocol::wire::{Few, Malformed, Reader, Wire, Writer};

/// Makes a value from random numbers.
trait Sample {
    fn sample(next: &mut dyn FnMut() -> u64) -> Self;
}

macro_rules! sample_number {
    ($($ty:ty),*) => {$(
        impl Sample for $ty {
            fn sample(next: &mut dyn FnMut() -> u64) -> Self {
                next() as $ty
            }
        }
    )*};
}
sample_number!(u8, u16, u32, i32, u64, i64);

impl Sample for Handle {
    fn sample(next: &mut dyn FnMut() -> u64) -> Self {
        Handle::from_bits(next())
    }
}

impl Sample for Data<'_> {
    fn sample(next: &mut dyn FnMut() -> u64) -> Self {
        match next() % 2 {
            0 => Data::Here(Sample::sample(next)),
            _ => Data::Shared {
                offset: next(),
                len: next(),
            },
        }
    }
}

impl Sample for ArgKind {
    fn sample(next: &mut dyn FnMut() -> u64) -> Self {
        match next() % 5 {
            0 => ArgKind::Unknown,
            1 => ArgKind::Memory,
            2 => ArgKind::Sampler,
            3 => ArgKind::Local,
            _ => ArgKind::Value(next() as u32),
        }
    }
}

/// Bytes of any length up to more than is copied into a message.
impl Sample for &[u8] {
    fn sample(next: &mut dyn FnMut() -> u64) -> Self {
        static BYTES: [u8; 3000] = {
            let mut bytes = [0; 3000];
            let mut at = 0;
            while at < bytes.len() {
                bytes[at] = (at * 7) as u8;
                at += 1;
            }
            bytes
        };
        let len = match next() % 4 {
            0 => 0,
            1 => next() % 3000,
            _ => next() % 40,
        };
        &BYTES[..len as usize]
    }
}

impl Sample for KernelArg<'_> {
    fn sample(next: &mut dyn FnMut() -> u64) -> Self {
        KernelArg {
            index: u32::sample(next),
            size: u64::sample(next),
            object: Handle::sample(next),
            value: Option::sample(next),
        }
    }
}

impl Sample for NdRange<'_> {
    fn sample(next: &mut dyn FnMut() -> u64) -> Self {
        let sizes = [0; 9].map(|_: usize| next() as usize);
        let dimensions = 1 + next() as usize % DIMENSIONS;
        let [global, offset, local] = std::array::from_fn(|i| &sizes[3 * i..][..dimensions]);
        let offset = (next() % 2 == 0).then_some(offset);
        let local = (next() % 2 == 0).then_some(local);
        let room = Box::leak(Box::new([0; size_of::<Room>()]));
        NdRange::new(room, global, offset, local).unwrap()
    }
}

impl<T: Sample> Sample for Few<T> {
    fn sample(next: &mut dyn FnMut() -> u64) -> Self {
        Vec::sample(next).into()
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(next: &mut dyn FnMut() -> u64) -> Self {
        (0..next() % 5).map(|_| T::sample(next)).collect()
    }
}

impl<T: Sample, const N: usize> Sample for [T; N] {
    fn sample(next: &mut dyn FnMut() -> u64) -> Self {
        std::array::from_fn(|_| T::sample(next))
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(next: &mut dyn FnMut() -> u64) -> Self {
        (next() % 2 == 0).then(|| T::sample(next))
    }
}

fn encode<'a>(value: &impl Wire<'a>) -> Vec<u8> {
    let mut w = Writer::new();
    value.put(&mut w);
    w.to_vec()
}

fn round_trip<'a, T: Wire<'a> + PartialEq + std::fmt::Debug>(value: &T, bytes: &'a [u8]) {
    let mut r = Reader::new(bytes);
    assert_eq!(T::get(&mut r).as_ref(), Ok(value));
    assert_eq!(r.finish(), Ok(()));
    // No part of a message is one, and nothing follows it.
    if let Some(shorter) = bytes.len().checked_sub(1) {
        let mut r = Reader::new(&bytes[..shorter]);
        assert!(T::get(&mut r).is_err());
    }
}

macro_rules! check_messages {
    ($($name:ident { $($field:ident),* })*) => {
        fn every_message(next: &mut dyn FnMut() -> u64) {
            $({
                let value = $name { $($field: Sample::sample(next)),* };
                let bytes = encode(&value);
                round_trip(&value, &bytes);
            })*
            // Those without fields use no numbers.
            next();
        }

        /// Decodes bytes as every message; whatever is one has this one encoding.
        fn as_every_message(bytes: &[u8]) {
            $({
                let mut r = Reader::new(bytes);
                if let Ok(value) = $name::get(&mut r) {
                    let again = encode(&value);
                    assert_eq!(bytes[..again.len()], again[..]);
                }
            })*
        }
    };
}
for_each_message!(check_messages);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_survive(numbers in vec(any::<u64>(), 64)) {
        let mut at = 0;
        every_message(&mut || {
            at += 1;
            numbers[at % numbers.len()].rotate_left(at as u32)
        });
    }

    #[test]
    fn any_bytes_are_refused_or_canonical(bytes in vec(any::<u8>(), 0..200)) {
        as_every_message(&bytes);
    }

    /// Small numbers are lengths and presence bytes more often.
    #[test]
    fn small_bytes_are_refused_or_canonical(bytes in vec(0u8..3, 0..200)) {
        as_every_message(&bytes);
    }

    #[test]
    fn only_a_token_is_a_token(identity in "[0-9a-f]{32}", at in 0usize..48, byte: u8) {
        let identity: [u8; 32] = identity.as_bytes().try_into().unwrap();
        let mut bytes = token::encode(identity);
        prop_assert_eq!(token::decode(&bytes), Some(identity));
        prop_assert_eq!(token::decode(&bytes[..47]), None);
        bytes[at] = byte;
        if let Some(decoded) = token::decode(&bytes) {
            prop_assert!(decoded.iter().all(|b| b.is_ascii_hexdigit()));
        }
    }
}

/// A length that is not there is refused before anything is allocated for it.
#[test]
fn a_claimed_length_allocates_nothing() {
    let mut bytes = u32::MAX.to_le_bytes().to_vec();
    bytes.extend([0; 16]);
    let length = Err(Malformed::Length(u32::MAX));
    assert_eq!(Vec::<u64>::get(&mut Reader::new(&bytes)), length);
    let length = Err(Malformed::Length(u32::MAX));
    assert_eq!(<&[u8]>::get(&mut Reader::new(&bytes)), length);
    let length = Err(Malformed::Length(u32::MAX));
    assert_eq!(Vec::<&[u8]>::get(&mut Reader::new(&bytes)), length);
    assert_eq!(
        Option::<u8>::get(&mut Reader::new(&[2, 0])),
        Err(Malformed::Presence(2))
    );
}
