//! A copy of this machine's files in namespaces, in which a page is run. Nothing of it stays.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A page that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(300);

fn unshared(folder: &Path, programs: &Path, script: &Path) -> Command {
    let world = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents/world");
    // It ends with this process, however that ends.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare", "--fork"])
        .args(["--kill-child=KILL", "--mount", "--pid", "--net", "--uts"])
        .arg(world)
        .args([folder, programs, script])
        .stdin(Stdio::null());
    command
}

/// Whether a world can be made on this machine; gives the reason if not.
pub fn can_be_made(scratch: &Path) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("namespaces are made by root alone".to_owned());
    }
    run(&scratch.join("trial"), Path::new("/usr/bin"), "true\n")
}

/// Runs the script in a world of its own, below `folder`. Gives what it said if it failed.
pub fn run(folder: &Path, programs: &Path, script: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let root = folder.join("world");
    std::fs::create_dir_all(&root).map_err(failed)?;
    let file = folder.join("script");
    std::fs::write(&file, script).map_err(failed)?;
    let said = folder.join("said");
    let output = std::fs::File::create(&said).map_err(failed)?;
    let mut command = unshared(&root, programs, &file);
    command
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output);
    let mut child = command.spawn().map_err(failed)?;
    let give_up = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status.to_string();
        }
        if Instant::now() > give_up {
            child.kill().map_err(failed)?;
            break format!("not ended after {} s", DEADLINE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let text = std::fs::read(&said).map_err(failed)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    println!("{text}");
    match status.as_str() {
        "exit status: 0" => Ok(()),
        status => Err(format!("{status}\n{text}")),
    }
}
