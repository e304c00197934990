//! The thread that writes the mix.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use confab_console::StandardOutput;

use super::super::files::{OpenError, Unused, open_output};
use super::super::sink::WavSink;
use super::super::{AudioError, MIX, Mix};
use super::event::{Events, OutFile, RecorderEvent};
use super::writer::{Incoming, Writer};

/// Maximum number of queued blocks: 20 s, 4 MB.
pub(super) const ROOM: usize = 4000;

/// Name of standard output in events.
const STDOUT: &str = "-";

enum Opened {
    /// A file, which stays as it is until the first sound.
    File(Unused),
    /// A stream, which has its header.
    Stream(WavSink),
}

/// Starts the thread. `folder_tried` ends when the folder of the speakers' files exists or cannot be created; the file of the
/// mix may be in it.
pub(super) fn start(
    out: OutFile,
    events: Events,
    folder_tried: Option<Receiver<()>>,
) -> Result<Writer<Box<Mix>>, AudioError> {
    let name = match &out {
        OutFile::Path { path, .. } => path.display().to_string(),
        OutFile::Stdout => "standard output".to_owned(),
    };
    Writer::start(name, ROOM, move |incoming| {
        run(&out, folder_tried, incoming, &events);
    })
}

fn run(
    out: &OutFile,
    folder_tried: Option<Receiver<()>>,
    mut incoming: Incoming<Box<Mix>>,
    events: &Events,
) {
    let opened = match open(out, folder_tried) {
        Ok(opened) => opened,
        Err(error) => {
            if let Some(error) = incoming.opened(Err(error)) {
                events.failed(error);
            }
            return;
        }
    };
    incoming.opened(Ok(()));
    if !incoming.is_wanted() {
        return opened.discard();
    }
    let mut sink = match opened.begin() {
        Ok(sink) => sink,
        Err(error) => {
            return events.failed(AudioError::File {
                doing: "write",
                file: path(out).display().to_string(),
                reason: error.to_string(),
            });
        }
    };
    events.send(RecorderEvent::Started(path(out)));
    let written = write(&mut sink, &mut incoming);
    let Err(error) = written else {
        return;
    };
    // The header makes the part before the error readable.
    let _ = sink.finish();
    if *out == OutFile::Stdout && StandardOutput::is_gone(&error) {
        return events.send(RecorderEvent::NoReader);
    }
    events.failed(AudioError::Recording {
        file: path(out),
        reason: error.to_string(),
    });
}

fn write(sink: &mut WavSink, incoming: &mut Incoming<Box<Mix>>) -> io::Result<()> {
    while let Some((at, block)) = incoming.next() {
        fill_up(sink, at)?;
        sink.write(&block[..])?;
        incoming.written(at + 1);
    }
    fill_up(sink, incoming.length())?;
    incoming.written(incoming.length());
    sink.finish()
}

/// Adds silence up to the position `at`, in blocks.
pub(super) fn fill_up(sink: &mut WavSink, at: u64) -> io::Result<()> {
    let missing = (at * MIX as u64).saturating_sub(sink.len());
    sink.skip(missing)
}

impl Opened {
    /// Replaces an existing file, and writes the header of a file.
    fn begin(self) -> io::Result<WavSink> {
        match self {
            Self::File(file) => WavSink::file(file.begin()?),
            Self::Stream(sink) => Ok(sink),
        }
    }

    fn discard(self) {
        if let Self::File(file) = self
            && let Err(error) = file.discard()
        {
            tracing::debug!(%error, "the file of an abandoned recording stays");
        }
    }
}

fn open(out: &OutFile, folder_tried: Option<Receiver<()>>) -> Result<Opened, AudioError> {
    let OutFile::Path {
        path,
        overwrite,
        taken,
    } = out
    else {
        let sink = WavSink::stream(StandardOutput::default());
        return sink.map(Opened::Stream).map_err(|error| {
            if StandardOutput::is_gone(&error) {
                return AudioError::NoReader;
            }
            AudioError::File {
                doing: "write to",
                file: "standard output".into(),
                reason: error.to_string(),
            }
        });
    };
    let file = path.display().to_string();
    let mut opened = open_output(path, *overwrite, taken);
    if let (Err(OpenError::Io(error)), Some(folder_tried)) = (&opened, folder_tried)
        && error.kind() == io::ErrorKind::NotFound
    {
        // Nothing is sent: the other end is dropped.
        let _ = folder_tried.recv();
        opened = open_output(path, *overwrite, taken);
    }
    let opened = opened.and_then(|file| match file.is_file() {
        true => Ok(Opened::File(file)),
        false => Ok(Opened::Stream(WavSink::file(file.begin()?)?)),
    });
    opened.map_err(|error| match error {
        OpenError::Exists | OpenError::InUse => AudioError::Taken {
            file,
            reason: error.to_string(),
        },
        OpenError::Io(error) => AudioError::File {
            doing: "create",
            file,
            reason: error.to_string(),
        },
    })
}

fn path(out: &OutFile) -> PathBuf {
    match out {
        OutFile::Path { path, .. } => path.clone(),
        OutFile::Stdout => STDOUT.into(),
    }
}
