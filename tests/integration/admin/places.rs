//! Files that the server makes: the unix socket and the pidfile. What is not its own stays.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::{ctl_at, eventually, refusal, start};
use crate::support::{Scratch, Turnd};

const LEAVES: Duration = Duration::from_secs(15);

/// A file with this text, and a link to it.
fn file_and_link(scratch: &Scratch) -> [PathBuf; 2] {
    let [file, link] = ["file", "link"].map(|name| scratch.path().join(name));
    fs::write(&file, "precious\n").unwrap();
    symlink(&file, &link).unwrap();
    [file, link]
}

fn expect_untouched([file, link]: &[PathBuf; 2]) {
    assert_eq!(fs::read_to_string(file).unwrap(), "precious\n");
    assert_eq!(fs::read_link(link).unwrap(), *file);
}

#[test]
fn the_unix_socket_takes_the_place_of_no_other_file() {
    let scratch = Scratch::new();
    let files = file_and_link(&scratch);
    let folder = scratch.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for path in [&files[0], &files[1], &folder] {
        let path = path.display();
        let outcome = refusal(&format!("admin-listen = '{path}'"));
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        let expected = format!(
            "admin-listen: {path} is a file of another kind, which stays; remove it yourself, or choose another place"
        );
        assert!(outcome.err.contains(&expected), "{outcome:?}");
    }
    expect_untouched(&files);
    assert!(folder.is_dir());

    // A live one of another program, and a link to it.
    let socket = scratch.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let outcome = refusal(&format!("admin-listen = '{}'", socket.display()));
    assert!(
        outcome.err.contains("is in use by another program"),
        "{outcome:?}"
    );
    UnixStream::connect(&socket).unwrap();
    // A dead one behind a link is not the link's.
    drop(listener);
    let link = scratch.path().join("to-socket");
    symlink(&socket, &link).unwrap();
    let outcome = refusal(&format!("admin-listen = '{}'", link.display()));
    assert!(
        outcome.err.contains("is a file of another kind"),
        "{outcome:?}"
    );
    assert!(socket.symlink_metadata().unwrap().file_type().is_socket());

    // A dead one at the very place is replaced.
    let turnd = Turnd::start(&format!("admin-listen = '{}'", socket.display()));
    eventually("a socket", || ctl_at(&socket, &["status"]).code == Some(0));
    drop(turnd);
    assert!(socket.symlink_metadata().is_err());
}

#[test]
fn the_unix_socket_is_of_the_servers_group_and_nobody_elses() {
    let turnd = start("");
    let about = turnd.admin_socket().symlink_metadata().unwrap();
    assert_eq!(about.permissions().mode() & 0o7777, 0o660);
    let process = fs::metadata(format!("/proc/{}", turnd.pid())).unwrap();
    assert_eq!((about.uid(), about.gid()), (process.uid(), process.gid()));
}

#[test]
fn a_socket_that_took_its_place_stays_at_the_end() {
    let mut turnd = start("");
    let socket = turnd.admin_socket();
    fs::remove_file(&socket).unwrap();
    let other = UnixListener::bind(&socket).unwrap();
    turnd.signal(Signal::TERM);
    assert_eq!(turnd.exit_code(LEAVES), Some(0));
    UnixStream::connect(&socket).unwrap();
    drop(other);
}

fn pid_in(path: &Path) -> u32 {
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

#[test]
fn the_pidfile_takes_the_place_of_no_other_file() {
    let scratch = Scratch::new();
    let files = file_and_link(&scratch);
    for (path, reason) in [
        (&files[0], "holds no process id"),
        (&files[1], "is no regular file"),
    ] {
        let outcome = refusal(&format!("pidfile = '{}'", path.display()));
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        let expected = format!(
            "pidfile: {} is there and {reason}; remove it",
            path.display()
        );
        assert!(outcome.err.contains(&expected), "{outcome:?}");
    }
    expect_untouched(&files);
}

#[test]
fn the_pidfile_names_the_process_while_it_runs() {
    let scratch = Scratch::new();
    let path = scratch.path().join("pid");
    let toml = format!("pidfile = '{}'", path.display());
    let mut first = Turnd::start(&toml);
    eventually("a pidfile", || path.exists());
    assert_eq!(pid_in(&path), first.pid());
    // A second server does not take it.
    let outcome = refusal(&toml);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let expected = format!("names process {}, which runs; stop it", first.pid());
    assert!(outcome.err.contains(&expected), "{outcome:?}");
    assert_eq!(pid_in(&path), first.pid());

    // Killed, it leaves the file behind, and the next one takes it over.
    first.signal(Signal::KILL);
    assert_eq!(first.exit_code(LEAVES), None);
    assert_eq!(pid_in(&path), first.pid());
    let mut second = Turnd::start(&toml);
    eventually("a pidfile", || pid_in(&path) == second.pid());
    second.signal(Signal::TERM);
    assert_eq!(second.exit_code(LEAVES), Some(0));
    assert!(!path.exists());
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}
