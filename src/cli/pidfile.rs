//! The file that holds the process id while the daemon runs.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

use super::Failure;
use crate::random;

/// Longest text that is read; no pid has so many digits.
const LONGEST: u64 = 32;

/// Removes its file when dropped.
pub(super) struct PidFile {
    path: PathBuf,
    /// Held open: meanwhile no other file gets the number of its inode.
    file: File,
    text: String,
}

impl PidFile {
    /// Writes the file, beside its place and then into it: no link is followed, and nothing is
    /// replaced but a file of this user that holds the pid of a process that has ended.
    pub(super) fn write(path: &Path) -> Result<Self, Failure> {
        let text = format!("{}\n", std::process::id());
        let cannot = |error: io::Error| {
            Failure::Run(format!(
                "pidfile: {} cannot be written: {error}; choose a place in a folder that this user may write to",
                path.display()
            ))
        };
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{:016x}", u64::from_ne_bytes(random::bytes())));
        let beside = Beside(name.into());
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&beside.0)
            .map_err(cannot)?;
        file.write_all(text.as_bytes()).map_err(cannot)?;
        let owner = file.metadata().map_err(cannot)?.uid();
        check_replaceable(path, owner)?;
        fs::rename(&beside.0, path).map_err(cannot)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            text,
        })
    }

    /// Whether the path still leads to the file that was written.
    fn is_ours(&self) -> io::Result<bool> {
        let id = |about: Metadata| (about.dev(), about.ino());
        Ok(
            id(self.path.symlink_metadata()?) == id(self.file.metadata()?)
                && read(&self.path)? == self.text,
        )
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file that another process took over is not ours to remove.
        if self.is_ours().unwrap_or(false) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A temporary file beside the pid file; removed when dropped, if it is still there.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        // A file that was moved into place is not there.
        let _ = fs::remove_file(&self.0);
    }
}

/// Fails unless `path` is free, or holds the pid of a process of `owner` that is gone.
fn check_replaceable(path: &Path, owner: u32) -> Result<(), Failure> {
    let shown = path.display();
    let foreign = |what: &str| {
        Failure::usage(format!(
            "pidfile: {shown} is there and {what}; remove it yourself, or choose another place"
        ))
    };
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(foreign(&format!("cannot be looked at: {error}"))),
        Ok(about) if !about.is_file() => return Err(foreign("is no regular file")),
        Ok(about) if about.uid() != owner => return Err(foreign("belongs to another user")),
        Ok(_) => {}
    }
    let text = read(path).map_err(|error| foreign(&format!("cannot be read: {error}")))?;
    // An empty one is what a full disk leaves behind.
    if text.trim().is_empty() {
        return Ok(());
    }
    let pid = text.trim().parse().ok().filter(|pid: &i32| *pid > 0);
    let pid = pid.and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| foreign("holds no process id"))?;
    let is_own = u32::try_from(pid.as_raw_pid()) == Ok(std::process::id());
    if is_own || test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
        return Ok(());
    }
    Err(Failure::Run(format!(
        "pidfile: {shown} names process {pid}, which runs; stop it if it is turnd, else remove the file, or choose another place"
    )))
}

/// The text of a file that is not behind a link.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?
        .take(LONGEST)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("turnd-pid-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn refusal(path: &Path) -> String {
        match PidFile::write(path).err() {
            Some(Failure::Usage(lines)) => lines.join("\n"),
            Some(Failure::Run(line) | Failure::Logged(line)) => line,
            _ => panic!("{} was written", path.display()),
        }
    }

    #[test]
    fn goes_with_the_process_unless_taken_over() {
        let folder = folder("end");
        let path = folder.join("pid");
        let pidfile = PidFile::write(&path).unwrap();
        let expected = format!("{}\n", std::process::id());
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        drop(pidfile);
        assert!(!path.exists());

        let pidfile = PidFile::write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(pidfile);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");

        // Another file, though it says the same.
        fs::remove_file(&path).unwrap();
        let pidfile = PidFile::write(&path).unwrap();
        let other = folder.join("other");
        fs::write(&other, &expected).unwrap();
        fs::rename(&other, &path).unwrap();
        drop(pidfile);
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn stale_ones_are_replaced() {
        let folder = folder("stale");
        let path = folder.join("pid");
        let mut ended = Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        for text in [
            format!("{}\n", ended.id()),
            std::process::id().to_string(),
            String::new(),
        ] {
            fs::write(&path, &text).unwrap();
            drop(PidFile::write(&path).unwrap_or_else(|why| panic!("{text:?}: {why:?}")));
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{text:?}");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_somebody_elses_stays() {
        let folder = folder("foreign");
        let path = folder.join("pid");
        let file = folder.join("file");
        for text in ["precious", "12 13", "-1", "0", "99999999999999999999"] {
            fs::write(&file, text).unwrap();
            let text = fs::read_to_string(&file).unwrap();
            assert!(refusal(&file).contains("holds no process id"), "{text}");
            symlink(&file, &path).unwrap();
            assert!(refusal(&path).contains("is no regular file"), "{text}");
            fs::remove_file(&path).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        symlink(folder.join("none"), &path).unwrap();
        assert!(refusal(&path).contains("is no regular file"));
        assert!(refusal(&folder).contains("is no regular file"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_process_that_runs_keeps_its_file() {
        let folder = folder("alive");
        let path = folder.join("pid");
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(&path, other.id().to_string()).unwrap();
        let expected = format!(
            "pidfile: {} names process {}, which runs; stop it if it is turnd, else remove the file, or choose another place",
            path.display(),
            other.id()
        );
        assert_eq!(refusal(&path), expected);
        other.kill().unwrap();
        other.wait().unwrap();
        drop(PidFile::write(&path).unwrap());
        fs::remove_dir_all(folder).unwrap();
    }
}
