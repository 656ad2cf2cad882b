// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control socket: orders, and what else may arrive there.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{json, Value};
use wormholectl::control::{Response, REQUEST_LIMIT};
use wormholectl::error::Kind;
use wormholectl::status::{PairingState, VmState};

use crate::serve::Scene;

fn connect(scene: &Scene) -> UnixStream {
    let stream = UnixStream::connect(scene.path("control")).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// What has arrived; the connection must have ended after it.
fn answer(mut stream: &UnixStream) -> String {
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        Ok(_) => text,
        // It was closed before it had read all that we sent.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => text,
        Err(error) => panic!("{error}"),
    }
}

fn ask(scene: &mut Scene, request: &[u8]) -> String {
    let mut stream = connect(scene);
    stream.write_all(request).unwrap();
    scene.step();
    answer(&stream)
}

fn ask_json(scene: &mut Scene, op: &str) -> Response {
    let line = json!({ "op": op }).to_string() + "\n";
    serde_json::from_str(&ask(scene, line.as_bytes())).unwrap()
}

#[test]
fn stat_of_nothing_yet() {
    let mut scene = Scene::new();
    let Response::Status(status) = ask_json(&mut scene, "stat") else {
        panic!("no status");
    };
    assert_eq!(status.name, "gpu0");
    assert_eq!(status.pid, std::process::id());
    assert_eq!(status.pairing.state, PairingState::Waiting);
    assert!(status.vms.iter().all(|vm| vm.state == VmState::Absent));
    let window = status.window.unwrap();
    assert_eq!((window.size, window.channels), (1 << 20, 3));
    assert!(window.open.is_empty());
}

#[test]
fn unpair_and_pair() {
    let mut scene = Scene::new();
    let _vms = scene.pair();
    assert!(matches!(ask_json(&mut scene, "unpair"), Response::Done(_)));
    assert_eq!(scene.host.held(), 0);
    scene.pass(Duration::from_secs(100));
    assert_eq!(scene.host.held(), 0);
    let Response::Status(status) = ask_json(&mut scene, "stat") else {
        panic!("no status");
    };
    assert_eq!(status.pairing.state, PairingState::Held);
    assert!(status.vms.iter().all(|vm| vm.state == VmState::Connected));
    assert_eq!(
        ask_json(&mut scene, "pair"),
        Response::Done("gpu0 is paired".into())
    );
    assert_eq!(scene.host.held(), 1);
}

#[test]
fn pairing_that_fails_says_so() {
    let mut scene = Scene::new();
    let _vms = scene.pair();
    ask_json(&mut scene, "unpair");
    let error = wormholectl::host::PairError::Pair(nix::errno::Errno::EBUSY);
    scene.host.set_error(Some(error));
    let Response::Error(error) = ask_json(&mut scene, "pair") else {
        panic!("no error");
    };
    assert!(error.message.contains("another pairing"), "{error}");
}

#[test]
fn open_channels_are_shown() {
    let mut scene = Scene::new();
    let [(_s, device), _c] = scene.pair();
    let layout = device.header().layout;
    for (offset, value) in [
        (layout.state_offset(2, wormhole_window::Role::Client), 4),
        (layout.event_offset(2, wormhole_window::Role::Server), 7),
    ] {
        device.write_word(offset.unwrap(), value);
    }
    let Response::Status(status) = ask_json(&mut scene, "stat") else {
        panic!("no status");
    };
    let open = status.window.unwrap().open;
    assert_eq!(open.len(), 1);
    assert_eq!(
        (open[0].channel, open[0].state_client, open[0].state_server),
        (2, 4, 0)
    );
    assert_eq!((open[0].event_server, open[0].event_client), (7, 0));
}

/// What a VM writes there is shown as it is, by the functions' names.
#[test]
fn functions_are_shown_as_the_vms_count_them() {
    use wormhole_window::{Count, COUNTS_SIZE};
    let mut scene = Scene::new();
    let [_s, (_c, device)] = scene.pair();
    let counts = device.header().layout.counts_offset(1).unwrap();
    let mut functions = || match ask_json(&mut scene, "stat") {
        Response::Status(status) => status.window.unwrap().functions,
        other => panic!("{other:?}"),
    };
    assert_eq!(functions(), []);
    device.write_word(counts + Count::Home.offset(0) as u64, 5);
    device.write_word(counts + Count::SystemCall.offset(0) as u64, 2);
    let shown = functions();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].name.as_deref(), Some("clGetPlatformIDs"));
    assert_eq!((shown[0].number, shown[0].home), (Some(0), 5));
    assert_eq!((shown[0].posted, shown[0].causes["system-call"]), (0, 2));
    for offset in (0..COUNTS_SIZE as u64).step_by(4) {
        device.write_word(counts + offset, u32::MAX);
    }
    let shown = functions();
    assert_eq!(shown.last().unwrap().number, None);
    assert!(shown.iter().all(|of| of.home == u64::MAX));
}

