//! The command line: commands, and a flag for each setting.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::settings::reference::{SETTINGS, Setting, ValueKind};
use crate::settings::{Gathered, Origin, former};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Serve until a signal.
    Serve {
        /// Only say what is wrong with the settings.
        check_only: bool,
    },
    /// List the repositories.
    Repos {
        /// As JSON.
        json: bool,
    },
    /// List every change of a repository's root.
    History {
        /// Its name, not yet checked.
        repo: String,
        /// As JSON.
        json: bool,
    },
    /// Check a repository, or all.
    Verify {
        /// Its name, not yet checked; all where absent.
        repo: Option<String>,
        /// As JSON.
        json: bool,
    },
    /// Ask a running server whether it is ready.
    Healthcheck,
    /// Print the reference of all settings.
    Settings {
        /// As a settings file.
        toml: bool,
    },
}

/// A command line, read.
#[derive(Debug)]
pub struct Arguments {
    /// What to do.
    pub task: Task,
    /// The settings file.
    pub config: Option<PathBuf>,
    /// The settings that were given as flags.
    pub flags: Vec<(&'static str, String)>,
}

impl Arguments {
    /// Reads a command line; the error is clap's, which knows how to print itself.
    pub fn parse(words: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(words)?;
        let (name, matches) = matches
            .subcommand()
            .expect("clap demands a command, and knows which there are");
        let task = match name {
            "serve" => Task::Serve {
                check_only: matches.get_flag("check-settings"),
            },
            "repos" => Task::Repos {
                json: matches.get_flag("json"),
            },
            "history" => Task::History {
                repo: matches
                    .get_one::<String>("repo")
                    .cloned()
                    .unwrap_or_default(),
                json: matches.get_flag("json"),
            },
            "healthcheck" => Task::Healthcheck,
            "verify" => Task::Verify {
                repo: matches.get_one::<String>("repo").cloned(),
                json: matches.get_flag("json"),
            },
            _ => {
                return Ok(Self {
                    task: Task::Settings {
                        toml: matches.get_flag("toml"),
                    },
                    config: None,
                    flags: Vec::new(),
                });
            }
        };
        Ok(Self {
            task,
            config: matches.get_one::<PathBuf>("config").cloned(),
            flags: setting_flags(matches),
        })
    }

    /// Gathers the settings: file, then environment, then flags.
    pub fn gather(&self, environment: &[(String, String)]) -> Gathered {
        let mut gathered = Gathered::new();
        let from_environment = environment
            .iter()
            .find(|(name, _)| name == "HOLDFAST_CONFIG")
            .map(|(_, path)| PathBuf::from(path));
        if let Some(path) = self.config.clone().or(from_environment) {
            let name = path.display().to_string();
            match std::fs::read_to_string(&path) {
                Ok(text) => gathered.add_file(&name, &text),
                Err(error) => gathered.complaints.push(crate::settings::Complaint::new(
                    name,
                    format!("could not read the settings file: {error}"),
                )),
            }
        }
        gathered.add_environment(environment.iter().cloned());
        for (key, value) in &self.flags {
            gathered.set(key, value.clone(), Origin::Flag);
        }
        gathered
    }
}

fn setting_flags(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    SETTINGS
        .iter()
        .filter_map(|setting| {
            let value = matches.try_get_one::<String>(setting.flag?).ok()??;
            Some((setting.key, value.clone()))
        })
        .collect()
}

fn command() -> Command {
    let json = || {
        Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .help("Print JSON instead of text")
    };
    let serve = with_settings(
        Command::new("serve").about("Serves until a signal to stop"),
        |_| true,
    )
    .arg(
        Arg::new("check-settings")
            .long("check-settings")
            .action(ArgAction::SetTrue)
            .help("Say everything that is wrong with the settings, and do not serve"),
    );
    let reads_store = |command| with_settings(command, of_store);
    Command::new("holdfastd")
        .about("Holdfast: a forge for Dolt databases")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve)
        .subcommand(reads_store(
            Command::new("repos")
                .about("Lists the repositories")
                .arg(json()),
        ))
        .subcommand(reads_store(
            Command::new("history")
                .about("Lists every change of a repository's root, with the refs that it moved")
                .arg(Arg::new("repo").required(true).help("owner/name"))
                .arg(json()),
        ))
        .subcommand(reads_store(
            Command::new("verify")
                .about("Checks files, index, log and references of a repository, or of all")
                .arg(Arg::new("repo").help("owner/name"))
                .arg(json()),
        ))
        .subcommand(with_settings(
            Command::new("healthcheck")
                .about("Asks the server that listens here whether it is ready; exits with 0 if so"),
            |setting| setting.key == "listen",
        ))
        .subcommand(
            Command::new("settings")
                .about("Prints all settings: name, flag, environment variable, default, meaning")
                .arg(
                    Arg::new("toml")
                        .long("toml")
                        .action(ArgAction::SetTrue)
                        .help("As a settings file in which every line is a comment"),
                ),
        )
}

/// Whether a setting says where and how everything is kept.
fn of_store(setting: &Setting) -> bool {
    matches!(
        setting.key,
        "data" | "store" | "upload.threads" | "index.cache"
    ) || setting.key.starts_with("s3.")
        || setting.key.starts_with("log.")
}

fn with_settings(command: Command, wanted: impl Fn(&Setting) -> bool) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Settings file, in TOML [environment: HOLDFAST_CONFIG]");
    SETTINGS
        .iter()
        .filter(|setting| wanted(setting))
        .filter_map(|setting| Some((setting, setting.flag?)))
        .fold(command.arg(config), |command, (setting, flag)| {
            let arg = Arg::new(flag).long(flag).help(setting.meaning);
            let arg = arg.aliases(former::flags_of(setting.key));
            command.arg(match setting.kind {
                ValueKind::Switch | ValueKind::SwitchOrNames => arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
                    .value_name("true|false"),
                ValueKind::Text
                | ValueKind::Bytes
                | ValueKind::Duration
                | ValueKind::Number
                | ValueKind::Choice(_) => arg.num_args(1).value_name("VALUE"),
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::parse(line.split(' ').map(Into::into))
    }

    #[test]
    fn flags_become_settings() {
        let arguments = parse("holdfastd serve --data /d --open --s3-path-style=false").unwrap();
        assert_eq!(arguments.task, Task::Serve { check_only: false });
        assert_eq!(
            arguments.flags,
            [
                ("data", "/d".to_owned()),
                ("s3.path_style", "false".to_owned()),
                ("open", "true".to_owned()),
            ]
        );
    }

    #[test]
    fn former_flags_go_on_working() {
        let line = "holdfastd serve --free-floor 1MiB --drain-quiet 0s --accept-unknown-chunks";
        let arguments = parse(line).unwrap();
        assert_eq!(
            arguments.flags,
            [
                ("accept_unknown_chunks", "true".to_owned()),
                ("upload.free_floor", "1MiB".to_owned()),
                ("stop.quiet", "0s".to_owned()),
            ]
        );
    }

    #[test]
    fn what_is_unknown_is_refused() {
        assert!(parse("holdfastd serve --no-such-flag").is_err());
        assert!(parse("holdfastd repos --open").is_err());
        assert!(parse("holdfastd history").is_err());
        assert!(parse("holdfastd").is_err());
    }
}
