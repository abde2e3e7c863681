//! Which configurations are taken, and where the errors of the others point to.

use std::path::PathBuf;

use super::*;
use crate::sys::file::scratch::Scratch;

/// `true` of coreutils: a program that is always there, in place of a shim.
const PROGRAM: &str = "/bin/true";

/// Loads a file with `text`, to which the default handler is added at its end.
fn load(text: &str, overrides: &Overrides) -> Result<Config, String> {
    let scratch = Scratch::new();
    let handler = format!("\n[runtimes.outlive]\nshim = {PROGRAM:?}\n");
    scratch.write("supervisor.toml", text.to_owned() + &handler);
    let path = scratch.path().join("supervisor.toml");
    Config::load(Some(&path), overrides).map_err(|error| {
        let prefix = format!("{}:", path.display());
        error.to_string().replace(&prefix, "FILE:")
    })
}

fn refusal(text: &str) -> String {
    match load(text, &Overrides::default()) {
        Ok(config) => panic!("{text:?} was taken: {config:?}"),
        Err(error) => error,
    }
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = load("", &Overrides::default()).unwrap();
    assert_eq!(config.root, PathBuf::from("/var/lib/outlive"));
    assert_eq!(config.socket, PathBuf::from("/run/outlive/outlive.sock"));
    assert_eq!(config.cgroup_parent, "/outlive");
    assert_eq!(config.metrics, None);
    assert_eq!(config.log.level, log::LevelFilter::Info);
    assert_eq!(config.runtime("").unwrap().name, "outlive");
    assert_eq!(config.runtime("other"), None);
}

#[test]
fn the_socket_is_in_the_state_directory_unless_it_is_named() {
    let state = Overrides {
        state: Some("/run/x".into()),
        ..Overrides::default()
    };
    assert_eq!(
        load("", &state).unwrap().socket,
        PathBuf::from("/run/x/outlive.sock")
    );
    let named = Overrides {
        address: Some("unix:///run/y.sock".into()),
        ..state
    };
    assert_eq!(
        load("address = \"unix:///run/z.sock\"", &named)
            .unwrap()
            .socket,
        PathBuf::from("/run/y.sock")
    );
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    assert!(
        refusal("# a comment\n\nrooot = \"/x\"").starts_with("FILE:3: unknown field `rooot`"),
        "{}",
        refusal("# a comment\n\nrooot = \"/x\"")
    );
    let error = refusal("[network]\nconf_dir = \"/x\"\nbin_dir = \"/y\"");
    assert!(
        error.starts_with("FILE:3: unknown field `bin_dir`"),
        "{error}"
    );
    let error = refusal("[runtimes.runc]\nshim = \"/bin/true\"\noptions = 1");
    assert!(
        error.starts_with("FILE:3: unknown field `options`"),
        "{error}"
    );
}

#[test]
fn a_wrong_value_is_named_with_its_key_and_line() {
    for (text, error) in [
        (
            "root = \"x\"",
            "FILE:1: root: \"x\" is not an absolute path",
        ),
        (
            "\nroot = \"/x\"\nstate = \"/x/\"",
            "FILE:3: state: \"/x\" is root too",
        ),
        (
            "address = \"/run/x.sock\"",
            "FILE:1: address: \"/run/x.sock\" is not of the form unix:///PATH",
        ),
        (
            "[log]\nlevel = \"loud\"",
            "FILE:2: log.level: \"loud\" is not one of off, error",
        ),
        (
            "[log]\nformat = \"xml\"",
            "FILE:2: log.format: \"xml\" is not text or json",
        ),
        (
            "[metrics]\naddress = \"9099\"",
            "FILE:2: metrics.address: \"9099\" is not an address and port",
        ),
        (
            "[network]\nbin_dirs = [\"/a\",\n \"b\"]",
            "FILE:3: network.bin_dirs: \"b\" is not an absolute path",
        ),
        (
            "[cgroup]\nparent = \"/a/../..\"",
            "FILE:2: cgroup.parent: \"/a/../..\" is not an absolute path",
        ),
        (
            "[cgroup]\nparent = \"/\"",
            "FILE:2: cgroup.parent: the root",
        ),
        (
            "default_runtime = \"kata\"",
            "FILE:1: default_runtime: \"kata\" is not the name of a runtime",
        ),
        (
            "\n[runtimes.runc]\nshim = \"/no/such/shim\"",
            "FILE:3: runtimes.runc.shim: \"/no/such/shim\": No such file",
        ),
        (
            "[runtimes.runc]\nshim = \"/etc/passwd\"",
            "FILE:2: runtimes.runc.shim: \"/etc/passwd\" is not a program",
        ),
        (
            "\n[runtimes.runc]\nbinary = \"runc\"",
            "FILE:2: runtimes.runc: shim is missing",
        ),
        ("root = 7", "FILE:1: invalid type: integer `7`"),
        ("root = ", "FILE:1: "),
        ("root = \"/a\"\nroot = \"/b\"", "FILE:2: duplicate key"),
    ] {
        let found = refusal(text);
        assert!(found.starts_with(error), "{text:?}: {found}");
    }
}

