// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Clients that do not play by the rules: they get an error or are dropped,
//! and the next client is served.

use std::io::{IoSlice, Write};
use std::net::TcpStream;
use std::process::Command;

use wormhole_opencl_protocol::api::*;
use wormhole_opencl_protocol::argument::KernelArg;
use wormhole_opencl_protocol::constants::*;
use wormhole_opencl_protocol::data::Data;
use wormhole_opencl_protocol::frame::{ReplyFrame, Request};
use wormhole_opencl_protocol::handle::Handle;
use wormhole_opencl_protocol::ndrange::{NdRange, Room};
use wormhole_transport::{Client, Config};

use crate::daemon::{Daemon, Transport};
use crate::program::{compile, run, stdout_of};

struct Hostile {
    client: Box<dyn Client>,
    reply: Vec<u8>,
}

impl Hostile {
    fn connect(daemon: &Daemon) -> Self {
        let config = match daemon.address().starts_with('/') {
            true => Config::memfd(daemon.address()),
            false => Config::tcp(daemon.address()),
        };
        Hostile {
            client: wormhole_transport::connect(&config).expect("the server is there"),
            reply: Vec::new(),
        }
    }

    /// The status of a call; `None` if the server drops the client.
    fn call<'a>(&mut self, request: &impl Request<'a>) -> Option<i32> {
        self.raw(&request.frame().to_vec())
    }

    /// Makes a context of the first device.
    fn context(&mut self, new: Handle) -> Option<i32> {
        assert_eq!(self.call(&ClGetPlatformIDs {}), Some(CL_SUCCESS));
        let platform = Handle::found(0);
        let devices = ClGetDeviceIDs {
            platform,
            device_type: CL_DEVICE_TYPE_ALL,
        };
        assert_eq!(self.call(&devices), Some(CL_SUCCESS));
        self.call(&ClCreateContext {
            platform,
            devices: vec![Handle::found(1)],
            new,
        })
    }

    fn raw(&mut self, bytes: &[u8]) -> Option<i32> {
        self.client
            .call(&[IoSlice::new(bytes)], &mut self.reply)
            .ok()?;
        Some(
            ReplyFrame::open(&self.reply)
                .expect("a server's reply")
                .status,
        )
    }
}

fn serves(daemon: &Daemon) {
    let mut command = Command::new(compile("../../samples/vadd.c"));
    daemon.point(&mut command);
    stdout_of(&run(&mut command));
}

const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Memfd];

#[test]
fn forged_handles_are_refused() {
    for transport in TRANSPORTS {
        let daemon = Daemon::start(transport);
        let mut hostile = Hostile::connect(&daemon);
        for handle in [
            Handle::made(0, 1),
            Handle::made(7, 0),
            Handle::made(u32::MAX >> 1, u32::MAX),
            Handle::found(0),
            Handle::found(1000),
            Handle::NULL,
            Handle::from_bits(u64::MAX),
            Handle::from_bits(0x7fff_0000_1000),
        ] {
            let finish = ClFinish {
                command_queue: handle,
            };
            assert_eq!(hostile.call(&finish), Some(CL_INVALID_COMMAND_QUEUE));
            let context = ClCreateCommandQueue {
                context: handle,
                device: handle,
                properties: 0,
                new: Handle::made(1, 1),
            };
            assert_eq!(hostile.call(&context), Some(CL_INVALID_CONTEXT));
            // Releasing what is not there changes nothing.
            assert_eq!(
                hostile.call(&ClReleaseMemObject { memobj: handle }),
                Some(CL_SUCCESS)
            );
        }
        serves(&daemon);
        daemon.stop();
    }
}

