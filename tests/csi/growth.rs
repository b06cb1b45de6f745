//! File systems that take long to grow, over CSI: what callers with deadlines see, and a driver that stops.

use std::time::{Duration, Instant};

use calf::csi::v1;
use calf::csi::v1::node_client::NodeClient;
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf_test_kit::simulated_driver::{Server, accepted, map, mount};
use calf_test_kit::simulated_pool::Environment;
use tonic::transport::Channel;
use tonic::{Code, Request};

/// A machine on which the kernel takes 60 steps of 20 ms to grow a file system to the size of the volume.
fn slow() -> Environment {
    let environment = Environment::new();
    environment.import_growing("growing");
    environment.host.set_free(1 << 40);
    environment.host.set_growing_takes(Duration::from_millis(20));
    environment
}

async fn serve(environment: &Environment) -> Server {
    let socket = environment.path("csi.sock");
    Server::start(environment.pool(), &socket).await.expect("a server")
}

/// Publishes an inline volume; the code of the response.
async fn publish(
    environment: &Environment,
    node: &mut NodeClient<Channel>,
    deadline: Duration,
) -> Code {
    let mut request = Request::new(v1::NodePublishVolumeRequest {
        volume_id: "inline".to_owned(),
        target_path: environment.path("target").display().to_string(),
        volume_capability: Some(mount("ext4", Mode::SingleNodeWriter)),
        volume_context: map(&[
            ("csi.storage.k8s.io/ephemeral", "true"),
            ("template", "growing"),
            ("size", "15Ti"),
        ]),
        ..Default::default()
    });
    request.set_timeout(deadline);
    node.node_publish_volume(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn a_caller_with_a_short_deadline_gets_there_with_repeated_calls() {
    let environment = slow();
    let server = serve(&environment).await;
    let mut node = server.node().await;
    let target = environment.path("target");
    let started = Instant::now();
    let (mut cut, mut grown) = (0, 0);
    loop {
        match publish(&environment, &mut node, Duration::from_millis(150)).await {
            Code::Ok => break,
            // The step that was running ends soon.
            Code::Aborted => tokio::time::sleep(Duration::from_millis(5)).await,
            Code::DeadlineExceeded | Code::Cancelled => {
                cut += 1;
                let now = environment.host.grown_to(&target).expect("the volume is still there");
                assert!(now >= grown, "{now} after {grown}: it was made anew");
                grown = now;
            }
            code => panic!("{code:?}"),
        }
        assert!(started.elapsed() < Duration::from_secs(60), "it does not get there");
    }
    assert!(cut > 2, "{cut}");
    assert_eq!(environment.host.grown_to(&target), Some(15 << 40));
    let target_path = target.display().to_string();
    let request = v1::NodeUnpublishVolumeRequest { volume_id: "inline".to_owned(), target_path };
    accepted(node.node_unpublish_volume(request)).await;
    assert_eq!(environment.host.leftovers(), Vec::<String>::new());
    server.stop().await;
}

#[tokio::test]
async fn a_driver_that_stops_does_not_wait_for_a_growth() {
    let environment = slow();
    let server = serve(&environment).await;
    let mut node = server.node().await;
    let target = environment.path("target");
    let minute = Duration::from_secs(60);
    let stop = async {
        while environment.host.grown_to(&target).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let started = Instant::now();
        server.stop().await;
        started.elapsed()
    };
    let (code, took) = tokio::join!(publish(&environment, &mut node, minute), stop);
    assert_eq!(code, Code::Cancelled);
    assert!(took < Duration::from_secs(5), "{took:?}");
    let grown = environment.host.grown_to(&target);
    assert!(grown.is_some_and(|size| size < 15 << 40), "{grown:?}");

    let server = serve(&environment).await;
    let mut node = server.node().await;
    assert_eq!(environment.host.grown_to(&target), grown, "the next driver leaves it as it is");
    assert_eq!(publish(&environment, &mut node, minute).await, Code::Ok);
    assert_eq!(environment.host.grown_to(&target), Some(15 << 40));
    server.stop().await;
}
