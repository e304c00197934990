//! System calls without a safe wrapper: descriptors and signals at the start of the program.
#![cfg_attr(unix, allow(unsafe_code, reason = "each block says why it is sound"))]

/// Bit `n` is set when descriptor `n` (0 to 2) was closed when the program started.
static CLOSED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// True when the descriptor (0 to 2) was closed when the program started.
///
/// Before `main`, the standard library opens `/dev/null` in place of closed descriptors. From then on a closed descriptor
/// cannot be told from one that was redirected to `/dev/null`.
pub(crate) fn was_closed(descriptor: u8) -> bool {
    CLOSED.load(std::sync::atomic::Ordering::Relaxed) >> descriptor & 1 == 1
}

#[cfg(unix)]
mod unix {
    use std::sync::atomic::Ordering;

    use rustix::io::{Errno, fcntl_getfd};
    use rustix::stdio;

    extern "C" fn look_at_descriptors() {
        let closed = [
            fcntl_getfd(stdio::stdin()),
            fcntl_getfd(stdio::stdout()),
            fcntl_getfd(stdio::stderr()),
        ];
        let mut bits = 0;
        for (descriptor, look) in closed.into_iter().enumerate() {
            bits |= u8::from(look == Err(Errno::BADF)) << descriptor;
        }
        super::CLOSED.store(bits, Ordering::Relaxed);
    }

    /// Runs [`look_at_descriptors`] before the standard library starts.
    // SAFETY: the section holds pointers to functions of the C calling convention. Each is called once, on the only thread.
    // This function makes three system calls and stores a number; it needs nothing that is initialized later. The C calling
    // convention allows a callee to ignore the arguments that some systems pass.
    #[used]
    #[cfg_attr(
        target_vendor = "apple",
        unsafe(link_section = "__DATA,__mod_init_func")
    )]
    #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
    static LOOK_AT_DESCRIPTORS: extern "C" fn() = look_at_descriptors;

    /// True when SIGHUP is ignored, as under `nohup`.
    pub(crate) fn ignores_hangup() -> bool {
        // SAFETY: `sigaction` with a null pointer for the new action only writes the old action, and zeros are a valid value
        // of the struct.
        let old = unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut old);
            old
        };
        old.sa_sigaction == libc::SIG_IGN
    }

    /// Ignores SIGXFSZ: a write beyond the file size limit (`ulimit -f`) then returns an error and does not kill the process.
    pub(crate) fn survive_file_size_limit() {
        // SAFETY: ignoring a signal runs no code, and this program has no handler for SIGXFSZ.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    }

    /// Unblocks the signals that end a program, for this thread and those that it starts from now on. The parent
    /// process may have blocked them, as thread pools do, and the mask is inherited.
    pub(crate) fn unblock_signals() {
        // SAFETY: the set is local and initialized by `sigemptyset`; only the mask of this thread changes.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::sigaddset(&raw mut set, signal);
            }
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        }
    }

    /// Blocks SIGTTOU for this thread: a write from the background to a terminal with `stty tostop` then succeeds and does not
    /// stop the process.
    pub(crate) fn let_background_jobs_write() {
        // SAFETY: the set is local and initialized by `sigemptyset`; only the mask of this thread changes.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTTOU);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        }
    }
}

#[cfg(unix)]
pub(crate) use unix::{
    ignores_hangup, let_background_jobs_write, survive_file_size_limit, unblock_signals,
};

#[cfg(not(unix))]
pub(crate) fn survive_file_size_limit() {}

#[cfg(not(unix))]
pub(crate) fn unblock_signals() {}

#[cfg(not(unix))]
pub(crate) fn let_background_jobs_write() {}
