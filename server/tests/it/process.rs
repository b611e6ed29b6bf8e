//! The program itself, as a process.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// A server that is killed when the test ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
    let directory = tempfile::tempdir().unwrap();
    let child = Command::new("sh")
        .args(["-c", "ulimit -S -n 200 && exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_holdfastd"))
        .args(["serve", "--open", "--listen", "127.0.0.1:0", "--data"])
        .arg(directory.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = Server(child);
    let stderr = server.0.stderr.take().unwrap();
    let mut lines = BufReader::new(stderr).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("listening on")), "it ended");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.0.id())).unwrap();
    let limits = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<&str> = limits.unwrap().split_whitespace().collect();
    let [.., soft, hard, _unit] = words[..] else {
        panic!("{words:?}");
    };
    assert_eq!(soft, hard);
    assert_ne!(soft, "200");
}