/// Places are looked at before anything else is.
#[test]
fn data_outside_the_shared_memory_ends_the_connection() {
    const SIZE: u64 = 2 << 20;
    for transport in TRANSPORTS {
        let mut daemon = Daemon::start(transport);
        for (offset, len) in [
            (0, SIZE),
            (SIZE, 0),
            (SIZE - 1, 1),
            (0, SIZE + 1),
            (SIZE - 1, 2),
            (SIZE + 1, 0),
            (1, u64::MAX),
            (u64::MAX, 1),
        ] {
            let within = offset.checked_add(len).is_some_and(|end| end <= SIZE);
            let answer = match within && transport == Transport::Memfd {
                true => Some(CL_INVALID_COMMAND_QUEUE),
                false => None,
            };
            let handle = Handle::NULL;
            let write = ClEnqueueWriteBuffer {
                command_queue: handle,
                buffer: handle,
                blocking: 1,
                number: 0,
                offset: 0,
                data: Data::Shared { offset, len },
                event_wait_list: Vec::new(),
                event: handle,
            };
            let read = ClEnqueueReadBuffer {
                command_queue: handle,
                buffer: handle,
                read: 0,
                offset: 0,
                size: len,
                place: Some(offset),
                event_wait_list: Vec::new(),
                event: handle,
            };
            assert_eq!(
                Hostile::connect(&daemon).call(&write),
                answer,
                "{offset} {len}"
            );
            assert_eq!(
                Hostile::connect(&daemon).call(&read),
                answer,
                "{offset} {len}"
            );
            if answer.is_none() {
                daemon.wait_for("data outside the shared memory");
                daemon.wait_for("data outside the shared memory");
            }
        }
        serves(&daemon);
        daemon.stop();
    }
}

/// Memory of a message is not used as a buffer's own, what the vendor has elsewhere is not said to be
/// mapped, and what is not mapped is not unmapped.
#[test]
fn a_buffer_has_no_memory_but_what_is_shared() {
    let mut daemon = Daemon::start(Transport::Memfd);
    let mut hostile = Hostile::connect(&daemon);
    let (context, queue, buffer) = (Handle::made(0, 1), Handle::made(1, 1), Handle::made(2, 1));
    assert_eq!(hostile.context(context), Some(CL_SUCCESS));
    let make = ClCreateCommandQueue {
        context,
        device: Handle::found(1),
        properties: 0,
        new: queue,
    };
    assert_eq!(hostile.call(&make), Some(CL_SUCCESS));
    let bytes = [7; 4096];
    let make = |flags, size, data, new| ClCreateBuffer {
        context,
        flags,
        size,
        data,
        number: 1,
        new,
    };
    let (uses, len) = (CL_MEM_USE_HOST_PTR, 4096);
    let here = Data::Here(&bytes);
    let there = |offset| Data::Shared { offset, len };
    for (make, status) in [
        (make(uses, len, Some(here), buffer), CL_INVALID_HOST_PTR),
        (make(uses, len, None, buffer), CL_INVALID_HOST_PTR),
        (make(0, len, None, buffer), CL_SUCCESS),
        (
            make(uses, len, Some(there(0)), Handle::made(3, 1)),
            CL_SUCCESS,
        ),
    ] {
        assert_eq!(hostile.call(&make), Some(status), "{make:?}");
    }
    let map = |buffer, place| ClEnqueueMapBuffer {
        command_queue: queue,
        buffer,
        blocking: 1,
        map_flags: CL_MAP_READ,
        offset: 0,
        size: len,
        place,
        event_wait_list: Vec::new(),
        event: Handle::NULL,
    };
    assert_eq!(hostile.call(&map(buffer, 0)), Some(CL_MAP_FAILURE));
    assert_eq!(
        hostile.call(&map(Handle::made(3, 1), 8)),
        Some(CL_MAP_FAILURE)
    );
    let unmap = |place| ClEnqueueUnmapMemObject {
        command_queue: queue,
        memobj: Handle::made(3, 1),
        place,
        event_wait_list: Vec::new(),
        event: Handle::NULL,
    };
    assert_eq!(hostile.call(&unmap(0)), Some(CL_INVALID_VALUE));
    assert_eq!(hostile.call(&map(Handle::made(3, 1), 0)), Some(CL_SUCCESS));
    assert_eq!(hostile.call(&unmap(0)), Some(CL_SUCCESS));
    for make in [
        make(uses, len, Some(there((2 << 20) - 1)), Handle::made(4, 1)),
        make(uses, len - 1, Some(there(0)), Handle::made(4, 1)),
    ] {
        let mut hostile = Hostile::connect(&daemon);
        assert_eq!(hostile.context(context), Some(CL_SUCCESS));
        assert_eq!(hostile.call(&make), None);
        daemon.wait_for("bad request");
    }
    serves(&daemon);
    daemon.stop();
}

