//! Where state lies unless told otherwise: in the user's data directory, which nobody cleans up.

use std::{env, ffi::OsString, path::PathBuf};

/// `kafka-streams` in the user's data directory.
pub(super) fn default_directory() -> Result<PathBuf, String> {
    choose(env::consts::OS, |name| env::var_os(name).filter(|value| !value.is_empty()))
}

fn choose(system: &str, variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, String> {
    let path = |name: &str| variable(name).map(PathBuf::from);
    let data = match system {
        "windows" => path("LOCALAPPDATA"),
        "macos" => path("HOME").map(|home| home.join("Library/Application Support")),
        // The specification says that a relative path counts as not set.
        _ => path("XDG_DATA_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| path("HOME").map(|home| home.join(".local/share"))),
    };
    data.map(|data| data.join("kafka-streams"))
        .ok_or_else(|| "state.dir is not set, and no home directory is known to put it in; set it".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::choose;

    fn check(system: &str, variables: &[(&str, &str)], expected: Option<&str>) {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        assert_eq!(choose(system, variable).ok(), expected.map(PathBuf::from), "{system} {variables:?}");
    }

    #[test]
    fn each_system_has_its_data_directory() {
        check("linux", &[("HOME", "/home/a")], Some("/home/a/.local/share/kafka-streams"));
        check("linux", &[("HOME", "/home/a"), ("XDG_DATA_HOME", "/data")], Some("/data/kafka-streams"));
        check("linux", &[("HOME", "/home/a"), ("XDG_DATA_HOME", "data")], Some("/home/a/.local/share/kafka-streams"));
        check("macos", &[("HOME", "/Users/a")], Some("/Users/a/Library/Application Support/kafka-streams"));
        check("linux", &[], None);
    }
}
