//! `holdfast completions` and `holdfast man`: what is said of the command line, from its own definitions.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::args::{self, Arguments};
use crate::ui;

pub(super) fn completions(arguments: &args::Completions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    let mut command = Arguments::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}

pub(super) fn man(arguments: &args::Man) -> anyhow::Result<()> {
    match &arguments.to {
        Some(directory) => write_pages(directory),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command()).render(&mut page)?;
            Ok(std::io::stdout().write_all(&page)?)
        }
    }
}

/// The command line; `help` needs no page of its own.
fn command() -> clap::Command {
    Arguments::command().disable_help_subcommand(true)
}

fn write_pages(directory: &Path) -> anyhow::Result<()> {
    let action = || format!("write manual pages to {}", directory.display());
    std::fs::create_dir_all(directory).with_context(action)?;
    clap_mangen::generate_to(command(), directory).with_context(action)?;
    ui::say(&format!("manual pages are in {}", directory.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each command with the name of its page and its flags.
    fn commands() -> Vec<(String, Vec<String>)> {
        let mut top = command();
        top.build();
        let longs = |command: &clap::Command| {
            let flags = command.get_arguments();
            flags
                .filter(|flag| !flag.is_hide_set())
                .filter_map(|flag| flag.get_long().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let mut found = vec![("holdfast".to_owned(), longs(&top))];
        for command in top.get_subcommands() {
            found.push((format!("holdfast-{}", command.get_name()), longs(command)));
        }
        found
    }

    #[test]
    fn there_is_a_page_for_each_command_and_every_flag_is_on_it() {
        let directory = tempfile::tempdir().unwrap();
        write_pages(directory.path()).unwrap();
        let commands = commands();
        assert!(commands.len() > 8);
        for (name, flags) in commands {
            let page = directory.path().join(format!("{name}.1"));
            let page = std::fs::read_to_string(page).unwrap();
            assert!(flags.contains(&"format".to_owned()), "{name}");
            for flag in flags {
                let shown = format!("\\-\\-{}", flag.replace('-', "\\-"));
                assert!(page.contains(&shown), "{name} lacks --{flag}: {page}");
            }
        }
    }

    #[test]
    fn exit_codes_are_on_the_first_page() {
        let mut page = Vec::new();
        clap_mangen::Man::new(command()).render(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("damaged data"), "{page}");
    }

    #[test]
    fn shells_complete_every_command_and_flag() {
        use clap::ValueEnum as _;
        for shell in clap_complete::Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "holdfast", &mut script);
            let script = String::from_utf8(script).unwrap();
            for (name, flags) in commands() {
                let name = name.strip_prefix("holdfast-").unwrap_or("holdfast");
                assert!(script.contains(name), "{shell}: {name}");
                for flag in flags {
                    assert!(script.contains(&flag), "{shell}: --{flag} of {name}");
                }
            }
        }
    }

    #[test]
    fn the_definitions_of_the_command_line_are_sound() {
        Arguments::command().debug_assert();
    }
}
