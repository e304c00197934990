//! The thread that writes the mix.

use std::io;
use std::path::PathBuf;

use confab_console::StandardOutput;

use super::super::files::{OpenError, open_output};
use super::super::sink::WavSink;
use super::super::{AudioError, BLOCK, Block};
use super::writer::{Incoming, Writer};
use super::{Events, OutFile, RecorderEvent};

/// Maximum number of queued blocks: 20 s, 4 MB.
pub(super) const ROOM: usize = 2000;

/// Name of standard output in events.
const STDOUT: &str = "-";

pub(super) fn start(out: OutFile, events: Events) -> Result<Writer<Box<Block>>, AudioError> {
    let name = match &out {
        OutFile::Path { path, .. } => path.display().to_string(),
        OutFile::Stdout => "standard output".to_owned(),
    };
    Writer::start(name, ROOM, move |incoming| run(&out, incoming, &events))
}

fn run(out: &OutFile, mut incoming: Incoming<Box<Block>>, events: &Events) {
    let mut sink = match open(out) {
        Ok(sink) => sink,
        Err(error) => {
            if let Some(error) = incoming.opened(Err(error)) {
                events.failed(error);
            }
            return;
        }
    };
    incoming.opened(Ok(()));
    events.send(RecorderEvent::Started(path(out)));
    let written = write(&mut sink, &mut incoming);
    let Err(error) = written else {
        return;
    };
    // The header makes the part before the error readable.
    let _ = sink.finish();
    if *out == OutFile::Stdout && StandardOutput::is_gone(&error) {
        return events.send(RecorderEvent::NobodyListens);
    }
    events.failed(AudioError::Recording {
        file: path(out),
        reason: error.to_string(),
    });
}

fn write(sink: &mut WavSink, incoming: &mut Incoming<Box<Block>>) -> io::Result<()> {
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
    let missing = (at * BLOCK as u64).saturating_sub(sink.len());
    sink.skip(missing)
}

fn open(out: &OutFile) -> Result<WavSink, AudioError> {
    let OutFile::Path {
        path,
        overwrite,
        taken,
    } = out
    else {
        return WavSink::stream(StandardOutput::default()).map_err(|error| {
            if StandardOutput::is_gone(&error) {
                return AudioError::NobodyListens;
            }
            AudioError::File {
                doing: "write to",
                file: "standard output".into(),
                reason: error.to_string(),
            }
        });
    };
    let file = path.display().to_string();
    let opened = open_output(path, *overwrite, taken);
    let sink = opened.and_then(|file| Ok(WavSink::file(file)?));
    sink.map_err(|error| match error {
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