#[test]
fn a_path_of_the_command_line_is_named_as_such() {
    let overrides = Overrides {
        root: Some("x".into()),
        ..Overrides::default()
    };
    assert_eq!(
        load("", &overrides).unwrap_err(),
        "command line: --root: \"x\" is not an absolute path"
    );
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file_and_that_over_the_default() {
    let text = "root = \"/file/root\"\nstate = \"/file/state\"\naddress = \"unix:///file/a.sock\"";
    let of_file = load(text, &Overrides::default()).unwrap().origins;
    for (origin, line) in [
        (&of_file.root, 1),
        (&of_file.state, 2),
        (&of_file.address, 3),
    ] {
        assert!(
            origin.ends_with(&format!("supervisor.toml:{line}")),
            "{origin}"
        );
    }
    assert_eq!(of_file.overridden, []);
    assert!(of_file.file.is_some());

    let mut given = Overrides {
        root: Some("/given".into()),
        address: Some("unix:///given.sock".into()),
        givers: Givers {
            root: Giver::Environment,
            address: Giver::Environment,
        },
        ..Overrides::default()
    };
    let config = load(text, &given).unwrap();
    assert_eq!(config.root, PathBuf::from("/given"));
    assert_eq!(config.socket, PathBuf::from("/given.sock"));
    assert_eq!(config.origins.root, "environment OUTLIVE_ROOT");
    assert_eq!(config.origins.address, "environment OUTLIVE_ADDRESS");
    let [root, address] = &config.origins.overridden[..] else {
        panic!("{:?}", config.origins);
    };
    assert_eq!(
        (root.variable, &*root.instead_of),
        ("OUTLIVE_ROOT", "/file/root")
    );
    assert_eq!(
        (address.variable, &*address.value),
        ("OUTLIVE_ADDRESS", "unix:///given.sock")
    );
    assert!(root.setting.ends_with(":1") && address.setting.ends_with(":3"));

    given.givers = Givers::default();
    let config = load(text, &given).unwrap();
    assert_eq!(config.root, PathBuf::from("/given"));
    assert_eq!(
        (&*config.origins.root, &*config.origins.address),
        ("command line", "command line")
    );
    // Who writes a flag knows that it is there.
    assert_eq!(config.origins.overridden, []);

    given.givers.root = Giver::Environment;
    let without = load("", &given).unwrap().origins;
    assert_eq!((without.overridden, &*without.state), (vec![], "default"));
    let same = load("root = \"/given\"", &given).unwrap().origins;
    assert_eq!(same.overridden, []);
    let relative = Overrides {
        root: Some("x".into()),
        ..given
    };
    assert_eq!(
        load("", &relative).unwrap_err(),
        "environment OUTLIVE_ROOT: root: \"x\" is not an absolute path"
    );
}

#[test]
fn the_root_of_a_file_is_found_whatever_else_is_in_it() {
    let scratch = Scratch::new();
    let path = scratch.path().join("supervisor.toml");
    assert_eq!(Config::root_of(&path).unwrap(), None);
    scratch.write("supervisor.toml", "[runtimes.x]\nshim = \"/no/such\"");
    assert_eq!(Config::root_of(&path).unwrap(), None);
    scratch.write(
        "supervisor.toml",
        "root = \"/data\"\n[runtimes.x]\nshim = \"/no/such\"",
    );
    assert_eq!(Config::root_of(&path).unwrap(), Some("/data".into()));
    scratch.write("supervisor.toml", "root = \"data\"");
    Config::root_of(&path).unwrap_err();
}

#[test]
fn a_socket_that_no_socket_can_be_at_is_refused_before_it_is_tried() {
    let long = format!("/run/{}", "x".repeat(120));
    let error = refusal(&format!("state = {long:?}"));
    assert!(
        error.starts_with("FILE:1: state: ") && error.contains("longer than the 106 bytes"),
        "{error}"
    );
}

#[test]
fn the_named_runtime_is_the_default_and_the_others_stay() {
    let text = "default_runtime = \"runc\"\n[runtimes.runc]\nshim = \"/bin/true\"\nbinary = \"crun\"\nroot = \"/run/crun\"";
    let config = load(text, &Overrides::default()).unwrap();
    let default = config.runtime("").unwrap();
    assert_eq!(default.name, "runc");
    assert_eq!(default.binary, Some(PathBuf::from("crun")));
    assert_eq!(default.runtime_root, Some(PathBuf::from("/run/crun")));
    assert_eq!(config.runtime("outlive").unwrap().binary, None);
}

#[test]
fn a_named_file_must_be_there() {
    let missing = Config::load(Some(Path::new("/no/such/file.toml")), &Overrides::default());
    assert!(matches!(missing, Err(ConfigError::Read { .. })));
}

/// The example with the comment signs taken away from its settings, which are the lines `#key = value` and `#[table]`.
#[test]
fn the_example_has_every_key_and_its_defaults_are_the_defaults() {
    let example = include_str!("../../../shim-config/supervisor.toml");
    let setting = |line: &str| {
        line.strip_prefix('#')
            .filter(|rest| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()))
            .unwrap_or(line)
            .to_owned()
    };
    let text: Vec<String> = example.lines().map(setting).collect();
    let text = text
        .join("\n")
        .replace("/usr/local/bin/containerd-shim-outlive-v2", PROGRAM);
    for key in [
        "root",
        "state",
        "address",
        "default_runtime",
        "level",
        "format",
        "conf_dir",
        "bin_dirs",
        "parent",
        "profile_root",
        "shim",
        "binary",
    ] {
        assert!(text.contains(&format!("\n{key} = ")), "{key}: {text}");
    }
    let scratch = Scratch::new();
    scratch.write("supervisor.toml", &text);
    let path = scratch.path().join("supervisor.toml");
    let mut config = Config::load(Some(&path), &Overrides::default()).unwrap();
    assert!(config.metrics.take().is_some());
    for runtime in &mut config.runtimes {
        assert_eq!(runtime.binary.take(), Some("runc".into()));
        assert!(runtime.runtime_root.take().is_some());
    }
    let mut defaults = load("", &Overrides::default()).unwrap();
    // The example's are its own lines.
    for config in [&mut config, &mut defaults] {
        config.origins = Origins::default();
    }
    assert_eq!(config, defaults);
}