#[test]
fn a_name_in_use_is_not_given_again() {
    let daemon = Daemon::start(Transport::Tcp);
    let mut hostile = Hostile::connect(&daemon);
    assert_eq!(hostile.context(Handle::made(3, 5)), Some(CL_SUCCESS));
    // A live one, an older one, and one out of bounds.
    assert_eq!(hostile.context(Handle::made(3, 6)), None);
    for name in [
        Handle::made(u32::MAX >> 1, 1),
        Handle::found(9),
        Handle::NULL,
    ] {
        let mut hostile = Hostile::connect(&daemon);
        assert_eq!(hostile.context(name), None, "{name:?}");
    }
    let mut hostile = Hostile::connect(&daemon);
    assert_eq!(hostile.context(Handle::made(3, 5)), Some(CL_SUCCESS));
    let release = ClReleaseContext {
        context: Handle::made(3, 5),
    };
    assert_eq!(hostile.call(&release), Some(CL_SUCCESS));
    assert_eq!(hostile.context(Handle::made(3, 5)), None);
    serves(&daemon);
    daemon.stop();
}

#[test]
fn a_pointer_is_no_kernel_argument() {
    let mut daemon = Daemon::start(Transport::Tcp);
    let mut hostile = Hostile::connect(&daemon);
    let (context, program, kernel) = (Handle::made(0, 1), Handle::made(1, 1), Handle::made(2, 1));
    assert_eq!(hostile.context(context), Some(CL_SUCCESS));
    let devices = vec![Handle::found(1)];
    let native = ClCreateProgramWithBinary {
        context,
        devices,
        binaries: vec![b"\x7fELF and then some"],
        new: program,
    };
    assert_eq!(hostile.call(&native), Some(CL_INVALID_BINARY));
    let source = ClCreateProgramWithSource {
        context,
        source: b"__kernel void f(__global int *p, int i) { *p = i; }",
        new: program,
    };
    assert_eq!(hostile.call(&source), Some(CL_SUCCESS));
    let build = ClBuildProgram {
        program,
        num_devices: 0,
        device_list: None,
        options: None,
    };
    assert_eq!(hostile.call(&build), Some(CL_SUCCESS));
    let create = ClCreateKernel {
        program,
        kernel_name: b"f",
        new: kernel,
    };
    assert_eq!(hostile.call(&create), Some(CL_SUCCESS));
    let pointer = 0x1000u64.to_ne_bytes();
    let set = |index, size, object, value| ClSetKernelArg {
        kernel,
        args: vec![KernelArg {
            index,
            size,
            object,
            value,
        }],
    };
    let null = Handle::NULL;
    for (arg, status) in [
        (set(0, 8, null, Some(&pointer[..])), CL_INVALID_ARG_VALUE),
        (set(0, 8, program, None), CL_INVALID_MEM_OBJECT),
        (set(1, 8, null, Some(&pointer[..])), CL_INVALID_ARG_SIZE),
        (set(1, 4, null, Some(&pointer[..])), CL_INVALID_ARG_SIZE),
        (set(1, 4, null, None), CL_INVALID_ARG_VALUE),
        (set(9, 4, null, None), CL_INVALID_ARG_INDEX),
        (set(0, 8, null, None), CL_SUCCESS),
    ] {
        assert_eq!(hostile.call(&arg), Some(status), "{arg:?}");
    }
    let mut room = [0; size_of::<Room>()];
    let nowhere = ClEnqueueNDRangeKernel {
        command_queue: null,
        kernel,
        args: vec![],
        range: NdRange::new(&mut room, &[1], None, None).unwrap(),
        event_wait_list: vec![],
        event: null,
    };
    assert_eq!(hostile.call(&nowhere), Some(CL_INVALID_COMMAND_QUEUE));
    drop(hostile);
    daemon.wait_for(": gone");
    serves(&daemon);
    daemon.stop();
}

