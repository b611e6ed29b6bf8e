//! A small disk: a file system in memory, mounted where only the programs of one test see it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::dolt::copy_folder;
use crate::say;

/// What is allocated at once.
pub const PAGE: u64 = 4096;

/// Mounts, says so, and keeps the mount until its input ends.
const HOLD: &str = r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && echo mounted && exec cat"#;

/// The two ways to a mount of one's own, and how another program follows: as root, and as anybody.
const WAYS: [(&[&str], &[&str]); 2] = [
    (&["--mount"], &["--mount"]),
    (
        &["--map-root-user", "--mount"],
        &["--user", "--preserve-credentials", "--mount"],
    ),
];

/// A mounted disk. Dropping it unmounts it, when no process uses it any more.
#[derive(Debug)]
pub struct Disk {
    holder: Child,
    enter: &'static [&'static str],
    mount_point: TempDir,
}

/// Whether a [`Disk`] can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By nobody.
    ReadOnly,
    /// By everybody.
    Writable,
}

/// What takes up room on a [`Disk`]. Clones are the same.
#[derive(Debug, Clone)]
pub struct Ballast {
    file: PathBuf,
}

impl Disk {
    /// Makes an empty one, or nothing after a word on stderr where the system does not permit it.
    pub fn make(size_bytes: u64) -> Option<Self> {
        let mut reasons = String::new();
        for (unshare, enter) in WAYS {
            let mount_point = TempDir::with_prefix("holdfast-disk-").unwrap();
            let mut holder = Command::new("unshare")
                .args(unshare)
                .args(["sh", "-c", HOLD, "sh", &size_bytes.to_string()])
                .arg(mount_point.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .ok()?;
            let mut said = String::new();
            let mut stdout = BufReader::new(holder.stdout.take().unwrap());
            stdout.read_line(&mut said).unwrap();
            if said.trim() == "mounted" {
                return Some(Self {
                    holder,
                    enter,
                    mount_point,
                });
            }
            let ended = holder.wait_with_output().unwrap();
            reasons.push_str(&String::from_utf8_lossy(&ended.stderr));
        }
        say::skipped(format_args!("no disk can be mounted here: {reasons}"));
        None
    }

    /// Where it is, for who runs [`Disk::command`].
    pub fn path(&self) -> &Path {
        self.mount_point.path()
    }

    /// Where it is for everybody else.
    pub fn outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.path().strip_prefix("/").unwrap())
    }

    /// Runs a program that sees it.
    pub fn command(&self, program: &Path) -> impl Fn() -> Command + use<> {
        let (enter, target) = (self.enter, self.holder.id().to_string());
        let program = program.to_owned();
        move || {
            let mut command = Command::new("nsenter");
            command.args(["--target", &target]);
            command.args(enter).arg("--").arg(&program);
            command
        }
    }

    /// Makes it one that nobody can write to, or one that everybody can again.
    pub fn remount(&self, mode: Mode) {
        let option = match mode {
            Mode::ReadOnly => "remount,ro",
            Mode::Writable => "remount,rw",
        };
        let mut mount = self.command(Path::new("mount"))();
        let mounted = mount.args(["-o", option]).arg(self.path()).output();
        let mounted = mounted.unwrap();
        assert!(mounted.status.success(), "{mounted:?}");
    }

    /// What can be put on it.
    pub fn ballast(&self) -> Ballast {
        Ballast {
            file: self.outside().join("ballast"),
        }
    }

    /// Copies a folder of it to a disk that has room.
    pub fn copy_of(&self, folder: &str) -> TempDir {
        let copy = TempDir::with_prefix("holdfast-copy-").unwrap();
        copy_folder(&self.outside().join(folder), &copy.path().join(folder));
        copy
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

impl Ballast {
    /// How many bytes are free.
    pub fn free(&self) -> u64 {
        let space = rustix::fs::statvfs(self.file.parent().unwrap()).unwrap();
        space.f_bavail * space.f_frsize
    }

    /// Fills the disk but for so many bytes.
    pub fn fill_but(&self, left: u64) {
        self.throw_off();
        let file = File::create(&self.file).unwrap();
        let mut len = 0;
        for piece in [1 << 20, PAGE] {
            let zeros = vec![0; usize::try_from(piece).unwrap()];
            while file.write_all_at(&zeros, len).is_ok() {
                len += piece;
            }
        }
        // A piece of which a part was written ends at a page.
        file.set_len((len / PAGE * PAGE).saturating_sub(left))
            .unwrap();
        let free = self.free();
        assert!(
            free <= left && free + 4 * PAGE >= left,
            "{free} bytes are free, and not {left}"
        );
    }

    /// Makes room.
    pub fn throw_off(&self) {
        drop(fs::remove_file(&self.file));
    }
}