#[test]
fn garbage_gets_an_error() {
    let mut scene = Scene::new();
    let long = vec![b'x'; REQUEST_LIMIT + 1];
    for bad in [
        &b"\n"[..],
        b"stat\n",
        b"{}\n",
        b"{\"op\":\"reboot\"}\n",
        b"{\"op\":\"stat\",\"more\":1}\n",
        b"{\"op\":[[[[[[\n",
        b"\xff\xfe\0\n",
        &long,
    ] {
        let text = ask(&mut scene, bad);
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["error"]["kind"], "usage", "{text}");
        assert_eq!(text.matches('\n').count(), 1);
    }
    assert!(matches!(ask_json(&mut scene, "stat"), Response::Status(_)));
}

#[test]
fn what_follows_the_line_is_not_read_as_another() {
    let mut scene = Scene::new();
    let text = ask(&mut scene, b"{\"op\":\"stat\"}\n{\"op\":\"unpair\"}\n");
    assert_eq!(text.matches('\n').count(), 1);
    assert!(text.starts_with("{\"status\":"));
}

#[test]
fn a_request_may_come_in_parts() {
    let mut scene = Scene::new();
    let mut stream = connect(&scene);
    for part in [&b"{\"op\""[..], b":\"sta", b"t\"}\n"] {
        scene.step();
        stream.write_all(part).unwrap();
    }
    scene.step();
    assert!(answer(&stream).starts_with("{\"status\":"));
}

#[test]
fn who_dawdles_or_leaves_is_forgotten() {
    let mut scene = Scene::new();
    let slow: Vec<_> = (0..8).map(|_| connect(&scene)).collect();
    scene.step();
    let text = ask(&mut scene, b"{\"op\":\"stat\"}\n");
    let response: Response = serde_json::from_str(&text).unwrap();
    assert!(matches!(response, Response::Error(error) if error.kind == Kind::Refused));
    scene.pass(Duration::from_secs(6));
    assert!(slow.iter().all(|stream| answer(stream).is_empty()));
    assert!(matches!(ask_json(&mut scene, "stat"), Response::Status(_)));

    let gone: Vec<_> = (0..8).map(|_| connect(&scene)).collect();
    scene.step();
    drop(gone);
    scene.step();
    assert!(matches!(ask_json(&mut scene, "stat"), Response::Status(_)));
}

/// Needs root, to become somebody else.
#[test]
fn strangers_are_refused() {
    let mut scene = Scene::new();
    let path = scene.path("control");
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    open(scene.dir.path(), 0o711);
    open(&path, 0o666);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: nothing tested");
        return;
    }
    let stranger = std::thread::spawn(move || {
        // SAFETY: the bare system call changes the credentials of this
        // thread alone, which ends after it has connected.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, -1, 65534, -1) };
        assert_eq!(changed, 0);
        UnixStream::connect(path).unwrap()
    });
    let mut stream = stranger.join().unwrap();
    stream.set_nonblocking(true).unwrap();
    stream.write_all(b"{\"op\":\"unpair\"}\n").unwrap();
    scene.step();
    let response: Response = serde_json::from_str(&answer(&stream)).unwrap();
    assert!(matches!(response, Response::Error(error) if error.kind == Kind::Refused));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..6000)) {
        let mut scene = Scene::new();
        let text = ask_and_close(&mut scene, &bytes);
        if !text.is_empty() {
            let response: Response = serde_json::from_str(&text).unwrap();
            let refused = matches!(response, Response::Error(error) if error.kind == Kind::Usage);
            prop_assert!(refused);
        }
        prop_assert!(matches!(ask_json(&mut scene, "stat"), Response::Status(_)));
    }
}

fn ask_and_close(scene: &mut Scene, bytes: &[u8]) -> String {
    let mut stream = connect(scene);
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    scene.step();
    answer(&stream)
}