/// A box has as many bytes as its region says, and no more than a client may use.
#[test]
fn boxes_are_measured() {
    let daemon = Daemon::start(Transport::Tcp);
    let connect = || {
        let mut hostile = Hostile::connect(&daemon);
        assert_eq!(hostile.context(Handle::made(0, 1)), Some(CL_SUCCESS));
        hostile
    };
    let mut hostile = connect();
    let (context, queue, buffer) = (Handle::made(0, 1), Handle::made(1, 1), Handle::made(2, 1));
    let make = ClCreateCommandQueue {
        context,
        device: Handle::found(1),
        properties: 0,
        new: queue,
    };
    assert_eq!(hostile.call(&make), Some(CL_SUCCESS));
    let make = ClCreateBuffer {
        context,
        flags: 0,
        size: 4096,
        data: None,
        number: 0,
        new: buffer,
    };
    assert_eq!(hostile.call(&make), Some(CL_SUCCESS));
    let read = |region| ClEnqueueReadBufferRect {
        command_queue: queue,
        buffer,
        read: 0,
        origin: [0; 3],
        region,
        row_pitch: 0,
        slice_pitch: 0,
        event_wait_list: Vec::new(),
        event: Handle::NULL,
    };
    for (region, status) in [
        ([16, 4, 1], CL_SUCCESS),
        ([16, 0, 1], CL_INVALID_VALUE),
        ([u64::MAX, 4, 1], CL_INVALID_VALUE),
        ([1 << 22, 1 << 21, 1 << 21], CL_INVALID_VALUE),
        ([1 << 40, 1, 1], CL_OUT_OF_RESOURCES),
    ] {
        assert_eq!(hostile.call(&read(region)), Some(status), "{region:?}");
    }
    let image = |row_pitch, flags, data| ClCreateImage {
        context,
        flags,
        channel_order: CL_R,
        channel_data_type: CL_UNSIGNED_INT8,
        image_type: CL_MEM_OBJECT_IMAGE2D,
        sizes: [4, 4, 0, 0],
        row_pitch,
        slice_pitch: 0,
        num_mip_levels: 0,
        num_samples: 0,
        mem: Handle::NULL,
        data,
        new: Handle::made(3, 1),
    };
    let (data, copy) = ([0; 16], CL_MEM_COPY_HOST_PTR);
    let refused = |hostile: &mut Hostile, row_pitch, flags, status| {
        let image = image(row_pitch, flags, Some(&data[..]));
        assert_eq!(hostile.call(&image), Some(status));
    };
    refused(&mut hostile, 0, CL_MEM_USE_HOST_PTR, CL_INVALID_VALUE);
    refused(&mut hostile, 3, copy, CL_INVALID_IMAGE_DESCRIPTOR);
    refused(&mut hostile, 1 << 40, copy, CL_OUT_OF_RESOURCES);
    refused(&mut hostile, u64::MAX, copy, CL_INVALID_IMAGE_DESCRIPTOR);
    refused(&mut hostile, 64, copy, CL_SUCCESS);
    let mut other = connect();
    assert_eq!(other.call(&image(64, copy, Some(&data[..15]))), None);
    let write = ClEnqueueWriteBufferRect {
        command_queue: queue,
        buffer,
        blocking: 1,
        origin: [0; 3],
        region: [16, 4, 1],
        row_pitch: 0,
        slice_pitch: 0,
        data: &data,
        event_wait_list: Vec::new(),
        event: Handle::NULL,
    };
    assert_eq!(hostile.call(&write), None);
    serves(&daemon);
    daemon.stop();
}

