//! Images in the reference registry, which the usual tools pushed there.
//!
//! If the registry is missing, these tests are listed as ignored; `make test` builds it. What a registry
//! does wrong is tested with a server that does so: `tests/engine/registry.rs`.

mod images;
mod server;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

const TESTS: [(&str, fn()); 4] = [
    ("an_image_is_the_template_that_its_layout_is", images::as_its_layout),
    ("a_tag_that_moves_leads_elsewhere_and_a_digest_does_not", images::moved),
    ("credentials_open_a_registry_that_asks_for_them", images::credentials),
    ("a_container_disk_is_a_template", images::container_disk),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let is_missing = !server::program().exists();
    if is_missing {
        eprintln!(
            "{} is missing: these tests are ignored. `make test` builds it.",
            server::program().display()
        );
    }
    let trials = TESTS.map(|(name, test)| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(is_missing)
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}
