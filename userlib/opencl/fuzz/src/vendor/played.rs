// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the played library knows, and how it looks at what it is given.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void, CStr};

use wormhole_opencl_protocol::api::Kind;
use wormhole_opencl_protocol::constants::{CL_OUT_OF_RESOURCES, CL_SUCCESS};
use wormhole_opencl_protocol::types::{cl_int, cl_uint};

/// Where "pointers" to objects begin: no memory is there.
const OBJECTS: usize = 0x0bad_0000;
/// Objects that are found.
const PLATFORM: usize = OBJECTS;
const DEVICES: [usize; 2] = [OBJECTS + 8, OBJECTS + 16];

/// A transfer that is carried out when its event is asked for, or waited for.
struct Late {
    event: usize,
    memory: *mut u8,
    len: usize,
    writes: bool,
}

/// The library's state.
#[derive(Default)]
pub struct Played {
    /// Decides what it answers, from the end.
    script: Vec<u8>,
    /// Live objects, with the references to each.
    objects: BTreeMap<usize, (Kind, u32)>,
    made: usize,
    late: Vec<Late>,
    /// What was asked for with no room, to be given when there is.
    asked: Option<usize>,
    /// What it was given that is not right.
    wrong: Vec<String>,
    function: &'static str,
}

thread_local! {
    static PLAYED: RefCell<Played> = RefCell::default();
}

impl Played {
    /// Begins anew, with answers by `script`.
    pub fn begin(script: Vec<u8>) {
        let played = Played {
            script,
            ..Played::default()
        };
        PLAYED.replace(played);
    }

    /// What was wrong, and the objects that are live, with the references to each.
    pub fn end() -> (Vec<String>, BTreeMap<usize, (Kind, u32)>) {
        let played = PLAYED.take();
        (played.wrong, played.objects)
    }

    /// Whether it was given nothing wrong so far.
    pub fn content() -> bool {
        PLAYED.with_borrow(|played| played.wrong.is_empty())
    }

    /// Does the work of the function of this name.
    pub fn during<T>(function: &'static str, work: impl FnOnce(&mut Played) -> T) -> T {
        PLAYED.with_borrow_mut(|played| {
            played.function = function;
            work(played)
        })
    }

    fn byte(&mut self) -> u8 {
        self.script.pop().unwrap_or(0)
    }

    fn complain(&mut self, what: std::fmt::Arguments<'_>) {
        self.wrong.push(format!("{}: {what}", self.function));
    }

    /// The status of a call: mostly success.
    pub fn status(&mut self) -> cl_int {
        match self.byte() {
            0..=239 => CL_SUCCESS,
            byte => -cl_int::from(byte & 63) - 1,
        }
    }

    /// A number below `below`.
    pub fn choose(&mut self, below: u8) -> u8 {
        self.byte() % below
    }

    /// `object` has to be a live one of this kind.
    pub fn live(&mut self, kind: Kind, object: usize) {
        let good = match kind {
            Kind::Platform => object == PLATFORM,
            Kind::Device => DEVICES.contains(&object),
            _ => self.objects.get(&object).is_some_and(|(of, _)| *of == kind),
        };
        if !good {
            self.complain(format_args!("{object:#x} is no live {}", kind.name()));
        }
    }

    /// A new object.
    pub fn make(&mut self, kind: Kind) -> usize {
        self.made += 1;
        let object = OBJECTS + 0x1000 + 8 * self.made;
        self.objects.insert(object, (kind, 1));
        object
    }

    /// One more reference.
    pub fn retain(&mut self, kind: Kind, object: usize) {
        self.live(kind, object);
        if let Some((_, references)) = self.objects.get_mut(&object) {
            *references += 1;
        }
    }

    /// One reference less.
    pub fn release(&mut self, kind: Kind, object: usize) {
        self.live(kind, object);
        if let Some((_, references)) = self.objects.get_mut(&object) {
            *references -= 1;
            if *references == 0 {
                self.objects.remove(&object);
            }
        }
    }

    /// Reads a whole array, which may be missing only if it is `nullable`.
    ///
    /// # Safety
    /// `len` elements at the pointer are valid for reading; that is to be found out.
    pub unsafe fn list<T: Copy>(&mut self, list: *const T, len: usize, nullable: bool) -> Vec<T> {
        if list.is_null() {
            if !nullable {
                self.complain(format_args!("an array is missing"));
            }
            return Vec::new();
        }
        if !list.is_aligned() {
            self.complain(format_args!("an array is not aligned"));
            return Vec::new();
        }
        let read = |at| {
            // SAFETY: the caller promises it.
            unsafe { list.add(at).read_volatile() }
        };
        (0..len).map(read).collect()
    }

    /// Reads a text to its end.
    ///
    /// # Safety
    /// It has an end; that is to be found out.
    pub unsafe fn text(&mut self, text: *const c_char, nullable: bool) {
        match (text.is_null(), nullable) {
            (true, true) => {}
            (true, false) => self.complain(format_args!("a text is missing")),
            (false, _) => {
                // SAFETY: the caller promises it.
                let _ = unsafe { CStr::from_ptr(text) }.to_bytes().len();
            }
        }
    }

