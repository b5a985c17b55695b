//! The unix socket of the admin listener, and the file that stands for it.

use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// Owner and group of the server.
const MODE: u32 = 0o660;
/// Connections that the kernel holds until they are taken.
const BACKLOG: i32 = 128;

/// A listening unix socket; its file goes with it.
pub(super) struct UnixSocket {
    /// Dropped first: while the socket is open, no other file gets the number of its inode.
    file: SocketFile,
    listener: UnixListener,
}

impl UnixSocket {
    /// Listens at `path`; a socket file there that nobody listens on is replaced, and nothing else.
    pub(super) fn bind(path: &Path) -> Result<Self, BindError> {
        make_room(path)?;
        let (socket, file) = bind_closed(path)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Self { file, listener })
    }

    /// The path of its file.
    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

/// Why there is no listener at a path.
#[derive(Debug)]
pub(super) enum BindError {
    /// A file that is no socket is there.
    NoSocket,
    /// The system refuses.
    Io(io::Error),
}

impl From<io::Error> for BindError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Removes the socket file that a crash has left behind.
fn make_room(path: &Path) -> Result<(), BindError> {
    // Metadata of a link itself: its target is somebody else's.
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(about) if !about.file_type().is_socket() => return Err(BindError::NoSocket),
        Ok(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        // A listener that is slow to accept listens as well.
        Ok(()) => Err(io::Error::from(ErrorKind::AddrInUse).into()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(io::Error::from(ErrorKind::AddrInUse).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Binds a socket that does not listen yet: nobody can connect before the file has its mode.
fn bind_closed(path: &Path) -> io::Result<(Socket, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    Ok((socket, file))
}

/// The file of a bound socket; removed when dropped, if it is still the same.
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            id: id(&path.symlink_metadata()?),
            path: path.to_owned(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |about: Metadata| id(&about) == self.id;
        if self.path.symlink_metadata().is_ok_and(is_ours) {
            // Somebody may have been faster; then it is gone, which is all that was wanted.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode.
fn id(about: &Metadata) -> (u64, u64) {
    (about.dev(), about.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener as StdListener, UnixStream};

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("turnd-sock-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn nobody_can_connect_before_the_mode_is_set() {
        let folder = folder("closed");
        let path = folder.join("admin.sock");
        let (socket, _file) = bind_closed(&path).unwrap();
        let mode = path.symlink_metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let refused = UnixStream::connect(&path).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        socket.listen(BACKLOG).unwrap();
        UnixStream::connect(&path).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn only_a_socket_that_nobody_listens_on_makes_room() {
        let folder = folder("room");
        let path = folder.join("admin.sock");
        make_room(&path).unwrap();

        // Left behind by a crash.
        drop(StdListener::bind(&path).unwrap());
        make_room(&path).unwrap();
        assert!(path.symlink_metadata().is_err());

        let listener = StdListener::bind(&path).unwrap();
        let in_use = |outcome| matches!(outcome, Err(BindError::Io(error)) if error.kind() == ErrorKind::AddrInUse);
        assert!(in_use(make_room(&path)));
        drop(listener);

        // A link to such a file, to a file of another kind, to nothing.
        let link = folder.join("link");
        for target in [&path, &folder, &folder.join("none")] {
            std::os::unix::fs::symlink(target, &link).unwrap();
            assert!(matches!(make_room(&link), Err(BindError::NoSocket)));
            fs::remove_file(&link).unwrap();
        }
        assert!(path.symlink_metadata().is_ok());

        let file = folder.join("file");
        fs::write(&file, "precious").unwrap();
        assert!(matches!(make_room(&file), Err(BindError::NoSocket)));
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn at_the_end_only_the_own_file_is_removed() {
        let folder = folder("end");
        let path = folder.join("admin.sock");
        drop(bind_closed(&path).unwrap());
        assert!(path.symlink_metadata().is_err());

        // Another server has taken the place meanwhile.
        let (socket, file) = bind_closed(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let other = StdListener::bind(&path).unwrap();
        drop(file);
        drop(socket);
        UnixStream::connect(&path).unwrap();
        drop(other);
        fs::remove_dir_all(folder).unwrap();
    }
}
