//! Files that exist in memory only: the driver takes certificates and keys by path, and a key never touches a disk.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// A file without a name on any disk, readable by its path while this value lives.
#[derive(Debug)]
pub struct MemoryFile {
    path: PathBuf,
    // Closes, and so frees, the memory.
    _file: File,
    #[cfg(not(target_os = "linux"))]
    _named: tempfile::TempPath,
}

impl MemoryFile {
    /// Holds `content`. Children of this process do not inherit it.
    #[cfg(target_os = "linux")]
    pub fn new(content: &str) -> io::Result<Self> {
        use rustix::fs::{MemfdFlags, memfd_create};
        use std::os::fd::AsRawFd;
        let mut file = File::from(memfd_create("mongoferry-pem", MemfdFlags::CLOEXEC)?);
        file.write_all(content.as_bytes())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok(Self { path, _file: file })
    }

    /// Holds `content`; on this platform in a file of mode 0600 that is removed with this value.
    #[cfg(not(target_os = "linux"))]
    pub fn new(content: &str) -> io::Result<Self> {
        let mut named = tempfile::Builder::new().prefix("mongoferry-").suffix(".pem").tempfile()?;
        named.write_all(content.as_bytes())?;
        named.flush()?;
        let (file, path) = named.into_parts();
        Ok(Self { path: path.to_path_buf(), _file: file, _named: path })
    }

    /// Where it can be opened by this process.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_read_again_and_again_and_is_gone_with_its_owner() {
        let file = MemoryFile::new("one").expect("file");
        let path = file.path().to_path_buf();
        for _ in 0..2 {
            assert_eq!(std::fs::read_to_string(&path).expect("read"), "one");
        }
        let other = MemoryFile::new("two").expect("file");
        assert_ne!(other.path(), path);
        drop(file);
        assert_ne!(std::fs::read_to_string(&path).ok().as_deref(), Some("one"));
    }
}
