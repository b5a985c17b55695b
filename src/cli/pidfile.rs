//! The file that holds the process id while the daemon runs.

use std::fs;
use std::path::{Path, PathBuf};

use super::Failure;

/// Removes its file when dropped.
pub(super) struct PidFile {
    path: PathBuf,
    text: String,
}

impl PidFile {
    pub(super) fn write(path: &Path) -> Result<Self, Failure> {
        let text = format!("{}\n", std::process::id());
        fs::write(path, &text).map_err(|error| {
            Failure::Run(format!(
                "pidfile: {} cannot be written: {error}; choose a place that this user may write to",
                path.display()
            ))
        })?;
        Ok(Self {
            path: path.to_owned(),
            text,
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file that another process took over is not ours to remove.
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_with_the_process_unless_taken_over() {
        let path = std::env::temp_dir().join(format!("turnd-{}.pid", std::process::id()));
        let pidfile = PidFile::write(&path).unwrap();
        let expected = format!("{}\n", std::process::id());
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        drop(pidfile);
        assert!(!path.exists());

        let pidfile = PidFile::write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(pidfile);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        fs::remove_file(path).unwrap();
    }
}
