//! Decides which Events to post, on which objects, and how often.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, ErrorKind, Result};
use crate::kubernetes::KubernetesConfig;
use crate::kubernetes::api::{Answer, Api};
use crate::kubernetes::objects::{Claim, Event, List, Posted, StorageClass, Subject};
use crate::metrics::Metrics;
use crate::model::digest::Digest;
use crate::model::units::format_size;

/// Maximum number of waiting notices; more are dropped.
const QUEUE: usize = 64;
/// Maximum number of missing templates; more are ignored.
const MAX_MISSING: usize = 256;
/// Time between checks for waiting claims, spread by half of it among nodes.
const LOOK: Duration = Duration::from_secs(30);
/// How long calf remembers a missing template after the last request for it. external-provisioner
/// queries the capacity of each StorageClass once a minute.
const REMEMBER: Duration = Duration::from_secs(180);
/// A claim that has waited for a shorter time may still be getting its volume, on this node or
/// another.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);
/// Within this time, the same Event on the same object is not posted again.
const REPEAT: Duration = Duration::from_secs(300);
/// Maximum number of claims that get Events in one check.
const MAX_CLAIMS: usize = 100;
/// Maximum number of pages to read of one list, of [`PAGE`] objects each.
const MAX_PAGES: usize = 20;
const PAGE: usize = 500;
/// Longest message: Kubernetes refuses more than 1024 bytes.
const MAX_MESSAGE: usize = 1000;

const TEMPLATE_MISSING: &str = "TemplateMissing";
const TEMPLATE_IMPORTED: &str = "TemplateImported";
const TEMPLATE_IMPORT_FAILED: &str = "TemplateImportFailed";
const POOL_NEARLY_FULL: &str = "PoolNearlyFull";
const POOL_HAS_ROOM: &str = "PoolHasRoom";
const REASONS: [&str; 5] =
    [TEMPLATE_MISSING, TEMPLATE_IMPORTED, TEMPLATE_IMPORT_FAILED, POOL_NEARLY_FULL, POOL_HAS_ROOM];

/// A fact that the driver reports.
enum Notice {
    Missing { template: String },
    Imported { template: String, digest: Digest },
    ImportFailed { template: String, error: String },
    Space { nearly_full: bool, free: u64, resume: u64 },
}

/// The interface through which the driver reports. It never blocks and never fails.
#[derive(Clone)]
pub(crate) struct Events(Option<SyncSender<Notice>>);

impl Events {
    /// Reports nothing.
    pub(crate) fn off() -> Self {
        Self(None)
    }

    /// Starts the thread that posts. It ends when the last clone of the returned value is dropped.
    pub(crate) fn start(
        config: KubernetesConfig,
        driver: &str,
        node: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        let (sender, notices) = sync_channel(QUEUE);
        let (driver, node) = (driver.to_owned(), node.to_owned());
        metrics.expect_events(&REASONS);
        let poster = Poster {
            config,
            driver,
            node,
            metrics,
            look: LOOK,
            missing: BTreeMap::new(),
            posted: BTreeMap::new(),
        };
        std::thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || poster.run(&notices))
            .map_err(|e| Error::io("start", "the thread for Kubernetes Events", e))?;
        Ok(Self(Some(sender)))
    }

    /// A request for capacity named a template that this node does not have.
    pub(crate) fn template_missing(&self, template: &str) {
        self.tell(|| Notice::Missing { template: template.to_owned() });
    }

    /// A required template is now in the pool.
    pub(crate) fn template_imported(&self, template: &str, digest: &Digest) {
        let (template, digest) = (template.to_owned(), digest.clone());
        self.tell(|| Notice::Imported { template, digest });
    }

    /// The import of a required template failed, and will be retried.
    pub(crate) fn template_import_failed(&self, template: &str, error: &Error) {
        let (template, error) = (template.to_owned(), error.report());
        self.tell(|| Notice::ImportFailed { template, error });
    }

    /// The pool is nearly full, so that volumes that write are suspended; or it has room again. `free` is
    /// its free space, and they go on at `resume`.
    pub(crate) fn space(&self, nearly_full: bool, free: u64, resume: u64) {
        self.tell(|| Notice::Space { nearly_full, free, resume });
    }

    fn tell(&self, notice: impl FnOnce() -> Notice) {
        if let Some(sender) = &self.0 {
            // The queue is full because the API server is slow. Notices that still matter will be
            // sent again.
            let _ = sender.try_send(notice());
        }
    }
}

