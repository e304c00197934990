//! Standard input and files, read so that a read always waits.
//!
//! `O_NONBLOCK` belongs to the open pipe or terminal, not to the process: another process that shares it, such as the parent,
//! can set the flag at any time. `std::io::stdin` and `File` then fail with "Resource temporarily unavailable". The
//! readers here wait instead.

use std::fs::File;
use std::io::{self, BufReader, Read};

/// Standard input. Reads wait for bytes, even if another process has made the descriptor non-blocking, so this belongs on a
/// thread of its own. It has no buffer and no lock. Standard input that was closed is at its end.
#[derive(Debug, Default)]
pub struct StandardInput(());

impl StandardInput {
    /// Reads lines and leaves everything behind a line unread, for the next reader.
    pub fn by_line() -> BufReader<Self> {
        // A single read cannot give back what follows the line.
        BufReader::with_capacity(1, Self::default())
    }
}

impl Read for StandardInput {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        return match wait_and_read(rustix::stdio::stdin(), bytes) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error()) => {
                Ok(0)
            }
            result => result,
        };
        #[cfg(not(unix))]
        wait_and_read(&mut io::stdin(), bytes)
    }
}

/// A file, a named pipe or a device. Reads wait for bytes, even if the descriptor is non-blocking.
#[derive(Debug)]
pub struct BlockingFile(File);

impl From<File> for BlockingFile {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl Read for BlockingFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        return wait_and_read(std::os::fd::AsFd::as_fd(&self.0), bytes);
        #[cfg(not(unix))]
        wait_and_read(&mut self.0, bytes)
    }
}

#[cfg(unix)]
fn wait_and_read(fd: std::os::fd::BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(fd, &mut *bytes).map_err(io::Error::from) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                crate::descriptor::wait_for(fd, rustix::event::PollFlags::IN);
            }
            result => return result,
        }
    }
}

#[cfg(not(unix))]
fn wait_and_read(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(crate::descriptor::PAUSE);
            }
            result => return result,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write as _;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_read_of_a_non_blocking_pipe_waits_for_bytes_and_for_the_end() {
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        rustix::io::ioctl_fionbio(&read, true).expect("a non-blocking pipe");
        let mut file = BlockingFile::from(File::from(read));
        let mut write = File::from(write);
        let writer = thread::spawn(move || {
            for piece in ["late ", "and ", "slow"] {
                thread::sleep(Duration::from_millis(30));
                write.write_all(piece.as_bytes()).expect("a reader");
            }
            thread::sleep(Duration::from_millis(30));
        });
        let mut text = String::new();
        file.read_to_string(&mut text).expect("text");
        assert_eq!(text, "late and slow");
        writer.join().expect("a writer");
    }
}
