//! containerd and the kubelet: configured, started, watched, restarted.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use calf_test_kit::kernel::environment::stretched;

use super::{NAME, Node, SHARED};
use crate::{Result, network};

const CONTAINERD: &str = include_str!("containerd.toml");
const PODS: &str = include_str!("pods.conflist");
const KUBELET: &str = include_str!("kubelet.yaml");

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A program that runs on the node, outside all pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Containerd,
    Kubelet,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
        }
    }

    /// The service's program with arguments, on a node whose programs are in `programs`.
    fn command(self, programs: &str) -> String {
        match self {
            Self::Containerd => {
                format!("'{programs}/containerd' --config {SHARED}/containerd.toml")
            }
            Self::Kubelet => format!(
                "'{programs}/kubelet' --config {SHARED}/kubelet.yaml \
                 --kubeconfig {SHARED}/kubeconfig --hostname-override {NAME} --node-ip {}",
                network::NODE
            ),
        }
    }

    /// A script that succeeds on the node when the service can be used.
    fn probe(self) -> &'static str {
        match self {
            Self::Containerd => "test -S /run/containerd/containerd.sock",
            // Its health endpoint, on loopback.
            Self::Kubelet => "exec 3<>/dev/tcp/127.0.0.1/10248",
        }
    }
}

impl Node {
    /// Starts a service, and waits until it answers.
    pub(crate) fn start(&self, service: Service) -> Result<()> {
        self.configure(service)?;
        let name = service.name();
        // containerd finds its shim by PATH.
        let programs = self.options.programs.display();
        let script = format!(
            "PATH='{programs}':$PATH setsid {} >> {SHARED}/{name}.log 2>&1 < /dev/null &
            echo $! > /run/{name}.pid",
            service.command(&programs.to_string())
        );
        self.run(&script)?;
        let deadline = Instant::now() + stretched(START_LIMIT);
        let probe = format!("bash -c '{}' 2> /dev/null", service.probe());
        while self.try_run(&probe)?.code != 0 {
            let why = if !self.is_running(service)? {
                "it ended"
            } else if Instant::now() > deadline {
                "it does not answer"
            } else {
                thread::sleep(Duration::from_millis(200));
                continue;
            };
            return Err(format!("{name} did not start: {why}\n{}", self.log_tail(service)));
        }
        Ok(())
    }

    /// Stops a service, and waits until it has ended.
    pub(crate) fn stop(&self, service: Service) -> Result<()> {
        let name = service.name();
        self.run(&format!("kill -TERM $(cat /run/{name}.pid)"))?;
        let deadline = Instant::now() + stretched(STOP_LIMIT);
        while self.is_running(service)? {
            if Instant::now() > deadline {
                return Err(format!("{name} does not end on SIGTERM\n{}", self.log_tail(service)));
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn is_running(&self, service: Service) -> Result<bool> {
        let probe = format!("kill -0 $(cat /run/{}.pid) 2> /dev/null", service.name());
        Ok(self.try_run(&probe)?.code == 0)
    }

    /// The end of a service's log.
    pub(crate) fn log_tail(&self, service: Service) -> String {
        const LINES: usize = 40;
        let path = self.logs().join(format!("{}.log", service.name()));
        let log = fs::read(&path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        format!("the end of {}:\n  {}\n", path.display(), last.join("\n  "))
    }

    fn configure(&self, service: Service) -> Result<()> {
        let programs = self.options.programs.display().to_string();
        match service {
            Service::Containerd => {
                let text = CONTAINERD
                    .replace("@PAUSE@", &self.options.pause_image)
                    .replace("@BIN@", &programs);
                self.share("containerd.toml", text.as_bytes())?;
                self.share("pods.conflist", PODS.as_bytes())?;
                self.run(&format!(
                    "mkdir -p /etc/cni/net.d && cp {SHARED}/pods.conflist /etc/cni/net.d/"
                ))?;
            }
            Service::Kubelet => {
                let ca = format!("{SHARED}/client-ca.crt");
                self.share("kubelet.yaml", KUBELET.replace("@CLIENT_CA@", &ca).as_bytes())?;
                for (name, file) in [
                    ("kubeconfig", &self.options.kubeconfig),
                    ("client-ca.crt", &self.options.client_ca),
                ] {
                    let content =
                        fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
                    self.share(name, &content)?;
                }
            }
        }
        Ok(())
    }

    /// Writes a file that the node sees below [`SHARED`].
    fn share(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.logs().join(name);
        fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))
    }
}
