//! The properties of `properties/`, with arbitrary bytes and with valid inputs that were changed: what libFuzzer does
//! for as long as one likes (`fuzz_targets/`), for a few seconds and with every compiler. Run as root.
//!
//! ```text
//! OUTLIVE_FUZZ_CASES=100000     so many cases of each property
//! OUTLIVE_FUZZ_SEED=7           other cases than everybody's
//! OUTLIVE_FUZZ_INPUT=FILE       this one input, with the name of the test beside it
//! OUTLIVE_FUZZ_CORPUS=DIR       writes the valid inputs to DIR/TARGET, for libFuzzer to begin with
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a property fails"
)]

mod change;
mod properties;
mod seeds;

use std::env;
use std::fs;
use std::path::Path;

use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

/// Cases of each property.
const CASES: u32 = 1000;

/// A property with inputs to begin with.
struct Target {
    name: &'static str,
    property: fn(&[u8]),
    seeds: Vec<Vec<u8>>,
    /// Cases in a hundred of [`CASES`]: more of what takes less time.
    share: u32,
}

impl Target {
    fn run(&self) {
        if let Ok(file) = env::var("OUTLIVE_FUZZ_INPUT") {
            return (self.property)(&fs::read(file).unwrap());
        }
        if let Ok(directory) = env::var("OUTLIVE_FUZZ_CORPUS") {
            return self.write_corpus(Path::new(&directory));
        }
        for seed in &self.seeds {
            (self.property)(seed);
        }
        let cases = number("OUTLIVE_FUZZ_CASES").unwrap_or(CASES);
        let cases = (u64::from(cases) * u64::from(self.share)).div_ceil(100);
        let seed = number("OUTLIVE_FUZZ_SEED").unwrap_or(0);
        let config = Config {
            cases: u32::try_from(cases).unwrap(),
            failure_persistence: None,
            max_shrink_iters: 4096,
            ..Config::default()
        };
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let input = change::input(self.seeds.clone());
        let outcome = TestRunner::new_with_rng(config, random).run(&input, |bytes| {
            (self.property)(&bytes);
            Ok(())
        });
        match outcome {
            Ok(()) => {}
            Err(TestError::Fail(reason, bytes)) => self.fail(seed, &reason.to_string(), &bytes),
            Err(TestError::Abort(reason)) => panic!("{reason}"),
        }
    }

    /// Keeps the input and says how to get here again.
    fn fail(&self, seed: u32, reason: &str, bytes: &[u8]) {
        let name = self.name;
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
        fs::write(&file, bytes).unwrap();
        panic!(
            "{reason}\ninput: b\"{}\"\nfound with OUTLIVE_FUZZ_SEED={seed}; again with\n\
             OUTLIVE_FUZZ_INPUT={} cargo test --test fuzz {name} -- --exact",
            bytes.escape_ascii(),
            file.display(),
        );
    }

    fn write_corpus(&self, directory: &Path) {
        let directory = directory.join(self.name);
        fs::create_dir_all(&directory).unwrap();
        for (number, seed) in self.seeds.iter().enumerate() {
            fs::write(directory.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}

fn number(variable: &str) -> Option<u32> {
    let text = env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

macro_rules! targets {
    ($($name:ident: $share:literal;)*) => {
        $(
            #[test]
            fn $name() {
                let target = Target {
                    name: stringify!($name),
                    property: properties::$name,
                    seeds: seeds::$name(),
                    share: $share,
                };
                target.run();
            }
        )*

        const TARGETS: &[&str] = &[$(stringify!($name)),*];
    };
}

targets! {
    container_status: 100;
    container_config: 100;
    pod_status: 100;
    pod_config: 100;
    pod_network: 100;
    exit_journal: 100;
    endpoint: 100;
    runtime_record: 100;
    cri_log: 100;
    log_reader: 100;
    shim_call: 400;
    stdio_uri: 400;
    image_archive: 100;
    image_layer: 100;
}

#[test]
fn libfuzzer_has_a_target_for_each_property() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let entries = fs::read_dir(directory.join("fuzz_targets")).unwrap();
    let mut files: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut expected: Vec<String> = TARGETS.iter().map(|name| format!("{name}.rs")).collect();
    expected.sort();
    assert_eq!(files, expected);
    let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
    for name in TARGETS {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
    }
}
