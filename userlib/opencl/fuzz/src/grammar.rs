// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What messages are made of.

use wormhole_opencl_protocol::api::*;
use wormhole_opencl_protocol::argument::{ArgKind, KernelArg};
use wormhole_opencl_protocol::data::Data;
use wormhole_opencl_protocol::frame::Request;
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::ndrange::NdRange;
use wormhole_opencl_protocol::types::*;
use wormhole_opencl_protocol::wire::{Few, Reader, Wire};

/// The form of a value.
#[derive(Debug)]
pub enum Shape {
    /// A number of so many bytes.
    Number(usize),
    /// An object's name.
    Handle,
    /// Bytes with their length.
    Bytes,
    /// Bytes, or where they are.
    Data,
    /// The kind of a kernel's argument.
    ArgKind,
    /// The index space of a launch.
    NdRange,
    /// Several, with their number.
    List(&'static Shape),
    /// So many.
    Array(&'static Shape, usize),
    /// One or none.
    Option(&'static Shape),
    /// One of each.
    Fields(&'static [Shape]),
}

/// What a value means.
#[derive(Debug)]
pub enum Meaning {
    /// Nothing to others.
    Number,
    /// A live object of a kind, or several.
    Object(Kind),
    /// A live object.
    AnyObject,
    /// The object that the call makes.
    New(Kind),
    /// How long each of these fields is.
    LengthOf(&'static [&'static str]),
    /// Text, in which no byte is 0.
    Text,
}

/// Whether a message is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is.
    Call,
    /// It is not.
    Posted,
    /// It may be.
    Either,
    /// It is not, and gives an object back.
    Release,
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its form.
    pub shape: Shape,
    /// What it is.
    pub meaning: Meaning,
    /// How many elements it has, if that is always the same.
    pub len: Option<usize>,
    /// The field and those of its bits of which one is set exactly if this one is there.
    pub goes_with: Option<(&'static str, u64)>,
}

/// A function's messages.
#[derive(Debug)]
pub struct Message {
    /// Its number.
    pub function: u16,
    /// Its name.
    pub name: &'static str,
    /// How the request goes.
    pub sent: Sent,
    /// Fields of the request.
    pub request: &'static [Field],
    /// Fields of the reply.
    pub reply: &'static [Field],
}

/// A type with a form.
trait Shaped {
    const SHAPE: Shape;
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl Shaped for $ty {
            const SHAPE: Shape = Shape::Number(size_of::<$ty>());
        }
    )*};
}
numbers!(u8, u16, u32, i32, u64, i64);

impl Shaped for Handle {
    const SHAPE: Shape = Shape::Handle;
}

impl Shaped for ArgKind {
    const SHAPE: Shape = Shape::ArgKind;
}

impl Shaped for NdRange<'_> {
    const SHAPE: Shape = Shape::NdRange;
}

impl Shaped for Data<'_> {
    const SHAPE: Shape = Shape::Data;
}

impl Shaped for &[u8] {
    const SHAPE: Shape = Shape::Bytes;
}

impl<T: Shaped> Shaped for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);
}

impl<T: Shaped> Shaped for Few<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);
}

impl Shaped for KernelArg<'_> {
    const SHAPE: Shape = Shape::Fields(&[
        u32::SHAPE,
        u64::SHAPE,
        Handle::SHAPE,
        <Option<&[u8]> as Shaped>::SHAPE,
    ]);
}

impl<T: Shaped, const N: usize> Shaped for [T; N] {
    const SHAPE: Shape = Shape::Array(&T::SHAPE, N);
}

impl<T: Shaped> Shaped for Option<T> {
    const SHAPE: Shape = Shape::Option(&T::SHAPE);
}

/// Whether bytes are a request, and others a reply to it.
fn read<'a, R: Request<'a>>(request: &'a [u8], reply: &'a [u8]) -> (bool, bool) {
    fn whole<'a, T: Wire<'a>>(bytes: &'a [u8]) -> bool {
        let mut r = Reader::new(bytes);
        T::get(&mut r).is_ok() && r.finish().is_ok()
    }
    (whole::<R>(request), whole::<R::Reply<'a>>(reply))
}

include!(concat!(env!("OUT_DIR"), "/grammar.rs"));
