//! The folder of an operator's commands when `--data-dir` is not given.

use std::path::{Path, PathBuf};

/// Name of a server's data folder, in the folder where it is started.
const HERE: &str = "confab-data";
/// Data folder of the server that a package installs.
const PACKAGED: &str = "/var/lib/confab";

/// `confab-data`, or the folder of an installed package's server where there is no `confab-data`.
pub(super) fn of_commands() -> PathBuf {
    choose(Path::new(HERE), Path::new(PACKAGED))
}

fn choose(here: &Path, packaged: &Path) -> PathBuf {
    match !here.exists() && packaged.exists() {
        true => packaged.to_owned(),
        false => here.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_take_the_folder_of_a_package_only_where_there_is_no_other() {
        let scratch = tempfile::tempdir().unwrap();
        let (here, packaged) = (scratch.path().join("here"), scratch.path().join("packaged"));
        assert_eq!(choose(&here, &packaged), here);
        std::fs::create_dir(&packaged).unwrap();
        assert_eq!(choose(&here, &packaged), packaged);
        std::fs::create_dir(&here).unwrap();
        assert_eq!(choose(&here, &packaged), here);
    }
}
