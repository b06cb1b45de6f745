//! Inline volumes: what an administrator lets pods ask for.

use calf::csi::v1::volume_capability::access_mode::Mode;
use calf::csi::{InlineCaps, v1};
use calf::{Fallback, VolumeStatus};
use calf_test_kit::simulated_driver::{Server, accepted, map, mount, refusal};
use calf_test_kit::simulated_pool::Environment;
use tonic::Code;

/// A driver with caps, on a machine that outlives it.
struct Node<'a> {
    environment: &'a Environment,
    server: Server,
}

impl<'a> Node<'a> {
    async fn start(environment: &'a Environment, change: impl FnOnce(&mut InlineCaps)) -> Self {
        Self::start_on(environment, environment.pool(), change).await
    }

    async fn start_on(
        environment: &'a Environment,
        pool: calf::Pool,
        change: impl FnOnce(&mut InlineCaps),
    ) -> Self {
        let socket = environment.path("csi.sock");
        let server = Server::start_with(pool, &socket, |config| {
            config.inline = InlineCaps::default();
            config.inline.enabled = true;
            change(&mut config.inline);
        });
        Self { environment, server: server.await.expect("a server") }
    }

    fn request(&self, id: &str, attributes: &[(&str, &str)]) -> v1::NodePublishVolumeRequest {
        let mut context = map(&[("csi.storage.k8s.io/ephemeral", "true"), ("template", "debian")]);
        context.extend(map(attributes));
        v1::NodePublishVolumeRequest {
            volume_id: id.to_owned(),
            target_path: self.environment.path(id).to_str().expect("UTF-8").to_owned(),
            volume_capability: Some(mount("", Mode::SingleNodeWriter)),
            volume_context: context,
            ..Default::default()
        }
    }

    /// Publishes, which must succeed.
    async fn publish(&self, id: &str, attributes: &[(&str, &str)]) -> VolumeStatus {
        let request = self.request(id, attributes);
        accepted(self.server.node().await.node_publish_volume(request)).await;
        let volume = self.environment.pool().volume(id).and_then(|volume| volume.status());
        volume.expect("it is there")
    }

    /// Publishes, which must fail, and leaves nothing.
    async fn refusal(&self, id: &str, attributes: &[(&str, &str)]) -> (Code, String) {
        let before = self.environment.volume_directories();
        let request = self.request(id, attributes);
        let refused = refusal(self.server.node().await.node_publish_volume(request)).await;
        assert_eq!(self.environment.volume_directories(), before);
        refused
    }

    async fn unpublish(&self, id: &str) {
        let v1::NodePublishVolumeRequest { volume_id, target_path, .. } = self.request(id, &[]);
        let request = v1::NodeUnpublishVolumeRequest { volume_id, target_path };
        accepted(self.server.node().await.node_unpublish_volume(request)).await;
    }
}

#[tokio::test]
async fn there_are_none_unless_an_administrator_says_so() {
    let environment = Environment::new();
    let on = Node::start(&environment, |_| {}).await;
    on.publish("old", &[]).await;
    on.server.stop().await;

    let off = Node::start(&environment, |caps| caps.enabled = false).await;
    let (code, message) = off.refusal("new", &[]).await;
    assert_eq!(code, Code::InvalidArgument, "{message}");
    for word in ["new", "switched off", "--inline-volumes", "inlineVolumes.enabled", "claim"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    // One that exists can be published again, and goes with its pod.
    off.publish("old", &[]).await;
    off.unpublish("old").await;
    assert_eq!(environment.volume_directories(), Vec::<String>::new());
    off.server.stop().await;
}

#[tokio::test]
async fn each_cap_is_kept_and_named() {
    let environment = Environment::new();
    environment.import("debian-extra", 1);
    let node = Node::start(&environment, |caps| {
        caps.max_size = Some(4 << 20);
        caps.max_cow_limit = Some(2 << 20);
        caps.templates = ["debian", "web-*"].map(|name| name.parse().expect("a pattern")).into();
    })
    .await;
    let invalid = Code::InvalidArgument;
    for (attribute, code, words) in [
        (("size", "5Mi"), Code::OutOfRange, ["size is 5 MiB", "4 MiB", "--inline-max-size"]),
        (("cowLimit", "3Mi"), Code::OutOfRange, ["cowLimit is 3 MiB", "2 MiB", "max-cow-limit"]),
        (("reserve", "full"), invalid, ["reserve: full", "--inline-allow", "inlineVolumes.allow"]),
        (("durability", "durable"), invalid, ["durable", "--inline-allow", "administrator"]),
        (("template", "debian-extra"), invalid, ["debian-extra", "debian, web-*", "templates"]),
    ] {
        let (refused, message) = node.refusal("volume", &[attribute]).await;
        assert_eq!(refused, code, "{attribute:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
    // What asks for no limit gets one, and stays the same volume when the cap changes.
    let limit = |volume: VolumeStatus| volume.record.cow_limit;
    assert_eq!(limit(node.publish("given", &[("size", "4Mi")]).await), Some(2 << 20));
    assert_eq!(limit(node.publish("asked", &[("cowLimit", "1Mi")]).await), Some(1 << 20));
    node.server.stop().await;
    let node = Node::start(&environment, |caps| caps.max_cow_limit = Some(1 << 20)).await;
    assert_eq!(limit(node.publish("given", &[("size", "4Mi")]).await), Some(2 << 20));
    let (code, message) = node.refusal("given", &[("size", "4Mi"), ("cowLimit", "1Mi")]).await;
    assert_eq!(code, Code::AlreadyExists, "{message}");
    for id in ["given", "asked"] {
        node.unpublish(id).await;
    }
    node.server.stop().await;
}

#[tokio::test]
async fn a_template_that_is_larger_than_the_cap_is_refused_too() {
    let environment = Environment::new();
    let node = Node::start(&environment, |caps| caps.max_size = Some(512 << 10)).await;
    let (code, message) = node.refusal("volume", &[]).await;
    assert_eq!(code, Code::OutOfRange, "{message}");
    let (code, message) = node.refusal("volume", &[("template", "centos")]).await;
    assert_eq!(code, Code::NotFound, "{message}");
    node.server.stop().await;
}

#[tokio::test]
async fn what_is_allowed_explicitly_is_made() {
    let environment = Environment::new();
    let node = Node::start(&environment, |caps| {
        (caps.reserve, caps.durable) = (true, true);
    })
    .await;
    node.publish("a", &[("reserve", "full"), ("durability", "durable"), ("size", "9Mi")]).await;
    node.server.stop().await;
}

#[tokio::test]
async fn private_copies_have_no_limit_to_set() {
    let environment = Environment::new();
    environment.host.without_snapshot(true);
    let root = environment.directory.path().join("pool");
    let pool = environment.options().fallback(Some(Fallback::Copy)).open(root).expect("a pool");
    let cap = |caps: &mut InlineCaps| caps.max_cow_limit = Some(2 << 20);
    let node = Node::start_on(&environment, pool, cap).await;
    assert_eq!(node.publish("a", &[]).await.record.cow_limit, None);
    node.server.stop().await;
}
