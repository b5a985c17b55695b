//! Rights that the process gives up, and the user that it becomes.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;

use nix::unistd::{Gid, Uid, User, getegid, geteuid, initgroups, seteuid, setresgid, setresuid};
use rlimit::Resource;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, chownat, fstat, openat};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::set_no_new_privs;

use crate::config::ProcUser;
use crate::problem::Problem;

/// Keeps the memory, which holds secrets, from core dumps and from other processes of the same user, and the process
/// from rights that it does not have. To be called before any thread starts.
pub fn harden() -> io::Result<()> {
    // No effect on what root may do; and `execve` gives nothing to whoever takes the process over.
    set_no_new_privs(true)?;
    // The limit stops no core that goes to a program (core(5)), and the flag is set back when the user changes.
    Resource::CORE.set(0, 0)?;
    hide_memory()
}

fn hide_memory() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Whether this process, which is root's, has to become `user` later; `false`: it is `user` already.
pub fn has_to_become(user: &ProcUser) -> Result<bool, Problem> {
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        return Ok(true);
    }
    if (uid.as_raw(), gid.as_raw()) == (user.uid, user.gid) {
        return Ok(false);
    }
    let own = match User::from_uid(uid) {
        Ok(Some(own)) => own.name,
        _ => uid.to_string(),
    };
    Err(Problem::new(
        format!(
            "proc-user: only root can become user {} of group {}, and this process is user {own} of group {gid}",
            user.name, user.gid
        ),
        "start it as root or as that user, or leave proc-user and proc-group out",
    ))
}

/// Makes a file for `user`, who can then open it anew. A file that is there is left as it is, for it may be anybody's.
pub fn make_file(path: &Path, user: &ProcUser) -> io::Result<()> {
    let made = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o640)
        .open(path);
    match made {
        Ok(file) => fchown(file, Some(user.uid), Some(user.gid)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives a unix socket to `user`, and nothing that has taken its place.
pub fn hand_over_socket(path: &Path, user: &ProcUser) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = openat(CWD, path, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&socket)?.st_mode) != FileType::Socket {
        return Err(io::Error::other("is no socket"));
    }
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(user.uid),
        rustix::fs::Gid::from_raw(user.gid),
    );
    Ok(chownat(
        &socket,
        "",
        Some(uid),
        Some(gid),
        AtFlags::EMPTY_PATH,
    )?)
}

/// Becomes `user` with its groups, in all threads and for good.
///
/// # Errors
/// The process must not go on after one.
pub fn become_user(user: &ProcUser) -> io::Result<()> {
    let name = CString::new(user.name.as_str())?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    // The C library sees to it that each of these is so for all threads.
    initgroups(&name, gid)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    if seteuid(Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other("root could be taken back"));
    }
    // Another user makes the memory as readable as `fs.suid_dumpable` says.
    hide_memory()
}

/// Files that this process may not read, each with the reason.
pub fn unreadable<'a>(
    files: impl Iterator<Item = &'a Path>,
) -> impl Iterator<Item = (&'a Path, io::Error)> {
    files.filter_map(|path| Some((path, File::open(path).err()?)))
}
