//! `outlive completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Cli;
use super::error::Error;
use super::output;

/// Prints the completion script.
pub fn print(shell: Shell) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "outlive", &mut script);
    output::bytes(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script_with_every_command() {
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::PowerShell,
            Shell::Elvish,
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "outlive", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in ["run", "logs", "completions"] {
                assert!(script.contains(command), "{shell}: {command}");
            }
            assert!(!script.contains("sandbox-init"), "{shell}: hidden");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
