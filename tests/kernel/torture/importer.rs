//! Templates in a fault run: the command line imports and removes one after the other, and is
//! killed in the middle.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use calf_test_kit::fault_run::Tally;
use calf_test_kit::real_pool::{Random, Rig};
use sha2::{Digest as _, Sha256};

/// Templates that come and go, and the bytes of each.
const TEMPLATES: usize = 3;
const SIZE: usize = 3 << 20;

pub(crate) struct Importer {
    pool: PathBuf,
    templates: Vec<Template>,
    random: Random,
}

struct Template {
    name: String,
    source: PathBuf,
    digest: String,
    /// Which templates exist, by the answers; `None` while an answer is missing.
    present: Option<bool>,
}

impl Importer {
    pub(crate) fn new(rig: &Rig, seed: u64) -> Self {
        let mut random = Random(seed.max(1));
        let templates = (0..TEMPLATES).map(|n| {
            let source = rig.disk.path().join(format!("source-{n}.img"));
            let mut content = vec![0; SIZE];
            random.fill(&mut content);
            fs::write(&source, &content).expect("an image");
            let digest = hex::encode(Sha256::digest(&content));
            Template { name: format!("template-{n}"), source, digest, present: Some(false) }
        });
        let templates = templates.collect();
        Self { pool: rig.pool.root().to_owned(), templates, random }
    }

    /// Imports and removes until the driver is killed, and then dies as well.
    pub(crate) fn work(&mut self, tally: &Tally, killed: &AtomicBool) {
        while !killed.load(Ordering::SeqCst) {
            let n = self.random.below(TEMPLATES as u64) as usize;
            let import = self.templates[n].present != Some(true);
            self.templates[n].present = None;
            let mut command = self.command(n, import);
            let mut process = command.stderr(Stdio::piped()).spawn().expect("start calf");
            loop {
                if let Some(status) = process.try_wait().expect("wait for calf") {
                    let template = &mut self.templates[n];
                    if status.success() {
                        template.present = Some(import);
                    } else {
                        let output = process.wait_with_output().expect("wait for calf");
                        let said = String::from_utf8_lossy(&output.stderr).into_owned();
                        tally.found(format!("{} (import: {import}): {said}", template.name));
                    }
                    break;
                }
                if killed.load(Ordering::SeqCst) {
                    process.kill().and_then(|()| process.wait()).expect("kill calf");
                    return;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Checks that a template is complete or does not exist.
    pub(crate) fn verify(&self, tally: &Tally, rig: &Rig) {
        for template in &self.templates {
            let found =
                match rig.pool.template(&template.name).and_then(|template| template.record()) {
                    Ok(found) => Some(found),
                    Err(error) if error.kind() == calf::ErrorKind::NotFound => None,
                    Err(error) => {
                        tally.found(format!("{}: {error:?}", template.name));
                        continue;
                    }
                };
            let agrees = template.present.is_none_or(|present| present == found.is_some());
            tally.promise(agrees, || {
                format!("{}: {found:?}, the model says {:?}", template.name, template.present)
            });
            let Some(found) = found else { continue };
            let image = self.pool.join("images").join(found.digest.as_str()).join("image");
            match fs::read(&image) {
                Ok(content) if hex::encode(Sha256::digest(&content)) == template.digest => {}
                Ok(_) => tally.lost(format!("{} has other content", template.name)),
                Err(error) => tally.lost(format!("{}: {error}", image.display())),
            }
        }
    }

    /// Removes all templates and their sources.
    pub(crate) fn end(self, tally: &Tally) {
        for (n, template) in self.templates.iter().enumerate() {
            // Import a template that may or may not exist, so that the removal cannot fail with
            // "not found".
            for import in [true, false] {
                let output = self.command(n, import).output().expect("start calf");
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                tally.promise(output.status.success(), || format!("{}: {said}", template.name));
            }
            fs::remove_file(&template.source).expect("remove the source");
        }
    }

    fn command(&self, n: usize, import: bool) -> Command {
        let template = &self.templates[n];
        let mut command = Command::new(env!("CARGO_BIN_EXE_calf"));
        command.env("CALF_POOL", &self.pool).stdin(Stdio::null()).stdout(Stdio::null());
        if import {
            command.args(["template", "import", "--name", &template.name]).arg(&template.source);
        } else {
            command.args(["template", "remove", &template.name]);
        }
        command
    }
}
