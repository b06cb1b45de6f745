//! `calf man`: the manual, with a page for each command, made from the text of `--help`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use calf::{Error, ErrorKind, Result};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use serde_json::json;

use super::context::Context;
use super::output;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The command whose page to print, such as `volume create` [default: calf itself]
    command: Vec<String>,
    /// Write all pages into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    install: Option<PathBuf>,
}

pub(super) fn run(context: &Context, root: Command, args: &Args) -> Result<()> {
    let root = complete(root);
    let Some(directory) = &args.install else {
        return output::text(&page(find(&root, args)?).text);
    };
    let pages = pages(&root);
    install(directory, &pages)
        .map_err(|e| Error::io("install the manual in", directory.display(), e))?;
    let names: Vec<&String> = pages.iter().map(|page| &page.name).collect();
    context.output.done(&json!({ "directory": directory, "pages": names }), &names, || {
        format!("installed {} pages of the manual in {}", names.len(), directory.display())
    })
}

/// One page of the manual.
struct Page {
    /// The name of its file.
    name: String,
    /// The text of the page, as roff.
    text: String,
}

/// The command line with everything that clap adds to it.
fn complete(root: Command) -> Command {
    // A manual page must not leave out options that the short help hides.
    let root = root.mut_args(|argument| argument.hide_short_help(false));
    let mut root = root.disable_help_subcommand(true);
    root.build();
    root
}

/// The command whose page was requested.
fn find<'a>(root: &'a Command, args: &Args) -> Result<&'a Command> {
    let words = args.command.iter();
    let found = words.into_iter().try_fold(root, |command, word| command.find_subcommand(word));
    found.ok_or_else(|| {
        let name = args.command.join(" ");
        Error::new(
            ErrorKind::InvalidArgument,
            "show the manual of",
            name,
            "there is no such command",
        )
        .remedy("list the commands with `calf --help`")
    })
}

/// The pages of a command and of all its subcommands.
fn pages(command: &Command) -> Vec<Page> {
    let below = command.get_subcommands().filter(|command| !command.is_hide_set());
    std::iter::once(page(command)).chain(below.flat_map(pages)).collect()
}

fn page(command: &Command) -> Page {
    let man = Man::new(command.clone())
        .source(concat!("calf ", env!("CARGO_PKG_VERSION")))
        .manual("calf");
    let mut text = Vec::new();
    render(&man, command, &mut text).expect("writing to memory succeeds");
    let text = String::from_utf8(text).expect("help is UTF-8");
    Page { name: man.get_filename(), text }
}

fn render(man: &Man, command: &Command, to: &mut Vec<u8>) -> io::Result<()> {
    man.render_title(to)?;
    man.render_name_section(to)?;
    man.render_synopsis_section(to)?;
    man.render_description_section(to)?;
    man.render_options_section(to)?;
    if command.has_subcommands() {
        man.render_subcommands_section(to)?;
    }
    if let Some(more) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        sections(&more.to_string()).to_writer(to)?;
    }
    Ok(())
}

/// The text below the options in a help text: a line such as `Examples:` is the heading of a
/// section, indented lines stay as they are, and the rest is notes.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    let mut in_notes = false;
    for paragraph in text.split("\n\n") {
        let mut lines = paragraph.lines().peekable();
        match lines.peek().and_then(|line| line.strip_suffix(':')).filter(|line| is_heading(line)) {
            Some(heading) => {
                roff.control("SH", [heading.to_uppercase().as_str()]);
                lines.next();
                in_notes = false;
            }
            None if in_notes => drop(roff.control("PP", [])),
            None => {
                roff.control("SH", ["NOTES"]);
                in_notes = true;
            }
        }
        let mut as_it_is = false;
        for line in lines {
            if line.starts_with(' ') != as_it_is {
                as_it_is = !as_it_is;
                roff.control(if as_it_is { "nf" } else { "fi" }, []);
            }
            roff.text([roman(line)]);
        }
        if as_it_is {
            roff.control("fi", []);
        }
    }
    roff
}

/// Whether a line that ends in a colon is a heading, not the beginning of a list.
fn is_heading(line: &str) -> bool {
    line.starts_with(char::is_uppercase) && line.split(' ').count() <= 2
}

fn install(directory: &Path, pages: &[Page]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    pages.iter().try_for_each(|page| fs::write(directory.join(&page.name), &page.text))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// The name of a command's page, such as `calf-volume-create`.
    fn commands(command: &Command, name: &str) -> Vec<(String, Command)> {
        let below = command.get_subcommands();
        let below = below.flat_map(|c| commands(c, &format!("{name}-{}", c.get_name())));
        std::iter::once((name.to_owned(), command.clone())).chain(below).collect()
    }

    #[test]
    fn each_command_has_a_page_with_all_its_options() {
        let root = complete(super::super::Cli::command());
        let pages = pages(&root);
        let commands = commands(&root, "calf");
        assert_eq!(pages.len(), commands.len());
        for (name, command) in commands {
            let page = pages.iter().find(|page| page.name == format!("{name}.1"));
            let page = page.unwrap_or_else(|| panic!("{name} has no page"));
            for needed in [".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS", ".SH \"GLOBAL OPTIONS\""] {
                assert!(page.text.contains(needed), "{name}: no {needed}");
            }
            let about = command.get_about().unwrap().to_string();
            assert!(page.text.contains(&escaped(&about)), "{name}: no {about:?}");
            for argument in command.get_arguments() {
                let help = argument.get_long_help().or_else(|| argument.get_help()).unwrap();
                let help = help.to_string().lines().next().unwrap().to_owned();
                assert!(page.text.contains(&escaped(&help)), "{name}: no {help:?}");
                if let Some(option) = argument.get_long() {
                    let option = escaped(&format!("--{option}"));
                    assert!(page.text.contains(&option), "{name}: no {option}");
                }
            }
        }
    }

    /// Text escaped for roff.
    fn escaped(text: &str) -> String {
        text.replace('-', "\\-").replace('\'', "\\*(Aq")
    }

    #[test]
    fn help_texts_become_sections() {
        let text = "It is\nfine.\n\nAnd so on.\n\nExamples:\n  calf x\n\nExit codes:\n  0  done";
        assert_eq!(
            sections(text).render(),
            ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n\
             .SH NOTES\nIt is\nfine.\n.PP\nAnd so on.\n\
             .SH EXAMPLES\n.nf\n  calf x\n.fi\n.SH \"EXIT CODES\"\n.nf\n  0  done\n.fi\n"
        );
    }
}
