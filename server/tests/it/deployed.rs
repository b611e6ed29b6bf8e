//! What is in `deploy/`: the settings file works as it is packaged, and every name in it is one of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use holdfast_server::settings::reference::SETTINGS;
use holdfast_server::settings::{Gathered, Origin};
use tempfile::TempDir;

use crate::daemon::Daemon;

fn deploy(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    folder.join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap()
}

/// The packaged settings file with its two folders moved here, and the folders.
struct Installed {
    folder: TempDir,
}

impl Installed {
    fn new() -> Self {
        let installed = Self {
            folder: TempDir::new().unwrap(),
        };
        for name in ["etc", "var"] {
            fs::create_dir(installed.path(name)).unwrap();
        }
        let etc = installed.path("etc").display().to_string();
        let var = installed.path("var").display().to_string();
        let text = text("holdfastd.toml")
            .replace("/etc/holdfast", &etc)
            .replace("/var/lib/holdfast", &var);
        fs::write(installed.path("etc/holdfastd.toml"), text).unwrap();
        fs::write(installed.path("etc/admin-token"), "t0ken\n").unwrap();
        installed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command with the settings file and nothing else.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfastd"));
        let config = self.path("etc/holdfastd.toml");
        let command = command.env_clear().args(arguments);
        command.arg("--config").arg(config).output().unwrap()
    }
}

#[test]
fn the_packaged_settings_are_in_order_and_a_token_that_can_be_guessed_is_told() {
    let installed = Installed::new();
    for (token, is_told) in [
        ("t0ken", true),
        ("0123456789abcde", true),
        ("0123456789abcdef", false),
    ] {
        fs::write(installed.path("etc/admin-token"), format!("{token}\n")).unwrap();
        let checked = installed.run(&["serve", "--check-settings"]);
        assert!(checked.status.success(), "{checked:?}");
        let said = String::from_utf8(checked.stderr).unwrap();
        assert_eq!(said.contains("openssl rand -hex 32"), is_told, "{said}");
        assert!(!said.contains(token), "{said}");
    }
}

#[test]
fn a_store_is_looked_at_with_the_packaged_settings() {
    let installed = Installed::new();
    Daemon::start(&installed.path("var")).stop();
    // Who may look at the store need not be one who may read the token.
    fs::remove_file(installed.path("etc/admin-token")).unwrap();
    for arguments in [&["repos"][..], &["verify"]] {
        let output = installed.run(arguments);
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn every_setting_in_the_deploy_files_is_one() {
    let variables = |text: &str| -> Vec<String> {
        let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let words = text.split(|character| !is_part(character));
        let words = words.filter(|word| word.starts_with("HOLDFAST_") && word.len() > 9);
        words.map(str::to_owned).collect()
    };
    let is_one = |name: &str| {
        let mut known = SETTINGS.iter().map(|setting| setting.variable);
        known.any(|variable| variable == name)
    };
    let mut found = 0;
    for name in ["Dockerfile", "compose.yaml", "holdfastd.service"] {
        for variable in variables(&text(name)) {
            assert!(is_one(&variable), "{name}: {variable}");
            found += 1;
        }
    }
    assert!(found > 10, "{found}");
    // In the settings file also what is commented out.
    let file: String = text("holdfastd.toml")
        .lines()
        .map(|line| {
            let rest = line.strip_prefix("# ").unwrap_or(line);
            let is_assignment = rest.split_once(" = ").is_some_and(|(name, _)| {
                let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
                name.bytes().all(is_plain)
            });
            let is_table = rest.starts_with('[') && rest.ends_with(']');
            format!(
                "{}\n",
                if is_assignment || is_table {
                    rest
                } else {
                    line
                }
            )
        })
        // One line stands there for the other store.
        .filter(|line| !line.starts_with("store = \"local\""))
        .collect();
    let mut gathered = Gathered::new();
    gathered.add_file("holdfastd.toml", &file);
    assert!(gathered.complaints.is_empty(), "{:?}", gathered.complaints);
    assert_eq!(gathered.origin("require_tls"), Origin::File);
}

#[test]
fn no_secret_is_copied_into_the_image() {
    let left_out = text("Dockerfile.dockerignore");
    for line in [".env", "**/.env", ".git"] {
        assert!(left_out.lines().any(|one| one == line), "{line}");
    }
    let user = text("Dockerfile");
    let user = user.lines().find_map(|line| line.strip_prefix("USER "));
    assert_eq!(user, Some("7350:7350"), "by number");
}

/// Runs a program of the system; nothing where it is not here.
fn tool(name: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(name).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: {name}: {error}");
            None
        }
    }
}

#[test]
fn the_unit_is_one() {
    let folder = TempDir::new().unwrap();
    // What it starts must be there.
    let program = env!("CARGO_BIN_EXE_holdfastd");
    let unit = text("holdfastd.service").replace("/usr/local/bin/holdfastd", program);
    let path = folder.path().join("holdfastd.service");
    fs::write(&path, unit).unwrap();
    let Some(output) = tool("systemd-analyze", &["verify", path.to_str().unwrap()]) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("holdfastd.service"))
        .collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

#[test]
fn the_compose_file_is_one() {
    let compose = deploy("compose.yaml");
    let has_compose = Command::new("docker").args(["compose", "version"]).output();
    if !has_compose.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no docker with compose here");
        return;
    }
    let mut command = Command::new("docker");
    for name in ["HOLDFAST_ADMIN_TOKEN", "S3_ACCESS_KEY", "S3_SECRET_KEY"] {
        command.env(name, "x");
    }
    let command = command.args(["compose", "--file", compose.to_str().unwrap(), "config"]);
    match command.output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => eprintln!("skipped: docker: {error}"),
    }
}

#[test]
fn a_running_server_is_found_ready_and_one_that_is_not_there_is_not() {
    let data = TempDir::new().unwrap();
    let server = Daemon::start(data.path());
    let listen = server.url.strip_prefix("http://").unwrap().to_owned();
    let ask = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfastd"));
        let command = command
            .env_clear()
            .args(["healthcheck", "--listen", &listen]);
        command.output().unwrap()
    };
    let ready = ask();
    assert!(ready.status.success(), "{ready:?}");
    assert_eq!(ready.stdout, b"ready\n");
    server.stop();
    let gone = ask();
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    assert!(!gone.stderr.is_empty());
}
