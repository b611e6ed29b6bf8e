//! `holdfast completions` and `holdfast man`: what is said of the command line, from its own definitions.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::Complaint;
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
    let action = || format!("could not write manual pages to {}", directory.display());
    std::fs::create_dir_all(directory).with_context(action)?;
    check_pages(directory)?;
    clap_mangen::generate_to(command(), directory).with_context(action)?;
    ui::note(&format!("manual pages are in {}", directory.display()));
    Ok(())
}

/// Checks that pages take the place of nothing but earlier pages.
fn check_pages(directory: &Path) -> anyhow::Result<()> {
    let mut top = command();
    top.build();
    let mut commands = vec![&top];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands());
        let name = command.get_display_name().unwrap_or(command.get_name());
        let path = directory.join(format!("{name}.1"));
        let is_page = match std::fs::read(&path) {
            Ok(bytes) => contains(&bytes, b".TH holdfast"),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        // What a link leads to would be written over.
        if !is_page || path.is_symlink() {
            return Err(Complaint::NoPage { path }.into());
        }
    }
    Ok(())
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_take_the_place_of_pages_alone() {
        let directory = tempfile::tempdir().unwrap();
        write_pages(directory.path()).unwrap();
        write_pages(directory.path()).unwrap();
        let pages = std::fs::read_dir(directory.path()).unwrap();
        for page in pages.map(|entry| entry.unwrap().path()) {
            let text = std::fs::read(&page).unwrap();
            let own: &[u8] = b".TH of the user";
            holdfast_chunkstore::objects::durable::write_over(&page, "new-", 0o644, own).unwrap();
            let error = write_pages(directory.path()).unwrap_err();
            assert!(
                error.to_string().contains("is no page of holdfast"),
                "{error}"
            );
            assert_eq!(std::fs::read(&page).unwrap(), own, "{}", page.display());
            holdfast_chunkstore::objects::durable::write_over(&page, "new-", 0o644, &text).unwrap();
        }
    }

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
