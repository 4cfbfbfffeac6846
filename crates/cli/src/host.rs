//! The files of this host, and of a saved copy.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hugefolio::explain::{HostFiles, SavedHost};

/// No file that is asked for is longer; what is cut off here is refused there.
const MOST: u64 = (1 << 20) + 1;

/// A folder that holds a host's files under their own paths.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A saved copy.
    pub(crate) fn saved(root: &Path) -> Self {
        Self(root.to_owned())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }
}

/// What is not there is no error.
fn there<T>(found: io::Result<T>) -> Result<Option<T>, String> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

impl HostFiles for Folder {
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let read = File::open(self.path(path)).and_then(|file| {
            let mut text = Vec::new();
            file.take(MOST).read_to_end(&mut text).map(|_| text)
        });
        there(read)
    }

    fn list(&mut self, folder: &str) -> Result<Option<Vec<String>>, String> {
        let Some(entries) = there(fs::read_dir(self.path(folder)))? else { return Ok(None) };
        let name =
            |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
        entries.map(name).collect::<io::Result<_>>().map(Some).map_err(|error| error.to_string())
    }
}

/// This host.
pub(crate) struct Live(Folder);

impl Live {
    pub(crate) fn new() -> Self {
        Self(Folder(PathBuf::from("/")))
    }
}

impl HostFiles for Live {
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        match path.strip_prefix("/statfs").and_then(|rest| rest.strip_suffix("/statfs")) {
            Some(dir) => statfs(if dir.is_empty() { "/" } else { dir }),
            None => self.0.read(path),
        }
    }

    fn list(&mut self, folder: &str) -> Result<Option<Vec<String>>, String> {
        self.0.list(folder)
    }
}

/// What `statfs` says, in the form in which a saved host has it.
#[cfg(target_os = "linux")]
fn statfs(dir: &str) -> Result<Option<Vec<u8>>, String> {
    use std::fmt::Write;

    let Some(found) = there(rustix::fs::statfs(dir).map_err(io::Error::from))? else { return Ok(None) };
    let signed = u64::cast_signed;
    let numbers = [
        ("bsize", found.f_bsize),
        ("blocks", signed(found.f_blocks)),
        ("bfree", signed(found.f_bfree)),
        ("bavail", signed(found.f_bavail)),
        ("files", signed(found.f_files)),
        ("ffree", signed(found.f_ffree)),
    ];
    let mut text = format!("type {:#x}\n", found.f_type);
    numbers.iter().for_each(|(label, number)| {
        let _ = writeln!(text, "{label} {number}");
    });
    Ok(Some(text.into_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn statfs(_dir: &str) -> Result<Option<Vec<u8>>, String> {
    Err("this system has no hugetlbfs".to_owned())
}

/// Writes a host's files below `root`; says how many.
pub(crate) fn save(host: &SavedHost, root: &Path) -> Result<usize, (PathBuf, io::Error)> {
    let mut written = 0;
    for (path, text) in host.files() {
        let path = root.join(path.trim_start_matches('/'));
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        folder.and_then(|()| fs::write(&path, text)).map_err(|error| (path, error))?;
        written += 1;
    }
    Ok(written)
}
