//! Runs the real program on files in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the program did.
pub(crate) struct Done {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its output.
    pub(crate) stdout: String,
    /// Its errors.
    pub(crate) stderr: String,
}

/// A folder that is removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new, empty folder for the test called `name`.
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _gone = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("the build folder can be written");
        Self(path)
    }

    /// The path of `name` in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and answers its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a file stands in a folder")).expect("the folder can be written");
        std::fs::write(&path, content).expect("the folder can be written");
        path
    }

    /// Runs the program in it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hugefolio"));
        self.done(command.args(arguments))
    }

    /// Runs `command` in it.
    pub(crate) fn done(&self, command: &mut Command) -> Done {
        let Output { status, stdout, stderr } = command.current_dir(&self.0).output().expect("the program can be run");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints text");
        Done { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _kept = std::fs::remove_dir_all(&self.0);
    }
}