/// The thread that posts.
pub(super) struct Poster {
    config: KubernetesConfig,
    driver: String,
    node: String,
    metrics: Arc<Metrics>,
    look: Duration,
    /// Missing templates, with the time of the last request for each.
    missing: BTreeMap<String, Instant>,
    /// When each Event was last posted, by its name.
    posted: BTreeMap<String, Instant>,
}

impl Poster {
    fn run(mut self, notices: &Receiver<Notice>) {
        let mut next_look = Instant::now();
        loop {
            let wait = match self.missing.is_empty() {
                true => REMEMBER,
                false => next_look.saturating_duration_since(Instant::now()),
            };
            match notices.recv_timeout(wait) {
                Ok(notice) => self.take(notice),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.missing.retain(|_, asked| asked.elapsed() < REMEMBER);
            self.posted.retain(|_, posted| posted.elapsed() < REPEAT);
            if !self.missing.is_empty() && Instant::now() >= next_look {
                if let Err(error) = self.tell_missing() {
                    self.failed(TEMPLATE_MISSING, &error);
                }
                next_look = Instant::now() + self.look.mul_f64(rand::random_range(0.75..1.25));
            }
        }
    }

    fn take(&mut self, notice: Notice) {
        let (about, reason, message) = match notice {
            Notice::Missing { template } => {
                if self.missing.len() < MAX_MISSING || self.missing.contains_key(&template) {
                    self.missing.insert(template, Instant::now());
                }
                return;
            }
            Notice::Imported { template, digest } => {
                self.missing.remove(&template);
                let digest = digest.qualified();
                let message = format!("template {template:?} ({digest}) is in the pool");
                (template, TEMPLATE_IMPORTED, message)
            }
            Notice::ImportFailed { template, error } => {
                (template, TEMPLATE_IMPORT_FAILED, format!("{error}; the driver will retry"))
            }
            Notice::Space { nearly_full: true, free, resume } => {
                let message = format!(
                    "calf's pool has only {} free: volumes that write are suspended until {} are; delete \
                     pods and volumes, or enlarge the pool",
                    format_size(free),
                    format_size(resume)
                );
                ("pool".to_owned(), POOL_NEARLY_FULL, message)
            }
            Notice::Space { nearly_full: false, free, .. } => {
                let message =
                    format!("calf's pool has {} free: suspended volumes go on", format_size(free));
                ("pool".to_owned(), POOL_HAS_ROOM, message)
            }
        };
        let event = Event {
            subject: Subject::node(&self.node),
            reason,
            warning: matches!(reason, TEMPLATE_IMPORT_FAILED | POOL_NEARLY_FULL),
            about,
            message,
        };
        self.post_all([event]);
    }

    /// Posts Events on each claim that waits for a missing template, on its pod, and on the node.
    fn tell_missing(&mut self) -> Result<()> {
        let api = Api::connect(&self.config)?;
        let mut classes = BTreeMap::new();
        pages(&api, "/apis/storage.k8s.io/v1/storageclasses", |class: StorageClass| {
            let template = class.parameters.and_then(|mut p| p.remove("template"));
            if let Some(template) = template.filter(|t| self.missing.contains_key(t))
                && class.provisioner == self.driver
            {
                classes.insert(class.metadata.name, template);
            }
            true
        })?;
        if classes.is_empty() {
            return Ok(());
        }
        let now = Timestamp::now();
        let (mut events, mut waiting, mut claims) = (Vec::new(), HashSet::new(), 0);
        pages(&api, "/api/v1/persistentvolumeclaims", |claim: Claim| {
            let template = claim.spec.storage_class_name.as_ref().and_then(|c| classes.get(c));
            if let Some(template) = template.filter(|_| claim.waits(now, PATIENCE)) {
                let told = claim.subjects().into_iter().map(|s| self.missing_on(s, template));
                events.extend(told);
                waiting.insert(template.clone());
                claims += 1;
            }
            claims < MAX_CLAIMS
        })?;
        let node = Subject::node(&self.node);
        events.extend(waiting.iter().map(|template| self.missing_on(node.clone(), template)));
        self.post_all(events);
        Ok(())
    }

    fn missing_on(&self, subject: Subject, template: &str) -> Event {
        Event {
            subject,
            reason: TEMPLATE_MISSING,
            warning: true,
            about: template.to_owned(),
            message: format!(
                "template {template:?} is not in the pool of node {}, so no volume can be made from \
                 it there: import it with `calf template import IMAGE --name {template}`, or add \
                 it to the templates in the chart's values",
                self.node
            ),
        }
    }

    /// Posts the Events that were not posted recently. Stops if the server does not answer
    /// properly: Events that still matter are posted at the next check.
    fn post_all(&mut self, events: impl IntoIterator<Item = Event>) {
        let fresh = |event: &Event| !self.posted.contains_key(&event.name());
        let events: Vec<Event> = events.into_iter().filter(fresh).collect();
        let Some(first) = events.first() else { return };
        let api = match Api::connect(&self.config) {
            Ok(api) => api,
            Err(error) => return self.failed(first.reason, &error),
        };
        for event in &events {
            match self.post(&api, event) {
                Ok(posted) => {
                    if posted {
                        self.metrics.event(event.reason, true);
                    }
                    self.posted.insert(event.name(), Instant::now());
                }
                Err(error) => {
                    self.failed(event.reason, &error);
                    if error.kind() == ErrorKind::Internal {
                        return;
                    }
                }
            }
        }
    }

    /// Posts an Event, or increments its count if it exists and is not recent. Returns whether
    /// anything was posted.
    fn post(&self, api: &Api<'_>, event: &Event) -> Result<bool> {
        let mut event = event.clone();
        event.message.truncate(event.message.floor_char_boundary(MAX_MESSAGE));
        let path = format!("/api/v1/namespaces/{}/events", event.subject.events_namespace());
        let now = Timestamp::now();
        if api.create(&path, &event.to_json(&self.driver, &self.node, now))? == Answer::Done {
            return Ok(true);
        }
        let path = format!("{path}/{}", event.name());
        let posted: Posted = api.get(&path)?;
        let age = now.duration_since(posted.last_timestamp.unwrap_or(Timestamp::UNIX_EPOCH));
        if age.unsigned_abs() < REPEAT {
            return Ok(false);
        }
        api.merge(&path, &event.repetition(&posted, now)).map(|_| true)
    }

    fn failed(&self, reason: &'static str, error: &Error) {
        self.metrics.event(reason, false);
        tracing::warn!(reason, error = error.report(), "cannot post a Kubernetes Event");
    }
}

/// Reads a list page by page until `each` needs no more.
fn pages<T: serde::de::DeserializeOwned>(
    api: &Api<'_>,
    path: &str,
    mut each: impl FnMut(T) -> bool,
) -> Result<()> {
    let mut next = String::new();
    for _ in 0..MAX_PAGES {
        let page: List<T> = api.get(&format!("{path}?limit={PAGE}{next}"))?;
        if !page.items.into_iter().all(&mut each) {
            return Ok(());
        }
        match page.metadata.next.filter(|token| !token.is_empty()) {
            // Tokens are made of URL-safe characters.
            Some(token) => next = format!("&continue={token}"),
            None => return Ok(()),
        }
    }
    tracing::debug!(path, "the list is too long to be read completely");
    Ok(())
}
