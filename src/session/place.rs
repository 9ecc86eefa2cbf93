//! Where an engine listens: in the folder of its migration, before the start in a common folder. 0600 in 0700.

use rustix::fs::{Mode, OFlags};
use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};
use tokio::net::{UnixListener, UnixStream};

/// Longest path that the system takes for a socket, on Linux.
const MOST_PATH: usize = 107;
const SOCKET: &str = "socket";
/// Name of the common folder in the state root.
const LOBBY: &str = "run";

/// The socket of the migration in `folder`.
pub fn of_migration(folder: &Path) -> PathBuf {
    folder.join(SOCKET)
}

/// The socket of an engine that has not started a migration yet.
pub fn in_lobby(state_root: &Path, pid: u32) -> PathBuf {
    state_root.join(LOBBY).join(format!("{pid}.{SOCKET}"))
}

/// Listens at `path`; a socket there that nobody answers is removed first. An answered one is an error.
pub async fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    if fs::symlink_metadata(path).is_ok() {
        if connect(path).await.is_ok() {
            let text = format!("another engine listens at {}", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        fs::remove_file(path)?;
    }
    let listener = {
        let short = Short::of(path)?;
        UnixListener::bind(&short.path)?
    };
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to the engine that listens at `path`.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let short = Short::of(path)?;
    UnixStream::connect(&short.path).await
}

/// Removes sockets in the common folder whose engine is gone.
pub async fn sweep(state_root: &Path) {
    let Ok(sockets) = fs::read_dir(state_root.join(LOBBY)) else { return };
    for socket in sockets.flatten() {
        if connect(&socket.path()).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            let _ = fs::remove_file(socket.path());
        }
    }
}

/// A name of the same file that is short enough for a socket, as long as this lives.
struct Short {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

impl Short {
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_bytes().len() <= MOST_PATH {
            return Ok(Self { path: path.to_path_buf(), _folder: None });
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path of a socket names no file"));
        };
        let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_is_private_and_a_stale_one_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = in_lobby(root.path(), 7);
        let listener = listen(&path).await.unwrap();
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
        assert_eq!(listen(&path).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(path.exists(), "a killed engine leaves it behind");
        let _again = listen(&path).await.unwrap();
        assert!(connect(&path).await.is_ok());
    }

    #[tokio::test]
    async fn a_deep_state_folder_is_no_obstacle() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("d".repeat(120)).join("e".repeat(120));
        let path = of_migration(&folder);
        let _listener = listen(&path).await.unwrap();
        assert!(path.exists() && connect(&path).await.is_ok());
        let moved = of_migration(&root.path().join("d".repeat(120)));
        fs::rename(&path, &moved).unwrap();
        assert!(connect(&moved).await.is_ok());
    }

    #[tokio::test]
    async fn only_sockets_without_an_engine_are_swept() {
        let root = tempfile::tempdir().unwrap();
        let (live, stale) = (in_lobby(root.path(), 1), in_lobby(root.path(), 2));
        let _listener = listen(&live).await.unwrap();
        drop(listen(&stale).await.unwrap());
        sweep(root.path()).await;
        assert!(live.exists() && !stale.exists());
    }
}
