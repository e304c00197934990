//! The files that a call reads and writes. They are compared before any is opened for writing, so that no input and no
//! earlier recording is overwritten by mistake.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::audio::files::FileId;
use crate::failure::{Exit, Failure};
use crate::flags::Join;

/// Time limit for the comparison.
const COMPARE_TIMEOUT: Duration = Duration::from_secs(5);

/// A file of the call.
struct Used {
    name: String,
    id: Option<FileId>,
}

/// The options that name files.
struct Plan {
    input: Option<PathBuf>,
    reads_stdin: bool,
    output: Option<PathBuf>,
    stdout_is_sound: bool,
    overwrite: bool,
}

/// Compares all files of the call. Returns the files that `--out` must not open.
pub(super) async fn compare(flags: &Join) -> Result<Vec<FileId>, Failure> {
    let plan = Plan::new(flags);
    let names: Vec<String> = [&plan.input, &plan.output]
        .into_iter()
        .flatten()
        .map(|path| path.display().to_string())
        .collect();
    let comparing = tokio::task::spawn_blocking(move || plan.compare());
    match tokio::time::timeout(COMPARE_TIMEOUT, comparing).await {
        Ok(Ok(compared)) => compared,
        Ok(Err(_)) | Err(_) => Err(failure(&format!(
            "cannot look at {}: no answer within {} s",
            names.join(" and "),
            COMPARE_TIMEOUT.as_secs()
        ))),
    }
}

impl Plan {
    fn new(flags: &Join) -> Self {
        let path = |name: &Option<String>| {
            let name = name
                .as_deref()
                .filter(|name| !["-", "none"].contains(name))?;
            Some(PathBuf::from(name))
        };
        Self {
            input: path(&flags.input),
            reads_stdin: flags.input.as_deref() == Some("-"),
            output: path(&flags.output),
            stdout_is_sound: flags.output.as_deref() == Some("-"),
            overwrite: flags.overwrite,
        }
    }

    fn compare(&self) -> Result<Vec<FileId>, Failure> {
        if let Some(path) = &self.output
            && !self.overwrite
            && path.is_file()
        {
            return Err(Failure::usage(format!(
                "{} exists: give another --out, or --overwrite to replace it",
                path.display()
            )));
        }
        let mut inputs = Vec::new();
        if let Some(path) = &self.input {
            inputs.push(Used::at("--in", path)?);
        }
        if self.reads_stdin {
            inputs.push(Used::standard("standard input"));
        }
        let [stdout, stderr] = ["standard output", "standard error"].map(Used::standard);
        let texts = match self.stdout_is_sound {
            true => vec![stderr],
            false => vec![stdout, stderr],
        };
        let mut sounds = Vec::new();
        if self.stdout_is_sound {
            sounds.push(Used::standard("standard output"));
        }
        if let Some(path) = &self.output {
            sounds.push(Used::at("--out", path)?);
        }
        // Events and logs may share a file (`2>&1`); nothing else may.
        let written = || texts.iter().chain(&sounds);
        let pairs = inputs
            .iter()
            .flat_map(|input| written().map(move |output| (input, output)))
            .chain(
                sounds
                    .iter()
                    .flat_map(|sound| texts.iter().map(move |text| (sound, text))),
            );
        for (one, other) in pairs {
            if one.id.is_some() && one.id == other.id {
                return Err(Failure::usage(format!(
                    "{} and {} are the same file, which would be overwritten",
                    one.name, other.name
                )));
            }
        }
        let all = inputs.into_iter().chain(texts);
        Ok(all.filter_map(|used| used.id).collect())
    }
}

impl Used {
    fn at(flag: &str, path: &Path) -> Result<Self, Failure> {
        let name = format!("{flag} {}", path.display());
        match FileId::of_path(path) {
            Ok(id) => Ok(Self { name, id }),
            Err(error) => Err(failure(&format!(
                "cannot look at {}: {error}",
                path.display()
            ))),
        }
    }

    #[cfg(unix)]
    fn standard(name: &str) -> Self {
        let descriptor = match name {
            "standard input" => rustix::stdio::stdin(),
            "standard output" => rustix::stdio::stdout(),
            _ => rustix::stdio::stderr(),
        };
        Self {
            name: name.to_owned(),
            id: FileId::of_descriptor(descriptor),
        }
    }

    #[cfg(not(unix))]
    fn standard(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: None,
        }
    }
}

fn failure(message: &str) -> Failure {
    Failure::new(Exit::Audio, "audio", message)
}
