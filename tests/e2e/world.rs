//! One run: the cluster with calf in it, and the set-up and checks around each scenario.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use calf_test_kit::built::target_tmp;

use crate::cluster::Cluster;
use crate::control_plane::ControlPlane;
use crate::namespace::{Namespace, is_ready};
use crate::node::{self, Node, Service};
use crate::release::{self, Release, TEMPLATE, TEMPLATE_IMAGES};
use crate::scenarios::Scenario;
use crate::{Result, documentation, evidence, images, microvm, network, tools};

pub(crate) use crate::microvm::TEMPLATE_BYTES;

/// The kubelet registers itself within seconds, on a machine of its own.
const NODE_READY: Duration = Duration::from_secs(300);

// Fields are dropped in this order: each before the programs that it calls.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) release: Release,
    pub(crate) node: Node,
    plane: Mutex<ControlPlane>,
    pub(crate) audit_log: PathBuf,
    logs: PathBuf,
    _lock: File,
}

impl World {
    /// Starts everything, and prints how long each part took.
    pub(crate) fn start() -> Result<Self> {
        let directory = target_tmp().with_file_name("e2e");
        let lock = claim(&directory)?;
        let (state, logs) = (directory.join("state"), directory.join("logs"));
        for fresh in [&state, &logs] {
            renew(fresh)?;
        }
        println!("logs are in {}", logs.display());
        network::set_up()?;

        let mut step = Step::begin("images");
        let kubeconfig = state.join("pki/admin.kubeconfig");
        let release = Release::new(&kubeconfig, &state)?;
        let archives = make_images(&release, &state.join("images"))?;
        step.next("control plane");
        let plane = ControlPlane::start(&state, &logs)?;
        let cluster = Cluster::new(&plane.kubeconfig, &logs)?;
        step.next("node");
        let node = Node::boot(node::Options {
            directory: directory.join("node"),
            programs: tools::program("kubelet")?.with_file_name(""),
            kubeconfig: plane.node_kubeconfig.clone(),
            client_ca: plane.client_ca.clone(),
            pause_image: images::PAUSE.to_owned(),
        })?;
        let world = Self {
            cluster,
            release,
            node,
            audit_log: plane.audit_log.clone(),
            plane: Mutex::new(plane),
            logs,
            _lock: lock,
        };
        world.node.start(Service::Containerd)?;
        step.next("images into containerd");
        world.node.import(&archives)?;
        step.next("kubelet");
        world.node.start(Service::Kubelet)?;
        world.wait_for_node()?;
        step.next("chart");
        world.provide_template(&state, TEMPLATE)?;
        if let Err(error) = world.release.install(&world.cluster) {
            let record = world.cluster.record_state(release::NAMESPACE);
            return Err(format!("{error}\nthe cluster's state is in {}", record.display()));
        }
        step.end();
        Ok(world)
    }

    /// Runs a scenario in a namespace of its own, removes the namespace, and checks that nothing is
    /// left.
    pub(crate) fn play(&self, scenario: &Scenario) -> Result<()> {
        // The scenario's output starts on a new line.
        println!();
        let began = Instant::now();
        let namespace = Namespace::create(&self.cluster, scenario.name)?;
        let result = (scenario.run)(self, &namespace)
            .and_then(|()| namespace.delete())
            .and_then(|()| evidence::nothing_is_left(self))
            .and_then(|()| self.check());
        println!("{} took {:.0} s", scenario.name, began.elapsed().as_secs_f32());
        let Err(error) = result else { return Ok(()) };
        let record = self.cluster.record_state(&namespace.name);
        // Failing to write the state must not hide the scenario's error.
        let _ = fs::write(self.logs.join("node-console.log"), self.node.console());
        let _ = namespace.delete();
        Err(format!(
            "{error}\nthe cluster's state is in {}, logs are in {} and {}",
            record.display(),
            self.logs.display(),
            self.node.logs().display()
        ))
    }

    /// Fails if a part of the cluster itself broke.
    fn check(&self) -> Result<()> {
        if let Some(alarm) = self.node.alarm() {
            return Err(format!("the node's kernel reported: {alarm}"));
        }
        match self.plane.lock() {
            Ok(mut plane) => plane.check(),
            Err(_) => Err("an earlier check panicked".into()),
        }
    }

    fn wait_for_node(&self) -> Result<()> {
        self.cluster.wait("the node to be ready", NODE_READY, || {
            let node = self.cluster.get(&["node", node::NAME])?.unwrap_or_default();
            Ok(is_ready(&node).then_some(()))
        })
    }

    /// Puts the image of a template on the node.
    fn provide_template(&self, state: &Path, name: &str) -> Result<()> {
        let image = microvm::make_template(state, name)?;
        self.node
            .run(&format!(
                "mkdir -p {TEMPLATE_IMAGES} && cp '{}' {TEMPLATE_IMAGES}/",
                image.display()
            ))
            .map(drop)
    }
}

/// An archive for each image that pods run, under the name that the pods use.
fn make_images(release: &Release, directory: &Path) -> Result<Vec<PathBuf>> {
    renew(directory)?;
    let mut names = release.images()?;
    names.extend(documentation::images()?);
    names.sort();
    names.dedup();
    let mut archives = vec![images::pause(directory)?];
    for name in names {
        let short = name.rsplit('/').next().unwrap_or_default();
        archives.push(match short.split(':').next().unwrap_or_default() {
            "calf" => tools::calf_image()?,
            "busybox" => images::busybox(directory, &name)?,
            "microvm" => images::microvm(directory, &name)?,
            sidecar => images::program(directory, &name, &tools::program(sidecar)?)?,
        });
    }
    Ok(archives)
}

/// Refuses to run beside another run.
fn claim(directory: &Path) -> Result<File> {
    let path = directory.join("lock");
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(directory).map_err(failed)?;
    let lock = File::create(&path).map_err(failed)?;
    lock.try_lock().map_err(|_| format!("another run holds {}", path.display()))?;
    Ok(lock)
}

/// Makes an empty directory.
fn renew(directory: &Path) -> Result<()> {
    let failed = |error| format!("cannot renew {}: {error}", directory.display());
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::create_dir_all(directory).map_err(failed)
}

/// Prints how long the parts of the start take.
struct Step {
    name: &'static str,
    began: Instant,
}

impl Step {
    fn begin(name: &'static str) -> Self {
        Self { name, began: Instant::now() }
    }

    fn next(&mut self, name: &'static str) {
        let ended = std::mem::replace(self, Self::begin(name));
        ended.end();
    }

    fn end(self) {
        println!("{:<24} {:>5.1} s", self.name, self.began.elapsed().as_secs_f32());
    }
}
