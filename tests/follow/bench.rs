//! A source, a destination and the oplog tail between them, without the rest of the engine.

use crate::common::{self, Pair, compare};
use bson::Document;
use mongodb::Client;
use mongoferry::{
    engine::{
        context::Context,
        copy,
        dirty::DirtySet,
        fetch::{self, FetchEnd},
        follow::Follower,
        gate::Gate,
        lag::{self, LagReading},
        notices::Notices,
        record::Record,
        registry::Registry,
        retry::Halt,
        spool,
        throttle::Throttle,
        view::{ApplyView, FetchView, InitialSyncView},
    },
    model::{Endpoint, NamespaceFilter, Optime, Options, Problem, Side},
    mongo::{catalog, connect::connect},
    oplog::Dialect,
    store::Journal,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

pub struct Bench {
    pub context: Context,
    pub source: Client,
    pub destination: Client,
    pub fetched: watch::Sender<FetchView>,
    pub applied: watch::Sender<ApplyView>,
    pub dirty: Arc<DirtySet>,
    pub until: watch::Sender<Option<Optime>>,
    /// Ends of the fetcher.
    pub fetch_end: Option<tokio::task::JoinHandle<FetchEnd>>,
    folder: tempfile::TempDir,
    _pair: Pair,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.context.cancel.cancel();
    }
}

impl Bench {
    pub async fn start(internal_stage: bool, filter: NamespaceFilter) -> Self {
        Self::between(common::pair().await, internal_stage, filter).await
    }

    pub async fn between(pair: Pair, internal_stage: bool, filter: NamespaceFilter) -> Self {
        let (a, b) = (Endpoint::plain(pair.source.uri()), Endpoint::plain(pair.destination.uri()));
        let (source, destination) = tokio::join!(connect(Side::Source, &a), connect(Side::Destination, &b));
        let (source, destination) = (source.unwrap(), destination.unwrap());
        let folder = tempfile::tempdir().unwrap();
        let context = Context {
            record: Arc::new(Record::new(Journal::open(folder.path()).unwrap()).unwrap()),
            dialect: Dialect { major: destination.version.major, internal_stage },
            source,
            destination,
            options: Arc::new(Options { filter, ..Options::default() }),
            gate: Gate::default(),
            throttle: Throttle::new(None),
            brake: Default::default(),
            cancel: tokio_util::sync::CancellationToken::new(),
            events: Notices::default(),
        };
        Self {
            context,
            source: pair.source.client().await.unwrap(),
            destination: pair.destination.client().await.unwrap(),
            fetched: watch::Sender::default(),
            applied: watch::Sender::default(),
            dirty: Arc::default(),
            until: watch::Sender::default(),
            fetch_end: None,
            folder,
            _pair: pair,
        }
    }

    /// Begins fetching at `from` and returns a follower with this registry.
    pub fn follower(&mut self, from: Optime, registry: Registry) -> Follower {
        let spool = spool::create(&self.folder.path().join("spool"), 1 << 40).unwrap();
        let (sink, reader) = (
            fetch::Sink {
                expiring: tokio::sync::watch::Sender::default().subscribe(),
                writer: spool.writer,
                keeper: spool.keeper,
                mark: spool.mark,
            },
            spool.reader,
        );
        let (context, view) = (self.context.clone(), self.fetched.clone());
        self.fetch_end = Some(tokio::spawn(async move {
            let Err(end) = fetch::fetch(&context, from, sink, view).await;
            end
        }));
        Follower::new(self.context.clone(), registry, reader, from, self.applied.clone(), Some(self.dirty.clone()))
    }

    /// Copies everything and returns the follower that continues from before the copy.
    pub async fn copied(&mut self) -> Follower {
        let from = fetch::start_position(&self.context.source).await.unwrap();
        let registry = self.copy().await;
        self.follower(from, registry)
    }

    pub async fn copy(&self) -> Registry {
        let catalog = catalog::read(&self.context.source, &self.context.options.filter).await.unwrap();
        copy::copy(&self.context, &catalog, &watch::Sender::new(InitialSyncView::default())).await.unwrap()
    }

    pub async fn newest(&self) -> Optime {
        self.context.source.last_write().await.unwrap().majority_optime
    }

    /// Applies up to what the source has now; everything is the same on both sides then.
    pub async fn drain(&self, follower: &mut Follower) {
        let newest = self.newest().await;
        self.until.send_replace(Some(newest));
        self.run(follower).await.unwrap();
        let view = self.applied.borrow().clone();
        assert!(view.applied_ts >= newest, "{} is applied, not {newest}", view.applied_ts);
        assert_eq!((view.oldest_waiting_wall_ms, view.repair_pending), (None, 0));
        compare::assert_identical(&self.source, &self.destination).await;
    }

    /// Applies until drained or ended; a test never hangs.
    pub async fn run(&self, follower: &mut Follower) -> Result<(), Halt> {
        let run = follower.run(self.until.subscribe(), tokio::sync::watch::Sender::default().subscribe());
        match tokio::time::timeout(Duration::from_secs(240), run).await {
            Ok(ended) => ended,
            Err(_) => panic!("not drained; {:?}; {:?}", self.applied.borrow(), self.fetched.borrow()),
        }
    }

    /// Applies beside the test until `until` is set.
    pub fn run_on(&self, mut follower: Follower) -> tokio::task::JoinHandle<(Follower, Result<(), Halt>)> {
        let until = self.until.subscribe();
        tokio::spawn(async move {
            let ended = follower.run(until, tokio::sync::watch::Sender::default().subscribe()).await;
            (follower, ended)
        })
    }

    /// Applies, expecting a problem.
    pub async fn problem(&self, follower: &mut Follower) -> Problem {
        match self.run(follower).await {
            Err(Halt::Problem(problem)) => *problem,
            other => panic!("expected a problem, got {other:?}"),
        }
    }

    pub fn measure_lag(&self) -> watch::Receiver<Option<LagReading>> {
        let (sender, receiver) = watch::channel(None);
        let (apply, fetch) = (self.applied.subscribe(), self.fetched.subscribe());
        tokio::spawn(lag::poll(self.context.clone(), apply, fetch, sender));
        receiver
    }

    pub fn events(&self, kind: &str) -> Vec<String> {
        let of_kind = |event: &mongoferry::model::Event| event.kind == kind;
        self.context.events.since(0).iter().filter(|event| of_kind(event)).map(|event| event.text.clone()).collect()
    }

    pub async fn count(&self, db: &str, coll: &str) -> u64 {
        self.destination.database(db).collection::<Document>(coll).count_documents(bson::doc! {}).await.unwrap()
    }
}

/// Waits for a view to become so.
pub async fn wait<T: std::fmt::Debug + Clone>(view: &mut watch::Receiver<T>, what: &str, wanted: impl Fn(&T) -> bool) {
    let last = view.clone();
    if tokio::time::timeout(Duration::from_secs(60), view.wait_for(wanted)).await.is_err() {
        panic!("{what} did not happen: {:?}", last.borrow());
    }
}
