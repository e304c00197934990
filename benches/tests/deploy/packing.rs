//! The packages and tarballs that `packaging/pack` makes of the programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::programs;
use crate::{repository, skip};

/// Seconds since 1970 of the commit that is packed, as it were.
const COMMIT_TIME: &str = "1790000000";

/// The packages of one version, as files.
pub struct Packages {
    pub client: PathBuf,
    pub control: PathBuf,
    pub relay: PathBuf,
}

impl Packages {
    /// All of them: the client's, control's and the relay's.
    fn all(&self) -> [&Path; 3] {
        [&self.client, &self.control, &self.relay]
    }
}

/// Packs the programs that were built beside this test. `None` if this machine cannot.
pub fn pack(out: &Path, version: &str) -> Option<Packages> {
    for tool in ["dpkg-deb", "dpkg-shlibdeps", "strip"] {
        if !Path::new("/usr/bin").join(tool).exists() {
            skip(&format!("there is no {tool}: scripts/setup dist"));
            return None;
        }
    }
    let output = Command::new(repository().join("packaging/pack"))
        .arg("--programs")
        .arg(programs())
        .arg("--out")
        .arg(out)
        .args(["--version", version, "--fast"])
        .env("SOURCE_DATE_EPOCH", COMMIT_TIME)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    let file = |name: &str| {
        let begin = format!("{name}_{version}_");
        let mut files = said.lines().map(PathBuf::from);
        let found = files.find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(&begin)
        });
        found.unwrap_or_else(|| panic!("no {name} in {said}"))
    };
    Some(Packages {
        client: file("confab"),
        control: file("confab-control"),
        relay: file("confab-relay"),
    })
}

#[test]
fn the_same_programs_make_the_same_packages_with_their_libraries_and_configuration_files() {
    let scratch = tempfile::tempdir().unwrap();
    let packed = ["one", "two"].map(|name| pack(&scratch.path().join(name), "0.1.0"));
    let [Some(one), Some(two)] = packed else {
        return;
    };
    let (one, two) = (one.all(), two.all());
    for (one, two) in one.into_iter().zip(two) {
        let same = std::fs::read(one).unwrap() == std::fs::read(two).unwrap();
        assert!(same, "{} and {} differ", one.display(), two.display());
        let depends = dpkg_deb("--field", one, "Depends");
        let has_libraries = depends.contains("libc6 (>=") && !depends.contains('@');
        assert!(has_libraries, "{}: {depends}", one.display());
    }
    assert_eq!(
        dpkg_deb("--info", one[1], "conffiles"),
        "/etc/confab/control.env\n/etc/ufw/applications.d/confab-control\n"
    );
}

fn dpkg_deb(action: &str, package: &Path, what: &str) -> String {
    let mut command = Command::new("dpkg-deb");
    let output = command.arg(action).arg(package).arg(what).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
