//! Socket options.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;

/// Has the kernel choose among the sockets of a port by a datagram's byte 1, the connection id's worker.
///
/// To be called on one socket of the group, when all are bound: they count in the order of their binding.
pub(crate) fn steer_by_worker_byte(socket: &impl AsRawFd, workers: usize) -> io::Result<()> {
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const MODULO: u16 = (libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K) as u16;
    const RETURN_A: u16 = (libc::BPF_RET | 0x10) as u16;
    let step = |code, k| libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    // Offset 0 is the UDP payload. A datagram too short for byte 1 ends the program with 0: the first worker.
    let mut steps = [
        step(LOAD_BYTE, 1),
        step(MODULO, workers as u32),
        step(RETURN_A, 0),
    ];
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: the option takes a `sock_fprog`, whose steps are alive during the call; the kernel copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            mem::size_of_val(&program) as u32,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sets an option of `SOL_SOCKET` that is a number to 1.
pub(super) fn switch_on(socket: &impl AsRawFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the options that it is used for take an int, which is alive during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const on).cast(),
            mem::size_of_val(&on) as u32,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
