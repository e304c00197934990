//! Standard output and standard error as descriptors.
//!
//! `write(2)` is called directly. `std::io::stdout` has a lock: a thread that waits for the reader would hold it, and the end
//! of the process takes it.

use std::io::{self, Write};

use crate::os;

/// Time between two attempts where `poll(2)` cannot wait.
pub(crate) const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

#[derive(Debug)]
pub(crate) enum Descriptor {
    Stdout,
    Stderr,
    #[cfg(all(test, unix))]
    Owned(std::os::fd::OwnedFd),
}

impl Descriptor {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Stdout => "standard output",
            Self::Stderr => "standard error",
            #[cfg(all(test, unix))]
            Self::Owned(_) => "the test",
        }
    }

    /// True when the descriptor was closed before the program started.
    pub(crate) fn was_closed(&self) -> bool {
        match self {
            Self::Stdout => os::was_closed(1),
            Self::Stderr => os::was_closed(2),
            #[cfg(all(test, unix))]
            Self::Owned(_) => false,
        }
    }

    /// Writes at least one byte and returns the number of bytes written. Waits for the reader.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.was_closed() {
            return Err(closed());
        }
        loop {
            match self.write_once(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process that shares the descriptor has made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_for_room(),
                result => return result,
            }
        }
    }
}

#[cfg(unix)]
impl Descriptor {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Stdout => rustix::stdio::stdout(),
            Self::Stderr => rustix::stdio::stderr(),
            #[cfg(test)]
            Self::Owned(fd) => std::os::fd::AsFd::as_fd(fd),
        }
    }

    fn write_once(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.fd(), bytes)?)
    }

    fn wait_for_room(&self) {
        wait_for(self.fd(), rustix::event::PollFlags::OUT);
    }

    /// True for a pipe or a socket: their readers can go while nothing is written.
    pub(crate) fn has_reader(&self) -> bool {
        use rustix::fs::FileType;
        rustix::fs::fstat(self.fd()).is_ok_and(|stat| {
            matches!(
                FileType::from_raw_mode(stat.st_mode),
                FileType::Fifo | FileType::Socket
            )
        })
    }

    /// True when the other end of the pipe or the socket is closed.
    pub(crate) fn reader_is_gone(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let fd = self.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).is_ok()
            && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }
}

#[cfg(not(unix))]
impl Descriptor {
    fn write_once(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout();
                let written = out.write(bytes)?;
                out.flush()?;
                Ok(written)
            }
            Self::Stderr => io::stderr().write(bytes),
        }
    }

    fn wait_for_room(&self) {
        std::thread::sleep(PAUSE);
    }

    pub(crate) fn has_reader(&self) -> bool {
        false
    }

    pub(crate) fn reader_is_gone(&self) -> bool {
        false
    }
}

/// Waits until the non-blocking descriptor has bytes or room. The next read or write returns its error, if there is one.
#[cfg(unix)]
pub(crate) fn wait_for(fd: std::os::fd::BorrowedFd<'_>, what: rustix::event::PollFlags) {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::new(&fd, what)];
    let polled = poll(&mut fds, None);
    // Some systems cannot poll a terminal.
    if polled.is_err() || fds[0].revents().contains(PollFlags::NVAL) {
        std::thread::sleep(PAUSE);
    }
}

/// True for `EPIPE` and `EBADF`: the reader is gone, or the descriptor was closed.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    #[cfg(unix)]
    let is_closed = error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error());
    #[cfg(not(unix))]
    let is_closed = false;
    is_closed || error.kind() == io::ErrorKind::BrokenPipe
}

/// The error of a write to a closed descriptor.
pub(crate) fn closed() -> io::Error {
    #[cfg(unix)]
    return rustix::io::Errno::BADF.into();
    #[cfg(not(unix))]
    io::ErrorKind::BrokenPipe.into()
}

/// Standard output for binary data, such as sound. Writes block until the reader has room, so this belongs on a thread of
/// its own. [`out`](crate::out) must not be used at the same time.
#[derive(Debug, Default)]
pub struct StandardOutput(());

impl StandardOutput {
    /// True for an error that means that standard output has no reader any more.
    pub fn is_gone(error: &io::Error) -> bool {
        is_gone(error)
    }
}

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Descriptor::Stdout.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