#[test]
fn what_is_no_message_ends_the_connection() {
    let mut names = FUNCTION_NAMES.iter();
    let not_forwarded = names.position(|name| *name == "clCreateFromGLBuffer");
    let not_forwarded = not_forwarded.expect("a function of the table");
    for transport in TRANSPORTS {
        let mut daemon = Daemon::start(transport);
        let finish = ClFinish {
            command_queue: Handle::made(1, 1),
        };
        let good = finish.frame().to_vec();
        let mut long = good.clone();
        long.push(0);
        let mut reserved = good.clone();
        reserved[2] = 2;
        let sequence = [50, 0, 0, 0].iter().chain(&[0xff; 64]).copied().collect();
        let messages: [Vec<u8>; 8] = [
            vec![],
            vec![0x2f],
            good[..good.len() - 1].to_vec(),
            long,
            reserved,
            vec![0xff; 4],
            vec![not_forwarded as u8, 0, 0, 0],
            sequence,
        ];
        for message in messages {
            let mut hostile = Hostile::connect(&daemon);
            assert_eq!(hostile.raw(&message), None, "{message:?}");
            daemon.wait_for("bad request");
        }
        serves(&daemon);
        daemon.stop();
    }
}

/// Bytes that are not even frames, and connections that say nothing.
#[test]
fn what_is_no_frame_is_dropped() {
    let mut daemon = Daemon::start(Transport::Tcp);
    let silent = TcpStream::connect(daemon.address()).expect("the server is there");
    for bytes in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0xff; 4096], &[0; 3]] {
        let mut socket = TcpStream::connect(daemon.address()).expect("the server is there");
        // It may be dropped before everything is written.
        let _ = socket.write_all(bytes);
        drop(socket);
        daemon.wait_for("no client after all");
    }
    serves(&daemon);
    drop(silent);
    daemon.stop();
}

/// Random messages, also with real function numbers; the seed is fixed.
#[test]
fn random_messages_do_no_harm() {
    let daemon = Daemon::start(Transport::Tcp);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut refused = 0;
    for _ in 0..40 {
        let mut hostile = Hostile::connect(&daemon);
        for _ in 0..20 {
            let mut message = vec![(next() % 149) as u8, 0, 0, 0];
            let len = next() % 64;
            // Small numbers more often: they are lengths and handles that exist.
            message.extend((0..len).map(|_| match next() % 4 {
                0 => next() as u8,
                _ => (next() % 3) as u8,
            }));
            if hostile.raw(&message).is_none() {
                refused += 1;
                break;
            }
        }
    }
    assert!(refused > 0);
    serves(&daemon);
    daemon.stop();
}

#[test]
fn one_client_too_many_is_turned_away() {
    let mut daemon = Daemon::start_with(Transport::Tcp, ["--max-clients", "1"]);
    let mut first = Hostile::connect(&daemon);
    assert_eq!(first.call(&ClGetPlatformIDs {}), Some(CL_SUCCESS));
    let second = wormhole_transport::connect(&Config::tcp(daemon.address()));
    assert!(second.is_err());
    daemon.wait_for("turned away");
    drop(first);
    daemon.wait_for("ended (0)");
    serves(&daemon);
    daemon.stop();
}

/// Whoever fills his own listener leaves the clients of another one alone.
#[test]
fn each_listener_has_its_own_clients() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let options = ["--max-clients", "1", "--memfd", socket.to_str().unwrap()];
    let mut daemon = Daemon::start_with(Transport::Tcp, options);
    let address = daemon.address().to_owned();
    daemon.wait_for("listening on /");
    let mut first = Hostile::connect(&daemon);
    assert_eq!(first.call(&ClGetPlatformIDs {}), Some(CL_SUCCESS));
    assert!(wormhole_transport::connect(&Config::tcp(&address)).is_err());
    daemon.wait_for(": turned away");
    let mut other = Hostile {
        client: wormhole_transport::connect(&Config::memfd(&socket)).unwrap(),
        reply: Vec::new(),
    };
    assert_eq!(other.call(&ClGetPlatformIDs {}), Some(CL_SUCCESS));
    let line = daemon.wait_for(&format!("{}, ", socket.display()));
    assert!(line.contains("served by process"), "{line}");
    daemon.stop();
}