    /// Writes something everywhere.
    ///
    /// # Safety
    /// `len` elements at the pointer are valid for writing, and may be any bytes.
    pub unsafe fn fill<T>(&mut self, memory: *mut T, len: usize) {
        let byte = self.byte() & 1;
        // SAFETY: the caller promises it.
        unsafe { memory.write_bytes(byte, len) };
    }

    /// How long the value of a query is: the second time as the first.
    fn length(&mut self, room: bool, most: u8) -> usize {
        let asked = match room {
            true => self.asked.take(),
            false => None,
        };
        let len = asked.unwrap_or_else(|| usize::from(self.byte() % most));
        if !room {
            self.asked = Some(len);
        }
        len
    }

    /// The value of a query.
    ///
    /// # Safety
    /// `size` bytes at `value` are valid for writing, and `filled`, if they are not null.
    pub unsafe fn info(&mut self, size: usize, value: *mut c_void, filled: *mut usize) {
        let len = self.length(!value.is_null(), 40);
        // SAFETY: the caller promises it.
        unsafe {
            if !value.is_null() {
                self.fill(value.cast::<u8>(), len.min(size));
            }
            if !filled.is_null() {
                filled.write(len);
            }
        }
    }

    /// The value of a query that is objects.
    ///
    /// # Safety
    /// As for [`info`](Self::info).
    pub unsafe fn objects(
        &mut self,
        kind: Kind,
        size: usize,
        value: *mut c_void,
        filled: *mut usize,
    ) {
        let words = self.length(!value.is_null(), 4);
        let some = self.some_object(kind);
        // SAFETY: the caller promises it.
        unsafe {
            if !value.is_null() {
                for at in 0..words.min(size / size_of::<usize>()) {
                    value.cast::<usize>().add(at).write(some);
                }
            }
            if !filled.is_null() {
                filled.write(words * size_of::<usize>());
            }
        }
    }

    /// One of a kind, or null.
    fn some_object(&mut self, kind: Kind) -> usize {
        match kind {
            Kind::Platform => PLATFORM,
            Kind::Device => DEVICES[usize::from(self.byte() & 1)],
            _ => {
                let mut of_kind = self.objects.iter().filter(|(_, (of, _))| *of == kind);
                of_kind.next().map_or(0, |(object, _)| *object)
            }
        }
    }

    /// A list of what there is to be found.
    ///
    /// # Safety
    /// `max` elements at `list` are valid for writing, and `count`, if they are not null.
    pub unsafe fn found(
        &mut self,
        kind: Kind,
        max: cl_uint,
        list: *mut usize,
        count: *mut cl_uint,
    ) {
        let all: &[usize] = match kind {
            Kind::Platform => &[PLATFORM],
            _ => &DEVICES,
        };
        // SAFETY: the caller promises it.
        unsafe {
            if !list.is_null() {
                for (at, object) in all.iter().take(max as usize).enumerate() {
                    list.add(at).write(*object);
                }
            }
            if !count.is_null() {
                count.write(all.len() as cl_uint);
            }
        }
    }

    /// A list of structures.
    ///
    /// # Safety
    /// As for [`found`](Self::found), and any bytes are a structure.
    pub unsafe fn some<T>(&mut self, max: cl_uint, list: *mut T, count: *mut cl_uint) {
        let len = self.length(!list.is_null(), 20);
        // SAFETY: the caller promises it.
        unsafe {
            if !list.is_null() {
                self.fill(list, len.min(max as usize));
            }
            if !count.is_null() {
                count.write(len as cl_uint);
            }
        }
    }

    /// Uses the memory of a transfer, at once or later; gives its event.
    ///
    /// # Safety
    /// `len` bytes are valid, for writing if it `writes`, until the event is complete.
    pub unsafe fn transfer(
        &mut self,
        memory: *mut u8,
        len: usize,
        writes: bool,
        blocking: bool,
    ) -> usize {
        let event = self.make(Kind::Event);
        let late = Late {
            event,
            memory,
            len,
            writes,
        };
        // The test vendor of a device that is quick, and of one that is not.
        match blocking || self.byte() & 1 == 0 {
            true => self.carry_out(&late),
            false => self.late.push(late),
        }
        event
    }

    fn carry_out(&mut self, late: &Late) {
        // SAFETY: whoever began it promises that the memory is valid until it is complete.
        unsafe {
            match late.writes {
                true => late.memory.write_bytes(7, late.len),
                false => {
                    (0..late.len).for_each(|at| {
                        late.memory.add(at).read_volatile();
                    });
                }
            }
        }
    }

    /// Completes an event, if it is of a transfer.
    pub fn complete(&mut self, event: usize) {
        if let Some(at) = self.late.iter().position(|late| late.event == event) {
            let late = self.late.remove(at);
            self.carry_out(&late);
        }
    }

    /// Completes all events.
    pub fn complete_all(&mut self) {
        while let Some(late) = self.late.pop() {
            self.carry_out(&late);
        }
    }

    /// An event's status: what is under way may be so for a while.
    pub fn execution_status(&mut self, event: usize) -> cl_int {
        if self.late.iter().any(|late| late.event == event) {
            if self.byte() & 3 != 0 {
                return 1;
            }
            self.complete(event);
        }
        match self.byte() {
            250.. => CL_OUT_OF_RESOURCES,
            _ => 0,
        }
    }
}
