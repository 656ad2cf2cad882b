// SPDX-License-Identifier: GPL-2.0

//! /dev/wormhole: its ioctls. The contract, errors included, is `include/uapi/linux/wormhole.h`.

use crate::{
    cpu,
    eventfd::EventFd,
    host::Host,
    ioctl,
    kvm::Vm,
    name::Name,
    pairing::Role,
    pairing_file::PairingFile,
    tracepoint,
    uapi::{self, wormhole_info, wormhole_pair},
};
use kernel::{
    bindings, container_of,
    fs::{File, LocalFile},
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    prelude::*,
    sync::{Arc, ArcBorrow},
    uaccess::UserPtr,
};

/// The registered device. Only root may open it (mode 0600), which is not enough to pair.
#[pin_data]
pub(crate) struct Device {
    #[pin]
    misc: MiscDeviceRegistration<Host>,
    host: Arc<Host>,
}

impl Device {
    pub(crate) fn register(host: Arc<Host>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // Before `misc`: from then on it is used.
            host,
            misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"wormhole" }),
        })
    }
}

#[vtable]
impl MiscDevice for Host {
    type Ptr = Arc<Host>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<Arc<Host>> {
        // SAFETY: The only registration of this type is in a `Device`, whose `host` was
        // initialised before it.
        let device = unsafe { &*container_of!(core::ptr::from_ref(misc).cast_mut(), Device, misc) };
        Ok(device.host.clone())
    }

    fn ioctl(host: ArcBorrow<'_, Host>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let arg = UserPtr::from_addr(arg);
        if ioctl::is(cmd, uapi::WORMHOLE_IOC_INFO) {
            info(&host, arg)
        } else if ioctl::is(cmd, uapi::WORMHOLE_IOC_PAIR) {
            pair(&Arc::from(host), arg)
        } else {
            Err(ENOTTY)
        }
    }
}

/// `bit` if `present`.
fn feature(present: bool, bit: u32) -> u64 {
    if present {
        bit.into()
    } else {
        0
    }
}

fn info(host: &Host, arg: UserPtr) -> Result<isize> {
    ioctl::read::<wormhole_info>(arg)?;

    let cpu = cpu::capabilities();
    let vendor_module = host.kvm.vendor_module_loaded();
    let info = wormhole_info {
        size: u32::try_from(size_of::<wormhole_info>())?,
        abi_version: uapi::WORMHOLE_ABI_VERSION,
        cpu_features: feature(cpu.vmx, uapi::WORMHOLE_CPU_VMX)
            | feature(cpu.ept, uapi::WORMHOLE_CPU_EPT)
            | feature(
                cpu.eptp_switching && cpu.execute_only,
                uapi::WORMHOLE_CPU_VMFUNC,
            )
            | feature(cpu.posted_interrupts, uapi::WORMHOLE_CPU_POSTED_INTR),
        kernel_features: u64::from(uapi::WORMHOLE_KERNEL_KVM)
            | feature(
                vendor_module && cpu.vmx_reported,
                uapi::WORMHOLE_KERNEL_KVM_INTEL,
            )
            | feature(
                vendor_module && host.kvm.apicv(),
                uapi::WORMHOLE_KERNEL_APICV,
            ),
        pairings: u32::try_from(host.live_pairings())?,
        reserved: 0,
    };
    ioctl::write(arg, &info)?;
    Ok(0)
}

/// The VM that a file descriptor of the caller stands for.
fn vm(host: &Host, fd: i32) -> Result<Vm> {
    let file = LocalFile::fget(u32::try_from(fd).map_err(|_| EBADF)?)?;
    // SAFETY: An ioctl does not use file positions.
    let file = unsafe { LocalFile::assume_no_fdget_pos(file) };
    Vm::from_file(host.kvm.clone(), &file)
}

/// What is to be signalled when a call hops home.
fn server_event(args: &wormhole_pair) -> Result<Option<EventFd>> {
    match (args.flags, args.server_event_fd) {
        (0, 0) => Ok(None),
        (uapi::WORMHOLE_PAIR_SERVER_EVENT, fd) => EventFd::from_fd(fd).map(Some),
        _ => Err(EINVAL),
    }
}

fn pair(host: &Arc<Host>, arg: UserPtr) -> Result<isize> {
    // SAFETY: No requirements.
    if !unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) } {
        return Err(EPERM);
    }

    let args: wormhole_pair = ioctl::read(arg)?;
    let name = Name::new(args.name).ok_or(EINVAL)?;
    let event = server_event(&args)?;
    let client = vm(host, args.client_vm_fd)?;
    let server = vm(host, args.server_vm_fd)?;
    if client.id() == server.id() {
        return Err(ELOOP);
    }
    // Neither address space ends before both VMs are attached.
    let users = (client.mm()?, server.mm()?);

    let handle = host.reserve(name, args.key, &client, &server)?;
    handle.attach(Role::Client, client.clone())?;
    handle.attach(Role::Server, server.clone())?;
    if let Err(error) = handle.start_exitless(&client, &server, event) {
        if error != EOPNOTSUPP {
            pr_warn!("no exitless calls for this pairing: {:?}\n", error);
        }
    }
    tracepoint::pair(handle.pairing().id(), client.pid(), server.pid());
    // Before their address spaces may end: the pairing's references are to be the last.
    drop((client, server));
    let fd = PairingFile::install(handle)?;
    drop(users);
    Ok(isize::try_from(fd)?)
}
